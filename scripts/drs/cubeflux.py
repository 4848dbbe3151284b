"""Cubes as products: electrons per second of a bin become flux densities."""

from dataclasses import replace

import numpy as np

from drs.cube import find_wavelengths
from drs.dq import Flag
from drs.image import Image
from drs.standard import FLUX_UNIT

KEPT = ("PHOTFLAM", "PHOTFLME", "PHOTAIR", "PHOTEXT")


def calibrate_flux(cube, reference, *, wanted, reason):
    """Return a cube in flux densities by the sensitivity of a reference; one that has none says why, in e-/s.

    A reference holds for cubes that were divided by the telluric absorption as its star was: the response of the
    instrument is in that. Light is brought to the airmass of the reference by the extinction that it states. ERR holds
    the errors of single bins; that of the scale, which is common to all, is PHOTFLME.

    Parameters
    ----------
    cube : Product
        IFUCubeModel with its WCS, e-/s.
    reference : Product or None
        PhotometryModel with WAVELENGTH.
    wanted : bool
    reason : str
        Why there is no reference.
    """
    if not wanted or reference is None:
        return cube.with_step("flux", skipped="by configuration" if not wanted else reason)
    through_air = cube.keywords.get("S_TELLUR") == "COMPLETE"
    if reference.keywords.get("PHOTTEL") != through_air:
        words = ("without", "with")
        less = f"its star is {words[not through_air]} telluric correction, this {words[through_air]}"
        return cube.with_step("flux", skipped=less)
    curve = np.interp(
        find_wavelengths(cube), *(reference.arrays[name][0].astype(np.float64) for name in ("WAVELENGTH", "SCI")),
        left=np.nan, right=np.nan,
    )  # fmt: skip
    extinction = reference.keywords.get("PHOTEXT", 0.0)
    excess = cube.keywords.get("AIRMASS", reference.keywords.get("PHOTAIR", 1.0)) - reference.keywords.get("PHOTAIR", 1)
    curve = (curve * 10 ** (0.4 * extinction * excess))[:, np.newaxis, np.newaxis]
    image, unknown = cube.image, np.isnan(curve)
    flags = image.dq | np.where(unknown, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
    scaled = Image((image.rate * curve).astype(np.float32), (image.error * curve).astype(np.float32), flags)
    keywords = {key: reference.keywords[key] for key in KEPT if key in reference.keywords}
    calibrated = replace(cube.with_image(scaled), units=dict.fromkeys(("SCI", "ERR"), FLUX_UNIT))
    return replace(calibrated, keywords=cube.keywords | keywords).with_step("flux", extinction_mag=extinction)
