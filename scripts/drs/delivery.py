"""Deliver the night's own references into an overlay cache, by the stock CRDS tools.

A delivery is what an archive does with new references: certify, insert into new rmaps, derive a new imap and pmap,
with names and checksums. Everything is built in a private folder and then published, references first and the
context last, so a refused delivery leaves the overlay as it was. The serial of every new rule file is that of the
tier (9001 ...): local, never an official one, and the same input gives the same bytes.
"""

import logging
import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from astropy.io import fits

from crds_ligeriri import session
from drs import product
from drs.bestrefs import context_root
from drs.errors import ReductionError
from drs.references import is_wildcard, mapping_path, reference_path, sha1

logger = logging.getLogger(__name__)

SERIALS = {"detector": 9001, "optics": 9002, "sky": 9003}
REFERENCE_NAME = re.compile(r"([a-z]+)_([a-z0-9]+)_([a-z0-9]+)(?:_[a-z0-9.+-]+)*_\d{8}t\d{6}_[0-9.]+\.fits")
CONFIG_FILES = ("ref_cache_subdir_mode", "server_config")


def deliver(references, context, tier, types, cache, overlay, *, certify=True, base_overlay=None):
    """Make a new context that holds `references`, in the overlay cache.

    Parameters
    ----------
    references : list of path-like
        FITS files named `<instrument>_<detector>_<type>[_<word>...]_<yyyymmdd>t<hhmmss>_<version>.fits`, the
        words (say, the filter) as they are needed to tell files apart; may be empty. One that its maker marked
        as refused (DATAQUAL = 'BAD') is left out.
    context : dict
        Context to build on: {"context", "sha1", ...} of `find_context` or of the delivery of the tier below.
    tier : str
        'detector', 'optics' or 'sky'; decides the serial and which types are accepted.
    types : dict
        Of `drs.references.load_types`.
    cache, overlay : path-like
        Shared cache, only read; the night's own cache, made when it does not exist.
    certify : bool, optional
        False inserts headers without looking at their data, to predict what CRDS will choose.
    base_overlay : path-like, optional
        Where the context to build on is looked for besides `cache`; default `overlay`.

    Returns
    -------
    dict
        {"context", "sha1", "base": context, "delivered": {name: sha1}, "left_out": {name: reason}}; context and
        sha1 are those of the base when nothing is delivered.

    Raises
    ------
    ReductionError
        A reference is refused, or the base cannot be built on; the overlay is as before.
    """
    root = context_root(context, cache, base_overlay or overlay)
    left_out = _find_refused(references) if certify else {}
    references = [path for path in references if Path(path).name not in left_out]
    result = {"context": context["context"], "sha1": context["sha1"], "base": context}
    if not references:
        return {**result, "delivered": {}, "left_out": left_out}
    _check_serial(context["context"], tier)
    described = _describe_references(references, tier, types, certify=certify)
    with TemporaryDirectory(prefix="delivery_") as folder:
        work = Path(folder)
        closure = _copy_closure(context["context"], root, work)
        with session(work) as crds, _refuse_errors("certify or insert the references"):
            name, made = _make_context(crds, context["context"], described, tier, certify=certify)
        _publish(described, [*closure, *made], work, overlay, tier)
    delivered = {entry["name"]: sha1(entry["path"]) for entry in described}
    result |= {"context": name, "sha1": sha1(mapping_path(overlay, name))}
    return {**result, "delivered": delivered, "left_out": left_out}


def deliver_acceptable(references, context, tier, types, cache, overlay):
    """Deliver as `deliver`, but leave out, with its reason, each reference that is refused on its own."""
    try:
        return deliver(references, context, tier, types, cache, overlay)
    except ReductionError:
        refused = {}
        with TemporaryDirectory(prefix="trial_") as trial:
            for path in map(Path, references):
                try:
                    deliver([path], context, tier, types, cache, Path(trial, path.stem), base_overlay=overlay)
                except ReductionError as error:
                    refused[path.name] = str(error)
        if not refused:
            raise
        accepted = [path for path in references if Path(path).name not in refused]
        result = deliver(accepted, context, tier, types, cache, overlay)
        return {**result, "left_out": {**result["left_out"], **refused}}


def _find_refused(references):
    """Return name -> reason of the references that their maker marked as refused."""
    marked = {}
    for path in map(Path, references):
        if _read_header(path).get("DATAQUAL") == "BAD":
            marked[path.name] = product.read(path).refusal or "DATAQUAL is BAD"
    return marked


def _read_header(path):
    """Return the PRIMARY header of a FITS file."""
    try:
        return fits.getheader(path)
    except (OSError, TypeError, ValueError) as error:
        raise ReductionError(f"{path} cannot be read as FITS ({error}); make it again") from error


def _check_serial(name, tier):
    """Refuse a base context whose serial is not below that of the tier."""
    serial = int(re.search(r"_(\d+)\.pmap$", name)[1])
    if serial >= SERIALS[tier]:
        raise ReductionError(
            f"tier {tier} makes context serial {SERIALS[tier]} and cannot build on {name}; "
            "build on the context of a tier below, or on an official one"
        )


def _describe_references(references, tier, types, *, certify):
    """Return [{"path", "name", "type", "filekind", "instrument", "case"}] sorted by name, each checked."""
    described = [_describe_reference(Path(path), tier, types, certify=certify) for path in references]
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


def _describe_reference(path, tier, types, *, certify):
    """Return what a delivery needs to know of one reference; refuse one that no rule could hold."""
    header = _read_header(path)
    accepted = {facts["filekind"]: kind for kind, facts in types.items() if facts["tier"] == tier}
    kind = accepted.get(header.get("REFTYPE"))
    if kind is None:
        raise ReductionError(
            f"{path}: REFTYPE '{header.get('REFTYPE', '')}' is not delivered in tier {tier}, "
            f"which takes {', '.join(sorted(accepted)) or 'no type'}"
        )
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
    expected = (header["INSTRUME"].lower(), str(header.get("DETECTOR", "")).lower(), kind)
    if not match or match.groups() != expected:
        pattern = "_".join((*expected, "<yyyymmdd>t<hhmmss>", "<version>"))
        raise ReductionError(f"{path}: a reference of CRDS is named {pattern}.fits, all lower case; rename it")
    if certify:
        product.read(path, models=types[kind]["model"])
    case = (kind, *(str(header[keyword]).upper() for keyword in keywords))
    facts = {"type": kind, "filekind": types[kind]["filekind"].lower(), "instrument": expected[0]}
    return {"path": path, "name": path.name, "case": case, **facts}


def _copy_closure(context, root, work):
    """Copy the configuration and every rule file of a context into the folder `work`; return their names."""
    for name in CONFIG_FILES:
        source = Path(root) / "config" / "ligeriri" / name
        if source.exists():
            _copy(source, work / "config" / "ligeriri" / name)
    with session(root) as crds:
        try:
            names = crds.get_cached_mapping(context).mapping_names()
        except (Exception, SystemExit) as error:
            raise ReductionError(
                f"CRDS context {context} in {root} cannot be used: {error}; copy the cache again"
            ) from error
    for name in names:
        _copy(mapping_path(root, name), mapping_path(work, name))
    return sorted(names)


def _copy(source, target):
    """Copy a file atomically; a target of the same bytes is left untouched."""
    if target.exists() and target.stat().st_size == source.stat().st_size and sha1(target) == sha1(source):
        return
    with Path(source).open("rb") as stream:
        product.write_atomically(target, lambda out: _copy_stream(stream, out))


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
    except ReductionError:
        raise
    except (Exception, SystemExit) as error:
        errors.texts.append(str(error))
    finally:
        crds_logger.removeHandler(errors)
    if errors.texts:
        listed = "\n  ".join(errors.texts)
        raise ReductionError(f"CRDS refuses to {what}:\n  {listed}\ncorrect the reference; nothing was delivered")


def _make_context(crds, base, described, tier, *, certify):
    """Insert the references into new rules in the session's cache; return the new pmap and all new names."""
    from crds.certify.certify import certify_files
    from crds.core import config
    from crds.refactoring import newcontext, refactor

    pmap = crds.get_cached_mapping(base)
    groups, updates, made = {}, {}, []
    for entry in described:
        groups.setdefault((entry["instrument"], entry["filekind"]), []).append(entry)
    for (instrument, filekind), entries in sorted(groups.items()):
        imap = pmap.get_imap(instrument)
        old = imap.get_rmap(filekind)
        if taken := sorted({entry["name"] for entry in entries} & set(old.reference_names())):
            raise ReductionError(f"{', '.join(taken)} is in {base} already; give the new reference another date")
        paths = [str(entry["path"].resolve()) for entry in entries]
        if certify:
            certify_files(paths, base, observatory="ligeriri", skip_banner=True, check_rmap=False)
        new = _rename(old.basename, tier)
        path = config.locate_mapping(new)
        refactor.rmap_insert_references(config.locate_mapping(old.basename), path, paths, "ligeriri")
        refactor.update_derivation(path, old.basename)
        if lost := sorted(set(old.reference_names()) - set(crds.core.rmap.load_mapping(path).reference_names())):
            logger.warning("%s: new references take the place of %s", new, ", ".join(lost))
        # dont_parse: the slow parse looks for duplicate keys, which crds itself cannot have written
        certify_files([path], base, observatory="ligeriri", skip_banner=True, check_rmap=False, dont_parse=True)
        updates.setdefault(imap.basename, []).append(new)
        made.append(new)
    names = {old: _rename(old, tier) for old in (base, *sorted(updates))}
    newcontext.generate_new_contexts(base, updates, names)
    newcontext.update_header_names({config.locate_mapping(o): config.locate_mapping(n) for o, n in names.items()})
    return names[base], [*made, *(names[imap] for imap in sorted(updates)), names[base]]


def _rename(name, tier):
    """Return the name of a rule file with the serial of the tier."""
    return re.sub(r"_\d+(\.[pir]map)$", rf"_{SERIALS[tier]}\1", name)


def _publish(described, mappings, work, overlay, tier):
    """Copy the result into the overlay: references, then rules from rmap to pmap; drop an earlier delivery's."""
    order = (".rmap", ".imap", ".pmap")
    for name in CONFIG_FILES:
        source = work / "config" / "ligeriri" / name
        if source.exists():
            _copy(source, Path(overlay) / "config" / "ligeriri" / name)
    for entry in described:
        _copy(entry["path"], reference_path(overlay, entry["instrument"], entry["name"]))
    for name in sorted(mappings, key=lambda name: (order.index(Path(name).suffix), name)):
        _copy(mapping_path(work, name), mapping_path(overlay, name))
    for path in mapping_path(overlay, "").glob(f"*_{SERIALS[tier]}.?map"):
        if path.name not in mappings:
            path.unlink()
