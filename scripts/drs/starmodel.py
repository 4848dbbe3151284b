"""A model of a star's spectrum made like the star that was seen, after Vacca, Cushing & Rayner (2003, PASP 115, 389).

An A0V star is much like Vega: its model has the shapes of the lines of hydrogen, which no simple profile has. It is
shifted by the velocity of the star, convolved with a kernel as broad as its lines are seen, and the strength of each
line scaled to that of the star (their sections 3 and 4; there by hand, here all are fitted). What the model is then
divides the star's spectrum, and leaves the air.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.ndimage import gaussian_filter1d

from drs.errors import ReductionError

LIGHT_KM_S = 299792.458
SAMPLES = 8  # of the model in a width (FWHM) of the instrument's profile
MARGIN = 0.004  # of the wavelength, beyond the bins: velocity, and kernel
ORDER, TURNS, BELOW, WEAK = 3, 30, 0.003, 0.01  # of the continuum; loss of light of a line that counts
LEAST_BINS, LEAST_SIDE = 24, 4  # of a line's window, and at each side of its centre
WINDOW = 3.0  # equivalent widths of a line at each side of its centre
REACH_KM_S, MOST_BREADTH = 400.0, 8.0  # of velocities; of the kernel, instrumental widths
MOST_ERROR, MOST_OF_LINE = 0.2, 0.1  # of the scale of all lines, and of one, to be taken
MOST_SCALE = 4.0
FLOOR, LEAST_NOISE = 0.05, 0.003  # of the light in a line; relative error of a bin


class Model(NamedTuple):
    """A star on wavelengths evenly apart in their logarithm, (point): `continuum`, photons, and `losses` (line, point).

    `lines_um`: centres of its lines.
    """

    log_um: np.ndarray
    continuum: np.ndarray
    losses: np.ndarray
    lines_um: np.ndarray


class Match(NamedTuple):
    """How a model becomes the star: `velocity_km_s`, `width_um` (sigma of the kernel), `scales` (line) of its lines.

    `photons` (bin): the star without air, 1 in the mean; `n_line` lines were measured.
    """

    velocity_km_s: float
    width_um: float
    scales: np.ndarray
    photons: np.ndarray
    n_line: int


def make_model(star_um, flux, wavelength_um, centres_um, *, resolution):
    """Return the Model of a star about the bins of a spectrum, each line with the light that is lost nearest to it.

    Parameters
    ----------
    star_um, flux : ndarray, float, (point)
        Wavelengths in vacuum at rest, rising, and flux density per wavelength, any unit.
    wavelength_um : ndarray, float, (bin)
        Rising.
    centres_um : ndarray, float, (line)
        Of the lines that may be scaled, rising, in the bins or beside them.
    resolution : float
        Wavelength over the width (FWHM) of the instrument's profile.

    Raises
    ------
    ReductionError
        A model that does not reach from the first bin to the last, or has no light.
    """
    ends = wavelength_um[0] * (1 - MARGIN), wavelength_um[-1] * (1 + MARGIN)
    if star_um[0] > ends[0] or star_um[-1] < ends[1]:
        raise ReductionError(
            f"the model of the star is known from {star_um[0]:.5g} to {star_um[-1]:.5g} um, {ends[0]:.5g} to"
            f" {ends[1]:.5g} are needed: give one that reaches farther"
        )
    log_um = np.arange(np.log(ends[0]), np.log(ends[1]), 1 / (SAMPLES * resolution))
    light = np.interp(np.exp(log_um), star_um, flux * star_um)  # photons
    if not (light > 0).all():
        raise ReductionError("the model of the star has wavelengths without light: give its flux densities")
    continuum = _fit_continuum(log_um, light)
    inside = centres_um[(centres_um > ends[0]) & (centres_um < ends[1])]
    if not inside.size:
        return Model(log_um, light, np.zeros((0, log_um.size)), inside)
    nearest = np.abs(log_um - np.log(inside)[:, np.newaxis]).argmin(axis=0)
    losses = np.where(nearest == np.arange(inside.size)[:, np.newaxis], 1 - light / continuum, 0.0)
    return Model(log_um, continuum, losses, inside)


def _fit_continuum(log_um, light):
    """Return the continuum (point) of a star: a polynomial of low order above its lines."""
    u = 2 * (log_um - log_um[0]) / (log_um[-1] - log_um[0]) - 1
    kept, values = np.ones(light.size, bool), np.log(light)
    for _ in range(TURNS):
        fit = np.polynomial.legendre.legfit(u[kept], values[kept], ORDER)
        level = np.polynomial.legendre.legval(u, fit)
        fresh = values > level - BELOW
        if fresh.sum() < 4 * ORDER or (fresh == kept).all():
            break
        kept = fresh
    return np.exp(level)


def match_model(model, flux, error, wavelength_um, usable, *, resolution):
    """Return the Match of a model with a star's spectrum.

    First the velocity, the width of the kernel and one scale of all lines, then the scale of each line: that of one
    which cannot be measured to 10 % follows from the others, linear in the wavelength. Lines of the air, narrower,
    count less by a loss that grows slowly (soft L1). Where the lines together are not known to 20 %, or none is in
    the bins, the model is taken as it is.

    Parameters
    ----------
    model : Model
    flux, error : ndarray, float, (bin)
        Photons per bin; NaN where unknown.
    wavelength_um : ndarray, float, (bin)
    usable : ndarray, bool, (bin)
    resolution : float
        As of `make_model`.
    """
    narrow = 1 / (2.3548 * resolution)
    continuum = _at(model, model.continuum, wavelength_um, 0.0)
    rest = flux / continuum, error / continuum, wavelength_um
    windows = _find_windows(model, wavelength_um, usable)
    velocity, broad, scales, seen = 0.0, narrow, np.ones(len(model.lines_um)), np.zeros(len(model.lines_um), bool)
    if any(windows):
        together = _fit_together(model, windows, rest, narrow)
        if together[3] < MOST_ERROR:
            velocity, broad, scale, _ = together
            seen_at = _fit_each(model, windows, rest, (velocity, broad), scale)
            scales, seen = _join_scales(model.lines_um, seen_at, scale)
    through = _see_lines(model, scales, wavelength_um, velocity, broad)
    photons = _at(model, model.continuum, wavelength_um, velocity) * np.maximum(through, FLOOR)
    middle = float(np.median(wavelength_um))
    return Match(velocity, broad * middle, scales, photons / photons.mean(), int(seen.sum()))


def _at(model, values, wavelength_um, velocity_km_s):
    """Return values of a model (point) at the wavelengths of a star that moves."""
    return np.interp(np.log(wavelength_um) - np.log1p(velocity_km_s / LIGHT_KM_S), model.log_um, values)


def _see_lines(model, scales, wavelength_um, velocity_km_s, width):
    """Return the part of the light that lines let through; `width`: sigma of the kernel, of the logarithm."""
    if not len(scales):
        return np.ones(wavelength_um.shape)
    step = model.log_um[1] - model.log_um[0]
    return 1 - _at(model, gaussian_filter1d(scales @ model.losses, width / step), wavelength_um, velocity_km_s)


def _find_windows(model, wavelength_um, usable):
    """Return of each line the places of the bins about it, none where it is too weak or at the edge."""
    windows, step = [], model.log_um[1] - model.log_um[0]
    for line_um, loss in zip(model.lines_um, model.losses, strict=True):
        if loss.max() < WEAK:
            windows.append(())
            continue
        reach = WINDOW * line_um * loss.sum() * step / loss.max()
        away = wavelength_um - line_um
        near = usable & (np.abs(away) < max(reach, LEAST_BINS / 2 * (wavelength_um[1] - wavelength_um[0])))
        sides = [np.count_nonzero(near & (side * away > 0)) for side in (-1, 1)]
        windows.append(tuple(np.flatnonzero(near)) if min(sides) >= LEAST_SIDE else ())
    return windows


def _take(spectrum, window):
    """Return wavelengths, values over their level, their errors and -1..1 of a window of a spectrum."""
    rest, error, wavelength_um = (array[list(window)] for array in spectrum)
    level = np.percentile(rest, 80)
    u = 2 * (wavelength_um - wavelength_um[0]) / np.ptp(wavelength_um) - 1
    return wavelength_um, rest / level, np.maximum(error / np.abs(level), LEAST_NOISE), u


def _fit_together(model, windows, spectrum, narrow):
    """Return velocity, sigma of the kernel, scale of all lines, and the error of that."""
    taken = [_take(spectrum, window) for window in windows if window]
    all_um = np.concatenate([x for x, *_ in taken])
    ends = np.cumsum([len(x) for x, *_ in taken])[:-1]

    @cache  # levels and slopes leave the lines as they are
    def see(velocity, broad, scale):
        return np.split(_see_lines(model, np.full(len(windows), scale), all_um, velocity, broad), ends)

    def residuals(values):
        lines = see(REACH_KM_S * values[0], narrow * np.exp(values[1]), values[2])
        levels = values[3:].reshape(-1, 2)
        rows = [
            (y - (level + slope * u) * through) / sigma
            for (_, y, sigma, u), (level, slope), through in zip(taken, levels, lines, strict=True)
        ]
        return np.concatenate(rows)

    first = np.concatenate([[0.0, 0.5, 1.0], np.tile([1.0, 0.0], len(taken))])
    low = np.concatenate([[-1, 0, -0.5], np.tile([0.3, -1.0], len(taken))])
    high = np.concatenate([[1, np.log(MOST_BREADTH), MOST_SCALE], np.tile([3.0, 1.0], len(taken))])
    fit, error = _solve(residuals, first, (low, high))
    return REACH_KM_S * fit[0], float(narrow * np.exp(fit[1])), fit[2], error[2]


def _fit_each(model, windows, spectrum, moved, scale):
    """Return the scale of each line and its error, (line, 2), beside the others as they are; inf where unknown."""
    found = np.tile([scale, np.inf], (len(windows), 1))
    for k, window in enumerate(windows):
        if not window:
            continue
        x, y, sigma, u = _take(spectrum, window)

        def residuals(values, k=k, x=x, y=y, sigma=sigma, u=u):
            scales = found[:, 0].copy()
            scales[k] = values[2]
            through = _see_lines(model, scales, x, *moved)
            return (y - (values[0] + values[1] * u) * through) / sigma

        fit, error = _solve(residuals, [1.0, 0.0, scale], ([0.3, -1, -0.5], [3, 1, MOST_SCALE]))
        found[k] = fit[2], error[2]
    return found


def _solve(residuals, first, bounds):
    """Return the best values and their errors."""
    fit = optimize.least_squares(residuals, np.clip(first, *bounds), bounds=bounds, loss="soft_l1")
    scatter = max(2 * fit.cost / max(fit.fun.size - fit.x.size, 1), 1)
    return fit.x, np.sqrt(np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)) * scatter)


def _join_scales(lines_um, found, scale):
    """Return the scale of every line, and which were measured: others are on a line through these."""
    seen = found[:, 1] < MOST_OF_LINE
    if seen.sum() < 3:
        return np.where(seen, found[:, 0], scale), seen
    line = np.polyfit(lines_um[seen], found[seen, 0], 1, w=1 / np.maximum(found[seen, 1], 0.01))
    return np.where(seen, found[:, 0], np.clip(np.polyval(line, lines_um), 0, MOST_SCALE)), seen
