"""Coordinates and zero point of an image by its references, and without them."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drs.coordinates import with_photometry, with_wcs
from drs.product import Product

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


def test_the_zero_point_is_copied_and_the_values_stay():
    photometry = Product({"PHOTZP": 25.1, "PHOTSYS": "AB", "OBJECT": "FS-35"}, {})
    made = with_photometry(make_exposure(OBJECT="M 15"), photometry)
    assert made.keywords["PHOTZP"] == 25.1
    assert (made.keywords["OBJECT"], made.keywords["S_FLUXCL"]) == ("M 15", "COMPLETE")
    assert with_photometry(make_exposure()).keywords["S_FLUXCL"] == "SKIPPED: no reference"
