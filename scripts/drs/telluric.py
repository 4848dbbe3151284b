"""Telluric absorption from the spectrum of an A0V star, after Vacca, Cushing & Rayner (2003, PASP 115, 389).

The star's own spectrum is divided out of what was seen: a model of it (`drs.starmodel`), or a blackbody times lines of
hydrogen, whose depths, common velocity and common width are fitted to the star itself, as rotation and the instrument
broaden them. What is left is the transmission of the atmosphere times the response of the instrument; it divides the
spectra of an object taken at the same airmass, and keeps their colours if the temperature is right.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.interpolate import make_interp_spline
from scipy.special import voigt_profile

from drs.errors import ReductionError

RYDBERG_UM = 1 / 10.967758  # 1 / (hydrogen's Rydberg constant), um in vacuum
LOWER, UPPER = (3, 4), 22  # Paschen and Brackett lines, up to this level
LIGHT_KM_S = 299792.458
PLANCK_UM_K = 14387.77  # h c / k
WINDOW_WIDTHS = 6.0  # of a line, fitted at each side
LEAST_SIGMA = 5.0  # depth of a line over its noise to be corrected
LEAST_SEEN = 0.5  # part of the lines covered: a star shows its series, one of them alone is a line of the air
REACH_KM_S, NEARLY = 200.0, 0.95  # of a velocity from its guess
MOST_DEPTH = 0.95
BLEND_WIDTHS = 10.0  # sigma: lines closer than this are not measured one by one
DEEP = 0.2  # transmission below which nothing can be corrected
LEAST_BINS, LEAST_STAR, SHARPENINGS = 8, 0.5, 2  # of a spline; of a star's light; turns to the transmission of columns


class Star(NamedTuple):
    """What was divided out: `velocity_km_s`, `width_um` (sigma), `lines` um, their `depths` (0 to 1)."""

    velocity_km_s: float
    width_um: float
    lines_um: np.ndarray
    depths: np.ndarray


class Telluric(NamedTuple):
    """`correction` (bin) float64: transmission times response, 1 at its 95th percentile; its `error`; the `star`."""

    correction: np.ndarray
    error: np.ndarray
    star: Star


def hydrogen_lines(start_um, stop_um):
    """Return the wavelengths (um, vacuum, sorted) of the Paschen and Brackett lines between two limits."""
    lines = [RYDBERG_UM / (1 / low**2 - 1 / up**2) for low in LOWER for up in range(low + 1, UPPER + 1)]
    return np.array(sorted(line for line in lines if start_um < line < stop_um))


def blackbody(wavelength_um, temperature_k):
    """Return the photon rate per wavelength of a blackbody, 1 in the mean."""
    light = wavelength_um**-4.0 / np.expm1(PLANCK_UM_K / (wavelength_um * temperature_k))
    return light / light.mean()


def measure_telluric(flux, error, wavelength_um, *, temperature_k, resolution):
    """Return the telluric correction from the spectrum of a star of which no model is known.

    Parameters
    ----------
    flux, error : ndarray, float, (bin)
        Photons per bin; NaN where unknown.
    wavelength_um : ndarray, float, (bin)
        Vacuum, rising.
    temperature_k : float
        Of the star's continuum: 9550 K for A0V (Vega).
    resolution : float
        Wavelength over the width (FWHM) of the instrument's profile.

    Returns
    -------
    Telluric

    Raises
    ------
    ReductionError
        No light.
    """
    usable = find_usable(flux, error)
    continuum = blackbody(wavelength_um, temperature_k)
    star = fit_hydrogen(flux / continuum, error / continuum, wavelength_um, usable, resolution=resolution)
    return divide_star(flux, error, continuum * absorb(wavelength_um, star), star)


def find_usable(flux, error):
    """Return where the spectrum of a star has values (bin), bool; refuse one without light."""
    usable = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    if not usable.any() or not np.nanmedian(flux[usable]) > 0:
        raise ReductionError("the telluric star has no light: was it in the field? take another exposure of it")
    return usable


def divide_star(flux, error, photons, star):
    """Return the Telluric of a star's spectrum that without air is `photons` (bin), in any unit."""
    usable = find_usable(flux, error)
    correction = np.where(usable, flux / photons, np.nan)
    scale = np.nanpercentile(correction, 95)
    return Telluric(correction / scale, np.where(usable, error / photons / scale, np.nan), star)


def average_spectra(fluxes, errors):
    """Return the mean of spectra of one star and its error: each scaled to the level of the first, by inverse variance.

    Parameters
    ----------
    fluxes, errors : list of ndarray, float, (bin)
        NaN where unknown.
    """
    level = [float(np.nanmedian(flux)) for flux in fluxes]
    if not min(level) > 0:
        raise ReductionError("a spectrum of the telluric star has no light: exclude its exposure")
    scale = level[0] / np.array(level)[:, np.newaxis]
    flux, error = np.stack(fluxes) * scale, np.stack(errors) * scale
    known = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    weight = np.where(known, 1 / np.where(known, error, 1) ** 2, 0)
    total = weight.sum(axis=0)
    held = total > 0
    mean = (weight * np.where(known, flux, 0)).sum(axis=0) / np.where(held, total, 1)
    return np.where(held, mean, np.nan), np.where(held, np.where(held, total, 1) ** -0.5, np.nan)


def absorb(wavelength_um, star):
    """Return the part of the light that the star's lines of hydrogen let through (bin)."""
    through = np.ones(wavelength_um.shape)
    for line, depth in zip(star.lines_um, star.depths, strict=True):
        through *= 1 - depth * _profile(wavelength_um, line, star.velocity_km_s, star.width_um)
    return through


def _profile(wavelength_um, line_um, velocity_km_s, width_um):
    """Return the profile of a line, 1 at its centre: Voigt, as its wings are those of pressure."""
    away = wavelength_um - line_um * (1 + velocity_km_s / LIGHT_KM_S)
    return voigt_profile(away, width_um, width_um / 2) / voigt_profile(0.0, width_um, width_um / 2)


def fit_hydrogen(rest, noise, wavelength_um, usable, *, resolution):
    """Return the Star whose lines fit a spectrum without its continuum; lines that are not seen have depth 0.

    Telluric lines are narrower and do not repeat: a loss that grows slowly (soft L1) leaves them out.
    """
    lines = hydrogen_lines(wavelength_um[0], wavelength_um[-1])
    guess = 2.0 * np.median(wavelength_um) / resolution
    if not lines.size:
        return Star(0.0, guess, lines, lines)
    width, velocity = guess, 0.0
    for _ in range(2):
        fits = [_fit_line(rest, noise, wavelength_um, usable, line, (velocity, width), free=True) for line in lines]
        seen = [fit for fit in fits if fit is not None and fit[0] > LEAST_SIGMA * fit[1]]
        seen = [fit for fit in seen if abs(fit[2] - velocity) < NEARLY * REACH_KM_S]  # else of something beside it
        if len(seen) < max(LEAST_SEEN * sum(fit is not None for fit in fits), 1):
            return Star(0.0, guess, lines, np.zeros(lines.size))
        weights = np.array([(depth / sigma) ** 2 for depth, sigma, _, _ in seen])
        velocity = float(np.average([fit[2] for fit in seen], weights=weights))
        width = float(np.average([fit[3] for fit in seen], weights=weights))
    depths, sigmas = np.zeros(lines.size), np.full(lines.size, np.inf)
    for n, line in enumerate(lines):
        fit = _fit_line(rest, noise, wavelength_um, usable, line, (velocity, width), free=False)
        if fit is not None and fit[0] > LEAST_SIGMA * fit[1]:
            depths[n], sigmas[n] = min(fit[0], MOST_DEPTH), fit[1]
    depths = _continue_series(lines, depths, sigmas, width)
    return Star(velocity, width, lines, depths)


def _continue_series(lines_um, depths, sigmas, width_um):
    """Return the depths of lines, of those blended or lost in the air from the others: a series changes steadily."""
    gaps = np.diff(lines_um, prepend=-np.inf, append=np.inf)
    blended = np.minimum(gaps[:-1], gaps[1:]) < BLEND_WIDTHS * width_um
    measured = ~blended & (depths > 0)
    if measured.sum() < 3:
        return depths
    line = np.polyfit(lines_um[measured], depths[measured], 1, w=1 / np.maximum(sigmas[measured], 0.01))
    return np.where(~measured, np.clip(np.polyval(line, lines_um), 0, MOST_DEPTH), depths)


def _fit_line(rest, noise, wavelength_um, usable, line, start, *, free):
    """Return depth, its error, velocity and width of a line with a linear continuum; None where it is not covered."""
    velocity, width = start
    centre = line * (1 + velocity / LIGHT_KM_S)
    near = usable & (np.abs(wavelength_um - centre) < WINDOW_WIDTHS * width)
    sides = [np.count_nonzero(near & (side * (wavelength_um - centre) > 0)) for side in (-1, 1)]
    if min(sides) < 6:
        return None
    x, y = wavelength_um[near], rest[near]
    level = np.percentile(y, 80)
    sigma = np.maximum(noise[near] / level, 0.003)
    u = (x - centre) / (WINDOW_WIDTHS * width)

    def residuals(values):
        moved, broad = (velocity + REACH_KM_S * values[3], width * np.exp(values[4])) if free else (velocity, width)
        line_only = 1 - values[2] * _profile(x, line, moved, broad)
        return (y / level - (values[0] + values[1] * u) * line_only) / sigma

    first = [1.0, 0.0, 0.2, 0.0, 0.0] if free else [1.0, 0.0, 0.2]
    low, high = [0.3, -2, -0.2, -1, -0.8], [3, 2, 1, 1, 0.8]
    fit = optimize.least_squares(residuals, first, bounds=(low[: len(first)], high[: len(first)]), loss="soft_l1")
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * max(2 * fit.cost / max(x.size - len(first), 1), 1)
    found = fit.x if free else [*fit.x, 0.0, 0.0]
    return fit.x[2], float(np.sqrt(covariance[2, 2])), velocity + REACH_KM_S * found[3], width * np.exp(found[4])


def match_columns(correction, parts, star):
    """Return a correction (bin, spectrum) as each spectrum sees it, where that of the star is of other columns.

    On one grid a bin is (1 - f) of a column and f of the next, which smooths spectra that fall on the columns in other
    parts otherwise, a deep, narrow line by a tenth of its depth. The transmission of columns is a cubic spline that,
    smoothed as the spectra of the star are, gives the star's correction.

    Parameters
    ----------
    correction : ndarray, float, (bin)
        NaN where unknown.
    parts : ndarray, float, (bin, spectrum)
        f of each (`drs.wavegrid.find_parts`); NaN is unknown.
    star : ndarray, float, (spectrum)
        Part of the star's light; nothing is changed where half of it has no f.
    """
    known, bins = np.isfinite(correction), np.arange(correction.size)
    if known.sum() < LEAST_BINS:
        return np.repeat(correction[:, np.newaxis], parts.shape[1], axis=1)
    filled = np.interp(bins, bins[known], correction[known])
    own, seen = star > 0, np.isfinite(parts)
    weight = np.where(seen[:, own], star[own], 0)
    total = weight.sum(axis=1, keepdims=True)
    held = total > LEAST_STAR * star.sum()
    weight = np.where(held, weight / np.where(held, total, 1), 0)
    sharp = filled
    for _ in range(SHARPENINGS):
        found = (weight * np.where(seen[:, own], _see(sharp, parts[:, own]), 0)).sum(axis=1)
        sharp = sharp + np.where(held[:, 0], filled - found, 0)
    made = np.where(seen & held, _see(sharp, parts), filled[:, np.newaxis])
    return np.where(known[:, np.newaxis], made, np.nan)


def _see(transmission, parts):
    """Return a transmission (bin) of columns as bins (bin, spectrum) show it that hold parts of two of them."""
    spline = make_interp_spline(np.arange(transmission.size), transmission, k=3)
    at = np.arange(transmission.size)[:, np.newaxis] - np.nan_to_num(parts)
    first, second = (spline(np.clip(place, 0, transmission.size - 1)) for place in (at, at + 1))
    return (1 - parts) * first + parts * second


def correct_telluric(flux, error, correction, correction_error):
    """Return flux and error (bin, ...) divided by a correction, and where it cannot be (bin, or as flux), bool.

    Parameters
    ----------
    flux, error : ndarray, float32, (bin, ...)
    correction, correction_error : ndarray, float, (bin) or of the shape of `flux`
        NaN where unknown.
    """
    deep = ~(correction > DEEP)
    shape = (-1, *[1] * (flux.ndim - 1)) if correction.ndim == 1 else flux.shape
    through = np.where(deep, np.nan, correction).reshape(shape)
    relative = np.where(deep, np.nan, correction_error / np.where(deep, 1, correction)).reshape(shape)
    corrected = flux / through
    return corrected.astype(np.float32), np.hypot(error / through, corrected * relative).astype(np.float32), deep
