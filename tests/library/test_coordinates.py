"""Coordinates and zero point of an image by its references, and without them."""

import erfa
import numpy as np
import pytest
from astropy.wcs import WCS
from fields import star_image

from drs.astrometry import Search
from drs.catalogue import Catalogue
from drs.coordinates import with_astrometry, with_photometry, with_wcs
from drs.product import Product
from drs.refraction import Air

SHAPE = (50, 60)
INSTRUMENT = {
    "detectors": {
        "IMG1": {"scale_arcsec": 0.004, "centre_x_arcsec": 8.792, "centre_y_arcsec": 3.0, "rotation_deg": 0.0}
    }
}
KEYWORDS = {"DETECTOR": "IMG1", "RA": 150.0, "DEC": 20.0, "PA": 37.0}


def make_exposure(shape=SHAPE, **keywords):
    return Product(KEYWORDS | keywords, {"SCI": np.zeros(shape, np.float32)})


def make_distortion():
    y, x = np.indices(SHAPE) / 50
    return Product({}, {"DX": (0.6 * x**2).astype(np.float32), "DY": (-0.4 * x * y).astype(np.float32)})


def test_distortion_moves_the_stars_of_a_subarray_as_those_of_the_whole():
    whole = with_wcs(make_exposure(), INSTRUMENT, make_distortion())
    part = {"SUBARRAY": "CUSTOM", "SUBSTRT1": 11, "SUBSTRT2": 6, "DETXSIZE": 60, "DETYSIZE": 50}
    part = with_wcs(make_exposure((30, 40), **part), INSTRUMENT, make_distortion())
    assert (whole.keywords["S_DISTOR"], whole.keywords["S_WCS"]) == ("COMPLETE", "COMPLETE")
    sky = WCS(whole.wcs).all_pix2world([20.0, 45.0], [12.0, 30.0], 0)
    assert np.stack(WCS(part.wcs).all_world2pix(*sky, 0)) == pytest.approx(np.array([[10, 35], [7, 25]]), abs=3e-3)
    linear = with_wcs(make_exposure(), INSTRUMENT)
    assert linear.keywords["S_DISTOR"] == "SKIPPED: no reference"
    x, y = WCS(linear.wcs).wcs_world2pix(*sky, 0)
    assert x == pytest.approx([20 + 0.6 * 0.16, 45 + 0.6 * 0.81], abs=3e-3)
    assert y == pytest.approx([12 - 0.4 * 0.4 * 0.24, 30 - 0.4 * 0.9 * 0.6], abs=3e-3)


def test_refraction_is_taken_out_under_the_distortion_or_the_coordinates_stay():
    site, air = INSTRUMENT | {"latitude_deg": 19.8, "longitude_deg": -155.5}, Air(615.0, 1.0)
    exposure = make_exposure(EXPMJDMD=60752.35)
    plain, made = (with_wcs(exposure, site, make_distortion(), found) for found in (None, air))
    assert made.keywords["S_REFRAC"] == "COMPLETE"
    assert "S_REFRAC" not in plain.keywords
    assert 0 < made.keywords["ZENDIST"] < 60
    shrunk = [1e-6 * made.keywords[key] for key in ("SHRINKV", "SHRINKH")]
    axis = np.deg2rad([150.0, 20.0])
    far = [erfa.tpxes(*np.deg2rad([p.wcs["CRVAL1"], p.wcs["CRVAL2"]]), *axis)[:2] for p in (plain, made)]
    stretched = np.hypot(*far[1]) / np.hypot(*far[0]) - 1
    assert min(shrunk) - 1e-7 < stretched < max(shrunk) + 1e-7
    for change in ({"EXPMJDMD": 60752.85}, {"EXPMJDMD": None}):
        keywords = {key: value for key, value in (exposure.keywords | change).items() if value is not None}
        lost = with_wcs(Product(keywords, exposure.arrays), site, make_distortion(), air)
        assert lost.keywords["S_REFRAC"] == "SKIPPED: not known, see HISTORY"
        assert lost.wcs == plain.wcs
        assert "the coordinates stay as observed" in lost.history[0]


def test_the_zero_point_is_copied_and_the_values_stay():
    photometry = Product({"PHOTZP": 25.1, "PHOTSYS": "AB", "OBJECT": "FS-35"}, {})
    made = with_photometry(make_exposure(OBJECT="M 15"), photometry)
    assert made.keywords["PHOTZP"] == 25.1
    assert (made.keywords["OBJECT"], made.keywords["S_FLUXCL"]) == ("M 15", "COMPLETE")
    assert with_photometry(make_exposure()).keywords["S_FLUXCL"] == "SKIPPED: no reference"


def test_coordinates_are_tied_to_a_catalogue_or_stay():
    rng = np.random.default_rng(2)
    shape, search = (150, 190), Search(30.0, 0.0, False, 3)
    x, y = rng.uniform(10, 140, (2, 25))
    light = star_image(shape, x, y, np.full(25, 3000.0), 2.6) + rng.normal(0, 1.0, shape)
    arrays = {"SCI": light.astype(np.float32), "ERR": np.ones(shape, np.float32), "DQ": np.zeros(shape, np.uint32)}
    exposure = Product(KEYWORDS | {"EXPDTST": "2026-06-01T00:00:00"}, arrays)
    exposure = with_wcs(exposure, INSTRUMENT)
    ra, dec = WCS(exposure.wcs).all_pix2world(x + 12.3, y - 7.6, 0)
    nothing = np.full(25, np.nan)
    stars = Catalogue(ra, dec, nothing, nothing, 0 * x, 0 * x, nothing, "VEGA")
    tied = with_astrometry(exposure, stars, search, name="gaia.ecsv")
    assert tied.keywords["S_ASTROM"] == "COMPLETE"
    assert tied.keywords["ASTRNST"] >= 15
    assert 0 < tied.keywords["ASTRERR"] < tied.keywords["ASTRRMS"] < 0.2
    assert tied.history[0].startswith(f"astrometry: {tied.keywords['ASTRNST']} stars of gaia.ecsv, rms 0.")
    assert np.stack(WCS(tied.wcs).all_world2pix(ra, dec, 0)) == pytest.approx(np.stack([x, y]), abs=0.02)
    lost = with_astrometry(exposure, stars._replace(dec_deg=dec + 5), search, name="gaia.ecsv")
    assert (lost.wcs, lost.keywords["S_ASTROM"]) == (exposure.wcs, "SKIPPED: no match, see HISTORY")
    assert "no star of the catalogue in the field: the nearest is 5 deg" in lost.history[0]
    arrays["DQ"] = np.ones(shape, np.uint32)
    lost = with_astrometry(Product(exposure.keywords, arrays, wcs=exposure.wcs), stars, search, name="gaia.ecsv")
    assert "all pixels are masked: coordinates of the header stay" in lost.history[0]
