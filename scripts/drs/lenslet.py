"""Spectra of a lenslet spectrograph: all spectra of a detector column at once, by chi-square.

The light of lenslet l in column x, f_l, falls on the rows y of the detector as P_l(y), its profile in the rectification
matrix. Neighbouring spectra overlap, so the fluxes of all lenslets that reach a column are fitted together,
    minimise sum_y w(y) [d(y) - sum_l P_l(y) f_l]^2,    w = 1 / variance, 0 where a pixel is not usable,           (1)
as in CHARIS (Brandt et al. 2017, JATIS 3, 048002, section 6): cross-talk is part of the model. A spectrum overlaps only
a few others, so the normal equations A f = b are banded and take a time that grows as the number of spectra. Their
inverse is the covariance; its diagonal comes from the band of the Cholesky factor alone (Takahashi, Fagan & Chen 1973;
Erisman & Tinney 1975, Comm. ACM 18, 177).

OSIRIS solves the same equations by Gauss-Seidel iterations (Krabbe et al. 2004, SPIE 5492, 1403); a set number of them
is the `online` alternative. Nothing is interpolated here, and no pixel of the frame is changed.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from scipy import ndimage

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import weigh

FLAGS = {"cache": True, "error_model": "numpy"}
LEAST_SHARE = 1e-3  # of a profile's own information that its neighbours and bad pixels may leave
NEGATIVE_TURNS = 200  # iterations of a non-negative solution, at most
TOLERANCE = 1e-4  # sigma, of the last one of them
MOST_SHIFTS = 6
DEAD = np.uint32(Flag.DO_NOT_USE)


class Matrix(NamedTuple):
    """A rectification matrix.

    `profile` float32 (lenslet, column, row): the part of a lenslet's light in each pixel of its trace; its sum over
    the rows is the throughput of the lenslet. `first_row`, `first_column` int64 (lenslet): of the trace on the
    detector, counted from 0. The lenslets are in the order of a flattened (ny, nx) array.
    """

    profile: np.ndarray
    first_row: np.ndarray
    first_column: np.ndarray


class Spectra(NamedTuple):
    """Extracted spectra (lenslet, column): `flux` and `error` float32 in the frame's unit per column, `dq` uint32."""

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray


def make_matrix(rectmat, offsets):
    """Return the Matrix of the arrays of a RectificationModel.

    Parameters
    ----------
    rectmat : ndarray, float32, (n_row, n_column, ny, nx)
        NaN or 0 where there is no light.
    offsets : ndarray, int, (2, ny, nx)
        First row and first column of each trace.

    Raises
    ------
    ReductionError
        Shapes that do not fit each other; negative light.
    """
    if rectmat.ndim != 4 or offsets.shape != (2, *rectmat.shape[2:]):
        raise ReductionError(f"rectification matrix {rectmat.shape} and offsets {offsets.shape} do not fit each other")
    profile = np.ascontiguousarray(rectmat.reshape(*rectmat.shape[:2], -1).transpose(2, 1, 0), np.float32)
    profile = np.nan_to_num(profile, copy=False)
    if profile.size and profile.min() < 0:
        raise ReductionError(f"the rectification matrix has light of {profile.min():.3g}, expected 0 or more")
    first_row, first_column = offsets.reshape(2, -1).astype(np.int64)
    return Matrix(profile, first_row, first_column)


def extract_spectra(rate, error, dq, matrix, *, iterations=0, nonnegative=False):
    """Return the spectra of all lenslets of a frame.

    Parameters
    ----------
    rate, error : ndarray, float32, (ny, nx)
        The frame and its noise, one unit; not finite where not usable.
    dq : ndarray, uint32, (ny, nx)
        Pixels with DO_NOT_USE are left out; the other flags go to the spectra that the pixels are part of.
    matrix : Matrix
    iterations : int, optional
        0 solves eq. (1); more is so many Gauss-Seidel iterations, whose errors are those of the full solution.
    nonnegative : bool, optional
        Take the best fluxes that are not negative.

    Returns
    -------
    Spectra
        A sample of which the neighbours or bad pixels leave no information is NaN, DO_NOT_USE.

    Raises
    ------
    ReductionError
        No trace of the matrix is on the frame.
    """
    if rate.shape != error.shape or rate.shape != dq.shape:
        raise ValueError(f"rate {rate.shape}, error {error.shape} and dq {dq.shape} do not fit each other")
    usable, weight = weigh(rate, error, dq)
    weight = weight.astype(np.float32)
    data = np.where(usable, rate, 0).astype(np.float32)
    _check_on_frame(matrix, rate.shape)
    size = matrix.profile.shape[:2]
    flux, sigma = np.full(size, np.nan, np.float32), np.full(size, np.nan, np.float32)
    flags = np.full(size, DEAD, np.uint32)
    order = np.lexsort((np.arange(size[0]), matrix.first_row))
    options = int(iterations), bool(nonnegative)
    _extract_columns_kernel((data, weight, dq), tuple(matrix), order, options, (flux, sigma, flags))
    return Spectra(flux, sigma, flags)


def model_frame(flux, matrix, shape):
    """Return the frame (float32, `shape`) of fluxes (lenslet, column); those that are not finite make no light."""
    frame = np.zeros(shape, np.float32)
    order = np.lexsort((np.arange(len(flux)), matrix.first_row))
    _model_columns_kernel(np.nan_to_num(flux, posinf=0, neginf=0), *matrix, order, frame)
    return frame


def shift_matrix(matrix, rows):
    """Return the matrix with its profiles moved by a part of a pixel towards higher rows, their light kept.

    Parameters
    ----------
    matrix : Matrix
    rows : float
        -1 to 1; interpolation with quintic splines (Unser 1999, IEEE Signal Proc. Mag. 16, 22).
    """
    if not -1 <= rows <= 1:
        raise ReductionError(f"a shift of {rows:.3g} rows is asked for, at most 1 is possible: check the matrix")
    n_row = matrix.profile.shape[2]
    step = ndimage.shift(np.eye(n_row), (0, rows), order=5, mode="constant")
    moved = matrix.profile @ step.astype(np.float32)
    before, after = (values.sum(axis=2, keepdims=True) for values in (matrix.profile, moved))
    moved *= np.divide(before, after, out=np.zeros_like(before), where=after > 0)
    return matrix._replace(profile=moved)


def measure_shift(rate, error, dq, matrix, *, column_step=1):
    """Return how far a frame is from the matrix along the rows: (pixels, their error).

    The frame is fitted with the matrix and, linearly, with the change of its model by a shift, from which all that
    other fluxes explain has been taken out (variable projection: Golub & Pereyra 1973, SIAM JNA 10, 413); again from
    there, until the change is below its error.

    Parameters
    ----------
    rate, error, dq, matrix
        As in `extract_spectra`.
    column_step : int, optional
        Take every so many columns of the frame.

    Raises
    ------
    ReductionError
        A frame without light to measure it by; a shift of more than a pixel.
    """
    rate, error, dq = (np.ascontiguousarray(array[:, ::column_step]) for array in (rate, error, dq))
    matrix, total = _thin_columns(matrix, column_step), 0.0
    for _ in range(MOST_SHIFTS):
        change, sigma = _measure_change(rate, error, dq, shift_matrix(matrix, total))
        total += change
        if abs(change) < sigma:
            break
    return total, sigma


def _thin_columns(matrix, step):
    """Return the matrix of a frame of which every `step`-th column was taken, from the first on."""
    if step == 1:
        return matrix
    first = -(-matrix.first_column // step)
    taken = (first * step - matrix.first_column)[:, np.newaxis] + step * np.arange(-(-matrix.profile.shape[1] // step))
    known = taken < matrix.profile.shape[1]
    profile = np.take_along_axis(matrix.profile, np.where(known, taken, 0)[:, :, np.newaxis], axis=1)
    return Matrix(np.where(known[:, :, np.newaxis], profile, 0), matrix.first_row, first)


def _measure_change(rate, error, dq, matrix):
    """Return one step of `measure_shift`: (pixels, their error)."""
    usable, weight = weigh(rate, error, dq)
    spectra = extract_spectra(rate, error, dq, matrix)
    derivative = np.zeros_like(matrix.profile)
    derivative[:, :, 1:-1] = (matrix.profile[:, :, :-2] - matrix.profile[:, :, 2:]) / 2
    change = model_frame(spectra.flux, matrix._replace(profile=derivative), rate.shape)
    explained = extract_spectra(change, error, dq, matrix).flux
    change -= model_frame(explained, matrix, rate.shape)
    residual = np.where(usable, rate, 0) - model_frame(spectra.flux, matrix, rate.shape)
    information = float((weight * change.astype(float) ** 2).sum())
    if not information > 0:
        raise ReductionError("no light to measure the shift between frame and matrix by: set it, or take another frame")
    return float((weight * residual * change).sum()) / information, information**-0.5


def _check_on_frame(matrix, shape):
    """Refuse a matrix of which no trace is on the frame."""
    _, n_column, n_row = matrix.profile.shape
    rows = (matrix.first_row + n_row > 0) & (matrix.first_row < shape[0])
    columns = (matrix.first_column + n_column > 0) & (matrix.first_column < shape[1])
    if not (rows & columns).any():
        raise ReductionError(f"no trace of the rectification matrix is on the frame {shape}: take that of its mode")


@njit(**FLAGS)
def _list_spectra_kernel(x, first_column, order, n_column, found):
    """Write the lenslets that reach a column, in the order of their rows; return how many."""
    n = 0
    for lenslet in order:
        if 0 <= x - first_column[lenslet] < n_column:
            found[n] = lenslet
            n += 1
    return n


@njit(**FLAGS)
def _count_band_kernel(members, first_row, n_row):
    """Return with how many that follow a spectrum overlaps at most."""
    band = 0
    for i in range(members.size):
        j = i + 1
        while j < members.size and first_row[members[j]] < first_row[members[i]] + n_row:
            j += 1
        band = max(band, j - i - 1)
    return band


@njit(**FLAGS)
def _add_normal_kernel(x, planes, matrix, members, normal, right, flags):
    """Write the normal equations of a column: normal[i, b] = sum w P_i P_i+b, right[i] = sum w P_i d; and flags."""
    (data, weight, dq), (profile, first_row, first_column) = planes, matrix
    n_row, ny = profile.shape[2], data.shape[0]
    for i in range(members.size):
        own = members[i]
        k, y0 = x - first_column[own], first_row[own]
        start, stop = max(0, -y0), min(n_row, ny - y0)
        for b in range(min(normal.shape[1], members.size - i)):
            other = members[i + b]
            k_other, apart = x - first_column[other], first_row[other] - y0
            total = 0.0
            for row in range(max(start, apart), stop):
                light = profile[own, k, row] * profile[other, k_other, row - apart]
                total += np.float64(weight[y0 + row, x]) * light
            normal[i, b] = total
        total, joined = 0.0, np.uint32(0)
        for row in range(start, stop):
            light = profile[own, k, row]
            total += np.float64(weight[y0 + row, x]) * light * data[y0 + row, x]
            if light > 0:
                joined |= dq[y0 + row, x]
        right[i], flags[i] = total, joined


@njit(**FLAGS)
def _factorise_kernel(normal, factor, pivot, known):
    """Factorise L D L^T of the band; a spectrum that the others leave too little of is not known: it takes no part."""
    n, width = normal.shape
    for i in range(n):
        d = normal[i, 0]
        for b in range(1, min(width, i + 1)):
            d -= factor[i - b, b] ** 2 * pivot[i - b]
        known[i] = normal[i, 0] > 0 and d > LEAST_SHARE * normal[i, 0]
        pivot[i] = d if known[i] else 1.0
        for b in range(1, width):
            factor[i, b] = 0.0
            if i + b < n and known[i]:
                value = normal[i, b]
                for c in range(1, min(width - b, i + 1)):
                    value -= factor[i - c, c] * factor[i - c, b + c] * pivot[i - c]
                factor[i, b] = value / pivot[i]
        if not known[i]:
            for b in range(1, min(width, i + 1)):
                factor[i - b, b] = 0.0


@njit(**FLAGS)
def _solve_kernel(factor, pivot, known, right, flux):
    """Solve L D L^T f = b."""
    n, width = factor.shape
    for i in range(n):
        value = right[i] if known[i] else 0.0
        for b in range(1, min(width, i + 1)):
            value -= factor[i - b, b] * flux[i - b]
        flux[i] = value
    for i in range(n - 1, -1, -1):
        value = flux[i] / pivot[i]
        for b in range(1, min(width, n - i)):
            value -= factor[i, b] * flux[i + b]
        flux[i] = value


@njit(**FLAGS)
def _invert_kernel(factor, pivot, inverse):
    """Write the band of the inverse, inverse[i, b] = (A^-1)_i,i+b, from the last spectrum to the first."""
    n, width = factor.shape
    for i in range(n - 1, -1, -1):
        for b in range(min(width, n - i) - 1, -1, -1):
            value = 1 / pivot[i] if b == 0 else 0.0
            for c in range(1, min(width, n - i)):
                low, apart = min(i + b, i + c), abs(b - c)
                value -= factor[i, c] * (inverse[low, apart] if apart < width else 0.0)
            inverse[i, b] = value


@njit(**FLAGS)
def _relax_kernel(normal, known, right, turns, positive, flux):
    """Improve fluxes by Gauss-Seidel iterations, those below zero set to it where `positive`."""
    n, width = normal.shape
    for _ in range(turns):
        largest = 0.0
        for i in range(n):
            if known[i]:
                value = right[i]
                for b in range(1, min(width, n - i)):
                    value -= normal[i, b] * flux[i + b]
                for b in range(1, min(width, i + 1)):
                    value -= normal[i - b, b] * flux[i - b]
                value /= normal[i, 0]
                value = max(value, 0.0) if positive else value
                largest = max(largest, abs(value - flux[i]) * np.sqrt(normal[i, 0]))
                flux[i] = value
        if positive and largest < TOLERANCE:
            return


@njit(parallel=True, nogil=True, **FLAGS)
def _extract_columns_kernel(planes, matrix, order, options, result):
    """Extract the spectra of every column of the frame."""
    (data, weight, dq), (flux, sigma, flags) = planes, result
    profile, first_row, first_column = matrix
    iterations, nonnegative = options
    n_lenslet, n_column, n_row = profile.shape
    for x in prange(data.shape[1]):
        found = np.empty(n_lenslet, np.int64)
        n = _list_spectra_kernel(x, first_column, order, n_column, found)
        members = found[:n]
        width = _count_band_kernel(members, first_row, n_row) + 1
        normal, right, joined = np.empty((n, width)), np.empty(n), np.zeros(n, np.uint32)
        normal[:] = 0
        _add_normal_kernel(x, (data, weight, dq), (profile, first_row, first_column), members, normal, right, joined)
        factor, pivot, known = np.zeros((n, width)), np.empty(n), np.empty(n, np.bool_)
        _factorise_kernel(normal, factor, pivot, known)
        inverse, solution = np.zeros((n, width)), np.zeros(n)
        _invert_kernel(factor, pivot, inverse)
        if iterations > 0:
            _relax_kernel(normal, known, right, iterations, nonnegative, solution)
        else:
            _solve_kernel(factor, pivot, known, right, solution)
            if nonnegative:
                solution = np.maximum(solution, 0.0)
                _relax_kernel(normal, known, right, NEGATIVE_TURNS, True, solution)
        for i in range(n):
            if known[i]:
                lenslet, k = members[i], x - first_column[members[i]]
                flux[lenslet, k], sigma[lenslet, k] = solution[i], np.sqrt(inverse[i, 0])
                flags[lenslet, k] = joined[i] & ~DEAD


@njit(parallel=True, nogil=True, **FLAGS)
def _model_columns_kernel(flux, profile, first_row, first_column, order, frame):
    """Add the light of all spectra to every column of the frame."""
    n_column, n_row = profile.shape[1:]
    ny, nx = frame.shape
    for x in prange(nx):
        total = np.zeros(ny)
        for lenslet in order:
            k, y0 = x - first_column[lenslet], first_row[lenslet]
            if 0 <= k < n_column:
                for row in range(max(0, -y0), min(n_row, ny - y0)):
                    total[y0 + row] += np.float64(flux[lenslet, k]) * profile[lenslet, k, row]
        for y in range(ny):
            frame[y, x] = total[y]
