"""Deliver the night's own references into an overlay cache, by the stock CRDS tools.

A delivery is what an archive does with new references: certify, insert into new rmaps, derive a new imap and pmap,
with names and checksums. Everything is built in a private folder and then published, references first and the
context last, so a refused delivery leaves the overlay as it was. The serial of every new rule file is that of the
tier (9001 ...): local, never an official one, and the same input gives the same bytes.
"""

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from drs import product
from drs.bestrefs import context_root
from drs.derivation import CONFIG_FILES, copy_file, derive_context, describe_references, read_header
from drs.errors import MachineError, ReductionError
from drs.references import mapping_path, reference_path, sha1

logger = logging.getLogger(__name__)

SERIALS = {"bias": 8998, "linearity": 8999, "transfer": 9000, "detector": 9001, "optics": 9002}
SERIALS |= {"wavelengths": 9003, "sky": 9004, "flux": 9005}
# Calibrations of the detector that are measured with each other go one after the other.
TIERS = {"bias": "detector", "linearity": "detector", "transfer": "detector", "wavelengths": "optics", "flux": "sky"}


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
        Of SERIALS; decides the serial and which types are accepted.
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
    MachineError
        A file vanished, or nothing can be written; no reference is left out for that.
    """
    root = context_root(context, cache, base_overlay or overlay)
    left_out = _find_refused(references) if certify else {}
    references = [path for path in references if Path(path).name not in left_out]
    result = {"context": context["context"], "sha1": context["sha1"], "base": context}
    if not references:
        return {**result, "delivered": {}, "left_out": left_out}
    _check_serial(context["context"], tier)
    described = describe_references(references, types, tier=TIERS.get(tier, tier), certify=certify)
    try:
        with TemporaryDirectory(prefix="delivery_") as work:
            new = derive_context(
                context["context"], root, described, lambda name: _rename(name, tier), work, certify=certify
            )
            _warn_of_replacements(new["changes"])
            _publish(described, [*new["mappings"], *new["made"]], Path(work), overlay, tier)
    except OSError as error:
        raise MachineError(
            f"{overlay} or its temporary folder cannot be written ({error.strerror or error}: {error.filename or ''}); "
            "make room or mend the rights, then run again"
        ) from error
    delivered = {entry["name"]: sha1(entry["path"]) for entry in described}
    result |= {"context": new["context"], "sha1": sha1(mapping_path(overlay, new["context"]))}
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
        if read_header(path).get("DATAQUAL") == "BAD":
            marked[path.name] = product.read(path).refusal or "DATAQUAL is BAD"
    return marked


def _check_serial(name, tier):
    """Refuse a base context whose serial is not below that of the tier."""
    serial = int(re.search(r"_(\d+)\.pmap$", name)[1])
    if serial >= SERIALS[tier]:
        raise ReductionError(
            f"tier {tier} makes context serial {SERIALS[tier]} and cannot build on {name}; "
            "build on the context of a tier below, or on an official one"
        )


def _rename(name, tier):
    """Return the name of a rule file with the serial of the tier."""
    return re.sub(r"_\d+(\.[pir]map)$", rf"_{SERIALS[tier]}\1", name)


def _warn_of_replacements(changes):
    """Log which references of the base are no longer chosen, as new ones have their case and date."""
    for rmap, entries in changes.items():
        if lost := sorted({before for _, before, _, _ in entries if before}):
            logger.warning("%s: new references take the place of %s", rmap, ", ".join(lost))


def _publish(described, mappings, work, overlay, tier):
    """Copy the result into the overlay: references, then rules from rmap to pmap; drop an earlier delivery's."""
    order = (".rmap", ".imap", ".pmap")
    for name in CONFIG_FILES:
        source = work / "config" / "ligeriri" / name
        if source.exists():
            copy_file(source, Path(overlay) / "config" / "ligeriri" / name)
    for entry in described:
        copy_file(entry["path"], reference_path(overlay, entry["instrument"], entry["name"]))
    for name in sorted(mappings, key=lambda name: (order.index(Path(name).suffix), name)):
        copy_file(mapping_path(work, name), mapping_path(overlay, name))
    for path in mapping_path(overlay, "").glob(f"*_{SERIALS[tier]}.?map"):
        if path.name not in mappings:
            path.unlink()
