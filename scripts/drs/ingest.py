"""Deliver references by hand into an operations cache: all steps of an ingest, or none of them.

The new files are written one by one under their final names, references before the rules that name them and the
context last; until then nothing points to them. A journal names them before the first is written, so that whatever
ends the process, a failure or a kill, the next delivery takes back what is half done.
"""

import logging
import pprint
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from drs.derivation import copy_file, derive_context, describe_references, is_empty, load_context
from drs.errors import ReductionError
from drs.files import write_json, write_text
from drs.lock import hold_cache
from drs.metadata import read_metadata
from drs.references import find_context, mapping_path, read_json, read_server_config, reference_path, sha1
from drs.schema import PRODUCTS

logger = logging.getLogger(__name__)

TYPES = PRODUCTS.parent / "references.yaml"
WORK, JOURNAL = ".delivery", "journal.json"
OPERATIONAL = ("operational_context", "latest_context", "edit_context")


def ingest(references, types, cache, *, context=None, supersede=False, dry_run=False):
    """Deliver references into a cache and make the new context its operational one.

    Parameters
    ----------
    references : list of path-like
        FITS files, named as `drs.derivation.describe_references` says.
    types : dict
        Of `drs.references.load_types`.
    cache : path-like
        Root of the CRDS cache.
    context : str, optional
        Context to build on; default is the operational one.
    supersede : bool, optional
        Let a reference take the place of another of the same case and date.
    dry_run : bool, optional
        Do all but write into the cache.

    Returns
    -------
    dict
        "operational": context before; "base"; "context": the new one, or the base when it holds all files already;
        "delivered": {name: sha1}; "held": names that the base holds already; "names": {old rule file: new one};
        "changes": {new rmap: [(action, old reference, new reference, case), ...]}

    Raises
    ------
    ReductionError
        A reference is refused, or the cache cannot be used; the cache is as before.
    """
    read_server_config(cache)
    if dry_run:
        with _try_aside() as work:
            return _prepare(references, types, cache, work, context=context, supersede=supersede)
    with _hold(cache), _whole_or_nothing(cache) as work:
        prepared = _prepare(references, types, cache, work, context=context, supersede=supersede)
        if prepared["delivered"]:
            _publish(prepared, cache, work)
        return prepared


@contextmanager
def _try_aside():
    """Yield a private folder outside the cache."""
    try:
        with TemporaryDirectory(prefix="delivery_") as work:
            yield work
    except OSError as error:
        raise ReductionError(
            f"the delivery cannot be tried in a temporary folder ({error.strerror or error}: {error.filename or ''}); "
            "make room, or name another folder by TMPDIR"
        ) from error


@contextmanager
def _hold(cache):
    """Hold the cache for this process; wait for another delivery."""
    try:
        stream = hold_cache(cache)
    except OSError as error:
        raise ReductionError(
            f"{cache} cannot be written ({error.strerror}); deliver as the user who owns the cache, or try --dry-run"
        ) from error
    with stream:
        yield


@contextmanager
def _whole_or_nothing(cache):
    """Yield a private folder in the cache; take back what a failure, or a killed delivery before, left half done."""
    work = Path(cache) / WORK
    try:
        _take_back(cache)
        work.mkdir()
        try:
            yield work
        finally:
            _take_back(cache)
    except OSError as error:
        raise ReductionError(
            f"{cache} cannot be written ({error.strerror or error}: {error.filename or 'a new file'}); "
            "make room or mend the rights, then deliver again: the cache is as before"
        ) from error


def _take_back(cache):
    """Remove the files that a delivery has written, unless the context was switched to them; remove its folder."""
    work = Path(cache) / WORK
    if (work / JOURNAL).exists():
        journal = read_json(work / JOURNAL)
        config = config_path(cache)
        if sha1(config) == journal["server_config"]:
            for name in reversed(journal["files"]):
                Path(cache, name).unlink(missing_ok=True)
        for path in [config, *(Path(cache, name) for name in journal["files"])]:
            for part in path.parent.glob(f".{path.name}.*.part"):
                part.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def config_path(cache):
    """Return the path of the file in which a cache says which context is operational."""
    return Path(cache) / "config" / "ligeriri" / "server_config"


def _prepare(references, types, cache, work, *, context, supersede):
    """Make the new rules in the folder `work`, and refuse what must not be delivered; the result of `ingest`."""
    config = read_server_config(cache)
    base = find_context(cache, context, {})["context"]
    result = {"operational": config.get("operational_context"), "base": base, "context": base}
    if base != result["operational"]:
        logger.warning("%s is built on, not %s: what only that one holds is left out", base, result["operational"])
    result |= {"delivered": {}, "held": [], "names": {}, "changes": {}}
    described = describe_references(references, types)
    digests = {entry["name"]: sha1(entry["path"]) for entry in described}
    _refuse_duplicates(described, digests, cache, config)
    named = load_context(base, cache)["references"]
    held = [entry["name"] for entry in described if entry["name"] in named]
    described = [entry for entry in described if entry["name"] not in named]
    if not described:
        return {**result, "held": held}
    rename = _next_serials(cache, config)
    new = derive_context(base, cache, described, rename, work)
    if not supersede:
        _refuse_replacements(new["changes"], base)
    delivered = {entry["name"]: digests[entry["name"]] for entry in described}
    result |= {"context": new["context"], "names": {**new["rmaps"], **new["names"]}, "changes": new["changes"]}
    return {**result, "delivered": delivered, "held": held, "described": described, "made": new["made"]}


def _refuse_duplicates(described, digests, cache, config):
    """Refuse a file whose bytes have another name already, or whose name has other bytes."""
    known = read_metadata(config.get("download_metadata"))
    names, sizes = sorted(reference_path(cache, "", "").glob("*/[!.]*")), {}
    for path in names:
        sizes.setdefault(path.stat().st_size, []).append(path)
    first = {}
    for entry in described:
        path, name, digest = entry["path"], entry["name"], digests[entry["name"]]
        if digest in first:
            raise ReductionError(f"{path} and {first[digest]} are the same bytes; deliver one of them")
        first[digest] = path
        place = reference_path(cache, entry["instrument"], name)
        if place.exists() and sha1(place) != digest:
            raise ReductionError(
                f"{path}: {place} has this name and other bytes; give the new reference another date or version"
            )
        if alike := next((other for other in names if other.name.lower() == name and other.name != name), None):
            raise ReductionError(
                f"{path} and {alike} differ by the case of letters only, which programs of crds do not tell; "
                "give the new reference another date or version"
            )
        for other in sizes.get(path.stat().st_size, []):
            if other.name != name and (known.get(other.name, {}).get("sha1sum") or sha1(other)) == digest:
                raise ReductionError(f"{path} has the same bytes as {other}; it is there already: leave it out")


def _refuse_replacements(changes, base):
    """Refuse references that would take the place of others without being told to."""
    replaced = [
        f"{after or 'a new reference'} takes the place of {before} ({', '.join(case)})"
        for entries in changes.values()
        for _, before, after, case in entries
        if before
    ]
    if replaced:
        raise ReductionError(
            f"{'; '.join(replaced)} in {base}; give the new reference another USEAFTER, or deliver with --supersede"
        )


def _next_serials(cache, config):
    """Return the function that names a rule file's successor by the first serial that is free in the cache."""
    names = {path.name for path in mapping_path(cache, "").iterdir()} | set(config.get("mappings", ()))
    serials = {}
    for name in names:
        if match := re.fullmatch(r"(.*)_(\d+)(\.[pir]map)", name):
            family = (match[1], match[3])
            serials[family] = max(serials.get(family, 0), int(match[2]))

    def rename(name):
        match = re.fullmatch(r"(.*)_\d+(\.[pir]map)", name)
        if not match:
            raise ReductionError(f"rule file {name} has no serial number like _0001; the next one cannot be named")
        return f"{match[1]}_{serials.get(match.groups(), 0) + 1:04d}{match[2]}"

    return rename


def _publish(prepared, cache, work):
    """Write the references and rules into the cache, then switch its operational context."""
    sources = [
        (entry["path"], reference_path(cache, entry["instrument"], entry["name"])) for entry in prepared["described"]
    ]
    sources += [(mapping_path(work, name), mapping_path(cache, name)) for name in prepared["made"]]
    new = [str(target.relative_to(cache)) for _, target in sources if not target.exists()]
    config = read_server_config(cache)
    write_json(work / JOURNAL, {"server_config": sha1(config_path(cache)), "files": new})
    for source, target in sources:
        copy_file(source, target)
    metadata = {
        entry["name"]: {"size": entry["path"].stat().st_size, "sha1sum": prepared["delivered"][entry["name"]]}
        for entry in prepared["described"]
    }
    config |= dict.fromkeys(OPERATIONAL, prepared["context"])
    config["mappings"] = sorted({*config.get("mappings", ()), *prepared["made"]})
    config["download_metadata"] = {**read_metadata(config.get("download_metadata")), **metadata}
    write_text(config_path(cache), pprint.pformat(config) + "\n")


def format_changes(result, *, dry_run):
    """Return the lines that tell a delivery: what is new, what takes whose place, which context is next."""
    lines = [f"{name}: {result['base']} holds it already" for name in result["held"]]
    if not result["delivered"]:
        return [*lines, f"nothing to deliver: {result['operational']} stays operational"]
    lines += [f"{'new' if is_empty(old) else old} -> {new}" for old, new in result["names"].items()]
    for rmap, changes in result["changes"].items():
        for action, before, after, case in changes:
            what = f"{before} by {after}" if action == "replace" else before or after
            lines.append(f"{rmap}: {action} {what} ({', '.join(case)})")
    would = "would be" if dry_run else "is"
    lines += [f"{name}: sha1 {digest}" for name, digest in result["delivered"].items()]
    return [*lines, f"{result['context']} {would} operational, after {result['operational']}"]
