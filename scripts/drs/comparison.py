"""How two nights of products differ: in their bytes, numbers, flags, keywords, parameters, inputs and settings."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from drs import product
from drs.dq import Flag
from drs.errors import ReductionError
from drs.nightfiles import list_compared
from drs.provenance import hash_all, read_provenance
from drs.references import read_json

ERROR_OF = {"SCI": "ERR", "FLUX": "UNCERTAINTY"}
NOT_SETTINGS = ("crds: cache",)  # where a cache is says nothing about what is in it


def compare(first, second):
    """Return how two nights differ.

    Parameters
    ----------
    first, second : path-like
        Folders of reduced nights.

    Returns
    -------
    differences : dict
        Name of a product -> lines; products that are the same byte for byte are not in it.
    remarks : list of str
        Versions, settings and contexts of the runs that differ; they explain, and are no difference of products.
    n_same : int
        Products with the same bytes.

    Raises
    ------
    ReductionError
        A folder holds no product.
    """
    first, second = Path(first), Path(second)
    names = [_list_names(folder) for folder in (first, second)]
    both = sorted(set(names[0]) & set(names[1]))
    digests = [hash_all([folder / name for name in both]) for folder in (first, second)]
    differences = {name: [f"only in {first}"] for name in sorted(set(names[0]) - set(names[1]))}
    differences |= {name: [f"only in {second}"] for name in sorted(set(names[1]) - set(names[0]))}
    for name in both:
        if digests[0][first / name] != digests[1][second / name]:
            differences[name] = compare_files(first / name, second / name)
    n_same = len(both) - sum(name in differences for name in both)
    return dict(sorted(differences.items())), compare_records(first, second), n_same


def _list_names(folder):
    """Return the names of a night's products."""
    if not (names := list_compared(folder)):
        raise ReductionError(f"{folder} holds no product of level1/, level2/, level3/ or calibrations/: give a night")
    return names


def compare_files(first, second):
    """Return how two files with different bytes differ, a line each."""
    if first.suffix != ".fits":
        return _compare_text(first, second)
    try:
        pair = [product.read(path, verify=False) for path in (first, second)]
    except ReductionError:  # spectra, which are tables, or a file that is damaged
        return _compare_tables(first, second)
    lines = _compare_mappings("keyword", *(made.keywords for made in pair))
    lines += _compare_mappings("WCS", *(made.wcs for made in pair))
    lines += _compare_mappings("parameter", *(_name_parameters(made) for made in pair))
    lines += _compare_sets("HISTORY", *(made.history for made in pair))
    lines += _compare_sets("input", *(_name_inputs(path) for path in (first, second)))
    lines += compare_arrays(*(made.arrays for made in pair))
    return lines or ["bytes only: keywords, parameters, inputs and numbers are the same"]


def _name_parameters(made):
    """Return name -> value of the parameters of a product, those of a step that came twice numbered."""
    named = {}
    for step, name, value in made.parameters:
        key, number = f"{step}.{name}", 2
        while key in named:
            key, number = f"{step}.{name} ({number})", number + 1
        named[key] = value
    return named


def _name_inputs(path):
    """Return the inputs of a product as texts."""
    return [f"{role} {name} sha256 {sha256[:16]}" for role, name, sha256 in read_provenance(path)]


def _compare_mappings(what, first, second):
    """Return a line for every key whose value differs."""
    keys = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
    return [f"{what} {key}: {first.get(key, 'absent')} -> {second.get(key, 'absent')}" for key in keys]


def _compare_sets(what, first, second):
    """Return a line for every text that only one has."""
    gone = [f"{what}: only in the first: {text}" for text in first if text not in second]
    return gone + [f"{what}: only in the second: {text}" for text in second if text not in first]


def compare_arrays(first, second):
    """Return how the arrays of two products differ, a line each.

    Parameters
    ----------
    first, second : dict of ndarray
        EXTNAME -> array; ERR gives the sigma of SCI (FLUX: of UNCERTAINTY), DQ holds flags.
    """
    lines = []
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second:
            lines.append(f"{name}: only in the {'first' if name in first else 'second'}")
        elif first[name].shape != second[name].shape:
            lines.append(f"{name}: shape {first[name].shape} -> {second[name].shape}")
        elif name == "DQ":
            lines += compare_flags(first[name], second[name])
        else:
            errors = [made.get(ERROR_OF.get(name)) for made in (first, second)]
            lines += compare_numbers(name, first[name], second[name], errors)
    return lines


def compare_numbers(name, first, second, errors=(None, None)):
    """Return how two arrays of one shape differ: [] or one line.

    Parameters
    ----------
    name : str
    first, second : ndarray
        NaN is equal to NaN.
    errors : pair of ndarray or None
        Standard deviations; sigma is the difference over the root of the mean of their squares.
    """
    if first.dtype.kind not in "fiu":
        n_other = int(np.count_nonzero(first != second))
        return [f"{name}: {n_other} of {first.size} values differ"] if n_other else []
    with np.errstate(all="ignore"):
        a, b = first.astype(np.float64), second.astype(np.float64)
        other = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if not other.any():
            return [] if first.dtype == second.dtype else [f"{name}: {first.dtype} -> {second.dtype}"]
        apart = np.abs(b - a)
        measures = {"max abs": apart, "max rel": apart / np.maximum(np.abs(a), np.abs(b))}
        if all(error is not None and error.shape == a.shape for error in errors):
            measures["max sigma"] = apart / np.sqrt(
                (np.square(errors[0], dtype="f8") + np.square(errors[1], dtype="f8")) / 2
            )
    texts = [f"{measure} {_find_largest(values[other]):.3g}" for measure, values in measures.items()]
    n_nan = int(np.count_nonzero(np.isnan(a) != np.isnan(b)))
    texts += [f"{n_nan} only in one without a value"] if n_nan else []
    return [f"{name}: {np.count_nonzero(other)} of {a.size} values differ, {', '.join(texts)}"]


def _find_largest(values):
    """Return the largest finite value, nan without any."""
    finite = values[np.isfinite(values)]
    return finite.max() if finite.size else np.nan


def compare_flags(first, second):
    """Return how two arrays of flags differ: [] or one line with the pixels per flag that was set or taken away."""
    if not (other := first != second).any():
        return []
    told = []
    for flag in Flag:
        bit = np.uint32(flag)
        n_set, n_gone = np.count_nonzero(second & ~first & bit), np.count_nonzero(first & ~second & bit)
        told += [f"{flag.name} +{n_set} -{n_gone}"] if n_set or n_gone else []
    return [f"DQ: {np.count_nonzero(other)} of {first.size} pixels differ: {', '.join(told)}"]


def _compare_tables(first, second):
    """Return how two files of spectra differ."""
    try:
        with fits.open(first, memmap=False) as a, fits.open(second, memmap=False) as b:
            lines = _compare_mappings("keyword", *(dict(hdus[0].header) for hdus in (a, b)))
            if len(a) != len(b):
                return [*lines, f"extensions: {len(a) - 1} -> {len(b) - 1}"]
            for k in range(1, len(a)):
                columns = [{name: hdus[k].data[name] for name in hdus[k].columns.names} for hdus in (a, b)]
                lines += [f"source {k}: {line}" for line in compare_arrays(*columns)]
    except Exception as error:  # astropy promises no closed set of exceptions for a damaged structure
        return [f"cannot be read as FITS ({error}): verify the nights"]
    return lines or ["bytes only: keywords and numbers are the same"]


def _compare_text(first, second):
    """Return the number of lines that differ between two files of text, and the first of them."""
    a, b = (path.read_text(errors="replace").splitlines() for path in (first, second))
    lines = [f"lines: {len(a)} -> {len(b)}"] if len(a) != len(b) else []
    other = [k for k, (one, two) in enumerate(zip(a, b, strict=False)) if one != two]
    if other:
        lines.append(f"{len(other)} lines differ, the first is line {other[0] + 1}: {a[other[0]]} -> {b[other[0]]}")
    return lines


def compare_records(first, second):
    """Return how the runs differ that run.json of two nights tells: versions, code, settings, contexts."""
    paths = [folder / "run.json" for folder in (first, second)]
    if absent := [path for path in paths if not path.is_file()]:
        return [f"{path} is not there: nothing is known of the run" for path in absent]
    records, remarks = [read_json(path) for path in paths], []
    picks = {"version": _list_versions, "code": _list_code, "setting": _flatten, "context": _list_contexts}
    try:
        for what, pick in picks.items():
            remarks += _compare_mappings(what, *map(pick, records))
    except (LookupError, TypeError, AttributeError) as error:
        remarks.append(f"a run.json makes no sense ({error!r}): verify the nights")
    return remarks


def _list_versions(record):
    """Return name -> version of all that a run was made with."""
    versions = record["versions"]
    return {**versions["packages"], **{key: versions[key] for key in ("drs", "python", "machine")}}


def _list_code(record):
    """Return file -> digest of the code."""
    return {name: sha256[:16] for name, sha256 in record["code"]["files"].items()}


def _flatten(record):
    """Return name -> value of all settings but those that only say where something is."""
    flat = {}
    for key, value in record["config"].items():
        flat |= {f"{key}: {inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return {key: value for key, value in flat.items() if key not in NOT_SETTINGS}


def _list_contexts(record):
    """Return stage -> the CRDS context that it left."""
    named = {"run": record["context"], **record["contexts"]}
    return {stage: f"{entry['context']} sha1 {entry['sha1'][:16]}" for stage, entry in named.items()}
