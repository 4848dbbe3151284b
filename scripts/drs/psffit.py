"""Fluxes of stars by an effective point-spread function, which is first matched to the image they are in."""

from typing import NamedTuple

import numpy as np

from drs.epsf import STEP_PIX, evaluate, find_coefficients, smooth_error

RADIUS_FWHM = 1.5
N_ROUND = 5
N_PASS = 3
N_NODE = 8
BRIGHT = 50.0  # signal to noise of stars that the PSF is matched to
N_MATCH = 50
CLIP_SIGMA = 3.0
MAD_TO_SIGMA = 1.4826
BREADTH = (-0.5, 2.0)
MOVE_PIX = 1.5


class Fluxes(NamedTuple):
    """Fluxes of sources and their errors, e-/s, (n,), NaN where none can be fitted; `breadth` of the PSF in x and y."""

    flux: np.ndarray
    error: np.ndarray
    breadth: tuple


class _Shape(NamedTuple):
    """Coefficients of the PSF, what it gains along x and along y when resampling broadens it, and more in both."""

    coefficients: np.ndarray
    gains: tuple
    both: np.ndarray
    oversampling: int


def fit_fluxes(image, places, sky, *, psf, fwhm_pix, noise_correlation):
    """Return the Fluxes of sources: least squares of flux and place of each in the pixels within 1.5 fwhm of it.

    Resampling broadens the stars of a mosaic: pixels that fall anywhere between those of the mosaic are spread like a
    triangle of half width 1 pixel. So the PSF is E * ((1 - b_x) delta + b_x triangle), the same along y, which keeps
    its light, with one `breadth` (b_x, b_y) of the image from its bright stars, limited to -0.5 and 2: it also takes up
    a little of a change of the seeing. By how much single stars scatter about it beyond their errors, as images do not
    cover all of a mosaic alike, is in the errors of all. The correlation of neighbours, c in all (NOISCORR), enters
    variances as the product over the axes of 1 + (c - 1) rho, rho the correlation of the PSF with itself a pixel on.

    Parameters
    ----------
    image : (values, error, unusable)
        (ny, nx) each; values are finite where unusable.
    places : (x, y)
        0-based, (n,) each.
    sky : (level, error)
        Of each source, e-/s per pixel.
    psf : (values, oversampling)
        E at steps of 1 / oversampling pixels, (m, m), 0 in the middle.
    fwhm_pix, noise_correlation : float
    """
    shape = _prepare(*psf)
    stamps = [_cut(image, place, level, RADIUS_FWHM * fwhm_pix) for *place, level in zip(*places, sky[0], strict=True)]
    breadth, scatter = _match_breadth(shape, stamps)
    broad = _broaden(shape, breadth)
    flux, error, of_sky, *of_breadth = np.array([_fit(broad, stamp)[:5] for stamp in stamps]).reshape(-1, 5).T
    correlated = np.sqrt(_correlate(broad, noise_correlation))
    mismatch = [flux * part * own for part, own in zip(of_breadth, scatter, strict=True)]
    errors = np.sqrt((error * correlated) ** 2 + (of_sky * sky[1]) ** 2 + mismatch[0] ** 2 + mismatch[1] ** 2)
    return Fluxes(flux, errors, tuple(map(float, breadth)))


def _prepare(values, oversampling):
    """Return the _Shape of a PSF."""
    coefficients = find_coefficients(values)
    nodes = (np.arange(len(values)) - (len(values) - 1) / 2) / oversampling
    u, v = np.meshgrid(nodes, nodes)
    at, weight = np.polynomial.legendre.leggauss(N_NODE)
    at = (at + 1) / 2
    distances, parts = np.concatenate([-at, at]), np.tile(weight / 2 * (1 - at), 2)
    maps = [coefficients]
    for dx, dy in ((1, 0), (0, 1)):  # E, E broad along x; then both of them broad along y
        for own in tuple(maps):
            moved = [evaluate(own, u + d * dx, v + d * dy, oversampling) for d in distances]
            maps.append(find_coefficients(np.tensordot(parts, moved, axes=1)))
    still, in_x, in_y, in_both = maps
    return _Shape(still, (in_x - still, in_y - still), in_both - in_x - in_y + still, oversampling)


def _broaden(shape, breadth):
    """Return the _Shape of a PSF that is broader by a breadth (x, y)."""
    along_x, along_y = (gain + own * shape.both for gain, own in zip(shape.gains, breadth[::-1], strict=True))
    coefficients = shape.coefficients + breadth[0] * shape.gains[0] + breadth[1] * along_y
    return shape._replace(coefficients=coefficients, gains=(along_x, along_y))


def _cut(image, place, level, radius_pix):
    """Return (x, y, light, error, place) of the usable pixels about a source; None with too few to fit."""
    values, error, unusable = image
    ny, nx = values.shape
    bounds = [
        (max(int(c - radius_pix), 0), min(int(c + radius_pix) + 2, n)) for c, n in zip(place, (nx, ny), strict=True)
    ]
    y, x = (axis.ravel() for axis in np.mgrid[slice(*bounds[1]), slice(*bounds[0])])
    near = (np.hypot(x - place[0], y - place[1]) <= radius_pix) & ~unusable[y, x] & (error[y, x] > 0)
    y, x = y[near], x[near]
    if near.sum() < 0.5 * np.pi * radius_pix**2:
        return None
    return x, y, values[y, x] - level, error[y, x], tuple(place)


def _fit(shape, stamp, *, with_breadth=False):
    """Return of one source: flux, its error, its changes with sky, breadth in x, in y; with_breadth: these, errors."""
    nothing = (np.nan,) * 6
    if stamp is None:
        return nothing
    x, y, light, error, start = stamp
    place, flux, noise = np.array(start), max(float(light.sum()), 1e-30), error
    for _ in range(N_ROUND):
        u, v = x - place[0], y - place[1]
        value = evaluate(shape.coefficients, u, v, shape.oversampling)
        along = [
            (evaluate(shape.coefficients, u + dx, v + dy, shape.oversampling) - value) / STEP_PIX
            for dx, dy in ((STEP_PIX, 0), (0, STEP_PIX))
        ]
        gains = [evaluate(gain, u, v, shape.oversampling) for gain in shape.gains]
        columns = [value, *(-flux * slope for slope in along), *(flux * gain for gain in gains)]
        design = np.stack(columns if with_breadth else columns[:3], axis=1) / noise[:, None]
        covariance = np.linalg.pinv(design.T @ design)
        solution = covariance @ (design.T @ (light / noise))
        if not solution[0] > 0:
            return nothing
        flux, place = solution[0], place + np.clip(solution[1:3], -0.3, 0.3)
        if np.hypot(*(place - start)) > MOVE_PIX:
            return nothing
        noise = smooth_error(light, error, flux * value)
    if with_breadth:
        return flux, np.sqrt(covariance[0, 0]), *solution[3:], *np.sqrt(np.diag(covariance)[3:])
    response = covariance[0] @ (design / noise[:, None]).T
    return flux, np.sqrt(covariance[0, 0]), *(response @ column for column in (np.ones(x.size), *gains)), 0.0


def _match_breadth(shape, stamps):
    """Return the breadth (x, y) that the bright sources have, and their scatter about it beyond its errors; 0 without.

    The narrow majority decides: sources that are no stars are broader.
    """
    brightest = sorted((s for s in stamps if s is not None), key=lambda stamp: -stamp[2].sum())[:N_MATCH]
    breadth, scatter = np.zeros(2), np.zeros(2)
    for _ in range(N_PASS):
        broad = _broaden(shape, breadth)
        found = np.array([_fit(broad, stamp, with_breadth=True) for stamp in brightest]).reshape(-1, 6)
        found = found[np.isfinite(found).all(axis=1) & (found[:, 0] > BRIGHT * found[:, 1])]
        if not len(found):
            break
        step, scatter = _average(found[:, 2:4], found[:, 4:6])
        breadth = np.clip(breadth + step, *BREADTH)
    return breadth, scatter


def _average(values, errors):
    """Return the mean of values (n, 2) by their errors, outliers left out, and their scatter beyond these."""
    centre = np.median(values, axis=0)
    width = np.maximum(MAD_TO_SIGMA * np.median(np.abs(values - centre), axis=0), errors)
    kept = (np.abs(values - centre) <= CLIP_SIGMA * width).all(axis=1)
    values, errors = (values[kept], errors[kept]) if kept.any() else (values, errors)
    mean = np.average(values, axis=0, weights=errors**-2.0)
    excess = np.average((values - mean) ** 2 - errors**2, axis=0, weights=errors**-2.0)
    return mean, np.sqrt(np.maximum(excess, 0))


def _correlate(shape, correlation):
    """Return the variance of a flux over that of independent pixels."""
    nodes = np.arange(len(shape.coefficients)) - (len(shape.coefficients) - 1) / 2
    values = evaluate(
        shape.coefficients, *np.meshgrid(nodes, nodes) / np.float64(shape.oversampling), shape.oversampling
    )
    step, total = shape.oversampling, (values**2).sum()
    rho = (values[:, step:] * values[:, :-step]).sum() / total, (values[step:] * values[:-step]).sum() / total
    return float(np.prod([1 + (correlation - 1) * part for part in rho]))
