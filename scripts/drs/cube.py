"""Cubes as products: the sky that is taken from them, and what their header says of it."""

import logging
import math
from dataclasses import replace

import numpy as np

from drs.airglow import find_continuum, fit_scales, scale_sky
from drs.cubesky import find_blank, subtract_cube, subtract_spectrum, take_spectrum
from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image
from drs.product import with_history
from drs.skyspline import model_sky
from drs.telluric import correct_telluric, match_columns
from drs.wavegrid import find_parts, resample_spectra

logger = logging.getLogger(__name__)
SKIES = ("SKY", "BKG")
SPECTRAL = ("CRVAL3", "CDELT3", "CRPIX3")
SAME_TO = 1e-9  # a header holds 15 digits


def subtract_sky(cube, sky, *, sky_method, blank_fraction, native=None):
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
    native : tuple of ndarray, optional
        Spectra of the spaxels before they were put on one grid: flux, error, flags, wavelengths in um, (spectrum,
        column). The sky of the blank spaxels is then a spline through these; else their median.

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
        if native is None:
            taken = subtract_spectrum(image, take_spectrum(image, blank))
        else:
            taken = subtract_cube(image, model_blank(native, blank, find_wavelengths(cube)))
        return _with_sky(cube, taken, "blank spaxels", **used)
    same = sky.arrays["SCI"].shape == cube.arrays["SCI"].shape
    if not same or any(not math.isclose(sky.wcs[key], cube.wcs[key], rel_tol=SAME_TO) for key in SPECTRAL):
        raise ReductionError("the sky cube has another wavelength grid or field: take one of this configuration")
    scaled, scales = fit_sky(image, sky.image, blank, find_wavelengths(cube))
    lines = [f"sky: lines of {s.start_um:g} to {s.stop_um:g} um times {s.factor:.4f} +- {s.error:.4f}, "
             f"{s.n_rejected} of {s.n_sample} samples left out" for s in scales]  # fmt: skip
    logger.info("%s", "; ".join(lines))
    less = _with_sky(cube, subtract_cube(image, scaled), "sky cube", **used, factors=[s.factor for s in scales])
    return with_history(less, lines)


def model_blank(native, blank, grid_um):
    """Return the sky (Image) of a cube by the spectra of its blank samples, each as its own columns see it.

    Parameters
    ----------
    native : tuple of ndarray
        As of `subtract_sky`.
    blank : ndarray, bool, (n_wave, ny, nx)
        From `drs.cubesky.find_blank`.
    grid_um : ndarray, float64, (n_wave)
    """
    wavelength_um = native[3]
    step_um = grid_um[1] - grid_um[0]
    nearest = np.rint((np.nan_to_num(wavelength_um) - grid_um[0]) / step_um).clip(0, grid_um.size - 1).astype(int)
    chosen = blank.reshape(grid_um.size, -1)[nearest, np.arange(len(wavelength_um))[:, np.newaxis]]
    sky, error = model_sky(*native, chosen)
    bins = resample_spectra(sky, error, np.zeros(sky.shape, np.uint32), wavelength_um, grid_um)
    return Image(*(np.ascontiguousarray(plane.T).reshape(blank.shape) for plane in bins[:3]))


def divide_telluric(cube, reference, *, wanted, reason, native=None):
    """Return a cube divided by the telluric absorption of a reference; one that has none says why.

    The wavelengths of both are the same where they were made with one solution; else the correction is interpolated.
    Bins in which less than a fifth of the light comes through have no value (TELLURIC, DO_NOT_USE). Where the reference
    states the image of its star, each spaxel is divided by what its own columns see of the absorption.

    Parameters
    ----------
    cube : Product
        IFUCubeModel with its WCS.
    reference : Product or None
        TelluricModel.
    wanted : bool
    reason : str
        Why there is no reference.
    native : tuple of ndarray, optional
        As of `subtract_sky`.
    """
    if not wanted or reference is None:
        return cube.with_step("telluric", skipped="by configuration" if not wanted else reason)
    own = find_wavelengths(cube)
    known, correction, sigma = (reference.arrays[name][0] for name in ("WAVELENGTH", "SCI", "ERR"))
    rows = [
        np.interp(own, known, values.astype(np.float64), left=np.nan, right=np.nan) for values in (correction, sigma)
    ]
    image = cube.image
    star = reference.arrays.get("PROFILE")
    if native is not None and star is not None and star.shape == image.rate.shape[1:]:
        rows[0] = match_columns(rows[0], find_parts(native[3], own).T, star.ravel()).reshape(image.rate.shape)
        rows[1] = np.broadcast_to(rows[1][:, np.newaxis, np.newaxis], image.rate.shape)
    rate, error, deep = correct_telluric(image.rate, image.error, *rows)
    flag = np.where(deep, np.uint32(Flag.TELLURIC | Flag.DO_NOT_USE), np.uint32(0))
    corrected = Image(rate, error, image.dq | (flag if flag.ndim == 3 else flag[:, np.newaxis, np.newaxis]))
    airmass = {"airmass": reference.keywords["AIRMASS"]} if "AIRMASS" in reference.keywords else {}
    return cube.with_image(corrected).with_step("telluric", **airmass)


def find_wavelengths(cube):
    """Return the wavelengths (bin), float64, um, of a cube (Product)."""
    pixel = np.arange(len(cube.arrays["SCI"])) + 1 - cube.wcs["CRPIX3"]
    return cube.wcs["CRVAL3"] + cube.wcs["CDELT3"] * pixel


def fit_sky(image, sky, samples, wavelength_um, **options):
    """Return a sky (Image) with its OH lines as bright as those of a cube, and the list of Scale of their families.

    Parameters
    ----------
    image, sky : Image
        Of (n_wave, ny, nx) arrays.
    samples : ndarray, bool, (n_wave, ny, nx)
        Of blank spaxels.
    wavelength_um : ndarray, float, (n_wave)
    **options
        Of `drs.airglow.fit_scales`.
    """
    seen = np.where(sky.unusable, np.nan, sky.rate)
    own = np.where(samples & ~image.unusable, image.rate, np.nan)
    scales = fit_scales(own, image.error, seen, sky.error, wavelength_um, **options)
    rate, error = scale_sky(sky.rate, sky.error, find_continuum(seen, sky.error), scales, wavelength_um)
    return sky._replace(rate=rate, error=error), scales


def _with_sky(cube, image, source, **used):
    """Return a cube with its Image, that says where its sky is from."""
    cube = replace(cube, keywords=cube.keywords | {"SKYFROM": source}).with_image(image)
    return cube.with_step("sky", method=source, **used)
