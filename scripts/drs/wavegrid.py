"""One resampling of spectra from the columns of the detector to a common linear wavelength grid, flux conserving.

The light of a column spreads evenly between its edges in wavelength, and each bin of the grid takes the part of every
column that overlaps it: exact, so a line keeps its flux wherever it falls, and nothing oscillates. Neighbouring bins
share columns; `Resampled.correlation` says by how much the variance of a sum of bins exceeds the sum of variances.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.dq import Flag
from drs.errors import ReductionError

LEAST_COVERAGE = 0.5  # of a bin, by columns that are usable: less and the bin has no value
WHOLE = 0.98  # less, and its light is an estimate
ESTIMATED = np.uint32(Flag.FLUX_ESTIMATED)
DEAD = np.uint32(Flag.DO_NOT_USE)
FLAGS = {"cache": True, "error_model": "numpy"}


class Resampled(NamedTuple):
    """Spectra on a grid: `flux`, `error` float32, `dq` uint32, all (spectrum, bin), and `correlation` float."""

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray
    correlation: float


def make_grid(start_um, stop_um, step_um):
    """Return the centres (float64, um) of the bins from start to stop.

    Raises
    ------
    ReductionError
        No bin between them.
    """
    n_bin = int(np.floor((stop_um - start_um) / step_um + 1e-9)) + 1 if step_um > 0 else 0
    if n_bin < 1:
        raise ReductionError(f"no bin of {step_um} um between {start_um} and {stop_um} um: check the wavelength grid")
    return start_um + step_um * np.arange(n_bin)


def find_shared_range(wavelength_um):
    """Return (first, last, step) in um: the range that all spectra share, and their median dispersion.

    Parameters
    ----------
    wavelength_um : ndarray, float64, (spectrum, column)
        A spectrum with a NaN is left out.

    Raises
    ------
    ReductionError
        No spectrum; spectra that share no wavelength.
    """
    known = wavelength_um[np.isfinite(wavelength_um).all(axis=1)]
    if known.size == 0 or known.shape[1] < 2:
        raise ReductionError("no spectrum has wavelengths: take another wavelength solution")
    first, last = known.min(axis=1).max(), known.max(axis=1).min()
    if not last > first:
        raise ReductionError(f"spectra share no wavelength: the last begins at {first:.5g} um, one ends at {last:.5g}")
    return float(first), float(last), float(np.median(np.abs(np.diff(known, axis=1))))


def choose_grid(wavelength_um, *, start_um=0.0, stop_um=0.0, step_um=0.0):
    """Return the middles (float64, um) of the bins of a linear grid; what is 0 is taken from the spectra."""
    chosen = zip((start_um, stop_um, step_um), find_shared_range(wavelength_um), strict=True)
    return make_grid(*(own or shared for own, shared in chosen))


def find_edges(wavelength_um):
    """Return the edges of columns (spectrum, column + 1), um: midway between their centres, linear at both ends.

    Raises
    ------
    ReductionError
        Wavelengths that do not all rise or all fall along a spectrum.
    """
    step = np.diff(wavelength_um, axis=1)
    finite = np.isfinite(wavelength_um).all(axis=1)
    if wavelength_um.shape[1] < 2 or not ((step[finite] > 0).all() or (step[finite] < 0).all()):
        raise ReductionError("wavelengths do not rise, nor fall, along every spectrum: take another solution")
    middle = wavelength_um[:, :-1] + step / 2
    first, last = wavelength_um[:, :1] - step[:, :1] / 2, wavelength_um[:, -1:] + step[:, -1:] / 2
    return np.concatenate([first, middle, last], axis=1)


def find_parts(wavelength_um, grid_um):
    """Return by which part of a column, 0 to 1, the bins begin beyond the edge of one, (spectrum, bin) float64.

    A bin of the size of a column is (1 - f) of this one and f of the next (`resample_spectra`). NaN beyond the columns,
    and of a spectrum with a NaN.

    Parameters
    ----------
    wavelength_um : ndarray, float64, (spectrum, column)
    grid_um : ndarray, float64, (bin)
        Two or more.
    """
    edges = find_edges(np.asarray(wavelength_um, np.float64))
    columns, half = np.arange(edges.shape[1], dtype=float), (grid_um[1] - grid_um[0]) / 2
    parts = np.full((len(edges), grid_um.size), np.nan)
    for own, found in zip(edges, parts, strict=True):
        if np.isfinite(own).all():
            rising, at = (own, columns) if own[-1] > own[0] else (own[::-1], -columns[::-1])
            found[:] = np.mod(np.interp(grid_um - half, rising, at, left=np.nan, right=np.nan), 1)
    return parts


def resample_spectra(flux, error, dq, wavelength_um, grid_um):
    """Return spectra on a linear grid.

    Parameters
    ----------
    flux, error : ndarray, float32, (spectrum, column)
        Per column; NaN where there is none.
    dq : ndarray, uint32, (spectrum, column)
    wavelength_um : ndarray, float64, (spectrum, column)
        Of the centres of the columns; a spectrum with a NaN has no values.
    grid_um : ndarray, float64, (bin)
        From `make_grid`.

    Returns
    -------
    Resampled
        Per bin. A bin of which less than half is covered by usable columns is NaN, DO_NOT_USE; one that is covered in
        part is scaled to all of it, FLUX_ESTIMATED: right where the light is even.
    """
    if not flux.shape == error.shape == dq.shape == wavelength_um.shape:
        raise ValueError(f"flux {flux.shape}, error {error.shape}, dq {dq.shape}, wavelength {wavelength_um.shape}")
    edges = find_edges(np.asarray(wavelength_um, np.float64))
    if edges.shape[0] and np.nanmean(edges[:, -1] - edges[:, 0]) < 0:
        edges, flux, error, dq = (np.ascontiguousarray(array[:, ::-1]) for array in (edges, flux, error, dq))
    shape = flux.shape[0], grid_um.size
    out = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32), np.full(shape, DEAD, np.uint32)
    step = grid_um[1] - grid_um[0] if grid_um.size > 1 else 2 * abs(edges[0, 1] - edges[0, 0])
    sums = np.zeros((shape[0], 2))
    bins = grid_um[0] - step / 2, step
    _resample_kernel(edges, (flux, error, dq), bins, out, sums)
    own, all_ = sums.sum(axis=0)
    return Resampled(*out, float(np.sqrt(all_ / own)) if own > 0 else 1.0)


@njit(**FLAGS)
def _take_kernel(edges, flux, error, dq, column, limits):
    """Return the light, variance, flags and overlap of a column with a bin; no overlap where it is not usable."""
    low, high = max(edges[column], limits[0]), min(edges[column + 1], limits[1])
    part = (high - low) / (edges[column + 1] - edges[column])
    usable = dq[column] & DEAD == 0 and np.isfinite(flux[column]) and np.isfinite(error[column])
    if not usable or part <= 0:
        return 0.0, 0.0, dq[column] & ~DEAD, 0.0, 0.0
    return part * flux[column], (part * error[column]) ** 2, dq[column], high - low, part * error[column] ** 2


@njit(parallel=True, nogil=True, **FLAGS)
def _resample_kernel(edges, planes, bins, resampled, sums):
    """Fill the bins of every spectrum; `sums` gets the variances of bins, alone and with what they share."""
    (flux, error, dq), (new_flux, new_error, new_dq) = planes, resampled
    start, step = bins
    n_column = flux.shape[1]
    for spectrum in prange(flux.shape[0]):
        own, column = edges[spectrum], 0
        if not np.isfinite(own).all():
            continue
        for k in range(new_flux.shape[1]):
            limits = start + k * step, start + (k + 1) * step
            while column < n_column - 1 and own[column + 1] <= limits[0]:
                column += 1
            total, variance, joined, covered, shared = 0.0, 0.0, np.uint32(0), 0.0, 0.0
            j = column
            while j < n_column and own[j] < limits[1]:
                if own[j + 1] > limits[0]:
                    taken = _take_kernel(own, flux[spectrum], error[spectrum], dq[spectrum], j, limits)
                    total, variance, joined = total + taken[0], variance + taken[1], joined | taken[2]
                    covered, shared = covered + taken[3], shared + taken[4]
                j += 1
            if covered >= LEAST_COVERAGE * step:
                scale = step / covered
                new_flux[spectrum, k], new_error[spectrum, k] = total * scale, np.sqrt(variance) * scale
                new_dq[spectrum, k] = joined if covered >= WHOLE * step else joined | ESTIMATED
                sums[spectrum, 0] += variance
                sums[spectrum, 1] += shared
