"""Stars of an image that a catalogue has: which is which in spite of the distortion, for a fit of it."""

import numpy as np
from astropy.wcs import WCS
from numpy.polynomial import legendre
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from drs.astrometry import tie_coordinates
from drs.errors import ReductionError
from drs.offsets import find_stars

CORE_PIX = 2  # a star with a bad pixel nearer than this has a place that is off
APART_PIX = 8.0
NEIGHBOUR_PART = 0.05
PAIR_PIX = 2.0
N_PAIR = 8
PAIRS_PER_TERM = 3
HIGHEST = 4  # degree of the polynomials that stars are paired by


def list_stars(image):
    """Return 0-based x, y and flux, (3, n), of the stars of an image that are whole and have no neighbour.

    Parameters
    ----------
    image : drs.image.Image
    """
    stars = find_stars(image.rate, image.error, image.unusable)
    if not stars.size:
        return stars
    near = maximum_filter(image.unusable, 2 * CORE_PIX + 1)
    ny, nx = image.rate.shape
    x, y = np.rint(stars[:2]).astype(int)
    inside = (np.minimum(x, nx - 1 - x) > 2 * CORE_PIX) & (np.minimum(y, ny - 1 - y) > 2 * CORE_PIX)
    whole = inside & ~near[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
    apart = np.hypot(*(stars[k][:, None] - stars[k] for k in (0, 1)))
    beside = (apart < APART_PIX) & (stars[2] > NEIGHBOUR_PART * stars[2][:, None])
    return stars[:, whole & (beside.sum(axis=1) == 1)]


def pair_stars(stars, wcs, shape, catalogue, *, noise, search):
    """Return (places, wanted, numbers) of the stars of an image that a catalogue has, as `fit_field` takes them.

    The coordinates are tied to the catalogue by the stars in the middle, where the distortion is small; then stars are
    paired with those of the catalogue and a polynomial is fitted to the pairs, in turns, of growing degree, until
    pairs reach the edges.

    Parameters
    ----------
    stars : ndarray, (3, n)
        Result of `list_stars`.
    wcs : dict
        WCS keywords without distortion.
    shape : (ny, nx)
    catalogue : ndarray, (3, m)
        RA, declination (degrees) at the epoch of the image, magnitude.
    noise : float
        Of a pixel, e-/s.
    search : drs.astrometry.Search

    Raises
    ------
    ReductionError
        The catalogue is off the field, or too few stars agree with it.
    """
    tied = tie_coordinates(wcs, shape, stars, catalogue, noise=noise, search=search).wcs
    middle = (np.array(shape[::-1]) - 1.0)[:, None] / 2
    wanted = np.stack(WCS(tied).wcs_world2pix(*catalogue[:2], 0))
    near = np.flatnonzero((np.abs(wanted - middle) < 0.6 * np.array(shape[::-1])[:, None]).all(axis=0))
    wanted = wanted[:, near]
    places, moved = (stars[:2] - middle) / middle, stars[:2]
    for degree in [*range(1, HIGHEST + 1), *[HIGHEST] * (N_PAIR - HIGHEST)]:
        own, other = _find_mutual(moved, wanted)
        if own.size < PAIRS_PER_TERM * _count_terms(degree):
            continue
        design = _list_powers(places, degree)
        fitted, *_ = np.linalg.lstsq(design[own], (wanted[:, other] - stars[:2, own]).T, rcond=None)
        moved = stars[:2] + (design @ fitted).T
    own, other = _find_mutual(moved, wanted)
    if own.size < search.minimum:
        raise ReductionError(f"{own.size} stars agree with the catalogue, at least {search.minimum} needed")
    return stars[:2, own].T + 1.0, (wanted[:, other] - middle).T, near[other]


def _count_terms(degree):
    """Return the number of terms of a polynomial of two variables."""
    return (degree + 1) * (degree + 2) // 2


def _list_powers(places, degree):
    """Return the terms P_l(y) P_m(x) of total degree up to `degree` at places (2, n), from -1 to 1: (n, n_term)."""
    series = legendre.legvander2d(places[1], places[0], [degree, degree]).reshape(-1, degree + 1, degree + 1)
    return np.stack([series[:, k, j] for k in range(degree + 1) for j in range(degree + 1 - k)], axis=1)


def _find_mutual(places, wanted):
    """Return the indices of places (2, n) and wanted ones (2, m) that are each other's nearest within 2 pixels."""
    distance, index = cKDTree(wanted.T).query(places.T)
    _, back = cKDTree(places.T).query(wanted.T)
    own = np.flatnonzero((distance < PAIR_PIX) & (back[index] == np.arange(places.shape[1])))
    return own, index[own]
