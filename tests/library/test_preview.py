"""Previews: orientation, blocks, colours and directions on the sky, read back from the PNG."""

import io

import numpy as np
import pytest
from PIL import Image

from drs.preview import (
    BAD,
    COLOURS,
    INK,
    find_compass,
    make_thumbnail,
    reduce_size,
    render_placeholder,
    render_preview,
    stretch,
)
from drs.wcs import build_wcs

SHAPE = (24, 40)  # ny, nx
DETECTOR = {"scale_arcsec": 0.01, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


def read_png(png):
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.fixture
def noise():
    return np.random.default_rng(2).normal(0, 1, SHAPE).astype(np.float32), np.zeros(SHAPE, bool)


def test_blocks_are_means_of_their_good_pixels():
    values = np.arange(3 * 5, dtype=np.float32).reshape(3, 5)
    bad = np.zeros((3, 5), bool)
    values[0, 0], bad[0, 0] = np.nan, True
    small, bad_blocks, block = reduce_size(values, bad, max_size_pix=3)
    assert block == 2
    np.testing.assert_allclose(small, [[(1 + 5 + 6) / 3, 5.0, 6.5], [10.5, 12.5, 14.0]])
    assert not bad_blocks.any()


def test_a_block_is_bad_when_half_of_it_is():
    bad = np.zeros((4, 6), bool)
    bad[0, :2] = True
    bad[2, 2] = True
    _, bad_blocks, _ = reduce_size(np.ones((4, 6), np.float32), bad, max_size_pix=3)
    assert bad_blocks.tolist() == [[True, False, False], [False, False, False]]


def test_an_image_that_fits_is_not_averaged(noise):
    small, _, block = reduce_size(*noise, max_size_pix=40)
    assert block == 1
    np.testing.assert_array_equal(small, noise[0])


def test_y_axis_points_up_and_x_to_the_right(noise):
    values, bad = noise
    values[20, 5] = 1e3  # near the top of the sky, at the left
    bad[2, 35] = True
    pixels = read_png(render_preview(values, bad, max_size_pix=40))
    assert pixels.shape == (*SHAPE, 3)
    assert pixels[23 - 20, 5].tolist() == [255, 255, 255]
    assert pixels[23 - 2, 35].tolist() == list(COLOURS[BAD])
    assert np.count_nonzero((pixels == COLOURS[BAD]).all(axis=2)) == 1


def test_a_small_image_is_enlarged_by_a_whole_number(noise):
    values, bad = noise
    assert read_png(render_preview(values, bad, max_size_pix=130)).shape == (72, 120, 3)


def test_stretch_is_monotonic(noise):
    values, bad = noise
    indices = stretch(values, bad)
    order = np.argsort(values.ravel())
    assert (np.diff(indices.ravel()[order].astype(int)) >= 0).all()
    assert (indices.min(), indices.max()) == (0, BAD - 1)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_constant_and_empty_images_have_a_picture(value):
    values = np.full(SHAPE, value, np.float32)
    assert read_png(render_preview(values, np.isnan(values), max_size_pix=40)).shape == (*SHAPE, 3)


def test_same_image_same_bytes(noise):
    wcs = build_wcs(10.0, 20.0, 0.0, DETECTOR, SHAPE)
    drawn = [render_preview(*noise, max_size_pix=400, compass=find_compass(wcs, SHAPE)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert (read_png(drawn[0]) == COLOURS[INK]).all(axis=2).any()


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(0.0, 89.0), (359.9999, -29.0), (150.0, 0.0)])
def test_compass_at_two_angles(ra_deg, dec_deg):
    up = find_compass(build_wcs(ra_deg, dec_deg, 0.0, DETECTOR, SHAPE), SHAPE)
    np.testing.assert_allclose([up.north, up.east], [(0, 1), (-1, 0)], atol=1e-3)
    assert up.scale_arcsec == pytest.approx(0.01, rel=1e-3)
    # +y at position angle 90 points east: north is to the right.
    turned = find_compass(build_wcs(ra_deg, dec_deg, 90.0, DETECTOR, SHAPE), SHAPE)
    np.testing.assert_allclose([turned.north, turned.east], [(1, 0), (0, 1)], atol=1e-3)


def test_no_compass_without_coordinates():
    assert find_compass({}, SHAPE) is None


def test_placeholder_holds_text_and_survives_a_long_word():
    pixels = read_png(render_placeholder("Refused", "no dark reference " + "x" * 500))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) >= 3
    assert pixels.shape == (200, 320, 3)


def test_thumbnail_is_small(noise):
    png = render_preview(*noise, max_size_pix=400)
    with Image.open(io.BytesIO(make_thumbnail(png, 100))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (100, 60)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        reduce_size(np.zeros((3, 4)), np.zeros((4, 3), bool), max_size_pix=2)
