"""Frames on a common grid: places against the WCS itself, means and masks by nearest pixels, a field that is none."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drs.errors import ReductionError
from drs.registration import (
    average_frames,
    locate_nearest,
    look_up,
    map_pixels,
    plan_field,
    without_distortion,
)
from drs.wcs import build_wcs

SHAPE = (70, 90)
DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-4, "B_1_1": -3e-4}


def point(dx, dy, pa=0.0):
    """Return a WCS that points (dx, dy) pixels west and north."""
    dec = 10 + dy * 0.004 / 3600
    return build_wcs(150 - dx * 0.004 / 3600 / np.cos(np.radians(10)), dec, pa, DETECTOR, SHAPE)


def test_the_grid_holds_all_images_and_has_the_pixels_of_the_first():
    headers = [point(0, 0), point(7.3, -4.2), point(-3, 5, pa=30)]
    grid, shape = plan_field(headers, [SHAPE] * 3)
    for header in headers:
        y, x = map_pixels(header, SHAPE, grid)
        assert y.min() >= 0
        assert x.min() >= 0
        assert y.max() <= shape[0] - 1
        assert x.max() <= shape[1] - 1
    y, x = map_pixels(headers[0], SHAPE, grid)
    assert np.abs(x - np.rint(x)).max() < 1e-3
    assert (shape[0] * shape[1]) < 2 * SHAPE[0] * SHAPE[1]


@pytest.mark.parametrize("distortion", [{}, SIP])
def test_places_are_those_of_the_wcs_with_its_distortion(distortion):
    header = point(3.4, 2.2, pa=37) | distortion
    grid, _ = plan_field([point(0, 0)], [SHAPE])
    y, x = map_pixels(header, SHAPE, grid)
    row, column = np.array([0, 13, 40, 69]), np.array([89, 55, 2, 31])
    sky = WCS(header).all_pix2world(column, row, 0)
    expected = WCS(grid).wcs_world2pix(*sky, 0)
    np.testing.assert_allclose(x[row, column], expected[0], atol=5e-3)
    np.testing.assert_allclose(y[row, column], expected[1], atol=5e-3)


def test_a_grid_has_no_distortion():
    assert WCS(without_distortion(point(0, 0) | SIP)).sip is None
    assert without_distortion(point(0, 0)) == point(0, 0)


def test_means_and_masks_follow_the_sky():
    headers = [point(0, 0), point(5, -3)]
    grid, shape = plan_field(headers, [SHAPE] * 2)
    frames = [np.zeros(SHAPE, np.float32) for _ in headers]
    frames[0][30, 40], frames[1][33, 35] = 6.0, 4.0  # the telescope went +5 in x, -3 in y: the star the other way
    frames[0][0, 0] = np.nan
    places = [locate_nearest(header, SHAPE, grid, shape) for header in headers]
    mean, count = average_frames(frames, places, shape)
    assert np.nanmax(mean) == 5.0
    assert (count.max(), (mean == 5.0).sum()) == (2, 1)
    assert count.sum() == 2 * SHAPE[0] * SHAPE[1] - 1
    star = look_up(mean == 5.0, places[1])
    assert np.argwhere(star).tolist() == [[33, 35]]
    outside = locate_nearest(point(500, 0), SHAPE, grid, shape)
    assert (outside == -1).all()
    assert not look_up(np.ones(shape, bool), outside).any()


def test_pointings_of_two_fields_are_refused():
    with pytest.raises(ReductionError, match="not one field"):
        plan_field([point(0, 0), point(5000, 0)], [SHAPE] * 2)
    wrong = point(0, 0) | {"CRVAL2": -70.0}
    with pytest.raises(ReductionError, match=r"do not meet|not one field"):
        plan_field([point(0, 0), wrong], [SHAPE] * 2)
