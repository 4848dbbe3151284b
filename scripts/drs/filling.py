"""Fill a CRDS cache from a source: the rule files of a context, its server_config, and the references that are wanted.

The order keeps the cache valid whenever the process ends: rule files after those that they name, the server_config
after the contexts that it names, references last. The caller holds the cache (`drs.lock.hold_cache`).
"""

import logging
import os
import pprint
import re
import shutil
import time
from pathlib import Path

from drs.errors import ReductionError
from drs.files import write_text
from drs.mapping import check_mapping, check_name, find_named, is_intact, is_mapping, sort_mappings
from drs.metadata import read_metadata
from drs.references import CONTEXT_NAME, mapping_path, read_json, read_server_config, reference_path
from drs.source import UnreachableError
from drs.transfer import UnwritableError, fetch, find_part, is_whole, writing

logger = logging.getLogger(__name__)

CONTEXTS = ("operational_context", "latest_context", "edit_context")
INSTRUMENT = re.compile(r"(iris|liger)", re.IGNORECASE)
GIVE_UP_AFTER = 3  # files in a row that an unreachable source did not deliver
TELL_EVERY_S = 5.0
MB = 1e6


def fill_rules(cache, source, context=None):
    """Fill a cache with the rule files of a context and of the source's operational context, and its server_config.

    Parameters
    ----------
    cache : path-like
    source : Server or Mirror
        Of `drs.source`.
    context : str, optional
        Name of a .pmap; default CRDS_CONTEXT, then the operational context of the source.

    Returns
    -------
    dict
        {"context": name, "files", "fetched", "bytes"}.

    Raises
    ------
    ReductionError
        The context cannot be had whole; what the cache held before is as valid as it was.
    """
    _refuse_same_place(cache, source)
    config = source.read_config()
    operational = config.get("operational_context")
    chosen = context or os.environ.get("CRDS_CONTEXT") or operational
    if not CONTEXT_NAME.fullmatch(str(chosen)):
        raise ReductionError(f"{str(chosen)[:120]!r} is no context such as ligeriri_0001.pmap; name one with --context")
    result = _fill_context(cache, source, chosen)
    if operational != chosen and CONTEXT_NAME.fullmatch(str(operational)):
        try:
            other = _fill_context(cache, source, operational)
        except UnwritableError:
            raise
        except ReductionError as error:
            logger.warning("the operational context of %s is left out: %s", source.name, error)
        else:
            result |= {key: result[key] + other[key] for key in ("files", "fetched", "bytes")}
    _write_config(Path(cache), config, chosen)
    return {"context": chosen, **result}


def fill_references(cache, source, wanted):
    """Fill a cache with references; one that cannot be had is told, and the others go on.

    Parameters
    ----------
    cache : path-like
    source : Server or Mirror
    wanted : dict
        name -> instrument.

    Returns
    -------
    dict
        {"files", "fetched", "bytes", "failed": {name: reason}}.

    Raises
    ------
    ReductionError
        The cache cannot be written or has too little room, or the source does not answer any more.
    """
    failed, places = {}, {}
    for name, instrument in sorted(wanted.items()):
        try:
            places[name] = _place_reference(cache, name, instrument)
        except ReductionError as error:
            failed[name] = str(error)
    stated = source.describe(sorted(places))
    unknown = sorted(set(places) - set(stated))
    failed |= dict.fromkeys(unknown, f"{source.name} does not know its size and sha1")
    own = _find_own(cache, stated)
    failed |= dict.fromkeys(own, f"differs from that of {source.name}, and neither is damaged: fill another cache")
    stated = {name: stated[name] for name in sorted(set(stated) - set(own))}
    result = _fill_files(source, {places[name]: facts for name, facts in stated.items()}, cache)
    _note_metadata(Path(cache), stated)
    failed |= result.pop("failed")
    return {**result, "files": len(wanted), "failed": failed}


def list_of_manifests(folder):
    """Return name -> instrument of the references that the manifests in a folder name from the context."""
    wanted = {}
    for path in sorted(Path(folder).glob("*.json")):
        manifest = read_json(path)
        if "references" in manifest:  # the others are indexes of stages
            try:
                entries = manifest["references"].values()
                names = [entry["file"] for entry in entries if entry["source"] == "context" and entry["file"]]
                wanted |= dict.fromkeys(names, str(manifest["keys"]["INSTRUME"]))
            except (KeyError, TypeError, AttributeError) as error:
                raise ReductionError(f"{path} is not a manifest of references; delete it and resolve again") from error
    if not wanted:
        raise ReductionError(f"{folder} holds no manifest that names references; resolve first, or give --night")
    return wanted


def list_of_names(names):
    """Return name -> instrument of references given by name: the instrument is a part of it."""
    wanted = {}
    for name in names:
        found = [part for part in name.split("_") if INSTRUMENT.fullmatch(part)]
        if not found:
            raise ReductionError(f"{name!r} names no instrument between '_', expected iris or liger; correct the name")
        wanted[name] = found[0]
    return wanted


def _refuse_same_place(cache, source):
    """Refuse a mirror that is the cache itself."""
    if getattr(source, "root", None) == Path(cache).resolve():
        raise ReductionError(f"{cache} is both cache and mirror; name another mirror")


def _place_reference(cache, name, instrument):
    """Return the place of a reference in the cache; refuse a name that could be elsewhere."""
    if is_mapping(check_name(name)):
        raise ReductionError("is a rule file: rule files come with their context, --context")
    if not INSTRUMENT.fullmatch(instrument):
        raise ReductionError(f"{instrument[:40]!r} is no instrument, expected IRIS or Liger; resolve again")
    return reference_path(cache, instrument, name)


def _fill_context(cache, source, context):
    """Bring all rule files of a context; return {"files", "fetched", "bytes"}."""
    names = sort_mappings(source.list_mappings(context))
    stated = source.describe(names)
    if unknown := [name for name in names if name not in stated]:
        raise ReductionError(f"{source.name} does not know size and sha1 of {', '.join(unknown)} of {context}")
    paths = {mapping_path(cache, name): stated[name] for name in names}
    result = _fill_files(source, paths, cache, examine=lambda name: lambda part: _examine(part, name, cache))
    if result["failed"]:
        listed = "; ".join(f"{name}: {reason}" for name, reason in result["failed"].items())
        raise ReductionError(f"context {context} is incomplete: {listed}")
    _check_closure(cache, context)
    return {key: result[key] for key in ("files", "fetched", "bytes")}


def _examine(part, name, cache):
    """Refuse a rule file that crds would not load, or that names one which is not in the cache."""
    try:
        text = part.read_text()
    except ValueError as error:
        raise ReductionError(f"{name} is no text ({error}); ask the keeper of the source") from error
    check_mapping(text, name)
    if absent := [other for other in find_named(text, name) if not mapping_path(cache, other).is_file()]:
        raise ReductionError(f"{name} names {', '.join(absent)}, which the source does not count to its context")
    place = mapping_path(cache, name)
    if is_intact(place) and place.read_bytes() != part.read_bytes():
        raise ReductionError(
            f"{name} differs from that of the source, and neither is damaged: this cache has deliveries of its own; "
            "fill another one"
        )


def _check_closure(cache, context):
    """Refuse a context of which a rule file is missing: those that were there already may name others."""
    waiting = [context]
    while waiting:
        name = waiting.pop()
        path = mapping_path(cache, name)
        if not path.is_file():
            raise ReductionError(f"{name} of context {context} is missing; ask the keeper of the source")
        waiting += find_named(path.read_text(), name)


def _fill_files(source, expected, cache, examine=None):
    """Bring the files path -> facts that are not whole; return {"files", "fetched", "bytes", "failed"}."""
    with writing(cache):
        missing = {path: facts for path, facts in expected.items() if not is_whole(path, facts)}
    _check_room(cache, missing)
    progress = _Progress(missing)
    failed, silent = {}, 0
    for path, facts in missing.items():
        progress.start(path.name, facts["size"])
        check = examine(path.name) if examine else None
        try:
            fetch(source, path, facts, examine=check, tell=progress.tell)
            silent = 0
        except UnwritableError:
            raise
        except ReductionError as error:
            silent = silent + 1 if isinstance(error, UnreachableError) else 0
            failed[path.name] = str(error)
            logger.warning("%s: %s", path.name, error)
            if silent >= GIVE_UP_AFTER:
                raise ReductionError(f"{source.name} does not deliver, given up: {error}; try again later") from error
    fetched = [facts["size"] for path, facts in missing.items() if path.name not in failed]
    return {"files": len(expected), "fetched": len(fetched), "bytes": sum(fetched), "failed": failed}


def _check_room(cache, missing):
    """Refuse to begin what the disk cannot hold."""
    parts = {path: find_part(path) for path in missing}
    there = sum(part.stat().st_size for part in parts.values() if part.exists())
    needed = sum(facts["size"] for facts in missing.values()) - there
    with writing(cache):
        free = shutil.disk_usage(cache).free
    if needed > free:
        raise UnwritableError(
            f"{cache} has room for {free / MB:.1f} MB, {needed / MB:.1f} MB are needed; "
            "free some space and give the same command again"
        )


def _write_config(cache, config, chosen):
    """Write the source's server_config; contexts that it names and the cache lacks become ones that it has.

    A cache with deliveries of its own, which the source does not know, keeps its own operational context.
    """
    old = _read_old_config(cache)
    known = {*config["download_metadata"], *config.get("mappings", [])}
    own = [name for name in [old.get("operational_context")] if name not in known and _has(cache, name)]
    operational = next(name for name in (*own, config.get("operational_context"), chosen) if _has(cache, name))
    named = {key: config.get(key) for key in CONTEXTS}
    contexts = {key: name if _has(cache, name) and not own else operational for key, name in named.items()}
    stated = config["download_metadata"]
    metadata = {**read_metadata(old.get("download_metadata")), **stated, **_find_own(cache, stated)}
    mappings = sorted(path.name for path in mapping_path(cache, "").glob("ligeriri*.[pir]map"))
    document = {**config, **contexts, "download_metadata": metadata, "mappings": mappings}
    _write_literal(cache / "config" / "ligeriri" / "server_config", document)
    with writing(cache):
        write_text(cache / "config" / "ligeriri" / "ref_cache_subdir_mode", "instrument")


def _find_own(cache, stated):
    """Return name -> size and sha1 of references that a cache states otherwise than its source, and holds so."""
    own = read_metadata(_read_old_config(cache).get("download_metadata"))
    other = [name for name in own if stated.get(name, own[name]) != own[name]]
    places = {name: path for name in other for path in reference_path(cache, "", "").glob(f"*/{name}")}
    with writing(cache):
        return {name: own[name] for name, path in places.items() if is_whole(path, own[name])}


def _note_metadata(cache, stated):
    """Add what a source without metadata of its own has stated, so that the files can be verified later."""
    config = read_server_config(cache)
    metadata = {**read_metadata(config.get("download_metadata")), **stated}
    _write_literal(cache / "config" / "ligeriri" / "server_config", {**config, "download_metadata": metadata})


def _read_old_config(cache):
    """Return the server_config of a cache, {} when it has none that can be read."""
    try:
        return read_server_config(cache)
    except ReductionError:
        return {}


def _has(cache, name):
    """Say whether the cache holds a context."""
    return bool(CONTEXT_NAME.fullmatch(str(name))) and mapping_path(cache, name).is_file()


def _write_literal(path, document):
    """Write a dictionary as the Python literal that crds reads."""
    with writing(path):
        write_text(path, pprint.pformat(document) + "\n")


class _Progress:
    """Tells the file, its size and what is still to come, at most every few seconds within a file."""

    def __init__(self, missing):
        """Count what is to be brought."""
        self._n_files, self._n_bytes = len(missing), sum(facts["size"] for facts in missing.values())
        self._number, self._before, self._size, self._name = 0, 0, 0, ""

    def start(self, name, size):
        """Tell that a file begins."""
        self._before += self._size
        self._number, self._name, self._size = self._number + 1, name, size
        self._told = time.monotonic()
        self._log(f"{size / MB:.1f} MB")

    def tell(self, done):
        """Tell how far a file is, when the last line is some seconds old."""
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._log(f"{done / MB:.1f} of {self._size / MB:.1f} MB", done)

    def _log(self, text, done=0):
        """Write one line."""
        total = f"{(self._before + done) / MB:.1f} of {self._n_bytes / MB:.1f} MB in all"
        logger.info("file %d of %d: %s, %s (%s)", self._number, self._n_files, self._name, text, total)
