"""Mosaics: the grid, and which images belong on it."""

import numpy as np
import pytest

from drs.errors import ReductionError
from drs.mosaic import find_footprints, find_group, plan_grid
from drs.wcs import build_wcs

SHAPE = (40, 50)
DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 1.0, "centre_y_arcsec": 2.0, "rotation_deg": 0.0}


def header(north_pix=0.0, pa_deg=30.0):
    """Return a WCS shifted to the north by pixels."""
    return build_wcs(10.0, 20.0 + north_pix * 0.004 / 3600, pa_deg, DETECTOR, SHAPE)


def test_the_grid_of_one_image_is_the_image():
    grid, shape = plan_grid([header()], [SHAPE])
    assert shape == SHAPE
    assert grid["CRPIX1"] == header()["CRPIX1"]


def test_the_grid_holds_all_images_and_has_no_distortion():
    headers = [header() | {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_0_2": 1e-4}, header(7.3), header(-3.2)]
    headers[0] |= {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    grid, shape = plan_grid(headers, [SHAPE] * 3, [(0.0, 0.0), (4.0, 0.0), (0.0, 0.0)])
    assert grid["CTYPE1"] == "RA---TAN"
    assert "A_2_0" not in grid
    boxes = find_footprints([grid, *headers], [shape, *[SHAPE] * 3], [(0, 0), (0, 0), (4, 0), (0, 0)])
    assert (boxes[0, :2] <= boxes[1:, :2].min(axis=0) + 1e-6).all()
    assert (boxes[0, 2:] >= boxes[1:, 2:].max(axis=0) - 1e-6).all()
    assert (boxes[0, :2] > boxes[1:, :2].min(axis=0) - 1).all()


def test_pointings_of_two_fields_are_refused():
    with pytest.raises(ReductionError, match="not one field"):
        plan_grid([header(), header(4000)], [SHAPE] * 2)


def test_the_largest_set_that_hangs_together_is_found():
    boxes = np.array([[0, 0, 9, 9], [50, 0, 59, 9], [8, 8, 17, 17], [np.nan] * 4, [16, 16, 20, 20]], float)
    assert find_group(boxes) == [0, 2, 4]
    assert find_group(boxes[[0, 1]]) == [0]


def test_a_pointing_wrong_by_degrees_hangs_with_nothing():
    headers = [header(), header(7.3), build_wcs(10.0, 25.0, 30.0, DETECTOR, SHAPE)]
    assert find_group(find_footprints(headers, [SHAPE] * 3)) == [0, 1]
