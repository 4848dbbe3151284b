"""Places of pixels on another grid: those of astropy, and the rows that reach a part of it."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drs.errors import ReductionError
from drs.pixelmap import build_map, find_rows, locate_centres, locate_rows, map_image
from drs.wcs import build_wcs

SHAPE = (70, 101)
DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 1.0, "centre_y_arcsec": 2.0, "rotation_deg": 0.0}
GRID = build_wcs(10.0, 20.0, 30.0, DETECTOR, SHAPE)
SIP = {"A_ORDER": 3, "B_ORDER": 3, "A_2_0": 2e-5, "A_1_1": -1e-5, "A_0_3": 3e-8, "B_0_2": 1e-5, "B_3_0": 2e-8}


def turned(pa_deg=33.0, **extra):
    header = build_wcs(10.0 + 7e-6, 20.0 - 3e-6, pa_deg, DETECTOR, SHAPE) | extra
    return header | ({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"} if extra else {})


@pytest.mark.parametrize("extra", [{}, SIP])
def test_places_are_those_of_astropy_with_distortion_too(extra):
    header = turned(**extra)
    pixelmap = map_image(header, GRID, SHAPE, offset=(0.5, -2.0))
    y, x = (axis.ravel() for axis in np.indices(SHAPE))
    expected = WCS(GRID).wcs_world2pix(*WCS(header).all_pix2world(x, y, 0), 0)
    expected = np.add(expected, [[0.5], [-2.0]])
    np.testing.assert_allclose(locate_centres(pixelmap, x, y), expected, atol=2e-6)
    np.testing.assert_allclose(locate_rows(pixelmap, slice(0, 70)).reshape(2, -1), expected, atol=2e-6)
    np.testing.assert_array_equal(locate_rows(pixelmap, slice(33, 40)), locate_rows(pixelmap, slice(0, 70))[:, 33:40])


@pytest.mark.parametrize("pa_deg", [30.0, 33.0, 121.0, 210.0])
def test_the_rows_that_reach_a_window_are_found_and_few_others(pa_deg):
    pixelmap = map_image(turned(pa_deg), GRID, SHAPE)
    places = locate_rows(pixelmap, slice(0, SHAPE[0]))[1]
    first = int(np.median(places))
    rows = find_rows(pixelmap, first, first + 8)
    touching = np.flatnonzero(((places > first - 1.2) & (places < first + 8.2)).any(axis=1))
    assert touching.size
    assert rows.start <= touching[0]
    assert rows.stop > touching[-1]
    if pa_deg == 30.0:
        assert rows.stop - rows.start < 14
    assert find_rows(pixelmap, 900, 950) == slice(0, 0)


def test_an_image_on_the_other_side_of_the_sky_is_refused():
    header = build_wcs(190.0, -20.0, 0.0, DETECTOR, SHAPE)
    with pytest.raises(ReductionError, match="no place on the mosaic's plane"):
        map_image(header, GRID, SHAPE)


def test_a_map_of_any_function():
    pixelmap = build_map(lambda x, y: (2 * x + y, y - 1), (5, 9))
    np.testing.assert_allclose(locate_centres(pixelmap, [3.0, 8.2], [4.0, 0.1]), [[10.0, 16.5], [3.0, -0.9]])
