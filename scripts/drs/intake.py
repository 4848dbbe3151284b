"""A CRDS cache that others published, taken in for the add-on: each defect repaired and listed, the source only read.

What the instrument team's caches need is found by rule, not by name of file: rule files whose checksum is stale,
that call themselves something else, or name files that are not there; dates matched by keywords that exposures do not
have; a configuration that names another context; references that are only Git-LFS pointers.
"""

import hashlib
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from crds_ligeriri import session
from drs.errors import ReductionError
from drs.files import write_atomically, write_text
from drs.lock import hold_cache
from drs.mending import mend_rules
from drs.metadata import read_metadata
from drs.references import CONTEXT_NAME, OBSERVATORY, mapping_path, read_server_config, reference_path, sha1
from drs.rulefile import format_rules, list_files, parse_rules
from drs.transfer import writing

POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n?")
POINTER_BYTES = 1024  # no pointer is longer (its specification)
SERVER_CONFIG = {
    "bad_files_list": [],
    "connected": False,
    "context_history": [],
    "crds_version": {"str": ""},
    "force_remote_mode": False,
    "last_synced": "2024-01-01 00:00:00",
    "server": "https://crds-serverless-mode.stsci.edu",
    "status": "serverless",
}
CONTEXT_KEYS = ("edit_context", "latest_context", "operational_context", "versions_context")
BLOCK_BYTES = 1 << 22


class Line(NamedTuple):
    """One line of an import: the file, what was wrong, what was done."""

    file: str
    found: str
    done: str


class Import(NamedTuple):
    """What an import did: its lines, files written, and references that are not there (with what is known of them)."""

    lines: list
    written: list
    missing: list


def import_cache(source, output, instruments, rename=None):
    """Write a usable cache from a published one.

    Parameters
    ----------
    source : path-like
        Checkout with mappings/<observatory>/; config/ and references/ may be missing. Never changed.
    output : path-like
        Root of the cache to write; files that are there already must be the same.
    instruments : dict
        INSTRUME -> content of config/instruments/*.yaml.
    rename : dict, optional
        Value in the cases of the rules -> value in its place, for example {"IRIS1": "IMG1"}.

    Returns
    -------
    Import

    Raises
    ------
    ReductionError
        No cache, a rule file that is none, or other rules of the same name in `output`; nothing is written then.
    """
    source, output = Path(source), Path(output)
    observatory = _find_observatory(source)
    texts = _read_rules(source / "mappings" / observatory)
    parsed = {name: parse_rules(text, name) for name, text in texts.items()}
    files = _find_references(source / "references" / observatory)
    mended, lines = mend_rules(parsed, observatory, set(files), instruments, rename or {})
    with TemporaryDirectory(prefix="import_") as folder:
        work = Path(folder)
        lines += _write_rules(mended, texts, work)
        lines += _write_config(source / "config" / observatory, mended, work, observatory)
        copies, missing, more = _sort_references(mended, files, output)
        _check(work, output, copies)
        _state_references(work, copies)
        with writing(output):
            written = _publish(work, output, copies)
    return Import([Line(*line) for line in [*lines, *more]], written, missing)


def _find_observatory(source):
    """Return the observatory whose rules a checkout holds."""
    found = sorted({path.parent.name for path in (source / "mappings").glob("*/*.pmap")})
    if OBSERVATORY in found:
        return OBSERVATORY
    if len(found) != 1:
        what = f"rules of {', '.join(found)}" if found else "no mappings/<observatory>/*.pmap"
        raise ReductionError(f"{source} has {what}, expected rules of one observatory: give the checkout of a cache")
    return found[0]


def _read_rules(folder):
    """Return file name -> text of all rule files of a folder."""
    texts = {}
    for path in sorted(folder.glob("*.[pir]map")):
        try:
            texts[path.name] = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ReductionError(f"{path} cannot be read as text ({error}): check the checkout out again") from error
    return texts


def _find_references(folder):
    """Return name -> path of every FITS file, or pointer to one, of a checkout."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() == ".fits")
    return {path.name: path for path in found}


def _write_rules(mended, texts, work):
    """Write the mended rules in CRDS's own form with checksums; return the lines about checksums."""
    lines = []
    with session(work) as crds:
        rmap = crds.core.rmap
        classes = {".pmap": rmap.PipelineContext, ".imap": rmap.InstrumentContext, ".rmap": rmap.ReferenceMapping}
        for name, entry in sorted(mended.items()):
            original = texts[entry.source]
            try:
                load = classes[Path(name).suffix].from_string
                loaded = load(format_rules(entry.rules), name, ignore_checksum=True, loader=rmap.load_mapping)
                stated = entry.original.header.get("sha1sum")
                stale = stated != loaded._get_checksum(original)
                if stale or entry.changed:
                    loaded.header["sha1sum"] = loaded._get_checksum(loaded.format())
                    text = loaded.format()
                else:
                    text = original
            except (Exception, SystemExit) as error:
                reason = " ".join(str(error).split())
                raise ReductionError(f"{entry.source}: CRDS refuses it ({reason}): mend it in the source") from error
            write_text(mapping_path(work, name), text)
            if stale:
                found = f"its sha1sum {stated} is stale" if stated else "it has no sha1sum"
                lines.append((entry.source, found, f"written as {loaded.header['sha1sum']}"))
    return lines


def _write_config(folder, mended, work, observatory):
    """Write server_config and ref_cache_subdir_mode; return the lines about them."""
    lines, contexts = [], sorted((name for name in mended if CONTEXT_NAME.fullmatch(name)), key=_serial)
    if not contexts:
        raise ReductionError("none of the .pmap files is named <observatory>_<serial>.pmap: rename the newest context")
    renamed = {entry.source: name for name, entry in mended.items()}
    config = {"mappings": None, **SERVER_CONFIG}
    if (folder / "server_config").is_file():
        config |= read_server_config(folder.parents[1], observatory)
    else:
        lines.append(("server_config", "is missing", "written"))
    wrong = {}
    for key in CONTEXT_KEYS:
        stated = config.get(key)
        config[key] = renamed.get(stated, contexts[-1])
        if stated is not None and stated not in renamed:
            wrong.setdefault(str(stated), []).append(key)
    for stated, keys in sorted(wrong.items()):
        lines.append(
            ("server_config", f"{', '.join(keys)} names {stated}, which does not exist", f"set to {contexts[-1]}")
        )
    if set(config["mappings"] or ()) != set(renamed):
        lines.append(("server_config", "its list of mappings is not that of the files", "listed anew"))
    if foreign := sorted({*config.get("mapping_url", {}), *config.get("reference_url", {})} - {OBSERVATORY}):
        lines.append(("server_config", f"its servers are of {', '.join(foreign)}", "left out: the cache has no server"))
    config |= {"mappings": sorted(mended), "mapping_url": {}, "reference_url": {}, "observatory": OBSERVATORY}
    target = work / "config" / OBSERVATORY
    _write_literal(target / "server_config", config)
    mode = folder / "ref_cache_subdir_mode"
    if not mode.is_file() or mode.read_text().strip() != "instrument":
        lines.append((mode.name, "does not say 'instrument'", "set: references lie in a folder per instrument"))
    write_text(target / mode.name, "instrument\n")
    return lines


def _serial(name):
    """Return the serial of a rule file."""
    return int(re.search(r"_(\d+)\.[pir]map$", name)[1])


def _sort_references(mended, files, output):
    """Return ({target: source} of references to copy, [missing ones], lines about those of other kinds)."""
    named = {}
    for entry in mended.values():
        if instrument := entry.rules.header.get("instrument") if "filekind" in entry.rules.header else None:
            named |= dict.fromkeys(list_files(entry.rules.selector), instrument.lower())
    copies, missing, lines = {}, [], []
    by_case = {name.lower(): name for name in files}
    for name, instrument in sorted(named.items()):
        path = files.get(name) or files.get(by_case.get(name.lower()))
        if path is None:
            continue  # of a rule that is not in use any more, or a checkout without references
        if path.name != name:
            lines.append((path.name, f"the rules call it {name}", "copied under the name of the rules"))
        target = reference_path(output, instrument, name)
        pointer = read_pointer(path)
        if pointer is None:
            copies[target] = path
        elif not target.is_file():
            missing.append((name, pointer, "only a Git-LFS pointer"))
        elif _sha256(target) != pointer["sha256"]:
            missing.append((name, pointer, f"{target} is another file"))
    return copies, missing, lines


def read_pointer(path):
    """Return {"size", "sha256"} that a Git-LFS pointer states; None for any other file."""
    with Path(path).open("rb") as stream:
        match = POINTER.fullmatch(stream.read(POINTER_BYTES))
    return {"size": int(match[2]), "sha256": match[1].decode()} if match else None


def _sha256(path):
    """Return the sha256 of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _state_references(work, copies):
    """Write size and sha1 of the references into the configuration: an edited one is refused from then on."""
    config = read_server_config(work)
    facts = {target.name: {"size": path.stat().st_size, "sha1sum": sha1(path)} for target, path in copies.items()}
    config["download_metadata"] = {**read_metadata(config.get("download_metadata")), **facts}
    _write_literal(work / "config" / OBSERVATORY / "server_config", config)


def _write_literal(path, config):
    """Write a configuration as the Python literal that CRDS reads."""
    body = ",\n ".join(f"{key!r}: {value!r}" for key, value in sorted(config.items()))
    write_text(path, f"{{{body}}}\n")


def _check(work, output, copies):
    """Refuse rules that CRDS cannot load, and an output that holds other files of the same names."""
    with session(work) as crds:
        for path in sorted(mapping_path(work, "").glob("*.pmap")):
            try:
                context = crds.get_cached_mapping(path.name)
                context.get_required_parkeys()
                context.validate()
            except (Exception, SystemExit) as error:
                reason = " ".join(str(error).split())
                raise ReductionError(f"{path.name} cannot be used by CRDS ({reason}): mend it in the source") from error
    pairs = {output / path.relative_to(work): path for path in work.rglob("*.[pir]map")} | copies
    for target, path in sorted(pairs.items()):
        if target.is_file() and not _same(target, path):
            raise ReductionError(f"{target} is there with other content: import into a new folder")


def _same(path, other):
    """Return True for two files of the same bytes."""
    return path.stat().st_size == other.stat().st_size and sha1(path) == sha1(other)


def _publish(work, output, copies):
    """Copy what is not there yet into the output, contexts last; return the files written.

    The configuration of a cache that is in use stays as it is: deliveries may have made another context operational.
    """
    order = (".rmap", ".imap", ".pmap")
    made = sorted((path for path in work.rglob("*map")), key=lambda path: (order.index(path.suffix), path.name))
    config = sorted(path for path in work.rglob("config/*/*") if path.is_file())
    pairs = [*copies.items(), *((output / path.relative_to(work), path) for path in [*made, *config])]
    written = [target for target, _ in pairs if not target.is_file()]
    if not written:
        return []
    with hold_cache(output):
        for target, path in pairs:
            if target in written:
                with path.open("rb") as stream:
                    write_atomically(target, lambda out, stream=stream: _copy(stream, out))
    return written


def _copy(stream, out):
    """Copy a stream in blocks."""
    while block := stream.read(BLOCK_BYTES):
        out.write(block)
