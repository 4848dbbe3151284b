"""Pictures of a cube: the light of its brightest emission line, and its colours.

A line is looked for in the sum of all spaxels over their continua, each a running median, so that what all share
counts; its bins are those around the peak that hold half of it and more, and one more at both ends.
"""

import warnings
from typing import NamedTuple

import numpy as np

from drs.image import Image

CONTINUUM_BINS = 31  # over which the continuum is the median; a line holds less than half of them
HALF = 0.5
LEAST_SIGMA = 10.0  # of a line in the sum of the field
N_COLOUR = 3


class Line(NamedTuple):
    """An emission line: its `image` (sum over the continuum) and the range of bins `first` to `last`."""

    image: Image
    first: int
    last: int


def find_line(rate, error, dq, *, correlation=1.0):
    """Return the brightest emission Line of a cube; None where none stands out.

    Parameters
    ----------
    rate, error : ndarray, float32, (bin, y, x)
        Less the sky.
    dq : ndarray, uint32, (bin, y, x)
    correlation : float, optional
        Noise of a sum over many bins over the root of the sum of their variances.
    """
    usable = ~Image(rate, error, dq).unusable
    excess = np.where(usable, rate - find_continua(np.where(usable, rate, np.nan)), 0.0)
    excess = np.where(np.isfinite(excess), excess, 0.0)
    variance = np.where(usable, error, 0).astype(np.float64) ** 2
    total, sigma = excess.sum(axis=(1, 2), dtype=float), np.sqrt(variance.sum(axis=(1, 2)))
    significance = np.divide(total, sigma, out=np.zeros(total.shape), where=sigma > 0)
    if not significance.size or significance.max() < LEAST_SIGMA:
        return None
    peak = int(np.argmax(significance))
    first = last = peak
    while first > 0 and total[first - 1] > HALF * total[peak]:
        first -= 1
    while last < total.size - 1 and total[last + 1] > HALF * total[peak]:
        last += 1
    first, last = max(first - 1, 0), min(last + 1, total.size - 1)
    bins = slice(first, last + 1)
    bad = ~usable[bins].all(axis=0)
    values = np.where(bad, np.nan, excess[bins].sum(axis=0))
    noise = np.where(bad, np.nan, correlation * np.sqrt(variance[bins].sum(axis=0)))
    return Line(Image(values.astype(np.float32), noise.astype(np.float32), bad.astype(np.uint32)), first, last)


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
