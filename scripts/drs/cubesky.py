"""Sky of a cube: its blank spaxels, their spectrum, and what is left without the sky."""

import warnings
from typing import NamedTuple

import numpy as np

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image

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
    """Return which spaxels (ny, nx), bool, are the faintest in a weighted mean of some bins.

    A bin counts by how much the spaxels agree in it: in a sky line they differ by the parts of it that their bins hold,
    and the faintest would be those that sample it alike.
    """
    used = ~cube.unusable[bins]
    n = used.sum(axis=0)
    known = 2 * n > np.count_nonzero(bins)
    if not known.any():
        raise ReductionError("no spaxel of the cube has a value: the sky cannot be measured")
    values = np.where(used, cube.rate[bins], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of bins without a value
        excess = values - np.nanmedian(values, axis=(1, 2), keepdims=True)
        scatter = np.nanmedian(np.abs(excess), axis=(1, 2), keepdims=True).astype(np.float64)
    least = np.nanmedian(scatter) if np.isfinite(scatter).any() else 1.0
    weight = np.where(used, 1 / np.maximum(np.nan_to_num(scatter, nan=np.inf), max(least, 1e-9) / 10) ** 2, 0)
    total = weight.sum(axis=0)
    white = np.where(used, weight * np.nan_to_num(excess), 0).sum(axis=0) / np.where(total > 0, total, 1)
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


def subtract_spectrum(cube, sky):
    """Return a cube less one Spectrum; bins where this has no value have none either."""
    rate, error = (np.asarray(values, np.float32)[:, np.newaxis, np.newaxis] for values in sky)
    missing = ~np.isfinite(rate) | ~np.isfinite(error)
    return _subtract(cube, rate, error, missing)


def subtract_cube(cube, sky):
    """Return a cube less a sky cube, errors in quadrature; what this lacks has no value."""
    return _subtract(cube, sky.rate, sky.error, sky.unusable)


def _subtract(cube, rate, error, missing):
    """Return a cube less a rate."""
    flags = np.where(missing, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
    return Image(
        np.where(missing, np.nan, cube.rate - rate).astype(np.float32),
        np.where(missing, np.nan, np.hypot(cube.error, error)).astype(np.float32),
        (cube.dq | flags).astype(np.uint32),
    )
