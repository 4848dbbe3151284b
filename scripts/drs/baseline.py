"""The continuum below the lines of a spectrum, also where the lines leave few bins between them."""

import numpy as np
from scipy import ndimage
from scipy.linalg import solveh_banded

LINE_SIGMA = 2.0  # above the curve: a bin counts half
OUTLIER_SIGMA = 5.0  # below the curve: a bin counts ever less
LIKENESS = 0.005  # part of the continuum by which bins may differ from a smooth curve
NEIGHBOURS = 5
MOST_TURNS = 100
SETTLED = 1e-4  # of the weights


def fit_baseline(values, error, *, period):
    """Return the smooth curve (bin), float64, that a spectrum has without its emission lines.

    Penalised least squares, in which a bin counts the less the more it is above the curve, as in Baek et al. (2015,
    Analyst 140, 250); there what is below the curve tells its noise, which holds lines too where no bin is free of
    their wings. Here the noise is known.

    Parameters
    ----------
    values, error : ndarray, float, (bin)
        And its noise; not finite where unknown.
    period : float
        In bins: a wave of this length keeps half its height in the curve.
    """
    usable = np.isfinite(values) & np.isfinite(error)
    n = values.size
    if n < 3 or not usable.any():
        return np.full(n, values[usable].mean() if usable.any() else 0.0)
    data, penalty = np.where(usable, values, 0).astype(np.float64), _make_penalty(n) * (period / (2 * np.pi)) ** 4
    weight = usable.astype(np.float64)
    curve = _smooth(_drop_single(values, usable), np.ones(n), penalty)  # of which a bad bin is no part
    for _ in range(MOST_TURNS):
        sigma = np.hypot(np.where(usable, error, 1), LIKENESS * curve)
        away = np.clip((data - curve) / np.maximum(sigma, 1e-12 * (np.abs(data).max() + 1e-300)), -1e6, 1e6)
        new = usable / (1 + np.exp(np.clip(2 * (away - LINE_SIGMA), None, 50)))
        new *= np.minimum(1, OUTLIER_SIGMA / np.maximum(-away, OUTLIER_SIGMA))
        moved, weight = np.linalg.norm(new - weight), new
        curve = _smooth(data, weight, penalty)
        if moved <= SETTLED * np.linalg.norm(new):
            break
    return curve


def _drop_single(values, usable):
    """Return the median of each value and its neighbours, interpolated where they are not usable."""
    place = np.flatnonzero(usable)
    return np.interp(np.arange(values.size), place, ndimage.median_filter(values[place].astype(np.float64), NEIGHBOURS))


def _make_penalty(n):
    """Return the sum of squared second differences as a matrix: diagonals, outermost first, (3, n)."""
    second = np.zeros((n - 2, n))
    penalty = np.zeros((3, n))
    for row, factor in zip((0, 1, 2), (1.0, -2.0, 1.0), strict=True):
        second[np.arange(n - 2), np.arange(n - 2) + row] = factor
    for off in range(3):
        penalty[2 - off, off:] = np.einsum("ri,ri->i", second[:, : n - off], second[:, off:])
    return penalty


def _smooth(data, weight, penalty):
    """Return the smooth curve through weighted data."""
    bands = penalty.copy()
    bands[2] += weight
    return solveh_banded(bands, weight * data)
