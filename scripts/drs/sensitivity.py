"""Sensitivity of a spectrograph: the flux density of one electron per second in a bin, from a star of known spectrum.

F = c(wavelength) R, with R the star's light of a bin, all of it: that in an aperture over the part of the light that
the aperture holds, by the star's curve of growth in the white light. c is smooth once the absorption of the air is
taken out, as the response of an instrument is: 1/c is a low polynomial through the bins, with little noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from photutils.aperture import CircularAperture

from drs.errors import ReductionError

ALIKE_PIX = 0.7  # spaxels at a distance from the star that differs by less are alike
CORE_PIX = 1.5  # within which every spaxel must have a value
LEAST_RING = 10  # spaxels beyond all light, whose mean is what the sky left
NEARLY = 0.9  # of the radius that holds all light: what is beyond it is the rise of the curve of growth
MOST_ESTIMATED = 0.1  # of the light, in spaxels off the field or without a value
CLIP_SIGMA, TURNS = 4.0, 10


class Growth(NamedTuple):
    """Parts of a star's light: `part` in the aperture; `rise`, `estimated`; `error` of the first.

    `level`: what the sky left in each spaxel.
    """

    part: float
    rise: float
    estimated: float
    error: float
    level: float = 0.0


class Curve(NamedTuple):
    """`value`, `error` (bin) float64; `rms` of the bins about it, relative; `n_rejected` bins."""

    value: np.ndarray
    error: np.ndarray
    rms: float
    n_rejected: int


def measure_growth(rate, error, unusable, place, *, aperture_pix, total_pix):
    """Return the Growth of a star in the white light of a cube.

    Fields are small: spaxels off the field, and those without a value, have the mean of the spaxels at their distance
    from the star. The mean of those beyond all light is taken off, where there are ten.

    Parameters
    ----------
    rate, error : ndarray, float32, (y, x)
        Less the sky.
    unusable : ndarray, bool, (y, x)
    place : (y, x)
        Of the star, spaxels from 0.
    aperture_pix, total_pix : float
        Radii of the aperture and of the circle that holds all light.

    Raises
    ------
    ReductionError
        A star at the edge of the field, or without a value in its core.
    """
    margin = int(np.ceil(total_pix)) + 2
    padded = [np.pad(plane, margin, constant_values=fill) for plane, fill in ((rate, 0), (error, 0), (unusable, True))]
    values, sigma, missing = np.where(padded[2], 0, padded[0]).astype(float), padded[1].astype(float), padded[2]
    y, x = (axis + margin for axis in place)
    rows, columns = np.indices(values.shape)
    distance = np.hypot(rows - y, columns - x)
    level, level_error = _measure_level(values[~missing & (distance > total_pix)])
    values = np.where(missing, 0, values - level)
    near = missing & (distance <= total_pix + 1)
    if (near & (distance <= CORE_PIX)).any():
        raise ReductionError("the standard star is at the edge of the field, or on bad spaxels: take another exposure")
    for row, column in np.argwhere(near):
        alike = ~missing & (np.abs(distance - distance[row, column]) < ALIKE_PIX)
        values[row, column] = values[alike].mean() if alike.any() else 0.0
    weights = [
        CircularAperture((x, y), radius).to_mask(method="exact").to_image(values.shape)
        for radius in (aperture_pix, NEARLY * total_pix, total_pix)
    ]
    inner, nearly, whole = ((weight * values).sum() for weight in weights)
    if not whole > 0:
        raise ReductionError("the standard star has no light: was it in the field?")
    estimated = (weights[2] * values)[near].sum() / whole
    outside = np.where(missing, 0, (weights[2] - weights[0]) * sigma)
    noise = np.hypot(np.sqrt((outside**2).sum()), level_error * (weights[2] - weights[0]).sum())
    return Growth(inner / whole, (whole - nearly) / whole, estimated, noise / whole, level)


def _measure_level(ring):
    """Return the mean of values and its error, outliers left out; 0 of too few."""
    if ring.size < LEAST_RING:
        return 0.0, 0.0
    away = np.abs(ring - np.median(ring))
    kept = ring[away <= CLIP_SIGMA * 1.4826 * np.median(away) + 1e-30]
    return float(kept.mean()), float(kept.std() / np.sqrt(kept.size))


def check_growth(growth, *, tolerance):
    """Refuse a star whose light does not end, or of which too much is off the field."""
    if growth.rise > tolerance + 3 * growth.error:
        raise ReductionError(
            f"the curve of growth rises by {growth.rise:.2%} over its last tenth, at most {tolerance:.2%} allowed: "
            "raise make_sensitivity: total_pix, or exclude an exposure with a neighbour"
        )
    if growth.estimated > MOST_ESTIMATED:
        raise ReductionError(
            f"{growth.estimated:.1%} of the standard star's light is off the field or on bad spaxels, at most"
            f" {MOST_ESTIMATED:.0%} allowed: centre it, or lower make_sensitivity: total_pix"
        )


def fit_curve(expected, flux, error, *, order):
    """Return the Curve of the flux density over the light of bins: 1 / a Legendre polynomial, outliers left out.

    Parameters
    ----------
    expected : ndarray, float64, (bin)
        Flux density of the star.
    flux, error : ndarray, float64, (bin)
        Its light, all of it, e-/s; NaN where unknown.
    order : int
        Of the polynomial.

    Raises
    ------
    ReductionError
        Too few bins.
    """
    known = np.isfinite(flux) & np.isfinite(error) & (flux > 0) & (error > 0)
    at = np.linspace(-1, 1, flux.size)
    design, used = legendre.legvander(at, order), known
    for _ in range(TURNS):
        if used.sum() < 2 * (order + 1):
            raise ReductionError(
                f"{used.sum()} bins of the standard star can be used, at least {2 * (order + 1)} needed: take another"
                " exposure, or lower make_sensitivity: order"
            )
        weight = np.where(used, 1 / np.where(used, error, 1) ** 2, 0)
        scaled = expected[:, np.newaxis] * design
        covariance = np.linalg.inv(scaled.T @ (weight[:, np.newaxis] * scaled))
        per_flux = design @ (
            covariance @ (scaled.T @ (weight * np.nan_to_num(flux)))
        )  # R = g F has no bias, 1 / g is c
        model = expected * per_flux
        away = np.abs(np.nan_to_num(flux) / model - 1)
        width = np.maximum(1.4826 * np.median(away[used]), np.nan_to_num(error / model))
        new = known & (away <= CLIP_SIGMA * width)
        if (new == used).all():
            break
        used = new
    spread = max(float((weight * (np.nan_to_num(flux) - model) ** 2).sum()) / max(used.sum() - order - 1, 1), 1.0)
    sigma = np.sqrt(spread * np.einsum("ij,jk,ik->i", design, covariance, design)) / per_flux**2
    return Curve(1 / per_flux, sigma, float(np.sqrt((away[used] ** 2).mean())), int((known & ~used).sum()))
