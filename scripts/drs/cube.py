"""Cubes as products: the sky that is taken from them, and what their header says of it."""

import logging
import math
from dataclasses import replace

from drs.cubesky import find_blank, measure_scale, subtract_cube, subtract_spectrum, take_spectrum
from drs.errors import ReductionError

logger = logging.getLogger(__name__)
SKIES = ("SKY", "BKG")
SPECTRAL = ("CRVAL3", "CDELT3", "CRPIX3")
SAME_TO = 1e-9  # a header holds 15 digits


def subtract_sky(cube, sky, *, sky_method, blank_fraction):
    """Return a cube (Product) less its sky; a refused sky cube gives way to the spectrum of the blank spaxels.

    Parameters
    ----------
    cube : Product
        IFUCubeModel with its WCS.
    sky : Product or None
        IFUCubeModel of the sky, of method 'cube'.
    sky_method : {'cube', 'blank', 'none'}
    blank_fraction : float
        Of the spaxels, the faintest, which are taken as blank.

    Raises
    ------
    ReductionError
        A sky cube with other spaxels or wavelengths, or with lines that are far from those of the cube.
    """
    if sky_method == "none":
        is_sky = cube.keywords["IMTYPE"] in SKIES
        return cube.with_step("sky", skipped="sky exposure" if is_sky else "by configuration")
    if sky is not None and sky.refusal:
        logger.warning("the sky cube was refused (%s): the spectrum of blank spaxels is subtracted", sky.refusal)
        sky = None
    image = cube.image
    blank = find_blank(image, fraction=blank_fraction)
    used = {"blank_fraction": blank_fraction}
    if sky is None:
        taken = subtract_spectrum(image, take_spectrum(image, blank))
        return _with_sky(cube, taken, "blank spaxels", **used)
    same = sky.arrays["SCI"].shape == cube.arrays["SCI"].shape
    if not same or any(not math.isclose(sky.wcs[key], cube.wcs[key], rel_tol=SAME_TO) for key in SPECTRAL):
        raise ReductionError("the sky cube has another wavelength grid or field: take one of this configuration")
    scale = measure_scale(image, sky.image, blank)
    logger.info("sky cube times %.4f", scale)
    return _with_sky(cube, subtract_cube(image, sky.image, scale=scale), "sky cube", **used, scale=scale)


def _with_sky(cube, image, source, **used):
    """Return a cube with its Image, that says where its sky is from."""
    cube = replace(cube, keywords=cube.keywords | {"SKYFROM": source}).with_image(image)
    return cube.with_step("sky", method=source, **used)
