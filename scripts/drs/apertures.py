"""Spectra of sources in a cube: sums in apertures less the sky of a ring, with errors for correlated spaxels."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from drs.dq import Flag

MOST_LOST = 0.5  # part of a source's light in the aperture that may be without a value
CLIP_SIGMA = 4.0  # of the spaxels of a ring
LEAST_RING = 5  # spaxels
CENTRE_TURNS = 12


class Spectrum(NamedTuple):
    """Spectrum of one source: `flux`, `error` float64 (bin), `dq` uint32 (bin)."""

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray


def find_peaks(rate, error, unusable, *, threshold_sigma, radius_pix):
    """Return the places [(y, x)], from 0, of the sources of an image: the brightest spaxel within a radius of each.

    A peak stands out of the median of the spaxels around it, and of 0, by `threshold_sigma` errors of the mean of its
    3 x 3 spaxels: sources may fill a small field, whose scatter is then no measure of the noise.

    Parameters
    ----------
    rate, error : ndarray, float32, (y, x)
        Less the sky.
    unusable : ndarray, bool, (y, x)
    threshold_sigma : float
    radius_pix : float
        Least distance of two sources; the surroundings reach from it to its double.

    Returns
    -------
    list of tuple
        The brightest first.
    """
    good = ~unusable
    n = np.maximum(ndimage.uniform_filter(good.astype(float), 3, mode="constant") * 9, 1)
    values = np.where(good, rate, 0.0).astype(np.float64)
    variance = np.where(good, error, 0.0).astype(np.float64) ** 2
    mean = ndimage.uniform_filter(values, 3, mode="constant") * 9 / n
    sums = np.maximum(ndimage.uniform_filter(variance, 3, mode="constant"), 0) * 9  # its running sums round below 0
    sigma = np.sqrt(sums) / n
    y, x = np.indices(rate.shape)
    found, left = [], good & (mean > threshold_sigma * sigma)
    while left.any():
        row, column = np.unravel_index(np.argmax(np.where(left, mean, -np.inf)), rate.shape)
        distance = np.hypot(y - row, x - column)
        around = good & (distance > radius_pix) & (distance <= 2 * radius_pix)
        level = float(np.median(rate[around])) if around.any() else 0.0
        highest = mean[row, column] >= mean[good & (distance < 2)].max()  # else on the wing of one that is found
        if highest and mean[row, column] - max(level, 0.0) > threshold_sigma * sigma[row, column]:
            found.append(_centre(np.where(good, values - level, 0.0), (row, column), radius_pix))
        left &= distance > radius_pix
    return found


def _centre(excess, place, radius_pix):
    """Return the place (y, x) of a source: moments in a Gaussian window that follows it (SExtractor's WIN)."""
    ys, xs = np.indices(excess.shape)
    y, x = (float(axis) for axis in place)
    for _ in range(CENTRE_TURNS):
        v, u = ys - y, xs - x
        window = np.exp(-2 * (u**2 + v**2) / radius_pix**2) * (np.hypot(u, v) < 2 * radius_pix)
        weight = excess * window
        total = weight.sum()
        if not total > 0:
            break
        y += float(np.clip(2 * (weight * v).sum() / total, -0.5, 0.5))
        x += float(np.clip(2 * (weight * u).sum() / total, -0.5, 0.5))
    moved = np.hypot(y - place[0], x - place[1])
    return (y, x) if moved < radius_pix else (float(place[0]), float(place[1]))


def sum_spectra(rate, error, dq, places, *, radius_pix, ring_pix=None, correlation=1.0):
    """Return the Spectrum of each source.

    Where a spaxel has no value in a bin, the light that it would have is that of the source's mean image: the sum is
    scaled by what the other spaxels hold of it (FLUX_ESTIMATED); where more than half is lost the bin has no value.

    Parameters
    ----------
    rate, error : ndarray, float32, (bin, y, x)
    dq : ndarray, uint32, (bin, y, x)
    places : sequence of (y, x)
        Of the sources, spaxels from 0.
    radius_pix : float
        Of the aperture, spaxels; those on its edge count by the part inside.
    ring_pix : (inner, outer), optional
        Radii of the ring whose mean, clipped at 4 sigma, is the sky of a bin.
    correlation : float, optional
        Noise of a sum over spaxels over the root of the sum of their variances.
    """
    from photutils.aperture import CircularAperture  # 0.8 s to import

    usable = (dq & np.uint32(Flag.DO_NOT_USE) == 0) & np.isfinite(rate) & np.isfinite(error)
    spectra = []
    for y, x in places:
        weight = CircularAperture((x, y), radius_pix).to_mask(method="exact").to_image(rate.shape[1:])
        sky = np.zeros((2, len(rate)))
        if ring_pix is not None:
            sky = _measure_ring(rate, error, usable, (y, x), ring_pix)
        spectra.append(_sum(rate, error, dq, usable, weight if weight is not None else 0, sky, correlation))
    return spectra


def _sum(rate, error, dq, usable, weight, sky, correlation):
    """Return the Spectrum within the weights (y, x) of an aperture."""
    inside = np.broadcast_to(np.asarray(weight) > 0, rate.shape[1:])
    share = np.broadcast_to(weight, rate.shape[1:])[inside]
    good = usable[:, inside]
    values = np.where(good, rate[:, inside].astype(np.float64) - sky[0][:, np.newaxis], 0.0)
    profile = _find_profile(values, good, share)
    held = np.where(good, profile, 0).sum(axis=1)
    known = held >= max(MOST_LOST, 1e-9)
    scale = np.divide(1.0, held, out=np.full(held.shape, np.nan), where=known)
    flux = (share * values).sum(axis=1) * scale
    area = np.where(good, share, 0).sum(axis=1)
    noise2 = (np.where(good, share * error[:, inside], 0.0).astype(np.float64) ** 2).sum(axis=1)
    sigma = correlation * np.hypot(np.sqrt(noise2), area * sky[1]) * scale
    flags = np.bitwise_or.reduce(np.where(good, dq[:, inside], np.uint32(0)), axis=1)
    flags |= np.where(held < 1 - 1e-9, np.uint32(Flag.FLUX_ESTIMATED), np.uint32(0))
    return Spectrum(flux, sigma, np.where(known, flags, np.uint32(Flag.DO_NOT_USE)))


def _find_profile(values, good, share):
    """Return the part of the source's light of each spaxel in the aperture, 1 in all; even where there is no light."""
    if not share.size:
        return share
    n = good.sum(axis=0)
    mean = np.maximum(share * values.sum(axis=0) / np.maximum(n, 1), 0)
    mean = mean if mean.sum() > 0 else share
    return mean / mean.sum()


def _measure_ring(rate, error, usable, place, ring_pix):
    """Return (sky, error) of each bin in a ring, clipped; 0 where fewer than five spaxels have a value."""
    y, x = np.indices(rate.shape[1:])
    distance = np.hypot(y - place[0], x - place[1])
    ring = (distance >= ring_pix[0]) & (distance < ring_pix[1])
    used, values = usable[:, ring], rate[:, ring].astype(np.float64)
    variance = error[:, ring].astype(np.float64) ** 2
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of bins without a value
            median = np.nanmedian(np.where(used, values, np.nan), axis=1, keepdims=True)
            scatter = 1.4826 * np.nanmedian(np.where(used, np.abs(values - median), np.nan), axis=1, keepdims=True)
        used = used & (np.abs(values - median) <= CLIP_SIGMA * np.maximum(scatter, 1e-12))
    n = used.sum(axis=1)
    enough = n >= LEAST_RING
    mean = np.where(used, values, 0).sum(axis=1) / np.maximum(n, 1)
    sigma = np.sqrt(np.where(used, variance, 0).sum(axis=1)) / np.maximum(n, 1)
    return np.where(enough, mean, 0), np.where(enough, sigma, 0)
