"""Coordinates of an image tied to stars of known places: shift, rotation and, if wanted, scale."""

from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS

from drs.errors import ReductionError
from drs.offsets import match_stars

PAIR_PIX = 1.5
MAX_CATALOGUE = 1000  # of the brightest stars of a field
PASSES = 20
CLIP_SIGMA = 4.0
SETTLED_PIX = 1e-4
SEEING_SIGMA_PIX = 1.1
FLOOR_PIX = 0.01  # what pixels leave in the place of a bright star
MAD_TO_SIGMA = 1.4826
MAS_PER_DEG = 3.6e6


class Search(NamedTuple):
    """What is looked for: largest shift `pix` and rotation `deg`, the scale as well or not, fewest stars `minimum`."""

    pix: float
    deg: float
    fit_scale: bool
    minimum: int


class Tie(NamedTuple):
    """Coordinates tied to a catalogue.

    `wcs`: keywords; `n_stars` used; `rms_mas` of their residuals and `error_mas` of the shift, per axis;
    `east_mas`, `north_mas`: by how much the middle of the image moved on the sky; `rotation_deg`: by which the
    position angle grew; `scale`: pixel over that before.
    """

    wcs: dict
    n_stars: int
    rms_mas: float
    error_mas: float
    east_mas: float
    north_mas: float
    rotation_deg: float
    scale: float


def tie_coordinates(wcs, shape, stars, catalogue, *, noise, search):
    """Return the coordinates of an image that bring its stars onto those of a catalogue.

    Stars are matched by the densest difference of places (drs.offsets), at 0 and at trial rotations so close that
    stars at the edge still match. Then pairs and solution are found in turns: a rotation (Procrustes, with weights)
    and a shift in pixels free of distortion, stars clipped at 4 sigma. Distortion and the pixels' shape stay.

    Parameters
    ----------
    wcs : dict
        WCS keywords, SIP or none.
    shape : (ny, nx)
    stars : ndarray, (3, n)
        0-based x, y and flux of the image's stars.
    catalogue : ndarray, (3, m)
        RA, declination in degrees (ICRS, at the epoch of the image) and magnitude, NaN where unknown.
    noise : float
        Of a pixel, in the unit of the fluxes.
    search : Search

    Raises
    ------
    ReductionError
        No star of the catalogue in the field, too few stars, or too few that agree.
    """
    world = _choose_near(wcs, shape, catalogue, search.pix)
    for count, what in ((stars.shape[1], "in the image"), (world.shape[1], "of the catalogue in its field")):
        if count < search.minimum:
            raise ReductionError(f"{count} stars {what}, at least {search.minimum} needed")
    pairs = _match_turned(wcs, shape, stars, world, search)
    if pairs is None:
        raise ReductionError(
            f"of {stars.shape[1]} stars in the image and {world.shape[1]} of the catalogue too few agree within "
            f"{search.pix:g} pix and {search.deg:g} deg: check RA, DEC, PA and the catalogue, or search farther"
        )
    error = np.hypot(FLOOR_PIX, np.sqrt(8 * np.pi) * SEEING_SIGMA_PIX**2 * noise / stars[2])  # King 1983, PASP 95, 163
    tied, moved = dict(wcs), np.inf
    for _ in range(PASSES):
        tied, used, residuals, moved = _fit_pairs(tied, stars, world, error, pairs, search.fit_scale)
        if len(used[0]) < search.minimum:
            raise ReductionError(f"{len(used[0])} stars agree with the catalogue, at least {search.minimum} needed")
        settled, pairs = moved < SETTLED_PIX, _pair(tied, stars, world)
        if settled:
            break
    return _describe(wcs, tied, shape, residuals, error[used[0]], search.fit_scale)


def _choose_near(wcs, shape, catalogue, search_pix):
    """Return RA and declination (2, m) of the brightest stars of the catalogue in the field of an image."""
    ny, nx = shape
    linear = WCS(wcs)
    middle = linear.wcs_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0]
    away = _separate(middle, catalogue[:2])
    field_deg = (np.hypot(ny, nx) / 2 + search_pix) * _pixel_deg(wcs)
    if not (away < field_deg).any():
        raise ReductionError(
            f"no star of the catalogue in the field: the nearest is {away.min():.3g} deg from RA {middle[0]:.5f}, "
            f"DEC {middle[1]:.5f}; check these and the catalogue"
        )
    near = catalogue[:, away < field_deg]
    x, y = linear.wcs_world2pix(*near[:2], 0)
    inside = (np.maximum(-x, x - nx) < search_pix) & (np.maximum(-y, y - ny) < search_pix)
    near = near[:, inside]
    return near[:2, np.argsort(near[2], kind="stable")[:MAX_CATALOGUE]]


def _separate(place, others):
    """Return the angles in degrees between a place and others (haversines)."""
    (ra, dec), (ras, decs) = np.deg2rad(place), np.deg2rad(others)
    part = np.sin((decs - dec) / 2) ** 2 + np.cos(dec) * np.cos(decs) * np.sin((ras - ra) / 2) ** 2
    return np.rad2deg(2 * np.arcsin(np.sqrt(np.clip(part, 0, 1))))


def _pixel_deg(wcs):
    """Return the side of a pixel in degrees."""
    pc = wcs["PC1_1"] * wcs["PC2_2"] - wcs["PC1_2"] * wcs["PC2_1"]
    return float(np.sqrt(abs(pc * wcs["CDELT1"] * wcs["CDELT2"])))


def _undistort(wcs, x, y):
    """Return 0-based pixels (2, n) as they would be without distortion."""
    sky = WCS(wcs).all_pix2world(x, y, 0)
    return np.stack(WCS(wcs).wcs_world2pix(*sky, 0))


def _match_turned(wcs, shape, stars, world, search):
    """Return (stars, catalogue), indices of pairs, at the trial rotation with most matches; None where none has any."""
    middle = (np.array(shape[::-1]) - 1.0)[:, None] / 2
    places, wanted = _undistort(wcs, *stars[:2]), np.stack(WCS(wcs).wcs_world2pix(*world, 0))
    step = PAIR_PIX / np.hypot(*middle[:, 0])
    best, pairs = 0, None
    n_trial = int(np.deg2rad(search.deg) / step)
    for trial in sorted(range(-n_trial, n_trial + 1), key=abs):
        turned = middle + _turn(trial * step) @ (places - middle)
        offset = match_stars(turned, wanted, max_offset_pix=search.pix)
        if offset is not None and offset.n_stars > best:
            moved = turned + np.array([[offset.x_pix], [offset.y_pix]])
            best, pairs = offset.n_stars, _find_mutual(moved, wanted)
    return pairs


def _turn(angle, scale=1.0):
    """Return the matrix that turns +x towards +y, angle in radians."""
    return scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _find_mutual(places, wanted):
    """Return the indices of places (2, n) and wanted ones (2, m) that are each other's nearest within 1.5 pixels."""
    from scipy.spatial import cKDTree  # slow to import; only with a catalogue

    distance, index = cKDTree(wanted.T).query(places.T)
    _, back = cKDTree(places.T).query(wanted.T)
    own = np.flatnonzero((distance < PAIR_PIX) & (back[index] == np.arange(places.shape[1])))
    return own, index[own]


def _pair(wcs, stars, world):
    """Return the pairs of stars and catalogue with these coordinates."""
    return _find_mutual(_undistort(wcs, *stars[:2]), np.stack(WCS(wcs).wcs_world2pix(*world, 0)))


def _fit_pairs(wcs, stars, world, error, pairs, fit_scale):
    """Return (WCS keywords, pairs used, residuals (2, n), largest move of a star) of the fit to pairs.

    The pixel plane of the old coordinates holds both; moving its tangent point turns it a little, which the next fit
    takes up.
    """
    linear, centre = WCS(wcs), np.array([[wcs["CRPIX1"] - 1], [wcs["CRPIX2"] - 1]])
    own, other = pairs
    places = _undistort(wcs, *stars[:2, own]) - centre
    wanted = np.stack(linear.wcs_world2pix(*world[:, other], 0)) - centre
    used = np.ones(own.size, bool)
    for _ in range(PASSES):
        if used.sum() < 2:
            return wcs, (own[used], other[used]), places[:, used], np.inf
        matrix, shift = _fit_similarity(places[:, used], wanted[:, used], error[own[used]] ** -2.0, fit_scale)
        residuals = wanted - matrix @ places - shift
        deviation = np.hypot(*residuals) / error[own]
        # the median length of two-dimensional residuals is 1.18 sigma (Rayleigh)
        kept = deviation < CLIP_SIGMA * max(1.0, np.median(deviation[used]) / np.sqrt(2 * np.log(2)))
        if (kept == used).all():
            break
        used = kept
    tied = _move(wcs, matrix, shift, centre)
    moved = float(np.abs(matrix @ places + shift - places).max())
    return tied, (own[used], other[used]), residuals[:, used], moved


def _fit_similarity(places, wanted, weights, fit_scale):
    """Return (matrix, shift (2, 1)) that bring places (2, n) onto wanted ones by least squares."""
    means = [np.average(points, axis=1, weights=weights)[:, None] for points in (places, wanted)]
    (x, y), (u, v) = places - means[0], wanted - means[1]
    along, across = np.sum(weights * (x * u + y * v)), np.sum(weights * (x * v - y * u))
    scale = np.hypot(along, across) / np.sum(weights * (x**2 + y**2)) if fit_scale else 1.0
    matrix = _turn(np.arctan2(across, along), scale)
    return matrix, means[1] - matrix @ means[0]


def _move(wcs, matrix, shift, centre):
    """Return WCS keywords of pixels that a matrix about the reference pixel and a shift bring to their places."""
    crval = WCS(wcs).wcs_pix2world((centre + shift).T, 0)[0]
    pc = np.array([[wcs["PC1_1"], wcs["PC1_2"]], [wcs["PC2_1"], wcs["PC2_2"]]]) @ matrix
    keywords = {f"PC{i}_{j}": float(pc[i - 1, j - 1]) for i in (1, 2) for j in (1, 2)}
    return wcs | keywords | {"CRVAL1": float(crval[0]), "CRVAL2": float(crval[1])}


def _describe(before, after, shape, residuals, error, fit_scale):
    """Return the Tie of coordinates before and after."""
    mas = _pixel_deg(after) * MAS_PER_DEG
    middle = [[(shape[1] - 1) / 2, (shape[0] - 1) / 2]]
    (ra, dec), (ra_before, dec_before) = (WCS(wcs).wcs_pix2world(middle, 0)[0] for wcs in (after, before))
    turn = (ra - ra_before + 180) % 360 - 180
    # sky per pixel before times what pixels were turned by; its angle is that of +y, east of north
    angles = [np.arctan2(wcs["CDELT1"] * wcs["PC1_2"], wcs["CDELT2"] * wcs["PC2_2"]) for wcs in (before, after)]
    n_star = residuals.shape[1]
    weights = error**-2.0
    freedom = max(2 * n_star - (4 if fit_scale else 3), 1)
    spread = np.sqrt(max(np.sum(weights * residuals**2) / freedom, 1.0) / weights.sum())
    return Tie(
        after,
        n_star,
        float(np.sqrt(np.mean(residuals**2)) * mas),
        float(spread * mas),
        float(turn * np.cos(np.deg2rad(dec)) * MAS_PER_DEG),
        float((dec - dec_before) * MAS_PER_DEG),
        float((np.rad2deg(angles[1] - angles[0]) + 180) % 360 - 180),
        float(_pixel_deg(after) / _pixel_deg(before)),
    )
