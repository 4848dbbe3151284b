"""Several raw exposures of one configuration, opened together and read in bands of rows.

Calibrations of the detector itself are measured on raw reads: Level 1 would have applied the very correction that is
sought. A band is the unit of their algorithms, of a fixed height, so that no result depends on the memory at hand.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drs import product, raw, references
from drs.errors import ReductionError
from drs.exposure import correction_lines, rate_keywords, time_keywords
from drs.region import find_size
from drs.signal import calibrate_reads

BAND_ROWS = 32
SAME = ("INSTRUME", "DETECTOR", "INSTERA", "READMODE", "SUBARRAY", "NCHAN", "DETXSIZE", "DETYSIZE")
NOTHING = {"corrections": [], "dropped": [], "keys": {}}


class RampSet(NamedTuple):
    """Open exposures of one configuration.

    `ramps` list of drs.raw.Ramp; `keywords` list of dict, as of their rates; `names` of their files; `left_out` and
    `history`: lines for the header.
    """

    ramps: list
    keywords: list
    names: list
    left_out: list
    history: list

    @property
    def shape(self):
        """Shape (ny, nx) of an image."""
        return self.ramps[0].shape[2:]

    def bands(self):
        """Return the slices of rows that are handled together."""
        return split_bands(self.shape[0])


def split_bands(n_row):
    """Return slices of BAND_ROWS rows, the last of what is left."""
    return [slice(start, min(start + BAND_ROWS, n_row)) for start in range(0, n_row, BAND_ROWS)]


@contextmanager
def open_set(paths, facts=(), *, minimum, what, single_reads=False):
    """Open the raw exposures of a calibration.

    Parameters
    ----------
    paths : list of path-like
        One per exposure: its file, or a text file (.txt) that names the files of its reads.
    facts : list of dict, optional
        In that order: `corrections` of the header, `dropped` reads, `keys` that hold where the header has none.
    minimum : int
        Exposures needed; those that cannot be opened are left out.
    what : str
        What they are, for the messages.
    single_reads : bool, optional
        Refuse reads that are averages of several.

    Yields
    ------
    RampSet

    Raises
    ------
    ReductionError
        Too few exposures, or of several configurations.
    """
    facts = facts or [NOTHING] * len(paths)
    opened, left_out, history = [], [], []
    with ExitStack() as stack:
        for path, own in zip(map(Path, paths), facts, strict=True):
            try:
                opened.append((path.name, *_open_member(path, {**NOTHING, **own}, stack, history)))
            except ReductionError as error:
                left_out.append(f"left out: {path.name}: {error}")
        if len(opened) < minimum:
            reasons = "; ".join(left_out) or "no other was given"
            raise ReductionError(f"{len(opened)} usable {what} exposures, at least {minimum} needed ({reasons})")
        names, keywords, ramps = map(list, zip(*opened, strict=True))
        _check_configuration(names, keywords, ramps, what, single_reads=single_reads)
        yield RampSet(ramps, keywords, names, left_out, list(dict.fromkeys(history)))


def unchanged(paths, made):
    """Return the context of `drs.raw.unchanged` for exposures named as for `open_set`."""
    return raw.unchanged([file for path in paths for file in _list_files(Path(path))], made)


def read_header(paths, facts=()):
    """Return the keywords of the first exposure whose header can be read, as of its rate, times that follow aside."""
    reasons = []
    for path, own in zip(map(Path, paths), facts or [NOTHING] * len(paths), strict=True):
        try:
            return _read_member(path, {**NOTHING, **own})[2]
        except ReductionError as error:
            reasons.append(f"{path.name}: {error}")
    raise ReductionError(f"no exposure can be read ({'; '.join(reasons)})")


def _read_member(path, own):
    """Return the files of an exposure, its header with corrections, and the keywords of its rate."""
    files = _list_files(path)
    header = raw.read_keywords(files)
    corrected = header | {key: value for correction in own["corrections"] for key, value in correction["set"].items()}
    return files, header, rate_keywords(corrected, own["keys"])


def _list_files(path):
    """Return the Level 0 files of one exposure."""
    return path.read_text().split("\n")[:-1] if path.suffix == ".txt" else [path]


def _open_member(path, own, stack, history):
    """Return the keywords and the open ramp of one exposure."""
    files, header, keywords = _read_member(path, own)
    history += correction_lines(header, own["corrections"])
    dropped = {(group, read) for group, read in own["dropped"]}
    ramp = stack.enter_context(raw.open_ramp(files, own["corrections"], dropped=dropped, size=find_size(keywords)))
    return {**keywords, **time_keywords(keywords, ramp.times_s)}, ramp


def _check_configuration(names, keywords, ramps, what, *, single_reads):
    """Refuse exposures that differ in configuration or size."""
    for key in SAME:
        values = {name: header.get(key) for name, header in zip(names, keywords, strict=True)}
        if len(set(values.values())) > 1:
            raise ReductionError(
                f"{what} exposures of mixed configuration: {key} is {_list_values(values)}, expected one; exclude "
                "those that do not fit"
            )
    shapes = {name: ramp.shape[2:] for name, ramp in zip(names, ramps, strict=True)}
    if len(set(shapes.values())) > 1:
        raise ReductionError(f"{what} exposures of different shapes (ny, nx): {shapes}; exclude those that do not fit")
    averaged = [name for name, ramp in zip(names, ramps, strict=True) if ramp.n_average > 1]
    if single_reads and averaged:
        raise ReductionError(f"{', '.join(averaged)}: reads are averages of several (NFRAMES), expected single reads")


def _list_values(values):
    """Return {name: value} as text, names of one value together."""
    groups = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return ", ".join(f"'{value}' in {', '.join(members)}" for value, members in groups.items())


def check_alike(first, second):
    """Refuse two sets of exposures of which the headers of the first ones differ in configuration, or the sizes."""
    pairs = [(key, first.keywords[0].get(key), second.keywords[0].get(key)) for key in SAME]
    pairs.append(("shape (ny, nx)", first.shape, second.shape))
    if differing := [f"{key} {a} and {b}" for key, a, b in pairs if a != b]:
        raise ReductionError(
            f"exposures of mixed configuration, {first.names[0]} and {second.names[0]}: {'; '.join(differing)}; "
            "exclude those that do not fit"
        )


def find_references(template, manifest_path, types, roots):
    """Return a product that names the references of a manifest that are used, and their paths.

    Parameters
    ----------
    template : drs.product.Product
    manifest_path : path-like
        Of one of the exposures.
    types : iterable of str
        What is used; a type that the configuration switched off is left out.
    roots : list of path-like
        CRDS caches, the night's own first.
    """
    manifest = references.read_manifest(manifest_path)
    off = references.find_switched_off(manifest)
    asked = [kind for kind in types if kind not in off]
    answer = references.select_references(manifest, list(types), template.keywords)
    paths = references.open_references(manifest_path, asked, roots, partial=True)
    named = replace(template, keywords=template.keywords | references.header_keywords(answer))
    return product.with_history(named, references.override_lines(answer)), paths


def with_quality(template, arrays, numbers):
    """Return a calibration with its arrays and the quality numbers that are finite, to six digits."""
    found = {key: float(f"{float(value):.6g}") for key, value in numbers.items() if np.isfinite(value)}
    return replace(template, arrays=arrays, keywords=template.keywords | found)


def group_equal(ramps, levels, *, tolerance):
    """Return lists of positions of ramps with the same times and, within a fraction, the same level.

    Parameters
    ----------
    ramps : list of drs.raw.Ramp
    levels : list of float
        Signal of each ramp.
    tolerance : float
        Largest difference of two levels of one list, relative to the first.
    """
    groups = []
    for k, ramp in enumerate(ramps):
        for group in groups:
            first = ramps[group[0]]
            alike = ramp.times_s.shape == first.times_s.shape and np.allclose(ramp.times_s, first.times_s)
            if alike and abs(levels[k] - levels[group[0]]) <= tolerance * abs(levels[group[0]]):
                group.append(k)
                break
        else:
            groups.append([k])
    return groups


def measure_rates(ramps, good, rows):
    """Return the median rate of each ramp, DN/s, in some rows: of its first two reads, raw.

    Parameters
    ----------
    ramps : list of drs.raw.Ramp
    good : ndarray, bool, (n_row, nx)
    rows : slice
    """
    rates = []
    for ramp in ramps:
        reads_dn = ramp.read_rows(rows.start, rows.stop)[0, :2].astype(np.float32)
        rates.append(float(np.median((reads_dn[-1] - reads_dn[0])[good])) / float(np.diff(ramp.times_s[0, :2]).sum()))
    return rates


def check_light(names, signals_dn, saturated, *, minimum_signal_dn, maximum_saturated):
    """Refuse flats that are too faint or too bright, naming all.

    Parameters
    ----------
    names : list of str
    signals_dn : list of float
        What each ramp collects from its first read to its last.
    saturated : list of float
        Part of the pixels of each that is saturated in its second read.
    minimum_signal_dn, maximum_saturated : float
    """
    dark = [f"{name} {s:.4g}" for name, s in zip(names, signals_dn, strict=True) if s < minimum_signal_dn]
    if bright := [f"{name} {p:.2f}" for name, p in zip(names, saturated, strict=True) if p > maximum_saturated]:
        raise ReductionError(
            f"part of the pixels that are saturated in the second read: {', '.join(bright)}; expected at most "
            f"{maximum_saturated}: these flats are saturated; take them with less light, or exclude them"
        )
    if dark:
        raise ReductionError(
            f"median signal of the ramps in DN: {', '.join(dark)}; expected {minimum_signal_dn} or more: was the lamp "
            "on? Exclude these exposures in exposures.yaml"
        )


def read_linear(ramps, maps_rows, rows, offsets=None):
    """Return the linear signals of some rows of ramps, and the mean slope of their correction.

    Parameters
    ----------
    ramps : list of drs.raw.Ramp
        With the same times.
    maps_rows : drs.detector.PixelMaps
        Of these rows; with a gain of 1, signals are in DN.
    rows : slice
    offsets : list of drs.refpix.Offsets, optional
        Of each ramp.

    Returns
    -------
    signal : ndarray, float32, (n_ramp * n_group, n_read, n_row, nx)
        NaN where a read is not usable.
    slope : ndarray, float32, (n_read, n_row, nx)
        Derivative of the correction at the mean of the raw reads.
    """
    signals, total = [], 0
    for k, ramp in enumerate(ramps):
        reads_dn = ramp.read_rows(rows.start, rows.stop)
        own = offsets[k] if offsets else None
        shift = {"column_dn": own.column_dn, "row_dn": np.ascontiguousarray(own.row_dn[..., rows])} if own else {}
        signal = calibrate_reads(reads_dn, maps_rows, **shift).signal_e
        signal[~ramp.usable] = np.nan
        signals.append(signal)
        total = total + reads_dn.mean(axis=0, dtype=np.float32)
    x = total / np.float32(len(ramps)) - maps_rows.bias_dn
    coefficients = maps_rows.nonlin_coefficients
    slope = np.ones_like(x) if len(coefficients) == 0 else np.zeros_like(x)
    for k in range(len(coefficients) - 1, 0, -1):
        slope = slope * x + np.float32(k) * coefficients[k]
    return np.concatenate(signals), slope
