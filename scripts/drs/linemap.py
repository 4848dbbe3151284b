"""Pictures of a cube: the light of its brightest emission lines, and its colours.

Lines are looked for in the sum of all spaxels over their continua, each a running median, so that what all share
counts; the bins of a line are those around the peak that hold half of it and more, and one more at both ends.
"""

import warnings
from typing import NamedTuple

import numpy as np

from drs.image import Image

CONTINUUM_BINS = 31  # over which the continuum is the median; a line holds less than half of them
HALF = 0.5
MOST_LINES = 3
LEAST_SIGMA = 10.0  # of a line in the sum of the field
FEET_SIGMA = 3.0  # down to which a line falls at both sides: what is between is no other line
N_COLOUR = 3


class Line(NamedTuple):
    """An emission line: its `image` (sum over the continuum) and the range of bins `first` to `last`."""

    image: Image
    first: int
    last: int


def find_lines(rate, error, dq, *, most=MOST_LINES, correlation=1.0):
    """Return the brightest emission Lines of a cube, the most significant first; none where none stands out.

    Parameters
    ----------
    rate, error : ndarray, float32, (bin, y, x)
        Less the sky.
    dq : ndarray, uint32, (bin, y, x)
    most : int, optional
        Lines at most.
    correlation : float, optional
        Noise of a sum over many bins over the root of the sum of their variances.
    """
    usable = ~Image(rate, error, dq).unusable
    excess = np.where(usable, rate - find_continua(np.where(usable, rate, np.nan)), 0.0)
    excess = np.where(np.isfinite(excess), excess, 0.0)
    variance = np.where(usable, error, 0).astype(np.float64) ** 2
    total, sigma = excess.sum(axis=(1, 2), dtype=float), np.sqrt(variance.sum(axis=(1, 2)))
    significance = np.divide(total, sigma, out=np.zeros(total.shape), where=sigma > 0)
    lines, free = [], np.ones(total.size, bool)
    while len(lines) < most and (free & (significance >= LEAST_SIGMA)).any():
        peak = int(np.argmax(np.where(free, significance, -np.inf)))
        first, last = _walk_down(total, peak, lambda place, _, high=total[peak]: total[place] > HALF * high)
        first, last = max(first - 1, 0), min(last + 1, total.size - 1)
        lines.append(_sum_bins(excess, variance, usable, (first, last), correlation))
        foot = _walk_down(total, peak, lambda k, before: total[k] < total[before] and significance[k] > FEET_SIGMA)
        free[min(first, foot[0]) : max(last, foot[1]) + 1] = False
    return lines


def _walk_down(total, peak, goes_on):
    """Return the first and the last bin of a run about a peak that goes on while a bin and the one before it say so."""
    ends = []
    for step, end in ((-1, 0), (1, total.size - 1)):
        place = peak
        while place != end and goes_on(place + step, place):
            place += step
        ends.append(place)
    return tuple(ends)


def _sum_bins(excess, variance, usable, ends, correlation):
    """Return the Line of the bins from the first to the last."""
    bins = slice(ends[0], ends[1] + 1)
    bad = ~usable[bins].all(axis=0)
    values = np.where(bad, np.nan, excess[bins].sum(axis=0))
    noise = np.where(bad, np.nan, correlation * np.sqrt(variance[bins].sum(axis=0)))
    return Line(Image(values.astype(np.float32), noise.astype(np.float32), bad.astype(np.uint32)), *ends)


def find_continua(values):
    """Return the running median (bin, y, x) of the spectra of a cube; NaN is unknown."""
    half = min(CONTINUUM_BINS, len(values)) // 2
    continua = np.empty(values.shape, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of spaxels without a value
        for k in range(len(values)):
            continua[k] = np.nanmedian(values[max(k - half, 0) : k + half + 1], axis=0)
    return continua


def split_colours(rate, error, dq):
    """Return the mean images (3, y, x), float64, of the last, middle and first third of a cube's bins, and their gaps.

    Red is the longest; gaps (y, x), bool, have no value in one of them.
    """
    usable = ~Image(rate, error, dq).unusable
    images, gaps = [], np.zeros(rate.shape[1:], bool)
    for bins in np.array_split(np.arange(len(rate)), N_COLOUR)[::-1]:
        n = usable[bins].sum(axis=0)
        images.append(np.where(usable[bins], rate[bins], 0).sum(axis=0, dtype=float) / np.maximum(n, 1))
        gaps |= n == 0
    return np.stack(images), gaps
