"""Which reference CRDS chooses for one file, of any level, or for its headers alone."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from drs import bestrefs
from drs.errors import ReductionError
from drs.headers import read_keywords
from drs.night import find_reference_keys
from drs.references import find_context, read_json, reference_path


class Choice(NamedTuple):
    """What CRDS chose for a type: a path, or None; status of the manifest's entry; why, or ''.

    A path whose status is not "found" is where the chosen file should be.
    """

    kind: str
    path: Path | None
    status: str
    reason: str


def get_reference_file(source, kind, types, instruments, cache, context=None):
    """Return the path of the reference of a type that CRDS chooses, or 'N/A'; refuse where there is none.

    Parameters are those of `choose_references`.
    """
    (choice,) = choose_references(source, [kind], types, instruments, cache, context)
    if choice.status == "not found":
        raise ReductionError(f"no {kind} reference: {choice.reason}")
    return "N/A" if choice.path is None else choice.path


def choose_references(source, kinds, types, instruments, cache, context=None):
    """Return what CRDS chooses, one Choice per type, in their order.

    Parameters
    ----------
    source : path-like or mapping
        FITS file of any level (.fits, .fits.gz, .fits.fz), JSON of its keywords, or the keywords.
    kinds : list of str
        Types ('dark'), or CRDS's names of them ('DARK', 'NONLINCOEFF').
    types : dict
        Of `drs.references.load_types`.
    instruments : dict
        Of `drs.instruments.read_instruments`: they say what holds where a header is silent.
    cache : path-like
        Root of the CRDS cache.
    context : str, optional
        Default CRDS_CONTEXT, then the cache's operational context.

    Raises
    ------
    ReductionError
        The file, its headers, a type, the context or the cache cannot be used.
    """
    keys = find_reference_keys(read_source(source), instruments)
    names = [_find_type(kind, types) for kind in kinds]
    chosen = find_context(cache, context, os.environ)
    request = {"needs": sorted(set(names)), "keys": keys}
    entries = bestrefs.resolve({"file": request}, chosen, types, cache)["file"]["references"]
    return [_read_entry(name, entries[name], keys["INSTRUME"], cache) for name in names]


def read_source(source):
    """Return the keywords of a FITS file, of JSON of keywords, or those given."""
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source)
    if path.suffix.lower() == ".json":
        keywords = read_json(path)
        if nested := [key for key, value in keywords.items() if isinstance(value, list | dict)]:
            raise ReductionError(f"{path}: {nested[0]} is no plain value, as keywords of a header have; correct it")
        return keywords
    try:
        return read_keywords(path)
    except ReductionError as error:
        raise ReductionError(f"{path}: {error}") from error


def _find_type(kind, types):
    """Return the type of a name in any case, or of a name of CRDS."""
    names = {facts["filekind"].lower(): name for name, facts in types.items()} | {name: name for name in types}
    if kind.lower() not in names:
        raise ReductionError(f"no type of reference is called '{kind}'; known are {', '.join(types)}")
    return names[kind.lower()]


def _read_entry(kind, entry, instrument, cache):
    """Return the Choice of a manifest's entry."""
    path = reference_path(cache, instrument, entry["file"]) if entry["file"] else None
    return Choice(kind, path, entry["status"], entry["reason"])
