"""Effective point-spread function of an imager from its own stars: a spline through their pixels, with errors.

The effective PSF E(u, v) is the part of a star's light in a pixel whose centre is (u, v) away from the star (Anderson &
King 2000, PASP 112, 1360, eq. 2): a pixel of star n holds flux_n E(x - x_n, y - y_n), so that stars at different
places within a pixel sample one smooth function between its own pixels.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.ndimage import map_coordinates, spline_filter
from scipy.sparse import linalg as splinalg

N_ROUND = 6
CLIP_SIGMA = 6.0
CLIP_PART = 0.02  # of the light that the PSF has in a pixel, by which a pixel may be off on top of its noise
TIE = 1e-3  # part of the weight of the data, at steps of a pixel, by which the PSF is tied to a smooth one
DIFFERENCE = (-1.0, 3.0, -3.0, 1.0)
SETTLED_PIX = 1e-4
STEP_PIX = 1e-3
N_ANGLE = 64
REACH, WINDOW, CHUNK = 3, 4, 512  # steps at which B-splines overlap, of a window of the covariance; nodes at a time
RADIUS_STEP_PIX = 0.05
STARS_PER_PHASE = 1.25
FILLED_PHASES = 0.75


class Star(NamedTuple):
    """Usable pixels of one star, all (n,): 0-based `x`, `y`, `light` less its sky and its `error`, e-/s.

    `place`: (x, y) of the star; `flux`: all its light, e-/s, and the error `flux_error` of that.
    """

    x: np.ndarray
    y: np.ndarray
    light: np.ndarray
    error: np.ndarray
    place: tuple
    flux: float
    flux_error: float


class _Fit(NamedTuple):
    """Least squares of a spline: coefficients that the data reach, matrix of the fit, and that of the data alone."""

    active: np.ndarray
    matrix: sparse.spmatrix
    data: sparse.spmatrix


class Epsf(NamedTuple):
    """Effective PSF: `values` and `error` (n, n) at steps of 1 / `oversampling` pixels, 0 in the middle.

    `values`: part of the light in a pixel; `radii`, `encircled`: part of the light within a radius, 1 at the last;
    `fwhm_pix`; `peak`: part in a pixel centred on the star; `area_pix`: noise-equivalent area, 1 over the integral of
    its square (King 1983, PASP 95, 163); `total_error`: relative error of all fluxes that it gives; `chi_square` per
    degree of freedom; `residual`: by which the stars differ from it in their cores beyond the noise, over the peak;
    `n_star` images of stars; `n_clipped` pixels.
    """

    values: np.ndarray
    error: np.ndarray
    oversampling: int
    radii: np.ndarray
    encircled: np.ndarray
    fwhm_pix: float
    peak: float
    area_pix: float
    total_error: float
    chi_square: float
    residual: float
    n_star: int
    n_clipped: int


def choose_oversampling(places, maximum):
    """Return the finest sampling, at most `maximum` per pixel, that the places (x, y) of stars within pixels allow."""
    phases = np.asarray(places) % 1.0
    for number in range(maximum, 1, -1):
        cells = np.unique(np.floor(phases * number), axis=0)
        if len(phases) >= STARS_PER_PHASE * number**2 and len(cells) >= FILLED_PHASES * number**2:
            return number
    return 1


def cut_star(image, place, *, level, radius_pix, flux, flux_error):
    """Return the Star of an image's pixels within a radius of a place, less the level of its sky."""
    ny, nx = image.rate.shape
    bounds = [
        (max(int(c - radius_pix), 0), min(int(c + radius_pix) + 2, n)) for c, n in zip(place, (nx, ny), strict=True)
    ]
    y, x = (axis.ravel() for axis in np.mgrid[slice(*bounds[1]), slice(*bounds[0])])
    used = (np.hypot(x - place[0], y - place[1]) <= radius_pix) & ~image.unusable[y, x] & (image.error[y, x] > 0)
    y, x = y[used], x[used]
    light, error = image.rate[y, x].astype(float) - level, image.error[y, x].astype(float)
    return Star(x.astype(float), y.astype(float), light, error, tuple(place), float(flux), float(flux_error))


def fit_epsf(stars, *, radius_pix, oversampling):
    """Return the Epsf of stars, and the stars at the places and fluxes that it gives them.

    E is a bicubic B-spline with knots at steps of 1 / `oversampling` pixels, fitted by weighted least squares to all
    pixels; then each star's place and flux are fitted with it, in turns. Its third differences are tied to 0 with a
    small part of the weight of the data: this fills what no star samples and leaves the rest. E is centred where a
    Gaussian window finds its centroid, as `find_star` finds those of stars, and 1 within `radius_pix`. Pixels 6 sigma
    off, plus 2 % of the light, are left out. Weights are those of the light that the PSF has in a pixel: with those of
    a pixel's own light, which is noisy, low values would count more. The errors are those of the fit, without that of
    the scale.

    Parameters
    ----------
    stars : list of Star
    radius_pix : float
        That holds all light.
    oversampling : int
    """
    half = int(np.ceil((radius_pix + 1) * oversampling)) + 2
    used = [np.ones(star.x.size, bool) for star in stars]
    measured = stars
    for _ in range(N_ROUND):
        coefficients, fit = _fit_spline(stars, used, half, oversampling)
        total = measure_encircled(coefficients, oversampling, radius_pix)[1][-1]
        coefficients = coefficients / total
        shift = _find_centre(coefficients, oversampling)
        before, stars = (
            stars,
            [_fit_star(star, own, coefficients, oversampling) for star, own in zip(stars, used, strict=True)],
        )
        stars = [star._replace(place=(star.place[0] + shift[0], star.place[1] + shift[1])) for star in stars]
        used = [_find_used(star, coefficients, oversampling) for star in stars]
        models = [_model(star, coefficients, oversampling) for star in stars]
        errors = [smooth_error(old.light, old.error, model) for old, model in zip(measured, models, strict=True)]
        stars = [star._replace(error=error) for star, error in zip(stars, errors, strict=True)]
        if (
            max(np.hypot(*np.subtract(new.place, old.place)) for new, old in zip(stars, before, strict=True))
            < SETTLED_PIX
        ):
            break
    variance, freedom = _find_variance(fit, half)
    errors = np.sqrt(variance) / total, freedom
    return _describe(stars, used, coefficients, errors, oversampling, radius_pix), stars


def _fit_spline(stars, used, half, oversampling):
    """Return coefficients (n, n) of the spline, and the _Fit that says how well they are known."""
    size = 2 * half + 1
    rows, light, weight = [], [], []
    for star, own in zip(stars, used, strict=True):
        u, v = ((axis[own] - c) * oversampling + half for axis, c in zip((star.x, star.y), star.place, strict=True))
        rows.append(_build_rows(u, v, size))
        light.append(star.light[own] / star.flux)
        weight.append((star.flux / star.error[own]) ** 2)
    design, light, weight = sparse.vstack(rows).tocsc(), np.concatenate(light), np.concatenate(weight)
    active = np.flatnonzero(np.diff(design.indptr))
    design = design[:, active]
    normal = (design.T @ design.multiply(weight[:, None])).tocsc()
    tie = TIE * oversampling**6 * _tie_smooth(active, normal.diagonal(), size)
    coefficients = np.zeros(size * size)
    coefficients[active] = splinalg.splu((normal + tie).tocsc()).solve(design.T @ (weight * light))
    return coefficients.reshape(size, size), _Fit(active, normal + tie, normal)


def _build_rows(u, v, size):
    """Return the values at (u, v), in steps of the grid, of the bicubic B-splines about its nodes: (n, size^2)."""
    first, weights = zip(*(_spread(axis) for axis in (v, u)), strict=True)
    row = first[0][:, None, None] + np.arange(4)[None, :, None]
    column = first[1][:, None, None] + np.arange(4)[None, None, :]
    values = weights[0][:, :, None] * weights[1][:, None, :]
    lines = np.broadcast_to(np.arange(u.size)[:, None, None], values.shape)
    return sparse.coo_matrix((values.ravel(), (lines.ravel(), (row * size + column).ravel())), (u.size, size * size))


def _spread(axis):
    """Return (first node, weights (n, 4)) of the cubic B-splines that reach each place of an axis."""
    below = np.floor(axis).astype(int)
    t = axis - below
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return below - 1, np.stack(weights, axis=1) / 6


def _tie_smooth(active, diagonal, size):
    """Return the matrix of squares of the third differences of neighbours in rows and columns, with local weights."""
    position = np.full(size * size + 3 * size, -1)
    position[active] = np.arange(active.size)
    chains = np.concatenate([position[active[:, None] + step * np.arange(4)] for step in (1, size)])
    chains = chains[(chains >= 0).all(axis=1)]
    lines = np.repeat(np.arange(len(chains)), 4)
    difference = sparse.coo_matrix(
        (np.tile(DIFFERENCE, len(chains)), (lines, chains.ravel())), (len(chains), active.size)
    ).tocsc()
    return difference.T @ difference.multiply(diagonal[chains[:, 1:3]].mean(axis=1)[:, None])


def evaluate(coefficients, u, v, oversampling):
    """Return a spline of these coefficients at (u, v) pixels from its middle, 0 off its grid."""
    half = (len(coefficients) - 1) / 2
    places = np.stack([v * oversampling + half, u * oversampling + half])
    return map_coordinates(coefficients, places, order=3, prefilter=False, mode="constant")


def find_coefficients(values):
    """Return the coefficients of the spline through values at the nodes, (n, n)."""
    return spline_filter(values.astype(float), order=3, mode="mirror")


def _fit_star(star, used, coefficients, oversampling):
    """Return a star with the place and flux that the PSF gives it: one step of least squares."""
    u, v, light, error = (
        (star.x - star.place[0])[used],
        (star.y - star.place[1])[used],
        star.light[used],
        star.error[used],
    )
    value = evaluate(coefficients, u, v, oversampling)
    along_x = (evaluate(coefficients, u + STEP_PIX, v, oversampling) - value) / STEP_PIX
    along_y = (evaluate(coefficients, u, v + STEP_PIX, oversampling) - value) / STEP_PIX
    design = np.stack([value, -star.flux * along_x, -star.flux * along_y], axis=1) / error[:, None]
    (flux, dx, dy), *_ = np.linalg.lstsq(design, light / error, rcond=None)
    dx, dy = np.clip((dx, dy), -0.3, 0.3)
    return star._replace(flux=float(flux), place=(float(star.place[0] + dx), float(star.place[1] + dy)))


def smooth_error(light, error, model):
    """Return the errors of pixels, (n,), for the light that a model has in them, in place of their own noisy light.

    The variance is a straight line in the light, of the slope that the pixels show; where a pixel has more than twice
    that, its own.
    """
    variance = error**2
    floor = np.median(variance)
    slope = max(float((light * (variance - floor)).sum() / max((light**2).sum(), 1e-30)), 0.0)
    smooth = slope * np.maximum(model, 0) + max(float(np.median(variance - slope * light)), 0.1 * floor)
    return np.sqrt(np.where(variance > 2 * smooth, variance, smooth))


def _model(star, coefficients, oversampling):
    """Return the light that the PSF has in the pixels of a star."""
    return star.flux * evaluate(coefficients, star.x - star.place[0], star.y - star.place[1], oversampling)


def _find_used(star, coefficients, oversampling):
    """Return which pixels of a star agree with the PSF."""
    model = _model(star, coefficients, oversampling)
    return np.abs(star.light - model) < CLIP_SIGMA * star.error + CLIP_PART * np.abs(model)


def _find_centre(coefficients, oversampling, sigma_pix=1.5):
    """Return (x, y), pixels from the middle of the grid, of the centroid of the PSF in a Gaussian window."""
    reach = np.arange(-8, 8 + 1 / oversampling, 1 / oversampling)
    v, u = np.meshgrid(reach, reach, indexing="ij")
    value, x, y = evaluate(coefficients, u, v, oversampling), 0.0, 0.0
    for _ in range(20):
        weight = value * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma_pix**2))
        x += 2 * (weight * (u - x)).sum() / weight.sum()
        y += 2 * (weight * (v - y)).sum() / weight.sum()
    return float(x), float(y)


def measure_encircled(coefficients, oversampling, radius_pix):
    """Return (radii, light within each of them, mean at each of them) of a PSF out to a radius."""
    radii = np.linspace(0, radius_pix, round(radius_pix / RADIUS_STEP_PIX) + 1)
    middles = (radii[1:] + radii[:-1]) / 2
    angles = 2 * np.pi * np.arange(N_ANGLE) / N_ANGLE
    rings = np.concatenate([middles, radii])[:, None]
    mean = evaluate(coefficients, rings * np.cos(angles), rings * np.sin(angles), oversampling).mean(axis=1)
    light = np.cumsum(2 * np.pi * middles * mean[: middles.size]) * (radii[1] - radii[0])
    return radii, np.concatenate([[0.0], light]), mean[middles.size :]


def _find_variance(fit, half):
    """Return the variance of the spline's values at its nodes, (n, n), infinite where no data reach, and its freedom.

    The freedom, the number of parameters that the data fix, is the trace of the smoother matrix. The covariance of a
    coefficient and its neighbours is that of the 9 x 9 about it with the others fixed, as it falls off within a few
    steps: the whole inverse would take the memory of (n^2)^2 numbers.
    """
    size, steps = 2 * half + 1, np.arange(-WINDOW, WINDOW + 1)
    down, along = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    bands = [_list_bands(matrix, fit.active, size) for matrix in (fit.matrix, fit.data)]
    position = np.full(size * size + WINDOW * (size + 1), -1)
    position[fit.active] = np.arange(fit.active.size)
    apart = [axis - axis[:, None] + REACH for axis in (down, along)]  # of the columns of a window from its rows
    coupled = (np.minimum(*apart) >= 0) & (np.maximum(*apart) <= 2 * REACH)
    apart = [np.clip(axis, 0, 2 * REACH) for axis in apart]
    weights = np.where(np.maximum(abs(down), abs(along)) <= 1, (4.0 - 3 * abs(down)) * (4.0 - 3 * abs(along)) / 36, 0.0)
    variance, freedom, middle = np.full(size * size, np.inf), 0.0, down.size // 2
    for first in range(0, fit.active.size, CHUNK):
        nodes = fit.active[first : first + CHUNK]
        window = position[nodes[:, None] + down * size + along]
        known = window >= 0
        local = bands[0][window[:, :, None], apart[0], apart[1]] * (coupled & known[:, :, None] & known[:, None])
        local[:, np.arange(down.size), np.arange(down.size)] += ~known
        covariance = np.linalg.inv(local)
        whole = known[:, weights > 0].all(axis=1)
        variance[nodes[whole]] = np.einsum("a,nab,b->n", weights, covariance[whole], weights)
        own = bands[1][window[:, middle, None], apart[0][middle], apart[1][middle]] * (coupled[middle] & known)
        freedom += float((own * covariance[:, middle]).sum())
    return variance.reshape(size, size), freedom


def _list_bands(matrix, active, size):
    """Return the elements of a matrix by the coefficient and how far the other is from it: (n, 7, 7)."""
    entries = matrix.tocoo()
    (v, u), (other_v, other_u) = (np.divmod(active[index], size) for index in (entries.row, entries.col))
    bands = np.zeros((active.size, 2 * REACH + 1, 2 * REACH + 1))
    bands[entries.row, other_v - v + REACH, other_u - u + REACH] = entries.data
    return bands


def _describe(stars, used, coefficients, errors, oversampling, radius_pix):
    """Return the Epsf of fitted coefficients; `errors` are those of its values and the freedom of the fit."""
    edge, middle = int(np.floor(radius_pix * oversampling)), (len(coefficients) - 1) // 2
    inner = slice(middle - edge, middle + edge + 1)
    u, v = np.meshgrid(*[np.arange(-edge, edge + 1) / oversampling] * 2)
    values = np.where(np.hypot(u, v) <= radius_pix, evaluate(coefficients, u, v, oversampling), 0.0)
    radii, encircled, profile = measure_encircled(coefficients, oversampling, radius_pix)
    peak, below = float(profile[0]), int(np.argmax(profile < 0.5 * profile[0])) + 1
    fwhm_pix = 2 * float(np.interp(-0.5 * peak, -profile[:below], radii[:below]))
    pulls, residual = _compare(stars, used, coefficients, (oversampling, fwhm_pix, peak))
    totals = np.array([star.flux / star.flux_error for star in stars])
    return Epsf(
        values,
        errors[0][inner, inner],
        oversampling,
        radii,
        encircled,
        fwhm_pix,
        peak,
        area_pix=float(oversampling**2 / (values**2).sum()),
        total_error=float(1 / np.sqrt((totals**2).sum())),
        chi_square=float((pulls**2).sum() / max(pulls.size - errors[1] - 3 * len(stars), 1.0)),
        residual=residual,
        n_star=len(stars),
        n_clipped=sum(int(own.size - own.sum()) for own in used),
    )


def _compare(stars, used, coefficients, shape):
    """Return the pulls of all pixels used, and how far those of the cores are off beyond the noise, over the peak.

    The latter is the 68th percentile, of all pixels: hits do not raise it, stars that differ do. `shape` is
    (oversampling, fwhm_pix, peak).
    """
    oversampling, fwhm_pix, peak = shape
    pulls, cores, noise = [], [], []
    for star, own in zip(stars, used, strict=True):
        left = star.light - _model(star, coefficients, oversampling)
        pulls.append((left / star.error)[own])
        core = np.hypot(star.x - star.place[0], star.y - star.place[1]) < fwhm_pix
        cores.append(np.abs(left[core]) / (star.flux * peak))
        noise.append(star.error[core] / (star.flux * peak))
    excess = np.percentile(np.concatenate(cores), 68.3) ** 2 - np.median(np.concatenate(noise) ** 2)
    return np.concatenate(pulls), float(np.sqrt(max(excess, 0.0)))
