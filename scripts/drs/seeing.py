"""Seeing of a night from a table, and the intervals between reads in which it was poor."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drs.errors import ReductionError
from drs.headers import parse_utc

MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
TIMES = ("MJD", "UTC", "TIME")
FWHM = "FWHM_ARCSEC"
DAY_S = 86400.0


class Seeing(NamedTuple):
    """Samples of the seeing in the order of time, at least two."""

    mjd: np.ndarray  # float64, (n_sample,)
    fwhm_arcsec: np.ndarray  # float64, (n_sample,)


class Intervals(NamedTuple):
    """What the seeing was in the interval that ends with each read; the first of a group begins with the reset."""

    poor: np.ndarray  # bool, (n_group, n_read): above the maximum somewhere in the interval
    unknown: np.ndarray  # bool, (n_group, n_read): not known in all of the interval, and not poor where it is


def read_seeing(path):
    """Return the samples of a table of the seeing.

    Parameters
    ----------
    path : path-like
        ECSV or CSV with a column FWHM_ARCSEC and one of the times, MJD, UTC or TIME (any case): MJD as numbers, or
        UTC as ISO text. Sorted by time.

    Raises
    ------
    ReductionError
        Not such a table, fewer than two samples, times that do not increase, or a seeing that is no size.
    """
    from astropy.table import Table  # slow to import; only with a table

    path = Path(path)
    try:
        is_ecsv = path.read_text(encoding="utf-8").startswith("# %ECSV")
        table = Table.read(path, format="ascii.ecsv" if is_ecsv else "ascii.csv")
    except Exception as error:  # readers of tables promise no closed set of exceptions
        raise ReductionError(f"{path} is no ECSV or CSV table ({error}); expected columns MJD and {FWHM}") from error
    columns = {name.upper(): table[name] for name in table.colnames}
    time = next((columns[name] for name in TIMES if name in columns), None)
    if time is None or FWHM not in columns:
        found = ", ".join(table.colnames)
        raise ReductionError(f"{path} has columns {found}; expected {FWHM} and one of {', '.join(TIMES)}")
    seeing = Seeing(_read_times(path, time), _read_numbers(path, columns[FWHM]))
    _check(path, seeing)
    return seeing


def _read_times(path, column):
    """Return a column of times as MJD."""
    from astropy.time import Time

    if isinstance(column, Time):
        return np.array(column.utc.mjd, dtype=np.float64)
    if column.dtype.kind != "U":
        return _read_numbers(path, column)
    try:
        return np.array([(parse_utc(text) - MJD_ZERO) / timedelta(days=1) for text in column.tolist()])
    except (TypeError, ValueError) as error:
        raise ReductionError(f"{path}: a time cannot be read ({error}); expected 2024-09-25T06:00:00 or MJD") from error


def _read_numbers(path, column):
    """Return a column of numbers as float64, NaN where it is empty."""
    if column.dtype.kind not in "iuf":
        raise ReductionError(f"{path}: column {column.name} holds {column.dtype}, expected numbers")
    if column.name.upper() == FWHM and column.unit not in (None, "arcsec"):
        raise ReductionError(f"{path}: column {column.name} is in {column.unit}, expected arcsec")
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def _check(path, seeing):
    """Refuse samples that cannot be used, naming the first (rows from 1)."""
    if len(seeing.mjd) < 2:
        raise ReductionError(f"{path} has {len(seeing.mjd)} samples; the seeing needs at least two")
    faults = {
        "no number": ~(np.isfinite(seeing.mjd) & np.isfinite(seeing.fwhm_arcsec)),
        "a seeing that is no size": seeing.fwhm_arcsec <= 0,
        "a time that is not after the one before": np.diff(seeing.mjd, prepend=-np.inf) <= 0,
    }
    for what, wrong in faults.items():
        if wrong.any():
            row = int(np.argmax(wrong))
            values = f"MJD {seeing.mjd[row]:.6f}, {seeing.fwhm_arcsec[row]:g} arcsec"
            raise ReductionError(f"{path}: row {row + 1} has {what} ({values}); mend the table")


def find_poor_intervals(times_s, start_mjd, table, *, maximum_arcsec):
    """Return which intervals between reads had poor seeing.

    Between its samples the seeing is interpolated linearly; beyond the first and the last it is theirs for one median
    step, and not known further out.

    Parameters
    ----------
    times_s : ndarray, float64, (n_group, n_read)
        Times of the reads since the reset of their group. The groups follow each other without a pause.
    start_mjd : float
        Start of the exposure.
    table : Seeing
    maximum_arcsec : float
        Largest FWHM of good seeing.

    Returns
    -------
    Intervals
    """
    samples_s = (table.mjd - start_mjd) * DAY_S
    resets_s = np.concatenate([[0.0], np.cumsum(times_s[:, -1])[:-1]])[:, np.newaxis]
    end_s = resets_s + times_s
    start_s = np.concatenate([resets_s, end_s[:, :-1]], axis=1)
    step_s = np.median(np.diff(samples_s))
    low_s, high_s = samples_s[0] - step_s, samples_s[-1] + step_s
    is_poor = table.fwhm_arcsec > maximum_arcsec
    n_before = np.concatenate([[0], np.cumsum(is_poor)])
    first, last = np.searchsorted(samples_s, start_s, "left"), np.searchsorted(samples_s, end_s, "right")
    poor, outside = n_before[last] > n_before[first], np.zeros(times_s.shape, bool)
    for edge_s in (start_s, end_s):
        known = (edge_s >= low_s) & (edge_s <= high_s)
        poor |= known & (np.interp(edge_s, samples_s, table.fwhm_arcsec) > maximum_arcsec)
        outside |= ~known
    return Intervals(poor, outside & ~poor)
