"""Coordinates and flux calibration of an image, as far as its references go, and its tie to a catalogue."""

import logging
from dataclasses import replace

import numpy as np

from drs import product
from drs.astrometry import tie_coordinates
from drs.catalogue import move_to_date
from drs.distortion import add_distortion
from drs.errors import ReductionError
from drs.offsets import find_stars
from drs.refraction import find_stretch, stretch_wcs
from drs.region import find_region
from drs.wcs import find_pointing, find_wcs

logger = logging.getLogger(__name__)
PHOTOMETRY = ("PHOTZP", "PHOTZPE", "PHOTFNU", "PHOTSYS", "PHOTAIR", "PHOTEXT", "PHOTAPR", "PHOTAPC", "PHOTNST")


def with_wcs(exposure, instrument, distortion=None, air=None):
    """Return an exposure with the coordinates of its pointing, its detector and its subarray, and its distortion.

    Parameters
    ----------
    exposure : Product
    instrument : dict
        Content of config/instruments/*.yaml.
    distortion : Product, optional
        DistortionModel of its detector, full-frame or of its subarray; without it the coordinates are linear.
    air : drs.refraction.Air, optional
        At the telescope, to take differential refraction and aberration out.
    """
    keywords, shape = exposure.keywords, exposure.arrays["SCI"].shape
    wcs = find_wcs(keywords, shape, instrument)
    pointing = {f"{key.lower()}_deg": keywords[key] for key in ("RA", "DEC", "PA")}
    exposure = exposure.with_step("wcs", **pointing, **instrument["detectors"][keywords["DETECTOR"]])
    exposure, wcs = (exposure, wcs) if air is None else _without_refraction(exposure, wcs, instrument, air)
    if distortion is None:
        return replace(exposure.with_step("distortion", skipped="no reference"), wcs=wcs)
    maps = [distortion.arrays[name] for name in ("DX", "DY")]
    region = find_region(maps[0].shape, keywords, shape, name="distortion reference")
    wcs, error_pix = add_distortion(wcs, *(values[region] for values in maps))
    order, error_pix = wcs["A_ORDER"], round(error_pix, 6)
    return replace(exposure.with_step("distortion", sip_order=order, sip_error_pix=error_pix), wcs=wcs)


def _without_refraction(exposure, wcs, instrument, air):
    """Return (exposure, WCS keywords) with the field stretched to the sky; where that is not known, as they are."""
    try:
        mjd = exposure.keywords.get("EXPMJDMD", exposure.keywords.get("EXPMJDST"))
        if mjd is None:
            raise ReductionError("no EXPMJDMD in the header")
        stretch = find_stretch(find_pointing(exposure.keywords), mjd, instrument, air)
    except ReductionError as error:
        logger.warning("refraction: %s: the coordinates stay", error)
        exposure = product.with_history(exposure, [f"refraction: {error}: the coordinates stay as observed"])
        return exposure.with_step("refraction", skipped="not known, see HISTORY", **air._asdict()), wcs
    known = {"ZENDIST": round(stretch.zenith_deg, 4), "PARANG": round(stretch.parallactic_deg, 4)}
    known |= {"SHRINKV": round(1e6 * stretch.vertical, 2), "SHRINKH": round(1e6 * stretch.horizontal, 2)}
    exposure = replace(exposure, keywords=exposure.keywords | known)
    return exposure.with_step("refraction", **air._asdict()), stretch_wcs(wcs, stretch)


def with_astrometry(exposure, catalogue, search, *, name):
    """Return an exposure whose coordinates are tied to a catalogue; one without match keeps them, and says why.

    Parameters
    ----------
    exposure : Product
        Level 2, with WCS.
    catalogue : drs.catalogue.Catalogue
    search : drs.astrometry.Search
    name : str
        Of the catalogue, for the header.
    """
    image, used = exposure.image, {"catalogue": name, **search._asdict()}
    stars = move_to_date(catalogue, exposure.keywords["EXPDTST"])
    places = np.stack([stars.ra_deg, stars.dec_deg, stars.mag])
    try:
        if image.unusable.all():
            raise ReductionError("all pixels are masked")
        noise = float(np.median(image.error[~image.unusable]))
        found = find_stars(image.rate, image.error, image.unusable)
        tie = tie_coordinates(exposure.wcs, image.rate.shape, found, places, noise=noise, search=search)
    except ReductionError as error:
        logger.warning("astrometry: %s: the coordinates of the header stay", error)
        exposure = product.with_history(exposure, [f"astrometry with {name}: {error}: coordinates of the header stay"])
        return exposure.with_step("astrometry", skipped="no match, see HISTORY", **used)
    text = (
        f"astrometry: {tie.n_stars} stars of {name}, rms {tie.rms_mas:.2f} mas; moved by {tie.east_mas:.2f} mas east, "
        f"{tie.north_mas:.2f} mas north (each +- {tie.error_mas:.2f}), turned by {tie.rotation_deg:.5f} deg, "
        f"scale x {tie.scale:.6f}"
    )
    logger.info("%s", text)
    known = {"ASTRNST": tie.n_stars, "ASTRRMS": round(tie.rms_mas, 4), "ASTRERR": round(tie.error_mas, 4)}
    exposure = replace(exposure, keywords=exposure.keywords | known, wcs=tie.wcs)
    used |= {key: getattr(tie, key) for key in ("east_mas", "north_mas", "rotation_deg", "scale")}
    return product.with_history(exposure, [text]).with_step("astrometry", **used)


def with_photometry(exposure, photometry=None):
    """Return an exposure whose header holds the zero point of a PhotometryModel; its values stay in e-/s."""
    if photometry is None:
        return exposure.with_step("flux", skipped="no reference")
    known = {key: photometry.keywords[key] for key in PHOTOMETRY if key in photometry.keywords}
    return replace(exposure, keywords=exposure.keywords | known).with_step("flux")
