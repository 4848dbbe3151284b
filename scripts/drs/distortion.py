"""Distortion of a detector: fitted to the spots of a mask of pinholes or to stars, and written as SIP."""

from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS
from numpy.polynomial import legendre, polynomial

from drs.errors import ReductionError

CLIP_SIGMA = 6.0
N_CLIP = 5
SPOTS_PER_TERM = 2
MAXIMUM_SCALE = 0.03
N_SAMPLE = 40
SIP_ORDERS = range(2, 8)
SIP_GOOD_PIX = 1e-3
TIE = 1e6  # weight of the row that keeps rotation out of the distortion


class Solution(NamedTuple):
    """Fitted distortion: what to add to a detector's (x, y) to remove it.

    `coefficients`: (2, n, n) of P_l(v) P_m(u), index [axis, l, m], u and v from -1 to 1 over the detector;
    `residual_pix`: rms of the spots; `mask_pix`: rms of the pinholes about their nominal places; `n_spot`; `shape`.
    """

    coefficients: np.ndarray
    residual_pix: float
    mask_pix: float
    n_spot: int
    shape: tuple


def fit_distortion(exposures, shape, *, pitch_pix, order, mask_error_pix, centroid_error_pix):
    """Return the distortion that makes the spots of all exposures those of one rigid mask.

    For spot n of pinhole p in exposure k: x_n + D(x_n) = pitch (i, j)_p + e_p + t_k + r_k (-j, i)_p pitch, with D a
    bivariate Legendre series of total degree `order` without constant (a shift is pointing) and without rotation (the
    mask's), e_p the place errors of the pinholes, t_k and r_k shift and rotation of the mask in an exposure. The
    places are free, as mask errors would alias into D (self-calibration of NFIRAOS's pinhole mask, Service et al.
    2019, arXiv:1908.04504): e_p are random of standard deviation `mask_error_pix` and are integrated out, which is
    generalised least squares with covariance s_c^2 I + s_m^2 1 1^T among the spots of one pinhole. One exposure then
    gives D up to the mean of the errors; exposures with the mask moved tell the two apart.

    Parameters
    ----------
    exposures : list of (places, numbers)
        1-based (x, y) of the spots, (n, 2), and their (i, j) on the mask, (n, 2).
    shape : (ny, nx)
        Of the detector.
    pitch_pix : float
    order : int
    mask_error_pix, centroid_error_pix : float
        Standard deviations of the pinholes' places, and of a centroid.
    """
    numbers = np.concatenate([own for _, own in exposures])
    _, hole = np.unique(numbers, axis=0, return_inverse=True)
    spots = _join_exposures([(places, pitch_pix * own) for places, own in exposures], hole.ravel())
    advice = "take more exposures, lower make_distortion: order, or check make_distortion: pitch_pix"
    _check_number(len(hole), order, f"pinholes for {len(list_terms(order))} terms", advice)
    return _fit_clipped(spots, shape, order, mask_error_pix, centroid_error_pix)


def fit_field(exposures, shape, *, order, catalogue_error_pix, centroid_error_pix):
    """Return the distortion that makes the stars of all exposures those of a catalogue, each exposure's pointing free.

    The model of `fit_distortion` with stars in the place of pinholes: their places are those of the catalogue, with
    errors of standard deviation `catalogue_error_pix` that all exposures share; shift and rotation of each exposure
    are free, the scale is that of the catalogue.

    Parameters
    ----------
    exposures : list of (places, wanted, stars)
        1-based (x, y) of the stars, (n, 2); where the catalogue has them in pixels without distortion, relative to the
        detector's middle, (n, 2); their numbers in the catalogue, (n,).
    shape : (ny, nx)
    order : int
    catalogue_error_pix, centroid_error_pix : float
        Standard deviations of the catalogue's places, and of a centroid.
    """
    _, star = np.unique(np.concatenate([stars for *_, stars in exposures]), return_inverse=True)
    spots = _join_exposures([(places, wanted) for places, wanted, _ in exposures], star.ravel())
    what, advice = f"places of stars for {len(list_terms(order))} terms", "take more dithers, or lower the order"
    _check_number(star.size, order, what, advice)
    return _fit_clipped(spots, shape, order, catalogue_error_pix, centroid_error_pix)


def _join_exposures(exposures, hole):
    """Return (places, nominal places, pinhole or star, exposure) of all spots."""
    exposure = np.repeat(np.arange(len(exposures)), [len(places) for places, _ in exposures])
    return *(np.concatenate(parts) for parts in zip(*exposures, strict=True)), hole, exposure


def _check_number(found, order, what, advice):
    """Refuse fewer spots than two for each term."""
    needed = SPOTS_PER_TERM * len(list_terms(order))
    if found < needed:
        raise ReductionError(f"{found} {what} of order {order}: at least {needed} needed; {advice}")


def _fit_clipped(spots, shape, order, mask_error_pix, centroid_error_pix):
    """Return the Solution of spots, outliers left out."""
    terms, used = list_terms(order), np.ones(len(spots[0]), bool)
    for _ in range(N_CLIP):
        fitted = _fit_spots([part[used] for part in spots], shape, terms, (mask_error_pix / centroid_error_pix) ** 2)
        worst = np.zeros(used.sum(), bool)
        for deviations in fitted[1:]:  # of a spot from its pinhole, of a pinhole from its place
            worst |= np.hypot(*deviations.T) > CLIP_SIGMA * max(_robust_rms(deviations), centroid_error_pix)
        if not worst.any():
            break
        used[np.flatnonzero(used)[worst]] = False
    values, residuals, errors = fitted
    coefficients = np.zeros((2, order + 1, order + 1))
    for k, (row, column) in enumerate(terms):
        coefficients[:, row, column] = values[:, k]
    # a shift is pointing, which is that of the detector's centre
    coefficients[:, 0, 0] = [-legendre.legval2d(0.0, 0.0, axis) for axis in coefficients]
    rms = float(np.sqrt(np.mean(residuals**2)))
    return Solution(coefficients, rms, float(np.sqrt(np.mean(errors**2))), int(used.sum()), tuple(shape))


def measure_scale(solution):
    """Return by which part the distortion changes the scale, in x and in y: 0.01 where the pitch is 1 % off."""
    ny, nx = solution.shape
    return float(2 * solution.coefficients[0, 0, 1] / (nx - 1)), float(2 * solution.coefficients[1, 1, 0] / (ny - 1))


def check_scale(solution, what, advice):
    """Refuse a distortion that changes the scale by more than 3 %.

    `what` is what was seen and what it was taken for: then the pitch, or the scale, is another one.
    """
    if max(map(abs, scales := measure_scale(solution))) > MAXIMUM_SCALE:
        raise ReductionError(
            f"{what[0]} is {scales[0]:+.1%} in x and {scales[1]:+.1%} in y off {what[1]}, at most {MAXIMUM_SCALE:.0%} "
            f"is a distortion: {advice}"
        )


def list_arrays(solution):
    """Return the arrays of a DistortionModel, (ny, nx): SCI, the length of (DX, DY), ERR, DX, DY and DQ."""
    dx, dy = map_distortion(solution)
    arrays = {"SCI": np.hypot(dx, dy), "ERR": np.full_like(dx, solution.residual_pix), "DX": dx, "DY": dy}
    return {**arrays, "DQ": np.zeros(dx.shape, np.uint32)}


def list_terms(order):
    """Return (l, m) of the terms P_l(v) P_m(u) of total degree 1 to `order`."""
    return [(row, column) for row in range(order + 1) for column in range(order + 1 - row) if row + column > 0]


def _robust_rms(residuals):
    """Return the rms of a component of two-dimensional residuals from their median length (Rayleigh)."""
    return float(np.median(np.hypot(*residuals.T)) / np.sqrt(2 * np.log(2)))


def _normalise(places, shape):
    """Return (u, v) from -1 to 1 of 1-based (x, y)."""
    ny, nx = shape
    return 2 * (places[..., 0] - 1) / (nx - 1) - 1, 2 * (places[..., 1] - 1) / (ny - 1) - 1


def _fit_spots(spots, shape, terms, ratio):
    """Return (coefficients (2, n_term), residuals, error of each spot's pinhole, both (n, 2)).

    `spots` as `_join_exposures` returns them; `ratio` is the variance of the pinholes' places over that of a centroid.
    """
    places, nominal, hole, exposure = spots
    u, v = _normalise(places, shape)
    degree = max(map(sum, terms))
    series = legendre.legvander2d(v, u, [degree, degree]).reshape(-1, degree + 1, degree + 1)
    basis = np.stack([series[:, row, column] for row, column in terms], axis=1)
    n_term, n_exposure = basis.shape[1], exposure.max() + 1
    is_of = (exposure[:, None] == np.arange(n_exposure)).astype(float)
    nothing, zero = np.zeros_like(basis), np.zeros_like(is_of)
    # unknowns: coefficients of x, of y, shifts in x, in y, rotations; the series stands on the left of the model
    rows_x = np.hstack([basis, nothing, -is_of, zero, is_of * nominal[:, 1:]])
    rows_y = np.hstack([nothing, basis, zero, -is_of, -is_of * nominal[:, :1]])
    _, hole = np.unique(hole, return_inverse=True)
    wanted = nominal - places
    design = np.concatenate([_whiten(rows_x, hole, ratio), _whiten(rows_y, hole, ratio)])
    target = np.concatenate([_whiten(wanted[:, axis : axis + 1], hole, ratio) for axis in (0, 1)])[:, 0]
    tie = np.zeros(design.shape[1])
    tie[terms.index((1, 0))], tie[n_term + terms.index((0, 1))] = 1.0 / (shape[0] - 1), -1.0 / (shape[1] - 1)
    design, target = np.vstack([design, TIE * tie]), np.append(target, 0.0)
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    left = wanted - np.stack([rows_x @ solution, rows_y @ solution], axis=1)
    count = np.bincount(hole)
    # the best guess of a pinhole's error is the mean of what is left, shrunk by the prior
    sums = np.stack([np.bincount(hole, weights=-left[:, axis]) for axis in (0, 1)], axis=1)
    errors = sums / (count + 1 / ratio)[:, None]
    return solution[: 2 * n_term].reshape(2, n_term), left + errors[hole], errors[hole]


def _whiten(rows, hole, ratio):
    """Return rows times the inverse root of I + ratio 1 1^T within each pinhole: less a part of their mean there."""
    count = np.bincount(hole)
    sums = np.stack([np.bincount(hole, weights=column) for column in rows.T], axis=1)
    part = 1 - 1 / np.sqrt(1 + count * ratio)
    return rows - (part[:, None] * sums / count[:, None])[hole]


def map_distortion(solution):
    """Return (DX, DY), float32, (ny, nx): what to add to the (x, y) of each pixel to remove the distortion."""
    v, u = (np.linspace(-1, 1, size) for size in solution.shape)
    return tuple(legendre.leggrid2d(v, u, axis).astype(np.float32) for axis in solution.coefficients)


def add_distortion(wcs, dx, dy):
    """Return (WCS keywords with SIP, largest error in pixels) of an image with a distortion.

    The reference pixel moves to the middle of the image, where a polynomial about it is well determined, and to its
    place on the sky; the linear part of the distortion goes into PC. The SIP polynomials (Shupe et al. 2005, ASP
    Conf. 347, 491) have the lowest order that follows the maps to 0.001 pixel, with their inverses AP, BP.

    Parameters
    ----------
    wcs : dict
        WCS keywords without distortion, with CDELT and PC.
    dx, dy : ndarray, (ny, nx)
        To be added to (x, y) of each pixel.
    """
    ny, nx = dx.shape
    rows, columns = (np.unique(np.linspace(0, size - 1, min(size, N_SAMPLE)).astype(int)) for size in (ny, nx))
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    linear, centre = WCS(wcs), np.array([(nx - 1) / 2, (ny - 1) / 2])
    middle = np.argmin(np.hypot(x - centre[0], y - centre[1]))
    ideal = np.stack([x + dx[y, x], y + dy[y, x]], axis=1)
    shift = ideal[middle] - (x[middle], y[middle])
    crval = linear.wcs_pix2world([centre + shift], 0)[0]
    moved = dict(wcs) | dict(zip(("CRVAL1", "CRVAL2"), map(float, crval), strict=True)) | {"CRPIX1": 0.0, "CRPIX2": 0.0}
    # pixels of the same scale and orientation about the new reference point
    offset = WCS(moved).wcs_world2pix(linear.wcs_pix2world(ideal, 0), 1)
    u, v = x - centre[0], y - centre[1]
    for order in SIP_ORDERS:
        fitted = _fit_polynomial(u, v, offset, order)
        error = float(np.abs(_evaluate(u, v, fitted) - offset).max())
        if error < SIP_GOOD_PIX:
            break
    return _format_sip(moved, centre, fitted, order, (u, v)), error


def _monomials(order):
    """Return (p, q) of u^p v^q up to total degree `order`."""
    return [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]


def _fit_polynomial(u, v, values, order):
    """Return coefficients (order + 1, order + 1, 2) of u^p v^q; fitted in scaled coordinates."""
    scale = max(np.abs(u).max(), np.abs(v).max(), 1.0)
    powers = _monomials(order)
    design = np.stack([(u / scale) ** p * (v / scale) ** q for p, q in powers], axis=1)
    solution, *_ = np.linalg.lstsq(design, values, rcond=None)
    coefficients = np.zeros((order + 1, order + 1, 2))
    for row, (p, q) in zip(solution, powers, strict=True):
        coefficients[p, q] = row / scale ** (p + q)
    return coefficients


def _evaluate(u, v, coefficients):
    """Return the polynomials at (u, v), (n, 2)."""
    return np.stack([polynomial.polyval2d(u, v, coefficients[..., axis]) for axis in (0, 1)], axis=-1)


def _format_sip(wcs, centre, fitted, order, samples):
    """Return WCS keywords of (u, v) -> fitted polynomials: linear part in PC, the rest in A, B, AP, BP."""
    matrix = np.array([[fitted[1, 0, axis], fitted[0, 1, axis]] for axis in (0, 1)])
    inverse = np.linalg.inv(matrix)
    start = inverse @ fitted[0, 0]  # what is left at the middle of the image, 1e-3 pixel
    forward = np.einsum("ab,pqb->pqa", inverse, fitted)
    forward[0, 0] = forward[1, 0] = forward[0, 1] = 0.0
    before = np.stack(samples, axis=1)
    after = before + _evaluate(*samples, forward)
    backward = _fit_polynomial(*after.T, before - after, order)
    pc = np.array([[wcs["PC1_1"], wcs["PC1_2"]], [wcs["PC2_1"], wcs["PC2_2"]]]) @ matrix
    keywords = {f"PC{i}_{j}": float(pc[i - 1, j - 1]) for i in (1, 2) for j in (1, 2)}
    keywords |= {f"CRPIX{axis + 1}": float(centre[axis] + 1 - start[axis]) for axis in (0, 1)}
    keywords |= {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    for name, polynomials, axis in (("A", forward, 0), ("B", forward, 1), ("AP", backward, 0), ("BP", backward, 1)):
        keywords[f"{name}_ORDER"] = order
        for p, q in _monomials(order):
            if polynomials[p, q, axis]:
                keywords[f"{name}_{p}_{q}"] = float(polynomials[p, q, axis])
    return wcs | keywords
