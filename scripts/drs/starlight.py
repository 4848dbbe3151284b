"""The star of a cube: the brightest source of its white light, its place and its spectrum."""

from typing import NamedTuple

import numpy as np

from drs.apertures import Spectrum, find_peaks, sum_spectra
from drs.cube import find_wavelengths
from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image
from drs.whitelight import show_as_image

THRESHOLD_SIGMA = 10.0


class Star(NamedTuple):
    """`spectrum` in an aperture, `place` (y, x) in spaxels from 0, `white` light of the cube."""

    spectrum: Spectrum
    place: tuple
    white: Image


def take_star(cube, name, wavelength_um, aperture_pix):
    """Return the Star of a cube (Product) with these wavelengths; one that has others, or no star, is refused.

    What bad pixels take of its image is made up for by the image that it has in other bins (FLUX_ESTIMATED).
    """
    if cube.arrays["SCI"].shape[0] != wavelength_um.size or not np.allclose(find_wavelengths(cube), wavelength_um):
        raise ReductionError(f"{name} has another wavelength grid than the first: make them with one grid")
    white = show_as_image(cube).image
    peaks = find_peaks(
        white.rate, white.error, white.unusable, threshold_sigma=THRESHOLD_SIGMA, radius_pix=aperture_pix
    )
    if not peaks:
        raise ReductionError(f"{name} shows no star: was it in the field? exclude it in exposures.yaml")
    rate, error, dq = (cube.arrays[plane] for plane in ("SCI", "ERR", "DQ"))
    estimated = dq & np.uint32(Flag.FLUX_ESTIMATED) > 0  # as if light were even, which that of a star is not
    dq = np.where(estimated, dq | np.uint32(Flag.DO_NOT_USE), dq)
    (spectrum,) = sum_spectra(rate, error, dq, peaks[:1], radius_pix=aperture_pix)
    return Star(spectrum, peaks[0], white)


def check_signal(flux, error, least, *, step):
    """Refuse the light (bin) of a star that is too faint; `step` is the one whose setting says so."""
    found = float(np.nanmedian(flux / error)) if np.isfinite(flux / error).any() else 0.0
    if found < least:
        raise ReductionError(
            f"the star has {found:.3g} times its noise in a bin, at least {least:g} needed: expose longer, or "
            f"lower {step}: minimum_signal_to_noise"
        )
