"""Coordinates of a detector: known places on the sky, against formulas written out here."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from drs.wcs import build_wcs

SHAPE = (40, 60)
CENTRE = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


def offset_of(wcs, x, y, ra=150.0, dec=60.0):
    """Return (east, north) of a 1-based pixel from the pointing in arcsec, by spherical trigonometry."""
    lon, lat = WCS(wcs).wcs_pix2world(x, y, 1)
    pointing = SkyCoord(ra, dec, unit="deg")
    east, north = pointing.spherical_offsets_to(SkyCoord(lon, lat, unit="deg"))
    return east.arcsec, north.arcsec


@pytest.mark.parametrize(
    ("pa_deg", "east_per_x", "north_per_x", "east_per_y", "north_per_y"),
    [(0, -1, 0, 0, 1), (90, 0, 1, 1, 0), (180, 1, 0, 0, -1), (37, -0.798636, 0.601815, 0.601815, 0.798636)],
)
def test_axes_on_the_sky(pa_deg, east_per_x, north_per_x, east_per_y, north_per_y):
    wcs = build_wcs(150.0, 60.0, pa_deg, CENTRE, SHAPE)
    assert offset_of(wcs, 30.5, 20.5) == pytest.approx((0, 0), abs=1e-9)
    assert offset_of(wcs, 40.5, 20.5) == pytest.approx((0.04 * east_per_x, 0.04 * north_per_x), abs=1e-7)
    assert offset_of(wcs, 30.5, 30.5) == pytest.approx((0.04 * east_per_y, 0.04 * north_per_y), abs=1e-7)


def test_detectors_lie_where_the_instrument_has_them():
    detector = CENTRE | {"centre_x_arcsec": 8.792, "centre_y_arcsec": -3.0}
    assert offset_of(build_wcs(150.0, 60.0, 0, detector, SHAPE), 30.5, 20.5) == pytest.approx((-8.792, -3.0), abs=1e-5)
    assert offset_of(build_wcs(150.0, 60.0, 90, detector, SHAPE), 30.5, 20.5) == pytest.approx((-3.0, 8.792), abs=1e-5)


def test_a_subarray_has_the_coordinates_of_its_part_of_the_detector():
    whole = build_wcs(150.0, 60.0, 37.0, CENTRE, SHAPE)
    part = build_wcs(150.0, 60.0, 37.0, CENTRE, SHAPE, corner=(11, 21))
    assert offset_of(part, 3, 5) == pytest.approx(offset_of(whole, 23, 15), abs=1e-9)


@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, -25.0])
def test_a_turned_detector_keeps_its_centre_and_turns_its_axes(rotation_deg):
    detector = CENTRE | {"centre_x_arcsec": 8.792, "centre_y_arcsec": -3.0, "rotation_deg": rotation_deg}
    wcs = build_wcs(150.0, 60.0, 0, detector, SHAPE)
    assert offset_of(wcs, 30.5, 20.5) == pytest.approx((-8.792, -3.0), abs=1e-5)
    step = np.subtract(offset_of(wcs, 30.5, 21.5), offset_of(wcs, 30.5, 20.5))
    expected = 0.004 * np.array([np.sin(np.deg2rad(rotation_deg)), np.cos(np.deg2rad(rotation_deg))])
    np.testing.assert_allclose(step, expected, atol=1e-7)
