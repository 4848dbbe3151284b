"""The sky of a dithered exposure from the exposures before and after it, objects masked: a running median.

The iterative sky of Clement et al. 2012 (A&A 538, A66): the median of the other dithers, each brought to one level,
with the objects of all of them masked. Where all are masked a smooth surface through the rest stands in.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.errors import ReductionError

CLIP_SIGMA = 5.0
N_CLIP = 5
MINIMUM_LEVEL_SIGMA = 10.0
MINIMUM_FREE = 0.05  # of the pixels of a frame: with less its level hangs on the wings of what is masked
BLOCK_PIX = 16
SURFACE_ORDER = 2
# n times the variance of the median of n normal numbers, n = 1 ... 16, by integration of order statistics;
# pi / 2 (1 - a / n) beyond, with a = 0.43 for odd n and 1.27 for even n, good to 0.1 %
MEDIAN_FACTORS = np.array([1.0, 1.0, 1.34601, 1.1928, 1.43417, 1.28846, 1.47313, 1.34545, 1.49491, 1.38326])
MEDIAN_FACTORS = np.append(MEDIAN_FACTORS, [1.50879, 1.41019, 1.51839, 1.43035, 1.52542, 1.446])


class Level(NamedTuple):
    """Level of the sky of a frame and its error, e-/s."""

    value: float
    error: float


def measure_level(frame, *, name="the frame"):
    """Return the mean of the pixels of a frame that are free of objects and flags, outliers clipped.

    Parameters
    ----------
    frame : ndarray, float32, (ny, nx)
        e-/s, NaN where there is an object or no value.
    name : str, optional
        For the message.
    """
    pixels = frame[np.isfinite(frame)].astype(np.float64)
    if pixels.size < MINIMUM_FREE * frame.size:
        raise ReductionError(
            f"{name}: objects and flags leave {pixels.size / frame.size:.1%} of the pixels to the sky, at least "
            f"{MINIMUM_FREE:.0%} needed; take dedicated sky exposures, or choose sky: median"
        )
    for _ in range(N_CLIP):
        centre, width = np.median(pixels), pixels.std()
        kept = np.abs(pixels - centre) <= CLIP_SIGMA * width
        if kept.all():
            break
        pixels = pixels[kept]
    return Level(float(pixels.mean()), max(float(pixels.std() / np.sqrt(pixels.size)), 1e-30))


def choose_neighbours(places, times, index, *, n_frame, least_offset_pix):
    """Return the exposures nearest in time to one of a set whose pointing differs enough, nearest first.

    An exposure with the same pointing has its objects on the same pixels: what is too faint to be masked would be
    subtracted from itself.

    Parameters
    ----------
    places : ndarray, (n, 2)
        Pointings in pixels.
    times : ndarray, (n,)
        Starts, any unit.
    index : int
        The exposure whose sky is sought.
    n_frame : int
        Largest number of exposures returned.
    least_offset_pix : float
    """
    offset = np.hypot(*(np.asarray(places) - places[index]).T)
    fitting = np.flatnonzero(offset >= least_offset_pix)
    fitting = fitting[fitting != index]
    order = np.argsort(np.abs(np.asarray(times)[fitting] - times[index]), kind="stable")
    return fitting[order][:n_frame].tolist()


def make_running_sky(frame, others, variances, *, minimum):
    """Return the sky of a frame from other frames: (value, variance, where a surface stands in).

    Parameters
    ----------
    frame : ndarray, float32, (ny, nx)
        e-/s, NaN where there is an object or no value.
    others : list of ndarray, float32, (ny, nx)
        The same of the other frames.
    variances : list of ndarray, float32, (ny, nx)
        Of the other frames, (e-/s)^2.
    minimum : int
        Frames that a pixel needs for a median.

    Returns
    -------
    sky, variance : ndarray, float32, (ny, nx)
    is_filled : ndarray, bool, (ny, nx)
    """
    if len(others) < minimum:
        raise ReductionError(
            f"{len(others)} exposures of other dithers, at least {minimum} needed for the sky: choose sky: median"
        )
    level = measure_level(frame)
    scaled, total = np.empty((len(others), *frame.shape), np.float32), np.zeros(frame.shape, np.float32)
    for k, (other, variance) in enumerate(zip(others, variances, strict=True)):
        scale, offset = match_level(level, measure_level(other, name=f"neighbour {k + 1}"))
        scaled[k] = other * np.float32(scale) + np.float32(offset)
        total += np.where(np.isfinite(other), variance * np.float32(scale**2), np.float32(0))
    sky, count = _median_kernel(scaled)
    is_filled = count < minimum
    variance = total / np.maximum(count, 1) * median_factors(len(others))[np.maximum(count, 1)]
    sky = np.where(is_filled, np.nan, sky)
    surface = fit_surface(sky)
    # what a smooth surface misses: the scatter about it less the noise of the median
    missed = max(np.var((sky - surface)[~is_filled], dtype=np.float64) - np.mean(variance[~is_filled]), 0.0)
    sky = np.where(is_filled, surface, sky)
    # the median of few skewed numbers is not their mean: the level of the result is that of the frame
    left = measure_level(frame - sky)
    scale, offset = match_level(level, Level(level.value - left.value, level.error))
    variance = np.where(is_filled, missed, variance * scale**2) + left.error**2
    return (sky * scale + offset).astype(np.float32), variance.astype(np.float32), is_filled


def match_level(level, other):
    """Return (scale, offset) that bring one sky to the level of another.

    Scaled where both are known to a tenth or better, else shifted: a ratio of noisy levels is worse than none.
    """
    if min(level.value / level.error, other.value / other.error) < MINIMUM_LEVEL_SIGMA:
        return 1.0, level.value - other.value
    return level.value / other.value, 0.0


def median_factors(n):
    """Return variance of the median of k = 0 ... n normal numbers over that of one (inf for 0)."""
    k = np.arange(1, n + 1)
    beyond = np.pi / 2 * (1 - np.where(k % 2, 0.43, 1.27) / k)
    factors = np.concatenate([MEDIAN_FACTORS, beyond[MEDIAN_FACTORS.size :]])[:n] / k
    return np.concatenate([[np.inf], factors]).astype(np.float32)


def fit_surface(sky):
    """Return a polynomial surface of second order through a sky, (ny, nx), by medians of blocks.

    Parameters
    ----------
    sky : ndarray, float32, (ny, nx)
        NaN where there is none.
    """
    shape = sky.shape
    steps = [max(1, min(BLOCK_PIX, size // (2 * SURFACE_ORDER + 1))) for size in shape]
    ny, nx = (size // step for size, step in zip(shape, steps, strict=True))
    cut = slice(ny * steps[0]), slice(nx * steps[1])

    def split(image):
        return image[cut].reshape(ny, steps[0], nx, steps[1]).swapaxes(1, 2).reshape(ny, nx, -1)

    blocks, free = split(sky), split(np.isfinite(sky))
    number = free.sum(axis=2)
    used = number >= blocks.shape[2] // 4
    if not used.any():
        raise ReductionError("no part of the sky is free of objects: take dedicated sky exposures")
    medians = np.nanmedian(blocks[used], axis=1)
    # a block that is masked in part stands for the middle of what is left
    rows, columns = ((split(index) * free).sum(axis=2)[used] / number[used] for index in np.indices(shape))
    terms = _surface_terms(rows, columns, shape)
    if len(medians) < 2 * terms.shape[1]:
        return np.full(shape, np.median(medians), np.float32)
    weight = np.sqrt(number[used])
    coefficients, *_ = np.linalg.lstsq(terms * weight[:, None], medians * weight, rcond=None)
    surface = np.zeros(shape)
    row, column = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    for k, term in enumerate(_surface_terms(row, column, shape, flat=False)):
        surface = surface + coefficients[k] * term
    return surface.astype(np.float32)


def _surface_terms(y, x, shape, *, flat=True):
    """Return the terms u^i v^j, i + j <= 2, with u and v from -1 to 1 over the frame."""
    v, u = 2 * y / (shape[0] - 1) - 1, 2 * x / (shape[1] - 1) - 1
    terms = [u**i * v**j for i in range(SURFACE_ORDER + 1) for j in range(SURFACE_ORDER + 1 - i)]
    return np.stack(terms, axis=1) if flat else terms


@njit(parallel=True, cache=True, nogil=True)
def _median_kernel(stack):
    """Return the median of the finite numbers of each pixel and how many there are; NaN without any."""
    n_frame, ny, nx = stack.shape
    median, count = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.int32)
    for y in prange(ny):
        numbers = np.empty(n_frame, np.float32)
        for x in range(nx):
            n = 0
            for k in range(n_frame):
                number = stack[k, y, x]
                if not np.isnan(number):
                    j = n - 1
                    while j >= 0 and numbers[j] > number:
                        numbers[j + 1] = numbers[j]
                        j -= 1
                    numbers[j + 1] = number
                    n += 1
            count[y, x] = n
            if n == 0:
                median[y, x] = np.nan
            elif n % 2:
                median[y, x] = numbers[n // 2]
            else:
                median[y, x] = np.float32(0.5) * (numbers[n // 2 - 1] + numbers[n // 2])
    return median, count
