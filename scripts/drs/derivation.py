"""A new CRDS context from an old one: certify references, insert them into new rules, derive imap and pmap.

All of it is done by stock crds in a private folder; the checks before and after are ours, because crds goes on after
an error, and replaces a reference of the same case without a word.
"""

import logging
import re
from contextlib import contextmanager
from pathlib import Path

from crds_ligeriri import session
from drs import product
from drs.errors import MachineError, ReductionError, began_with_machine
from drs.files import write_atomically
from drs.headers import read_keywords
from drs.references import is_wildcard, mapping_path, sha1

REFERENCE_NAME = re.compile(r"([a-z]+)_([a-z0-9]+)_([a-z0-9]+)(?:_[a-z0-9.+-]+)*_\d{8}t\d{6}_[0-9.]+\.fits")
CONFIG_FILES = ("ref_cache_subdir_mode", "server_config")
EMPTY = "0000"  # serial of an empty rule file, which is never published


def describe_references(references, types, *, tier=None, certify=True):
    """Return what a delivery needs to know of the references; refuse what no rule could hold.

    Parameters
    ----------
    references : list of path-like
        FITS files named `<instrument>_<detector>_<type>[_<word>...]_<yyyymmdd>t<hhmmss>_<version>.fits`.
    types : dict
        Of `drs.references.load_types`.
    tier : str, optional
        Tier whose types alone are accepted.
    certify : bool, optional
        False looks at headers only.

    Returns
    -------
    list of dict
        {"path", "name", "type", "filekind", "instrument", "case"}, sorted by name.
    """
    described = [_describe_reference(Path(path), types, tier, certify=certify) for path in references]
    described.sort(key=lambda entry: entry["name"])
    seen = {}
    for entry in described:
        for key in (entry["name"], entry["case"]):
            if key in seen:
                raise ReductionError(
                    f"{entry['path']} and {seen[key]} are one case of CRDS: {', '.join(map(str, entry['case']))}; "
                    "combine them into one reference"
                )
            seen[key] = entry["path"]
    return described


def read_header(path):
    """Return the PRIMARY keywords of a FITS file."""
    try:
        return read_keywords(path)
    except ReductionError as error:
        raise ReductionError(f"{path} cannot be read as FITS ({error}); make it again") from error


def _describe_reference(path, types, tier, *, certify):
    """Return what a delivery needs to know of one reference."""
    header = read_header(path)
    accepted = {facts["filekind"]: kind for kind, facts in types.items() if tier in (None, facts.get("tier"))}
    kind = accepted.get(header.get("REFTYPE"))
    if kind is None:
        where, known = f"in tier {tier}" if tier else "to a cache", ", ".join(sorted(accepted)) or "no type"
        raise ReductionError(
            f"{path}: REFTYPE '{header.get('REFTYPE', '')}' is not delivered {where}, which takes {known}"
        )
    if header.get("DATAQUAL") == "BAD":
        raise ReductionError(f"{path}: its maker marked it DATAQUAL = BAD; make it again from good exposures")
    keywords = ("INSTRUME", *types[kind]["match"], "USEAFTER")
    for keyword in keywords:
        if is_wildcard(header.get(keyword)):
            raise ReductionError(
                f"{path}: {keyword} is '{header.get(keyword, '')}', but a {kind} reference is chosen by it; "
                "write the value of the exposures that it serves"
            )
    if "SUBARRAY" in keywords and header["SUBARRAY"] not in ("FULL", "GENERIC"):
        raise ReductionError(
            f"{path}: SUBARRAY is '{header['SUBARRAY']}', expected FULL: a reference covers the detector and is cut "
            "for subarrays; make it from full frames"
        )
    match = REFERENCE_NAME.fullmatch(path.name)
    expected = (str(header["INSTRUME"]).lower(), str(header.get("DETECTOR", "")).lower(), kind)
    if not match or match.groups() != expected:
        pattern = "_".join((*expected, "<yyyymmdd>t<hhmmss>", "<version>"))
        raise ReductionError(f"{path}: a reference of CRDS is named {pattern}.fits, all lower case; rename it")
    if certify:
        product.read(path, models=types[kind]["model"])
    case = (kind, *(str(header[keyword]).upper() for keyword in keywords))
    facts = {"type": kind, "filekind": types[kind]["filekind"].lower(), "instrument": expected[0]}
    return {"path": path, "name": path.name, "case": case, **facts}


def load_context(name, root):
    """Return {"mappings": names, "references": names} of a context, every rule file of it loaded and verified."""
    with session(root) as crds:
        try:
            context = crds.get_cached_mapping(name)
            return {"mappings": sorted(context.mapping_names()), "references": set(context.reference_names())}
        except (Exception, SystemExit) as error:
            found = " ".join(str(error).split())
            raise (MachineError if began_with_machine(error) else ReductionError)(
                f"CRDS context {name} in {root} cannot be used: {found}; copy the cache again"
            ) from error


def derive_context(base, root, described, rename, work, *, certify=True):
    """Make the rule files of a new context that holds the references, in a private folder.

    Parameters
    ----------
    base : str
        Name of the context to build on.
    root : path-like
        Cache that holds it; only read.
    described : list of dict
        Of `describe_references`.
    rename : callable
        Name of a rule file -> name of the one that is derived from it.
    work : path-like
        Private folder, becomes the root of a cache without references.
    certify : bool, optional
        False inserts headers without looking at the data.

    Returns
    -------
    dict
        "context": name of the new one; "mappings": those of the base; "made": the new ones, from rmap to pmap;
        "changes": {new rmap: [(action, old reference or None, new reference or None, case), ...]}
    """
    base_files = load_context(base, root)
    _copy_rules(base_files["mappings"], root, work)
    with session(work) as crds, _refuse_errors("certify or insert the references"):
        _add_empty_rules(crds, base, described, work)
    with session(work) as crds, _refuse_errors("certify or insert the references"):
        made = _make_mappings(crds, base, described, rename, certify=certify)
        changes = {new: _list_changes(crds, old, new) for old, new in made["rmaps"].items()}
    _copy_rules(base_files["mappings"], root, work)  # the base as it was, without the empty rules of new types
    load_context(made["context"], work)
    return {**made, "mappings": base_files["mappings"], "changes": changes}


def _copy_rules(names, root, work):
    """Copy the configuration and rule files of a cache."""
    for name in CONFIG_FILES:
        source = Path(root) / "config" / "ligeriri" / name
        if source.exists():
            copy_file(source, Path(work) / "config" / "ligeriri" / name)
    for name in names:
        copy_file(mapping_path(root, name), mapping_path(work, name))


def copy_file(source, target):
    """Copy a file atomically; a target of the same bytes is left untouched."""
    source, target = Path(source), Path(target)
    if target.exists() and target.stat().st_size == source.stat().st_size and sha1(target) == sha1(source):
        return
    with source.open("rb") as stream:
        write_atomically(target, lambda out: _copy_stream(stream, out))


def _copy_stream(stream, out):
    """Copy a stream in blocks."""
    while block := stream.read(1 << 22):
        out.write(block)


class _Errors(logging.Handler):
    """Collects the errors that crds logs: its tools report them there and go on."""

    def __init__(self):
        """Start empty."""
        super().__init__(logging.ERROR)
        self.texts = []

    def emit(self, record):
        """Keep one error, without the markers of crds."""
        self.texts.append(" ".join(record.getMessage().split()))


@contextmanager
def _refuse_errors(what):
    """Turn every error of crds, raised or only logged, into one ReductionError."""
    errors, crds_logger = _Errors(), logging.getLogger("CRDS")
    crds_logger.addHandler(errors)
    try:
        yield
    except (ReductionError, OSError):
        raise
    except (Exception, SystemExit) as error:
        if began_with_machine(error):
            raise
        errors.texts.append(str(error))
    finally:
        crds_logger.removeHandler(errors)
    if errors.texts:
        listed = "\n  ".join(errors.texts)
        if "[Errno " in listed:  # crds logs what the system says, too; no reference is wrong for that
            raise MachineError(f"CRDS cannot {what}:\n  {listed}\nnothing was delivered; run again")
        raise ReductionError(f"CRDS refuses to {what}:\n  {listed}\ncorrect the reference; nothing was delivered")


def _add_empty_rules(crds, base, described, work):
    """Give the imaps of the private folder an empty rule file for each new type that they have none of."""
    from crds.ligeriri import HERE

    pmap = crds.get_cached_mapping(base)
    for instrument, filekind, kind in sorted({(e["instrument"], e["filekind"], e["type"]) for e in described}):
        imap = pmap.get_imap(instrument)
        if filekind in dict(imap.selections.normal_items()):
            continue
        name = f"ligeriri_{instrument}_{kind}_{EMPTY}.rmap"
        rules = crds.core.rmap.load_mapping(str(Path(HERE, "specs", f"{instrument}_{filekind}.rmap")))
        rules.header["name"] = name
        rules.write(str(mapping_path(work, name)))
        path = str(mapping_path(work, imap.basename))
        changed = crds.core.rmap.load_mapping(path)
        changed.set_item(filekind, name)
        changed.write(path)


def _make_mappings(crds, base, described, rename, *, certify):
    """Insert the references into new rules in the session's cache; return the new names and which is of which."""
    from crds.core import config
    from crds.refactoring import newcontext

    pmap = crds.get_cached_mapping(base)
    groups, updates, rmaps = {}, {}, {}
    for entry in described:
        groups.setdefault((entry["instrument"], entry["filekind"]), []).append(entry)
    for (instrument, filekind), entries in sorted(groups.items()):
        imap = pmap.get_imap(instrument)
        old = imap.get_rmap(filekind)
        if taken := sorted({entry["name"] for entry in entries} & set(old.reference_names())):
            raise ReductionError(f"{', '.join(taken)} is in {base} already; give the new reference another date")
        paths = [str(entry["path"].absolute()) for entry in entries]  # rules name a link, not what it leads to
        rmaps[old.basename] = _make_rmap(base, old.basename, rename(old.basename), paths, certify=certify)
        updates.setdefault(imap.basename, []).append(rmaps[old.basename])
    names = {old: rename(old) for old in (base, *sorted(updates))}
    newcontext.generate_new_contexts(base, updates, names)
    newcontext.update_header_names({config.locate_mapping(o): config.locate_mapping(n) for o, n in names.items()})
    imaps = [names[imap] for imap in sorted(updates)]
    return {"context": names[base], "made": [*rmaps.values(), *imaps, names[base]], "rmaps": rmaps, "names": names}


def _make_rmap(base, old, new, paths, *, certify):
    """Make the rule file `new` from `old` with the references at `paths`; return its name."""
    from crds.certify.certify import certify_files
    from crds.core import config
    from crds.refactoring import refactor

    if certify:
        certify_files(paths, base, observatory="ligeriri", skip_banner=True, check_rmap=False)
    path = config.locate_mapping(new)
    refactor.rmap_insert_references(config.locate_mapping(old), path, paths, "ligeriri")
    refactor.update_derivation(path, "NONE" if is_empty(old) else old)
    # dont_parse: the slow parse looks for duplicate keys, which crds itself cannot have written
    certify_files([path], base, observatory="ligeriri", skip_banner=True, check_rmap=False, dont_parse=True)
    return new


def is_empty(name):
    """Return True for the name of an empty rule file, from which the first rules of a type are made."""
    return f"_{EMPTY}." in name


def _list_changes(crds, old, new):
    """Return [(action, old reference, new reference, case)] between two rule files."""
    from crds import diff

    changes = []
    for difference in crds.get_cached_mapping(old).difference(crds.get_cached_mapping(new)):
        *case, _ = difference[1:]
        action = diff.diff_action(difference).removesuffix("_rule")
        names = re.findall(r"'([^']+\.fits)'", difference[-1])
        before = names[0] if action != "add" else None
        after = names[-1] if action != "delete" else None
        changes.append((action, before, after, tuple(value for part in case for value in part)))
    return changes
