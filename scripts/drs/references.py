"""Reference files as a manifest names them: find the context, write manifests, open what they name.

A manifest is one exposure's answer of CRDS (`drs.bestrefs` asks): it names every reference file with its
sha1, or says why there is none. This module does not import crds: opening references must start fast.
"""

import ast
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from drs.errors import MachineError, ReductionError, is_of_machine
from drs.files import write_json
from drs.schema import check_document, load_yaml

TYPES_SCHEMA = Path(__file__).resolve().parents[2] / "config" / "references.schema.yaml"
OBSERVATORY = "ligeriri"
NO_VALUE = ("", "*", "ANY", "NONE", "UNDEFINED")
MATCHES_ALL = ("N/A", "NOT APPLICABLE", "NOT_APPLICABLE", "()", "-2147483648")  # crds compares the beginning
NOT_FOUND, SWITCHED_OFF = "not found", "none"  # status of an entry; what a configuration names in place of a file
WRITERS = 8
KEYWORD = re.compile(r"R_[A-Z0-9_]{1,6}")
FOUND = {"reason": str, "file": str, "size": int, "sha1": str, "source": str, "keyword": str}  # of a file that is there
CONTEXT_NAME = re.compile(r"ligeriri_[0-9]{4,}\.pmap")


def load_types(path):
    """Return type -> {filekind, keyword, model, match, selector, tier} of config/references.yaml, checked."""
    types = load_yaml(path)
    check_document(TYPES_SCHEMA, types, name=path)
    return types


def is_wildcard(value):
    """Return True for a keyword's value that CRDS would match with every rule, or that is no value at all."""
    text = str("" if value is None else value).strip().upper()
    return text in NO_VALUE or text.startswith(MATCHES_ALL)


def observatory_of(name):
    """Return the observatory of a rule file: names of CRDS begin with it."""
    return name.partition("_")[0] or OBSERVATORY


def mapping_path(root, name):
    """Return the path of a rule file in the cache `root`."""
    return Path(root) / "mappings" / observatory_of(name) / name


def reference_path(root, instrument, name):
    """Return the path of a reference file in the cache `root`."""
    return Path(root) / "references" / "ligeriri" / instrument.lower() / name


def read_server_config(cache, observatory=OBSERVATORY):
    """Return the cache's own description of itself (operational_context, download_metadata, ...)."""
    path = Path(cache) / "config" / observatory / "server_config"
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError as error:
        raise ReductionError(
            f"{cache} is not a CRDS cache of observatory {observatory}: {path} cannot be read ({error.strerror}); "
            "give the root of a cache (it holds config/, mappings/ and references/) or fill one first"
        ) from error
    try:
        return dict(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ReductionError(f"{path} is not a Python dictionary ({error}); copy the cache again") from error


def find_context(cache, configured, environ):
    """Return the CRDS context to reduce with.

    Parameters
    ----------
    cache : path-like
        Root of the CRDS cache.
    configured : str or None
        Context named by the configuration; it wins over CRDS_CONTEXT, that over the operational context.
    environ : mapping
        The environment, for CRDS_CONTEXT.

    Returns
    -------
    dict
        {"context": name, "sha1": of the file, "source": "config" | "CRDS_CONTEXT" | "operational"}
    """
    operational = read_server_config(cache).get("operational_context")
    candidates = (
        ("config", configured),
        ("CRDS_CONTEXT", environ.get("CRDS_CONTEXT")),
        ("operational", operational),
    )
    named = [(source, str(name)) for source, name in candidates if name and name != "None"]
    if not named:
        raise ReductionError(
            f"no CRDS context: server_config of {cache} names no operational_context; "
            "set crds.context in the configuration or CRDS_CONTEXT"
        )
    source, name = named[0]
    path = mapping_path(cache, name)
    if not CONTEXT_NAME.fullmatch(name) or not path.is_file():
        offered = sorted(p.name for p in mapping_path(cache, "").glob("*.pmap"))
        raise ReductionError(
            f"CRDS context '{name}' (from {source}) is not in {cache}; "
            f"it has {', '.join(offered) or 'none'}; "
            "name one of these or fill the cache"
        )
    return {"context": name, "sha1": sha1(path), "source": source}


def fingerprint(cache, files=()):
    """Return a digest of the names, sizes and times of the reference files of a cache, and of other files.

    It changes when a file is added, mended or damaged, so that what was chosen or refused is looked at again.
    """
    found = sorted(path for path in (Path(cache) / "references").rglob("*") if path.is_file())
    digest = hashlib.sha1()
    for path in [*found, *map(Path, files)]:
        stat = path.stat() if path.exists() else None
        digest.update(f"{path.name} {stat and (stat.st_size, stat.st_mtime_ns)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def sha1(path):
    """Return the sha1 of a file, the checksum that CRDS uses, as hexadecimal text."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


def manifest_path(folder, exposure):
    """Return the path of an exposure's manifest."""
    return Path(folder) / f"{exposure}.json"


def read_manifest(path):
    """Return the manifest in the file `path`; refuse one that was edited to nonsense."""
    manifest = read_json(path)
    facts = {"keys": dict, "references": dict, "context": dict, "status": str, "reason": str, "crds_version": str}
    if not _has(manifest, facts) or not _is_sound(manifest):
        raise ReductionError(f"{path} is not a manifest of references; delete it and resolve again")
    return manifest


def _is_sound(manifest):
    """Say whether the parts of a manifest are what their readers take them for."""
    entries, levels, context = manifest["references"], manifest.get("levels", {}), manifest["context"]
    return (
        all(map(_is_entry, entries.values()))
        and isinstance(levels, dict)
        and all(_is_list_of(types, entries) for types in levels.values())
        and _has(context, {"name": str, "sha1": str})
        and _has(manifest["keys"], {"INSTRUME": str})
        and all(isinstance(value, str | int | float | None) for value in manifest["keys"].values())
        and _is_printed([context["name"], manifest["crds_version"]])
    )


def _is_entry(entry):
    """Say whether something is an entry of a manifest."""
    if not _has(entry, {"status": str}) or not KEYWORD.fullmatch(str(entry.get("keyword", "R_X"))):
        return False
    return entry["status"] != "found" or _has(entry, FOUND)


def _has(document, facts):
    """Say whether a document is a map with these keys of these types."""
    return isinstance(document, dict) and all(type(document.get(key)) is kind for key, kind in facts.items())


def _is_list_of(types, entries):
    """Say whether something is a list of keys of a map."""
    return isinstance(types, list) and all(isinstance(kind, str) and kind in entries for kind in types)


def _is_printed(texts):
    """Say whether texts can be values of FITS cards."""
    return all(isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= 68 for text in texts)


def read_json(path):
    """Return the JSON object in the file `path`."""
    try:
        document = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        if is_of_machine(error):
            raise
        raise ReductionError(f"{path} cannot be read as JSON ({error}); make it again") from error
    if not isinstance(document, dict):
        raise ReductionError(f"{path} holds no JSON object; make it again")
    return document


def part_path(folder, level, exposure):
    """Return the path of the part of an exposure's manifest that one level of products uses."""
    return Path(folder) / level / f"{exposure}.json"


def write_manifests(manifests, folder):
    """Write one manifest per exposure and, beside it, its part for each level of products; return their index.

    A manifest says what CRDS answers now. A part, `<level>/<exposure>.json`, is the same for the types that one level
    uses, and all that the products of this level depend on. A part with the same answer (keys, status, reason
    and, per type, file, sha1, source, status and note) is left untouched, so it names the context of its
    first resolution: what was reduced with it stays valid under a context that changes nothing for it.

    Parameters
    ----------
    manifests : dict
        exposure -> manifest, as `drs.bestrefs.resolve` returns.
    folder : path-like

    Returns
    -------
    dict
        {"exposures": {exposure: {"status", "reason", "reasons": one per type, "sha1" of the manifest file,
        "levels" that have a part of it}}}
    """
    with ThreadPoolExecutor(WRITERS) as writers:  # most of the time of a write is waiting for the disk
        entries = writers.map(lambda item: _write_manifest(*item, folder), sorted(manifests.items()))
        return {"exposures": dict(zip(sorted(manifests), entries, strict=True))}


def _write_manifest(exposure, manifest, folder):
    """Write one manifest and its parts; return its entry of the index."""
    path = manifest_path(folder, exposure)
    write_json(path, manifest)
    for level, types in manifest.get("levels", {}).items():
        part, where = take_part(manifest, types), part_path(folder, level, exposure)
        if not same_answer(where, part):
            write_json(where, part)
    reasons = find_missing(manifest["references"])
    entry = {"status": manifest["status"], "reason": manifest["reason"], "reasons": reasons, "sha1": sha1(path)}
    return entry | {"levels": sorted(manifest.get("levels", {}))}


def find_missing(references):
    """Return `type: reason` of every reference that is needed and not there."""
    return [f"{kind}: {entry['reason']}" for kind, entry in sorted(references.items()) if entry["status"] == NOT_FOUND]


def take_part(manifest, types):
    """Return the manifest as if only some types were needed; it fails only where one of these is missing."""
    references = {kind: manifest["references"][kind] for kind in types}
    missing = find_missing(references)
    facts = {"status": "failed" if missing else "resolved", "reason": "; ".join(missing), "references": references}
    return {key: value for key, value in manifest.items() if key != "levels"} | facts


def same_answer(path, manifest):
    """Return True when the manifest on disk gives the answer of `manifest`."""
    try:
        return _answer(read_manifest(path)) == _answer(manifest)
    except (ReductionError, FileNotFoundError, AttributeError):
        return False


def _answer(manifest):
    """Return the part of a manifest on which products depend."""
    what = ("file", "sha1", "source", "status", "keyword", "note")
    references = {kind: [entry.get(item) for item in what] for kind, entry in manifest["references"].items()}
    return [manifest.get(item) for item in ("exposure", "keys", "status", "reason")], references


def open_references(manifest_path, types, roots, *, partial=False):
    """Return type -> path of the references that a manifest names, each verified by size and sha1.

    Parameters
    ----------
    manifest_path : path-like
    types : iterable of str
        Types wanted, for example ("dq", "dark").
    roots : iterable of path-like
        Cache roots, searched in this order: the overlay of the night before the shared cache. A root that
        does not exist is skipped.
    partial : bool, optional
        True: of the types of the manifest only those wanted have to be there.

    Raises
    ------
    ReductionError
        The exposure was not resolved, a type has no reference, or a file has changed.
    MachineError
        A file is missing, or one of the night's own is about to be made again.
    """
    manifest = read_manifest(manifest_path)
    if manifest["status"] != "resolved" and not (partial and manifest["references"]):
        raise ReductionError(f"{manifest_path}: references were not resolved: {manifest['reason']}")
    roots = [Path(root) for root in roots]
    return {kind: _open_reference(manifest_path, manifest, kind, roots) for kind in types}


def _open_reference(name, manifest, kind, roots):
    """Return the verified path of one reference."""
    entry = manifest["references"].get(kind, {"status": "not in the manifest", "reason": ""})
    if entry["status"] != "found":
        reason = f" ({entry['reason']})" if entry.get("reason") else ""
        raise ReductionError(
            f"{name}: no {kind} reference: {entry['status']}{reason}; "
            f"deliver one, override it, or leave the step out by configuration"
        )
    expected = {item: entry[item] for item in ("size", "sha1")}
    found = {}
    for root in roots or [Path()]:
        path = find_reference(entry, manifest["keys"]["INSTRUME"], [root])
        if path is not None:
            found[path] = {"size": path.stat().st_size, "sha1": sha1(path)}
            if found[path] == expected:
                return path
    if not found:
        where = "its place" if entry["source"] == "override" else " or ".join(map(str, roots))
        raise MachineError(f"{name}: {kind} reference {entry['file']} is not in {where}; fill the cache")
    changed = "; ".join(f"{path} has {facts}" for path, facts in found.items())
    own = entry["source"] == "night"  # which this workflow writes: the answer is of another moment than the file
    raise (MachineError if own else ReductionError)(
        f"{name}: {kind} reference has changed: {changed}, expected {expected}; "
        "restore the file, or resolve the references again if the change was meant"
    )


def find_reference(entry, instrument, roots):
    """Return the first existing path of a manifest's entry, or None."""
    if entry["source"] == "override":
        candidates = [Path(entry["file"])]
    else:
        candidates = [reference_path(root, instrument, entry["file"]) for root in roots]
    return next((path for path in candidates if path.is_file()), None)


def select_references(manifest, wanted, keywords):
    """Return a manifest with the types of references that are used; refuse one of another instrument or detector.

    Parameters
    ----------
    manifest : dict
    wanted : list of str
        Types.
    keywords : dict
        Header of the exposure.
    """
    for key in ("INSTRUME", "DETECTOR"):
        stated = manifest["keys"].get(key, keywords.get(key))
        if stated != keywords.get(key):
            raise ReductionError(
                f"the manifest is of {key} '{stated}', the exposure of '{keywords.get(key)}': give its own manifest"
            )
    used = {kind: entry for kind, entry in manifest["references"].items() if kind in wanted}
    return {**manifest, "references": used}


def header_keywords(manifest):
    """Return a product's keywords of its references: CRDS_CTX, CRDS_VER and one R_* per reference.

    R_PARS says that no parameters of steps come from CRDS: the table PARAMETERS has them, from the configuration.
    """
    keywords = {"CRDS_CTX": manifest["context"]["name"], "CRDS_VER": manifest["crds_version"], "R_PARS": "N/A"}
    for _, entry in sorted(manifest["references"].items()):
        if entry["status"] == "found":
            keywords[entry["keyword"]] = Path(entry["file"]).name
        elif entry["status"] == "n/a":
            keywords[entry["keyword"]] = "N/A"
    return keywords


def find_switched_off(manifest):
    """Return the types that the configuration switched off (`flat: none`): their steps are left out."""
    entries = manifest["references"].items()
    return [kind for kind, entry in sorted(entries) if (entry["status"], entry.get("source")) == ("n/a", "override")]


def override_lines(manifest):
    """Return lines for a product's HISTORY: each override, who named it, and how it differs from the exposure."""
    return tuple(
        f"override of {kind}: {text}"
        for kind, entry in sorted(manifest["references"].items())
        if entry.get("source") == "override" and (text := describe_override(entry))
    )


def describe_override(entry):
    """Return what there is to say about an override, '' for a reference that CRDS chose."""
    file = Path(entry["file"]).name if entry["file"] else SWITCHED_OFF
    told = entry["reason"] if entry["status"] == "found" else ""
    return "; ".join(filter(None, (f"{file} by {entry['note']}" if entry.get("note") else "", told)))
