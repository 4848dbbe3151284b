"""Stars in an image: places, aperture fluxes, curve of growth, and the zero point that they give."""

from typing import NamedTuple

import numpy as np
from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry

from drs.errors import ReductionError

N_STEP = 10
WINDOW_SIGMA_PIX = 1.5
RING = (1.0, 1.5)  # radii of the annulus of the background over the radius that holds all light
N_RADIUS = 20
CORE_PIX = 3.0  # a star with a bad pixel nearer than this is not measured
ALIKE_PIX = 0.7
MAXIMUM_BAD = 0.05  # of the pixels of the largest aperture
CLIP_SIGMA = 4.0
N_CLIP = 5
MAG = 2.5 / np.log(10.0)
AB_JY = 3631.0


class Growth(NamedTuple):
    """Light of one star within each radius, e-/s, its error, its place (0-based x, y), and the level of its sky."""

    flux: np.ndarray
    error: np.ndarray
    place: tuple
    level: float = 0.0


class ZeroPoint(NamedTuple):
    """Zero point: magnitude of a star of 1 e-/s in all, its error, and what it rests on.

    `correction_mag`: total magnitude less that in the aperture (negative); `growth`, `growth_error`: part of the
    light within each of `radii`; `used`: which measurements were not clipped.
    """

    value: float
    error: float
    correction_mag: float
    radii: np.ndarray
    growth: np.ndarray
    growth_error: np.ndarray
    used: np.ndarray


def list_radii(total_pix):
    """Return the radii of the curve of growth, pixels; the last holds all light."""
    return np.linspace(total_pix / N_RADIUS, total_pix, N_RADIUS)


def find_star(values, unusable, place, *, search_pix):
    """Return the 0-based (x, y) of the brightest star within `search_pix` of a place; None where it has no whole core.

    Parameters
    ----------
    values : ndarray, (ny, nx)
        Sky-subtracted.
    unusable : ndarray, bool, (ny, nx)
    place : (x, y)
    search_pix : float
    """
    ny, nx = values.shape
    y, x = np.mgrid[0:ny, 0:nx] if values.size < 10_000 else _window(place, search_pix + 3, values.shape)
    near = np.hypot(x - place[0], y - place[1]) <= search_pix
    excess = np.where(unusable[y, x], -np.inf, values[y, x])
    if not near.any() or not np.isfinite(excess[near].max()):
        return None
    peak = np.flatnonzero(near)[np.argmax(excess[near])]
    found = np.array([x.ravel()[peak], y.ravel()[peak]], dtype=float)
    for _ in range(N_STEP):
        rows, columns = _window(found, 4 * WINDOW_SIGMA_PIX, values.shape)
        weight = np.exp(-((rows - found[1]) ** 2 + (columns - found[0]) ** 2) / (2 * WINDOW_SIGMA_PIX**2))
        light = np.where(unusable[rows, columns], 0.0, values[rows, columns]) * weight
        if not light.sum() > 0:
            return None
        step = 2 * np.array([(light * (columns - found[0])).sum(), (light * (rows - found[1])).sum()]) / light.sum()
        found += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-3:
            break
    return tuple(map(float, found)) if np.hypot(*(found - place)) <= search_pix + 1 else None


def _window(place, half, shape):
    """Return (rows, columns) of the pixels within `half` of a place, cut at the edges."""
    bounds = [
        (max(int(np.floor(c - half)), 0), min(int(np.ceil(c + half)) + 1, n))
        for c, n in zip(place[::-1], shape, strict=True)
    ]
    return np.mgrid[tuple(slice(low, max(high, low)) for low, high in bounds)]


def measure_growth(image, place, *, radii):
    """Return the Growth of a star: exact apertures less the median of a ring; None with a bad pixel in its core.

    A bad pixel farther out gets the median of the pixels at its distance, with their scatter as error.

    Parameters
    ----------
    image : Image
        e-/s.
    place : (x, y)
        0-based.
    radii : ndarray
        Increasing, pixels.
    """
    total = radii[-1]
    ny, nx = image.rate.shape
    if not (total <= place[0] <= nx - 1 - total and total <= place[1] <= ny - 1 - total):
        return None
    distance = np.hypot(np.arange(ny)[:, None] - place[1], np.arange(nx) - place[0])
    bad = image.unusable & (distance <= total + 1)
    if bad[distance <= CORE_PIX].any() or bad.sum() > MAXIMUM_BAD * np.pi * total**2:
        return None
    ring_mask = CircularAnnulus(place, RING[0] * total, RING[1] * total).to_mask(method="center")
    ring = ring_mask.get_values(np.where(image.unusable, np.nan, image.rate))
    ring = ring[np.isfinite(ring)]
    if ring.size < 20:
        return None
    # a clipped mean: the median of Poisson numbers lies below their mean
    kept = ring[np.abs(ring - np.median(ring)) < 3 * 1.4826 * np.median(np.abs(ring - np.median(ring))) + 1e-30]
    level, level_error = kept.mean(), kept.std() / np.sqrt(kept.size)
    rate = np.where(image.unusable, 0.0, image.rate - level)
    error = np.where(image.unusable, 0.0, image.error)
    for y, x in np.argwhere(bad):  # outside the core the profile is round enough to stand in for a pixel
        alike = ~image.unusable & (np.abs(distance - distance[y, x]) < ALIKE_PIX)
        rate[y, x], error[y, x] = np.median(rate[alike]), rate[alike].std()
    table = aperture_photometry(rate, [CircularAperture(place, radius) for radius in radii], error=error)
    flux = np.array([table[f"aperture_sum_{k}"][0] for k in range(len(radii))])
    errors = np.array([table[f"aperture_sum_err_{k}"][0] for k in range(len(radii))])
    return Growth(flux, np.hypot(errors, np.pi * radii**2 * level_error), tuple(place), float(level))


def solve_zero_point(growths, mags, mag_errors, airmass, *, radii, aperture_pix, extinction_mag):
    """Return the ZeroPoint of measurements of stars of known magnitude.

    The curve of growth is the mean of the stars' own, weighted by their light over its error; a star's total flux is
    that in the aperture, over the part of the light that the curve has there (Stetson 1990, PASP 102, 932; Howell
    1989, PASP 101, 616). Zero points m + 2.5 log10 F + k (X - <X>) are averaged with weights, outliers clipped; the
    error is widened where they scatter by more than their errors.

    Parameters
    ----------
    growths : list of Growth
    mags, mag_errors, airmass : ndarray, (n,)
        Of each measurement; NaN errors count as 0.
    radii : ndarray
    aperture_pix : float
    extinction_mag : float
        Per airmass.
    """
    flux = np.array([growth.flux for growth in growths])
    error = np.array([growth.error for growth in growths])
    weight = (flux[:, -1] / error[:, -1]) ** 2
    curves = flux / flux[:, -1:]
    growth = np.average(curves, axis=0, weights=weight)
    # errors of F(r) / F(total): what is outside r alone makes them differ
    outside = np.sqrt(np.maximum(error[:, -1:] ** 2 - error**2, 0)) / flux[:, -1:]
    growth_error = np.sqrt(np.sum((weight[:, None] * outside) ** 2, axis=0)) / weight.sum()
    part = np.interp(aperture_pix, radii, growth)
    in_aperture = np.array([np.interp(aperture_pix, radii, row) for row in flux])
    noise = np.array([np.interp(aperture_pix, radii, row) for row in error])
    airmass = np.asarray(airmass, dtype=float)
    points = mags + 2.5 * np.log10(in_aperture / part) + extinction_mag * (airmass - airmass.mean())
    errors = np.hypot(MAG * noise / in_aperture, np.nan_to_num(mag_errors))
    used = _clip(points, errors)
    weights = errors[used] ** -2
    value = np.average(points[used], weights=weights)
    scatter = np.sum(weights * (points[used] - value) ** 2) / max(used.sum() - 1, 1)
    spread = np.sqrt(max(scatter, 1.0) / weights.sum())
    of_growth = MAG * np.interp(aperture_pix, radii, growth_error) / part
    correction = 2.5 * np.log10(part)
    return ZeroPoint(
        float(value), float(np.hypot(spread, of_growth)), float(correction), radii, growth, growth_error, used
    )


def _clip(points, errors):
    """Return which zero points are not outliers; of fewer than three all."""
    used = np.ones(len(points), bool)
    for _ in range(N_CLIP):
        centre = np.median(points[used])
        width = np.maximum(errors, 1.4826 * np.median(np.abs(points[used] - centre)))
        kept = np.abs(points - centre) <= CLIP_SIGMA * width
        if kept.sum() < 3 or (kept == used).all():
            break
        used = kept
    return used


def check_growth(zero_point, *, tolerance):
    """Refuse a curve of growth that still rises at its end: the largest radius does not hold all light."""
    last = zero_point.growth[-1] - np.interp(0.9 * zero_point.radii[-1], zero_point.radii, zero_point.growth)
    allowed = tolerance + 3 * np.interp(0.9 * zero_point.radii[-1], zero_point.radii, zero_point.growth_error)
    if last > allowed:
        raise ReductionError(
            f"the curve of growth rises by {last:.1%} over the last tenth of {zero_point.radii[-1]:.1f} pix, at most "
            f"{tolerance:.1%} allowed: raise total_pix, or exclude stars with neighbours"
        )


def flux_density_jy(zero_point_mag):
    """Return the flux density, Jy, of 1 e-/s at an AB zero point (Oke & Gunn 1983, ApJ 266, 713)."""
    return float(AB_JY * 10 ** (-0.4 * zero_point_mag))
