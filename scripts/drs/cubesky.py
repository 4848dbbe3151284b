"""Sky of a cube: from its blank spaxels, or from a cube of the sky, scaled by the lines of both."""

import warnings
from typing import NamedTuple

import numpy as np

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image

LEAST_SIGNIFICANCE = 10.0  # of the lines of a sky, in sigma of their scale: less and the sky is not scaled
SCALES = (0.2, 5.0)
CLIP_SIGMA = 6.0
TURNS = 5  # of scale and outliers
MEDIAN_OVER_MEAN = np.pi / 2  # variance of a median over that of a mean, of normal noise
BLOCK = 4  # bins that choose blank spaxels, and that use them, in turn: neighbouring bins share noise


class Spectrum(NamedTuple):
    """Median spectrum of some spaxels: `rate`, `error` float64 (n_wave), NaN where there is none."""

    rate: np.ndarray
    error: np.ndarray


def find_blank(cube, *, fraction):
    """Return which samples (n_wave, ny, nx), bool, are of blank spaxels: the faintest ones.

    Spaxels are chosen by some wavelengths and used at others, in turn: their own noise would make the sky too faint.

    Parameters
    ----------
    cube : Image
        Of (n_wave, ny, nx) arrays.
    fraction : float
        Of the spaxels with a value.

    Raises
    ------
    ReductionError
        No spaxel has a value.
    """
    half = (np.arange(len(cube.rate)) // BLOCK) % 2 == 0
    halves = [half, ~half] if len(half) >= 2 * BLOCK else [np.ones_like(half)] * 2
    chosen = [_choose_faintest(cube, bins, fraction) for bins in halves]
    return np.where(half[:, np.newaxis, np.newaxis], chosen[1], chosen[0])


def _choose_faintest(cube, bins, fraction):
    """Return which spaxels (ny, nx), bool, are the faintest in the mean of some bins."""
    used = ~cube.unusable & bins[:, np.newaxis, np.newaxis]
    n = used.sum(axis=0)
    known = 2 * n > np.count_nonzero(bins)
    if not known.any():
        raise ReductionError("no spaxel of the cube has a value: the sky cannot be measured")
    white = np.where(used, cube.rate, 0).sum(axis=0, dtype=np.float64) / np.maximum(n, 1)
    return known & (white <= np.quantile(white[known], fraction))


def take_spectrum(cube, samples):
    """Return the median Spectrum of some samples (bool, (n_wave, ny, nx)) of a cube (Image)."""
    used = samples & ~cube.unusable
    n = used.sum(axis=(1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of bins without a value
        rate = np.nanmedian(np.where(used, cube.rate, np.nan), axis=(1, 2)).astype(np.float64)
        variance = np.nanmean(np.where(used, cube.error.astype(np.float64) ** 2, np.nan), axis=(1, 2))
    factor = np.where(n > 2, MEDIAN_OVER_MEAN, 1.0) / np.maximum(n, 1)
    return Spectrum(rate, np.sqrt(variance * factor))


def measure_scale(cube, sky, samples):
    """Return the factor by which the sky lines of a cube are those of a sky cube; 1 where they are too faint.

    Weighted least squares of blank samples, spaxel by spaxel: the same line falls on the bins of two spaxels in
    different parts, and in both cubes alike. Without the mean of each spaxel, so that a faint continuum of sources does
    not count; what the noise of the sky adds to its lines is taken out; samples that stand out are left out.

    Parameters
    ----------
    cube, sky : Image
        Of (n_wave, ny, nx) arrays.
    samples : ndarray, bool, (n_wave, ny, nx)
        Of blank spaxels.

    Raises
    ------
    ReductionError
        Lines that are more than five times brighter or fainter.
    """
    known = samples & ~cube.unusable & ~sky.unusable & (cube.error > 0) & (sky.error > 0)
    used, scale = known, 1.0
    for _ in range(TURNS):
        noise2 = np.where(known, cube.error.astype(np.float64) ** 2 + (scale * sky.error.astype(np.float64)) ** 2, 1)
        weight = used / noise2
        own, lines = (_without_mean(values.rate, weight) for values in (cube, sky))
        information = float((weight * (lines**2 - np.where(known, sky.error.astype(np.float64) ** 2, 0))).sum())
        if information < LEAST_SIGNIFICANCE**2:
            return 1.0
        scale = float((weight * own * lines).sum()) / information
        used = known & ((own - scale * lines) ** 2 < CLIP_SIGMA**2 * noise2)
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ReductionError(
            f"the sky lines are {scale:.3g} times those of the sky cube, expected {SCALES[0]} to {SCALES[1]}: "
            "take another sky exposure, or extract_cube: {sky: blank}"
        )
    return scale


def _without_mean(rate, weight):
    """Return a cube (float64) less the weighted mean of each spaxel; what has no value is 0 before."""
    values = np.where(np.isfinite(rate), rate, 0).astype(np.float64)
    total = weight.sum(axis=0)
    return values - (weight * values).sum(axis=0) / np.where(total > 0, total, 1)


def subtract_spectrum(cube, sky):
    """Return a cube less one Spectrum; bins where this has no value have none either."""
    rate, error = (np.asarray(values, np.float32)[:, np.newaxis, np.newaxis] for values in sky)
    missing = ~np.isfinite(rate) | ~np.isfinite(error)
    return _subtract(cube, rate, error, missing)


def subtract_cube(cube, sky, *, scale):
    """Return a cube less a sky cube times `scale`, errors in quadrature; what this lacks has no value."""
    scale = np.float32(scale)
    return _subtract(cube, scale * sky.rate, scale * sky.error, sky.unusable)


def _subtract(cube, rate, error, missing):
    """Return a cube less a rate."""
    flags = np.where(missing, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
    return Image(
        np.where(missing, np.nan, cube.rate - rate).astype(np.float32),
        np.where(missing, np.nan, np.hypot(cube.error, error)).astype(np.float32),
        (cube.dq | flags).astype(np.uint32),
    )
