"""Coordinates and flux calibration of an image, as far as its references go."""

from dataclasses import replace

from drs.distortion import add_distortion
from drs.region import find_region
from drs.wcs import find_wcs

PHOTOMETRY = ("PHOTZP", "PHOTZPE", "PHOTFNU", "PHOTSYS", "PHOTAIR", "PHOTEXT", "PHOTAPR", "PHOTAPC", "PHOTNST")


def with_wcs(exposure, instrument, distortion=None):
    """Return an exposure with the coordinates of its pointing, its detector and its subarray, and its distortion.

    Parameters
    ----------
    exposure : Product
    instrument : dict
        Content of config/instruments/*.yaml.
    distortion : Product, optional
        DistortionModel of its detector, full-frame or of its subarray; without it the coordinates are linear.
    """
    keywords, shape = exposure.keywords, exposure.arrays["SCI"].shape
    wcs = find_wcs(keywords, shape, instrument)
    pointing = {f"{key.lower()}_deg": keywords[key] for key in ("RA", "DEC", "PA")}
    exposure = exposure.with_step("wcs", **pointing, **instrument["detectors"][keywords["DETECTOR"]])
    if distortion is None:
        return replace(exposure.with_step("distortion", skipped="no reference"), wcs=wcs)
    maps = [distortion.arrays[name] for name in ("DX", "DY")]
    region = find_region(maps[0].shape, keywords, shape, name="distortion reference")
    wcs, error_pix = add_distortion(wcs, *(values[region] for values in maps))
    order, error_pix = wcs["A_ORDER"], round(error_pix, 6)
    return replace(exposure.with_step("distortion", sip_order=order, sip_error_pix=error_pix), wcs=wcs)


def with_photometry(exposure, photometry=None):
    """Return an exposure whose header holds the zero point of a PhotometryModel; its values stay in e-/s."""
    if photometry is None:
        return exposure.with_step("flux", skipped="no reference")
    known = {key: photometry.keywords[key] for key in PHOTOMETRY if key in photometry.keywords}
    return replace(exposure, keywords=exposure.keywords | known).with_step("flux")
