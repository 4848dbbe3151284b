"""Which stars of an image a point-spread function can be made of, and why others cannot."""

from collections import Counter

import numpy as np

from drs.dq import Flag
from drs.epsf import cut_star
from drs.errors import ReductionError
from drs.photometry import RING, find_star, list_radii, measure_growth

SEARCH_PIX = 3.0
CORE_PIX = 3.0


def choose_stars(image, candidates, *, radius_pix, minimum_signal_to_noise, neighbour_fraction):
    """Return the Stars (drs.epsf) that are bright, whole, unsaturated and alone, and a count of why others are not.

    Parameters
    ----------
    image : drs.image.Image
        Level 2, e-/s.
    candidates : ndarray, (3, n)
        0-based x, y and flux, in any unit, of the image's stars.
    radius_pix : float
        That holds all light; a ring about it gives the level of the sky.
    minimum_signal_to_noise : float
        Of all light.
    neighbour_fraction : float
        Of a star's light, above which another one nearer than `radius_pix` + 3 crowds it.
    """
    chosen, reasons = [], Counter()
    saturated = np.argwhere(image.dq & np.uint32(Flag.SATURATED))
    for k, (x, y, flux) in enumerate(candidates.T):
        apart = np.hypot(candidates[0] - x, candidates[1] - y)
        near = (apart < radius_pix + SEARCH_PIX) & (np.arange(apart.size) != k)
        if (candidates[2][near] > flux).any():
            reasons["beside a brighter one"] += 1
            continue
        star, reason = _measure_star(image, (x, y), saturated, radius_pix, minimum_signal_to_noise)
        if star is not None and (candidates[2][near] > neighbour_fraction * flux).any():
            star, reason = None, "crowded"
        chosen += [star] if star is not None else []
        reasons[reason] += star is None
    return chosen, +reasons


def _measure_star(image, place, saturated, radius_pix, minimum_signal_to_noise):
    """Return (Star, '') of a star, or (None, why it cannot be used)."""
    if len(saturated) and np.hypot(saturated[:, 1] - place[0], saturated[:, 0] - place[1]).min() <= CORE_PIX:
        return None, "saturated"
    ny, nx = image.rate.shape
    if min(*place, nx - 1 - place[0], ny - 1 - place[1]) < radius_pix:
        return None, "at the edge"
    found = find_star(image.rate, image.unusable, place, search_pix=SEARCH_PIX)
    growth = None if found is None else measure_growth(image, found, radii=list_radii(radius_pix))
    if growth is None:
        return None, f"with bad pixels, or within {RING[1] * radius_pix:.0f} pix of the edge"
    if not growth.flux[-1] > minimum_signal_to_noise * growth.error[-1]:
        return None, "faint"
    how = {"level": growth.level, "radius_pix": radius_pix, "flux": growth.flux[-1], "flux_error": growth.error[-1]}
    return cut_star(image, found, **how), ""


def check_number(n_star, reasons, n_image, *, minimum_stars):
    """Refuse too few images of stars, saying why others were left out."""
    if n_star < minimum_stars:
        others = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "no other was found"
        raise ReductionError(
            f"{n_star} images of stars in {n_image} exposures are fit for a PSF, at least {minimum_stars} needed "
            f"({others}); take more dithers of a star that is alone and not saturated, or see make_psf"
        )


def check_residual(residual, *, maximum_residual):
    """Refuse stars that do not agree with one PSF: double or extended ones, or a seeing that changed."""
    if not residual <= maximum_residual:
        raise ReductionError(
            f"the stars differ from one PSF by {residual:.1%} of its peak, at most {maximum_residual:.1%} allowed: "
            "exclude exposures of other seeing and stars that are double, or raise make_psf: maximum_residual"
        )
