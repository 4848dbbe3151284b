"""Sky background of an image: its level with the sources masked, and the subtraction of a sky frame."""

from typing import NamedTuple

import numpy as np
from astropy.stats import sigma_clipped_stats
from scipy import ndimage

from drs.errors import ReductionError
from drs.image import check_shapes

CLIP_SIGMA = 3.0
MINIMUM_SOURCE_PIXELS = 5
SOURCE_MARGIN_PIX = 9
N_ITERATION = 3


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
    is_source = np.zeros(rate.shape, bool)
    for _ in range(N_ITERATION):
        masked = unusable | is_source
        if masked.all():
            raise ReductionError("no pixel is free of sources and flags: the sky level cannot be measured")
        _, level, scatter = sigma_clipped_stats(rate[~masked], sigma=CLIP_SIGMA)
        is_source = _mask_sources(np.where(unusable, level, rate) > level + source_threshold_sigma * scatter)
    n_sky = np.count_nonzero(~(unusable | is_source))
    level_error = float(np.sqrt(np.pi / 2) * scatter / np.sqrt(max(n_sky, 1)))
    return SkyLevel(float(level), level_error, float(scatter), is_source)


def _mask_sources(bright):
    """Return where sources are: connected groups of bright pixels that are large enough, and a margin about them."""
    groups, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    large = np.bincount(groups.ravel()) >= MINIMUM_SOURCE_PIXELS
    large[0] = False
    margin = np.ones((SOURCE_MARGIN_PIX, SOURCE_MARGIN_PIX))
    return ndimage.binary_dilation(large[groups], structure=margin)


def subtract_level(image, sky):
    """Return the image less a constant sky level, its error in quadrature."""
    return image._replace(
        rate=(image.rate - np.float32(sky.level)).astype(np.float32),
        error=np.hypot(image.error, np.float32(sky.level_error)).astype(np.float32),
    )


def subtract_frame(image, frame, scale):
    """Return the image less `scale` times a sky frame; where the frame has no value its median stands in.

    Parameters
    ----------
    image, frame : Image
        (ny, nx), e-/s.
    scale : float
        Sky level of the image over that of the frame.
    """
    check_shapes(image, frame, "the sky frame")
    missing = frame.unusable
    if missing.all():
        raise ReductionError("the sky frame has no usable pixel: exclude its exposures or choose sky: median")
    rate = np.where(missing, np.median(frame.rate[~missing]), frame.rate)
    error = np.where(missing, 0.0, frame.error)
    return image._replace(
        rate=(image.rate - scale * rate).astype(np.float32),
        error=np.hypot(image.error, scale * error).astype(np.float32),
    )
