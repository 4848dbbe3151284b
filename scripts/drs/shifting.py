"""Frames moved by parts of a pixel: what a spectrograph that bends has moved against another exposure is moved back.

A line of the sky is two pixels wide, which samples it just well enough for an interpolation that keeps all that the
pixels hold: a windowed sinc (Lanczos; Duchon 1979, J. Appl. Meteor. 18, 1016). Neighbouring pixels then share noise by
no more than the part of a pixel that they were moved.
"""

import numpy as np
from numba import njit, prange

from drs.dq import Flag

LOBES = 6
LEAST_WEIGHT = 0.1  # of a pixel whose flags count
FLAGS = {"cache": True, "error_model": "numpy"}


def shift_frame(rate, error, dq, rows, columns):
    """Return (rate, error, dq) of a frame whose light is moved up by `rows` and right by `columns`.

    Parameters
    ----------
    rate, error : ndarray, float32, (ny, nx)
        Not finite where not usable.
    dq : ndarray, uint32, (ny, nx)
    rows, columns : float
        Pixels.

    Returns
    -------
    tuple of ndarray
        float32, float32, uint32. A pixel to which one that is not usable gives a tenth or more has DO_NOT_USE; farther
        ones are made up for by their neighbours in the row. At the edges the last pixel is taken to go on.
    """
    unusable = (dq & np.uint32(Flag.DO_NOT_USE) != 0) | ~np.isfinite(rate) | ~np.isfinite(error)
    flags = np.where(unusable, dq | np.uint32(Flag.DO_NOT_USE), dq).astype(np.uint32)
    values = _fill_kernel(np.where(unusable, 0, rate).astype(np.float64), unusable)
    planes = values, np.where(unusable, 0, error).astype(np.float64) ** 2, flags
    for moved in (columns, rows):
        whole = int(np.floor(moved + 0.5))
        turned = tuple(np.ascontiguousarray(plane.T) for plane in planes)  # twice: columns, then rows
        planes = _shift_kernel(*turned, whole, find_weights(moved - whole))
    rate, variance, flags = planes
    dead = flags & np.uint32(Flag.DO_NOT_USE) != 0
    rate, sigma = (np.where(dead, np.nan, plane).astype(np.float32) for plane in (rate, np.sqrt(variance)))
    return rate, sigma, flags


def find_weights(part):
    """Return the weights (2 LOBES + 1), of sum 1, of the pixels around one that is moved by part of a pixel."""
    away = np.arange(-LOBES, LOBES + 1) + part
    weights = np.where(np.abs(away) < LOBES, np.sinc(away) * np.sinc(away / LOBES), 0.0)
    return weights / weights.sum()


@njit(**FLAGS)
def _fill_kernel(values, unusable):
    """Return values whose unusable ones lie on the line between the next usable ones of the row; 0 without any."""
    filled = values.copy()
    ny, nx = values.shape
    for y in range(ny):
        last = -1
        for x in range(nx):
            if unusable[y, x]:
                continue
            for k in range(last + 1, x):
                before = values[y, last] if last >= 0 else values[y, x]
                part = (k - last) / (x - last) if last >= 0 else 1.0
                filled[y, k] = before + part * (values[y, x] - before)
            last = x
        for k in range(last + 1, nx):
            filled[y, k] = values[y, last] if last >= 0 else 0.0
    return filled


@njit(parallel=True, nogil=True, **FLAGS)
def _shift_kernel(values, variance, flags, whole, weights):
    """Return planes (n, m) moved along their first axis."""
    n, m = values.shape
    moved, noise, joined = np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m), np.uint32)
    half = weights.size // 2
    for i in prange(n):
        for k in range(weights.size):
            source = min(max(i - whole + k - half, 0), n - 1)
            weight = weights[k]
            for j in range(m):
                moved[i, j] += weight * values[source, j]
                noise[i, j] += weight * weight * variance[source, j]
                if abs(weight) >= LEAST_WEIGHT:
                    joined[i, j] |= flags[source, j]
    return moved, noise, joined
