"""Lines of lamps and airglow: their lists, and where they are in extracted spectra.

A line is fitted with a Gaussian on a level, A exp(-(x - c)^2 / 2 w^2) + b, by damped least squares (Marquardt 1963,
SIAM J. 11, 431) on the columns around a peak; its centre is unbiased whatever the pixel it falls on, as long as the
line is symmetric. Lines with saturated columns are counted and left out, as those of another width: blends and hits.
"""

from typing import NamedTuple

import numpy as np
from astropy.table import Table
from numba import njit, prange

from drs.dq import Flag
from drs.errors import ReductionError

FLAGS = {"cache": True, "error_model": "numpy"}
DEAD = np.uint32(Flag.DO_NOT_USE)
SATURATED = np.uint32(Flag.SATURATED)
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
WIDTHS = 0.6, 1.6  # of a line, of what is expected
LEAST_USABLE = 0.8  # of the columns of a line; of its core, all
MOST_TURNS = 40
FAINT = 0.05  # of a line's intensity, that a neighbour may have at most


class Lines(NamedTuple):
    """Lines found in spectra, in the order of spectra and columns.

    `spectrum` int64; `column`, `error_pix`, `flux`, `fwhm_pix` float64, all (line): centre and its error, total and
    width; `n_saturated` int64 (spectrum), left out.
    """

    spectrum: np.ndarray
    column: np.ndarray
    error_pix: np.ndarray
    flux: np.ndarray
    fwhm_pix: np.ndarray
    n_saturated: np.ndarray


def read_lists(paths, start_um, stop_um):
    """Return wavelengths (um, vacuum, rising) and relative intensities, float64, of all lines of files in a range.

    Parameters
    ----------
    paths : iterable of path
        ECSV tables with `wavelength_um` and `intensity`, `medium: vacuum` in their header.

    Raises
    ------
    ReductionError
        Another table or medium; no line in the range.
    """
    wavelength, intensity = [np.empty(0)], [np.empty(0)]
    for path in paths:
        table = Table.read(path, format="ascii.ecsv")
        if not {"wavelength_um", "intensity"} <= set(table.colnames) or table.meta.get("medium") != "vacuum":
            raise ReductionError(f"{path}: no table of wavelength_um and intensity in vacuum")
        wavelength.append(np.asarray(table["wavelength_um"], float))
        intensity.append(np.asarray(table["intensity"], float) / np.max(table["intensity"]))
    wavelength, intensity = np.concatenate(wavelength), np.concatenate(intensity)
    order = np.argsort(wavelength, kind="stable")
    order = order[(wavelength[order] >= start_um) & (wavelength[order] <= stop_um)]
    if not order.size:
        raise ReductionError(f"no line of the lists between {start_um:.4g} and {stop_um:.4g} um: take another lamp")
    return wavelength[order], intensity[order]


def merge_list(wavelength_um, intensity, fwhm_um):
    """Return the lines (wavelength, intensity) that a spectrograph of this width sees, each alone.

    Lines closer than half the width are one, at their mean; one that a neighbour of more than 5 % of it touches (two
    widths) is left out.
    """
    wavelength, intensity = np.asarray(wavelength_um, float), np.asarray(intensity, float)
    group = np.concatenate([[0], np.cumsum(np.diff(wavelength) > fwhm_um / 2)])
    total = np.bincount(group, intensity)
    middle = np.bincount(group, intensity * wavelength) / total
    lonely = np.ones(middle.size, bool)
    for k in range(1, middle.size):
        near = middle[k:] - middle[:-k] < 2 * fwhm_um
        if not near.any():
            break
        lonely[:-k] &= ~(near & (total[k:] > FAINT * total[:-k]))
        lonely[k:] &= ~(near & (total[:-k] > FAINT * total[k:]))
    return middle[lonely], total[lonely]


def find_lines(flux, error, dq, *, fwhm_pix, least_sigma=10.0):
    """Return the Lines of spectra.

    Parameters
    ----------
    flux, error : ndarray, float32, (spectrum, column)
        One unit; NaN where there is no value.
    dq : ndarray, uint32, (spectrum, column)
        Lines with DO_NOT_USE in their core are left out, with SATURATED left out and counted.
    fwhm_pix : float
        Of a line, in columns.
    least_sigma : float, optional
        Height over the level around it, in errors of the highest column.

    Returns
    -------
    Lines
    """
    if not flux.shape == error.shape == dq.shape or flux.ndim != 2:
        raise ValueError(f"flux {flux.shape}, error {error.shape}, dq {dq.shape} are not (spectrum, column)")
    half = max(2, int(np.ceil(1.25 * fwhm_pix)))
    n_most = flux.shape[1] // (half + 1) + 1
    found = np.full((flux.shape[0], n_most, 5), np.nan)
    count = np.zeros((flux.shape[0], 2), np.int64)
    _find_lines_kernel(flux, error, dq, (half, fwhm_pix / FWHM_PER_SIGMA, least_sigma), found, count)
    kept = np.arange(n_most) < count[:, :1]
    spectrum = np.nonzero(kept)[0]
    column, sigma, height, width, _ = found[kept].T
    return Lines(spectrum, column, sigma, height * width * np.sqrt(2 * np.pi), width * FWHM_PER_SIGMA, count[:, 1])


@njit(**FLAGS)
def _is_peak_kernel(flux, error, x, half, least_sigma):
    """Return whether a column is the highest of those around it, and stands out."""
    level = flux[x]
    for i in range(max(0, x - 2 * half), min(flux.size, x + 2 * half + 1)):
        value = flux[i]
        if abs(i - x) <= half and (value > flux[x] or (value == flux[x] and i < x)):
            return False
        level = min(level, value) if np.isfinite(value) else level
    return flux[x] - level > least_sigma * error[x]


@njit(**FLAGS)
def _sum_kernel(flux, error, x, half, values, normal, right):
    """Write the normal equations of a line at its parameters; return chi-square."""
    height, centre, width, level = values
    normal[:], right[:], chi2 = 0, 0, 0.0
    slope = np.empty(4)
    for i in range(x - half, x + half + 1):
        z = (i - centre) / width
        shape = np.exp(-0.5 * z * z)
        slope[0], slope[1], slope[2], slope[3] = shape, height * shape * z / width, height * shape * z * z / width, 1.0
        if not (np.isfinite(flux[i]) and error[i] > 0):
            continue
        weight = 1.0 / np.float64(error[i]) ** 2
        away = flux[i] - height * shape - level
        chi2 += weight * away * away
        for j in range(4):
            right[j] += weight * slope[j] * away
            for k in range(4):
                normal[j, k] += weight * slope[j] * slope[k]
    return chi2


@njit(**FLAGS)
def _solve_kernel(matrix, right):
    """Return the solution of four equations, symmetric and positive, by elimination."""
    a, b = matrix.copy(), right.copy()
    for i in range(4):
        for j in range(i + 1, 4):
            part = a[j, i] / a[i, i]
            b[j] -= part * b[i]
            for k in range(i, 4):
                a[j, k] -= part * a[i, k]
    for i in range(3, -1, -1):
        for j in range(i + 1, 4):
            b[i] -= a[i, j] * b[j]
        b[i] /= a[i, i]
    return b


@njit(**FLAGS)
def _fit_line_kernel(flux, error, x, half, width, out):
    """Write centre, error, height, width, chi-square of the line at a peak; return whether the fit settled."""
    level = flux[x]
    for i in range(x - half, x + half + 1):
        level = min(level, flux[i]) if np.isfinite(flux[i]) else level
    values = np.array([flux[x] - level, float(x), width, level])
    normal, right, damping, settled = np.empty((4, 4)), np.empty(4), 1e-3, False
    trial_normal, trial_right = np.empty((4, 4)), np.empty(4)
    chi2 = _sum_kernel(flux, error, x, half, values, normal, right)
    for _ in range(MOST_TURNS):
        damped = normal.copy()
        for j in range(4):
            damped[j, j] *= 1 + damping
        step = _solve_kernel(damped, right)
        trial = values + step
        new = np.inf
        if trial[2] > 0.2 * width and trial[2] < 5 * width and abs(trial[1] - x) <= half:
            new = _sum_kernel(flux, error, x, half, trial, trial_normal, trial_right)
        if new <= chi2:
            settled = abs(step[1]) < 1e-5 and abs(step[2]) < 1e-4 * width
            chi2, damping, values = new, damping / 10, trial
            normal[:], right[:] = trial_normal, trial_right
            if settled:
                break
        else:
            damping *= 10
            if damping > 1e10:
                break
    unit = np.array([0.0, 1.0, 0.0, 0.0])
    variance = _solve_kernel(normal, unit)[1] * max(1.0, chi2 / (2 * half - 3))
    out[0], out[1], out[2], out[3], out[4] = values[1], np.sqrt(variance), values[0], values[2], chi2
    return settled and abs(values[1] - x) <= 1.0 + 0.5 * width


@njit(**FLAGS)
def _is_usable_kernel(dq, flux, x, half):
    """Return whether nothing around a column is saturated, its core is usable, and most of the rest."""
    n = 0
    for i in range(x - half, x + half + 1):
        good = np.isfinite(flux[i])
        if dq[i] & SATURATED or (not good and 2 * abs(i - x) <= half):
            return False
        n += good
    return n >= LEAST_USABLE * (2 * half + 1)


@njit(**FLAGS)
def _count_saturated_kernel(dq, half):
    """Return how many runs of saturated columns there are, those near each other one."""
    n, last = 0, -dq.size
    for x in range(dq.size):
        if dq[x] & SATURATED:
            n += x - last > half
            last = x
    return n


@njit(parallel=True, nogil=True, **FLAGS)
def _find_lines_kernel(flux, error, dq, options, found, count):
    """Fill the lines of every spectrum, and count those found and those saturated."""
    half, width, least_sigma = options
    n_column = flux.shape[1]
    for spectrum in prange(flux.shape[0]):
        own, sigma, out, n = flux[spectrum].copy(), error[spectrum], np.empty(5), 0
        for x in range(n_column):
            if dq[spectrum, x] & DEAD or not sigma[x] > 0:
                own[x] = np.nan
        for x in range(half, n_column - half):
            if (
                _is_usable_kernel(dq[spectrum], own, x, half)
                and n < found.shape[1]
                and _is_peak_kernel(own, sigma, x, half, least_sigma)
            ):
                settled = _fit_line_kernel(own, sigma, x, half, width, out)
                if settled and out[2] > 0 and WIDTHS[0] * width < out[3] < WIDTHS[1] * width:
                    found[spectrum, n] = out
                    n += 1
        count[spectrum, 0] = n
        count[spectrum, 1] = _count_saturated_kernel(dq[spectrum], half)
