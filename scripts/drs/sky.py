"""Sky background of an image: its level with the sources masked, and the subtraction of a sky frame."""

from typing import NamedTuple

import numpy as np
from astropy.stats import SigmaClip
from numba import njit, prange
from scipy import ndimage

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import check_shapes

CLIP_SIGMA = 3.0
MINIMUM_SOURCE_PIXELS = 5
SOURCE_MARGIN_PIX = 9
N_ITERATION = 3
ENOUGH_PIXELS = 100_000  # to find sources by; the level itself is that of all
N_CLIP = 5
N_BIN, REACH_SIGMA = 1 << 14, 8.0  # of the histogram of all pixels: 0.001 sigma each
N_PART = 16  # of the image, counted one by one
MINIMUM_LEVEL_SIGMA = 10.0
SMALLEST_ERROR = 1e-30  # e-/s, of a level without noise


class SkyLevel(NamedTuple):
    """Level of the background, its error, the pixels' scatter (all e-/s) and the mask of sources (ny, nx)."""

    level: float
    level_error: float
    scatter: float
    is_source: np.ndarray


def measure_sky(rate, unusable, *, source_threshold_sigma):
    """Return the background of an image: clipped median of the pixels outside sources.

    Sources are groups of connected pixels above the background, found and masked with a margin, three times over.

    Parameters
    ----------
    rate : ndarray, float32, (ny, nx)
        e-/s.
    unusable : ndarray, bool, (ny, nx)
    source_threshold_sigma : float
        Threshold of the source detection above the background, in units of its scatter.

    Raises
    ------
    ReductionError
        No pixel is left.
    """
    is_source, hidden = np.zeros(rate.shape, bool), unusable
    for turn in range(N_ITERATION):
        n_sky = hidden.size - np.count_nonzero(hidden)
        if not n_sky:
            raise ReductionError("no pixel is free of sources and flags: the sky level cannot be measured")
        level, scatter = _clip_sample(rate, hidden, n_sky // ENOUGH_PIXELS | 1)  # odd: not the same columns of each row
        if turn == N_ITERATION - 1:
            level, scatter = _clip_all(rate, hidden, level, scatter)
        is_source = _mask_sources((rate > level + source_threshold_sigma * scatter) & ~unusable)
        hidden = unusable | is_source
    n_sky = hidden.size - np.count_nonzero(hidden)
    level_error = max(float(np.sqrt(np.pi / 2) * scatter / np.sqrt(max(n_sky, 1))), SMALLEST_ERROR)
    return SkyLevel(float(level), level_error, float(scatter), is_source)


def _clip_sample(rate, hidden, step):
    """Return the clipped median and standard deviation of every `step`-th pixel that is not hidden."""
    pixels = rate.ravel()[::step][~hidden.ravel()[::step]]
    clip = SigmaClip(CLIP_SIGMA, maxiters=N_CLIP)
    _, low, high = clip(pixels, axis=0, masked=False, return_bounds=True)  # axis: in C
    kept = pixels[(pixels >= low) & (pixels <= high)]
    return np.median(kept), kept.std(dtype=np.float64)


def _clip_all(rate, hidden, level, scatter):
    """Return the clipped median and standard deviation of all pixels that are not hidden, by their histogram.

    `level` and `scatter` of a sample say where it is; each bin holds 0.001 of the scatter.
    """
    if not scatter > 0:
        return level, scatter
    width, low = 2 * REACH_SIGMA * scatter / N_BIN, level - REACH_SIGMA * scatter
    counts = np.zeros((N_PART, N_BIN), np.int64)
    _count_kernel(rate, hidden, low, width, counts)
    of_sample, counts, middles = level, counts.sum(axis=0), low + width * (np.arange(N_BIN) + 0.5)
    for _ in range(N_CLIP):
        if scatter < width:  # all that is left is in one bin: the median of the sample is finer
            return of_sample, scatter
        kept = np.where(np.abs(middles - level) <= CLIP_SIGMA * scatter, counts, 0)
        below = np.cumsum(kept)
        k = int(np.searchsorted(below, 0.5 * below[-1]))
        level = low + width * (k + 1 - (below[k] - 0.5 * below[-1]) / kept[k])
        mean = np.average(middles, weights=kept)
        scatter = np.sqrt(np.average((middles - mean) ** 2, weights=kept))
    return level, scatter


@njit(parallel=True, cache=True, error_model="numpy")
def _count_kernel(rate, hidden, low, width, counts):
    """Count the pixels in each bin, part by part of the image."""
    n_part, n_bin = counts.shape
    for part in prange(n_part):
        for y in range(part * rate.shape[0] // n_part, (part + 1) * rate.shape[0] // n_part):
            for x in range(rate.shape[1]):
                place = (rate[y, x] - low) / width
                if not hidden[y, x] and 0.0 <= place < n_bin:
                    counts[part, int(place)] += 1


def _mask_sources(bright):
    """Return where sources are: connected groups of bright pixels that are large enough, and a margin about them."""
    groups, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    large = np.bincount(groups.ravel()) >= MINIMUM_SOURCE_PIXELS
    large[0] = False
    return ndimage.maximum_filter(large[groups], size=SOURCE_MARGIN_PIX, mode="constant", cval=False)


def subtract_level(image, sky):
    """Return the image less a constant sky level, its error in quadrature."""
    return image._replace(
        rate=(image.rate - np.float32(sky.level)).astype(np.float32),
        error=np.hypot(image.error, np.float32(sky.level_error)).astype(np.float32),
    )


def match_levels(sky, frame_sky):
    """Return (scale, offset) that bring a sky frame to an image's level: scale * frame + offset.

    The frame is scaled where both levels are known to a tenth or better; a ratio of two noisy levels would be worse
    than none, and there the difference of the levels is added.

    Parameters
    ----------
    sky, frame_sky : SkyLevel
        Of the image and of the frame.
    """
    if min(sky.level / sky.level_error, frame_sky.level / frame_sky.level_error) < MINIMUM_LEVEL_SIGMA:
        return 1.0, sky.level - frame_sky.level
    return sky.level / frame_sky.level, 0.0


def subtract_frame(image, frame, *, scale, offset, same_dark):
    """Return the image less a sky frame brought to its level, scale * frame + offset.

    The variance of a dark that both have subtracted enters with (1 - scale)^2, and twice where the darks differ. Where
    the frame has no value its median stands in, with the frame's scatter as error and the flag FLUX_ESTIMATED.

    Parameters
    ----------
    image, frame : Image
        (ny, nx), e-/s.
    scale, offset : float
        Of `match_levels`.
    same_dark : bool
        The image and the members of the frame had the same dark subtracted.
    """
    check_shapes(image, frame, "the sky frame")
    missing = frame.unusable
    if missing.all():
        raise ReductionError("the sky frame has no usable pixel: exclude its exposures or choose sky: median")
    good = frame.rate[~missing]
    rate = np.where(missing, np.median(good), frame.rate)
    variance = np.where(missing, np.var(good), frame.error**2)
    total = image.error**2 + scale**2 * variance
    if same_dark and image.var_dark is not None and frame.var_dark is not None:
        coherent = (np.sqrt(image.var_dark) - scale * np.sqrt(frame.var_dark)) ** 2
        apart = total - image.var_dark - scale**2 * frame.var_dark + coherent
        total = np.where(missing, total, np.maximum(apart, 0))
    return image._replace(
        rate=(image.rate - scale * rate - offset).astype(np.float32),
        error=np.sqrt(total).astype(np.float32),
        dq=image.dq | np.where(missing, np.uint32(Flag.FLUX_ESTIMATED), np.uint32(0)),
    )
