"""Check a finished night against what it says about itself; nothing is made, nothing is changed.

Each check returns its deviations: the place in the night, what it is, what was expected, what was found, what to do.
"""

from collections import defaultdict
from itertools import filterfalse
from pathlib import Path
from typing import NamedTuple

from drs import product
from drs.delivery import SERIALS
from drs.errors import ReductionError
from drs.headers import SUFFIXES
from drs.holding import Holding
from drs.mapping import is_intact
from drs.naming import level1, level2
from drs.nightfiles import FITS_FOLDERS, NIGHT_CACHE, is_spectra, list_fits, list_made, read_plan
from drs.provenance import examine_all, hash_all, read_provenance
from drs.references import (
    find_reference,
    header_keywords,
    manifest_path,
    mapping_path,
    open_references,
    part_path,
    read_json,
    read_manifest,
    reference_path,
    same_answer,
    sha1,
    take_part,
)

AGAIN = "delete it and give the night's command again"
RUN = "give the night's command again"
RESTORE = "restore it, or give the night's command again where the change was meant"
ENDED = "the run did not end, or ended with products that were refused: report.html has the reasons"
PLAN_FILES = ("plan/night.json", "plan/context.json", "plan/headers.json", "plan/cache.json")
ENDS = ("plan/plan.json", "plan/plan.txt", "report.html", "run.json")


class Deviation(NamedTuple):
    """One disagreement of a night with what it says about itself."""

    place: str
    what: str
    expected: str
    found: str
    advice: str

    def __str__(self):
        """Return it as one line."""
        text = f"{self.place}: {self.what}: expected {self.expected}, found {self.found}; {self.advice}"
        return " ".join(text.split())


def verify(folder, cache):
    """Return every deviation of a night, and how many files were looked at.

    Parameters
    ----------
    folder : path-like
        The night.
    cache : path-like
        CRDS cache that it was reduced with.

    Returns
    -------
    deviations : list of Deviation
    n_files : int

    Raises
    ------
    ReductionError
        The folder is no night, or was never planned.
    """
    folder, cache = Path(folder), Path(cache)
    if absent := [name for name in PLAN_FILES if not (folder / name).is_file()]:
        raise ReductionError(f"{folder} lacks {', '.join(absent)}: it is no night, or was never reduced")
    plan, files = read_plan(folder), list_fits(folder)
    examined = examine_all(files)
    manifests, deviations = _read_manifests(folder, plan)
    for path in files:
        deviations += check_product(path, folder, examined[path][1])
    record, known = _read(folder / "run.json"), {path: sha256 for path, (sha256, _) in examined.items()}
    roots = [folder / NIGHT_CACHE, cache]
    deviations += _check("plan/night.json", find_missing, folder, plan)
    deviations += _check("plan/headers.json", check_raw, folder, plan.night)
    deviations += _check("run.json", check_inputs, folder, cache, files, manifests)
    deviations += _check("references", check_manifests, folder, plan, manifests, roots)
    deviations += _check("references", check_headers, folder, plan)
    deviations += _check("references/contexts", check_contexts, folder, plan, cache)
    deviations += _check("run.json", check_record, folder, record, known)
    deviations += _check("plan/night.json", find_left_over, folder, plan)
    return sorted(set(deviations)), len(examined.keys() | {folder / name for name in _list_recorded(record)})


def _check(place, check, *arguments):
    """Return the deviations that a check finds; where a document that it reads makes no sense, this is one."""
    try:
        return check(*arguments)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        return [Deviation(place, "makes no sense", "what the workflow wrote", repr(error), AGAIN)]


def _list_recorded(record):
    """Return path -> sha256 of the files that a record lists; {} where it makes no sense."""
    parts = [part for key in ("inputs", "products") if isinstance(part := record.get(key), dict)]
    return {name: sha256 for part in parts for name, sha256 in part.items()}


def find_missing(folder, plan):
    """Return what the plan names and the night lacks."""
    wanted = [*list_made(plan), *ENDS]
    absent = [name for name in wanted if not (folder / name).is_file()]
    missing = [Deviation(name, "missing", "a file of the plan", "none", RUN) for name in absent]
    if not (folder / "quality/outcome.txt").is_file():
        missing.append(Deviation("quality/outcome.txt", "missing", "the word that all is well", "none", ENDED))
    return missing


def check_raw(folder, night):
    """Return raw files that the plan has and that are gone, and those that it does not know."""
    files = {file for row in night["rows"] for file in row["files"]}
    there = {path.name for path in (folder / "raw").glob("*") if path.name.endswith(SUFFIXES)}
    known = set(read_json(folder / "plan/headers.json"))
    gone = [Deviation(f"raw/{name}", "missing", "a file of the plan", "none", RESTORE) for name in files - there]
    return gone + [Deviation(f"raw/{name}", "new", "a file of the plan", "another", RUN) for name in there - known]


def check_product(path, folder, defects):
    """Return the defects of the bytes of a product, else how it disagrees with its schema."""
    name = str(path.relative_to(folder))
    if defects:
        return [Deviation(name, "damaged", "the bytes that were written", text, AGAIN) for text in defects]
    if is_spectra(path):
        return []
    try:
        with product.open_product(path):
            read_provenance(path)
            return []
    except (ReductionError, OSError) as error:
        return [Deviation(name, "not valid", "a product that fits its schema", str(error), AGAIN)]


def check_inputs(folder, cache, files, manifests):
    """Return the inputs that a product names and that are gone or have other bytes."""
    candidates = _find_candidates(folder, cache, manifests)
    named, deviations = {}, []
    for path in filterfalse(is_spectra, files):
        try:
            named[path] = read_provenance(path)
        except (ReductionError, OSError):  # check_product says it
            named[path] = []
    used = {name for rows in named.values() for _, name, _ in rows}
    digests = hash_all(sorted({path for name in used for path in candidates[name]}))
    for path, rows in named.items():
        for role, name, expected in rows:
            found = [digests[candidate] for candidate in candidates[name]]
            if expected not in found:
                what, told = f"input {role} {name}", found[0] if found else "no file of this name"
                place = str(path.relative_to(folder))
                deviations.append(Deviation(place, what, f"sha256 {expected}", told, RESTORE))
    return deviations


def _find_candidates(folder, cache, manifests):
    """Return file name -> paths that an input of this name may have."""
    places = [folder / "raw", *(folder / name for name in FITS_FOLDERS)]
    places += [*(folder / NIGHT_CACHE / "references/ligeriri").glob("*"), *(cache / "references/ligeriri").glob("*")]
    found = [path for place in places if place.is_dir() for path in place.iterdir() if path.is_file()]
    entries = [entry for manifest in manifests.values() for entry in manifest["references"].values()]
    own = [folder / str(entry["file"]) for entry in entries if entry.get("source") == "override" and entry["file"]]
    if (folder / "run.json").is_file():
        own += [folder / name for name in _list_recorded(_read(folder / "run.json"))]
    candidates = defaultdict(list)
    for path in dict.fromkeys([*found, *(path for path in own if path.is_file())]):
        candidates[path.name].append(path)
    return candidates


def _read_manifests(folder, plan):
    """Return exposure -> manifest of those that can be read, and what is wrong with the others."""
    manifests, deviations = {}, []
    for identity in plan.exposures:
        path = manifest_path(folder / "references", identity)
        try:
            manifests[identity] = read_manifest(path)
        except (ReductionError, OSError) as error:
            if path.is_file():
                deviations.append(Deviation(_show(path, folder), "damaged", "a manifest", str(error), AGAIN))
    return manifests, deviations


def check_manifests(folder, plan, manifests, roots):
    """Return manifests that were edited, or that name files which the caches do not have in these bytes."""
    deviations, place, seen = [], folder / "references", set()
    for stage in plan.stages:
        index = _read(place / f"{stage}.json").get("exposures", {})
        for identity, entry in index.items():
            path = manifest_path(place, identity)
            if path.is_file() and sha1(path) != entry.get("sha1"):
                deviations.append(
                    Deviation(_show(path, folder), "edited", f"sha1 {entry.get('sha1')}", sha1(path), RESTORE)
                )
    for identity, manifest in manifests.items():
        for level, types in manifest.get("levels", {}).items():
            deviations += _check_part(part_path(place, level, identity), folder, take_part(manifest, types))
        for kind, entry in manifest["references"].items():
            key = (entry.get("file"), entry.get("sha1"))
            if entry["status"] == "found" and key not in seen:
                seen.add(key)
                deviations += _check_entry(manifest_path(place, identity), folder, kind, entry, roots)
    return deviations


def _check_part(path, folder, manifest):
    """Return the part of a manifest that says something else than the manifest."""
    if not path.is_file():
        return [Deviation(_show(path, folder), "missing", "the part of a manifest", "none", RUN)]
    if same_answer(path, manifest):
        return []
    return [Deviation(_show(path, folder), "edited", "the answer of its manifest", "another one", AGAIN)]


def _check_entry(path, folder, kind, entry, roots):
    """Return a reference that is not in the caches with the bytes that a manifest names."""
    roots = [folder, *roots] if entry.get("source") == "override" else roots
    try:
        open_references(path, [kind], roots, partial=True)
        return []
    except (ReductionError, OSError) as error:
        instrument = read_manifest(path)["keys"]["INSTRUME"]
        there = find_reference(entry, instrument, roots)
        found = f"sha1 {sha1(there)}" if there else "no such file"
        expected = f"sha1 {entry.get('sha1')} ({error})" if there is None else f"sha1 {entry.get('sha1')}"
        return [Deviation(_show(path, folder), f"{kind} reference {entry['file']}", expected, found, RESTORE)]


def check_headers(folder, plan):
    """Return products whose R_* keywords are not those of the manifests that they were made with."""
    deviations = []
    for identity, row in plan.exposures.items():
        for level, name in (("level1", level1(row)), ("level2", level2(row))):
            part, path = _read(part_path(folder / "references", level, identity)), folder / name
            if not part.get("references") or not path.is_file():
                continue
            try:
                with product.open_product(path) as made:
                    keywords = made.keywords
            except (ReductionError, OSError):  # check_product says it
                continue
            stated = {key: value for key, value in header_keywords(part).items() if key.startswith("R_")}
            deviations += [
                Deviation(name, key, f"{value} of the manifest", str(keywords[key]), AGAIN)
                for key, value in stated.items()
                if key in keywords and keywords[key] != value
            ]
    return deviations


def check_contexts(folder, plan, cache):
    """Return rule files and delivered references of the night's contexts that are gone or were changed."""
    named = {"plan/context.json": _read(folder / "plan/context.json")}
    for stage in plan.stages:
        if stage in SERIALS:
            named[f"references/contexts/{stage}.json"] = _read(folder / f"references/contexts/{stage}.json")
    deviations = []
    for place, context in named.items():
        if context:
            deviations += _check_context(place, context, [cache, folder / NIGHT_CACHE])
    return deviations


def _check_context(place, context, roots):
    """Return what is wrong with the rule files and the references that one context file names."""
    name, deviations = context.get("context", ""), []
    there = [root for root in roots if mapping_path(root, name).is_file()]
    digests = [sha1(mapping_path(root, name)) for root in there]
    if context.get("sha1") not in digests:
        found = f"sha1 {digests[0]}" if digests else "no such file"
        return [Deviation(place, f"context {name}", f"sha1 {context.get('sha1')}", found, RESTORE)]
    try:
        root = there[digests.index(context["sha1"])]
        for mapping in Holding(root).list_mappings(name):
            if not is_intact(mapping_path(root, mapping)):
                deviations.append(Deviation(place, f"rule file {mapping}", "its own checksum", "another", RESTORE))
    except (ReductionError, OSError) as error:
        deviations.append(Deviation(place, f"rules of {name}", "a whole context", str(error), RESTORE))
    for reference, expected in context.get("delivered", {}).items():
        path = reference_path(roots[-1], reference.partition("_")[0], reference)
        found = f"sha1 {sha1(path)}" if path.is_file() else "no such file"
        if found != f"sha1 {expected}":
            deviations.append(Deviation(place, f"delivered {reference}", f"sha1 {expected}", found, RESTORE))
    return deviations


def check_record(folder, record, known):
    """Return the files of run.json that are gone or have other bytes; `known` are those whose sha256 is known."""
    listed = _list_recorded(record)
    others = [path for name in listed if (path := folder / name).is_file() and path not in known]
    digests = known | hash_all(others)
    found = {name: digests.get(folder / name, "no such file") for name in listed}
    return [
        Deviation(name, "not as run.json has it", f"sha256 {expected}", found[name], RESTORE)
        for name, expected in listed.items()
        if found[name] != expected
    ]


def find_left_over(folder, plan):
    """Return what no finished night holds: files under temporary names, and products that no plan names."""
    own = [path for path in folder.iterdir() if path.name not in ("raw", "truth", "crds_cache", ".snakemake")]
    below = [inner for path in own if path.is_dir() for inner in path.rglob("*")]
    hidden = [path for path in (*own, *below) if path.name.startswith(".") and path.name not in (".lock",)]
    remove = "remove it: no process writes it any more"
    left = [Deviation(_show(path, folder), "temporary", "no such file", "one", remove) for path in hidden]
    unplanned = [str(path) for path in plan.find_left_over(folder)]
    return left + [
        Deviation(name, "not in the plan", "no such file", "one of an earlier run", "remove it") for name in unplanned
    ]


def _read(path):
    """Return a JSON object, {} where there is none that can be read: another check says so."""
    try:
        return read_json(path)
    except (ReductionError, OSError):
        return {}


def _show(path, folder):
    """Return a path as it is called in the night."""
    return str(path.relative_to(folder))
