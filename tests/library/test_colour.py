"""Colour pictures: colours stay, gaps are blue, pictures stand side by side with y up."""

import io

import numpy as np
from PIL import Image

from drs.colour import GAP, MARGIN_PIX, TEXT_PIX, join_pictures, mix_colours

SHAPE = (9, 14)


def make_channels():
    """Return red, green, blue images: a grey slope with one red place."""
    base = np.broadcast_to(np.arange(14.0) + 1, SHAPE)
    channels = np.stack([base, base, base])
    channels[:, 4, 6] = 12.0, 4.0, 2.0
    return channels


def test_what_is_grey_stays_grey_and_what_is_red_is_red():
    picture = mix_colours(make_channels(), np.zeros(SHAPE, bool)).astype(int)
    assert picture.shape == (*SHAPE, 3)
    assert (picture[0].max(axis=1) - picture[0].min(axis=1)).max() <= 1
    assert (np.diff(picture[0, :, 0]) >= 0).all()
    red, green, blue = picture[4, 6]
    assert red > green > blue


def test_gaps_are_blue_and_nothing_else_changes_them():
    gaps = np.zeros(SHAPE, bool)
    gaps[2, 3] = True
    channels = make_channels()
    channels[:, 2, 3] = 1e9
    picture = mix_colours(channels, gaps)
    assert tuple(picture[2, 3]) == GAP
    np.testing.assert_array_equal(picture[0], mix_colours(make_channels(), gaps)[0])
    assert (mix_colours(channels, np.ones(SHAPE, bool)) == GAP).all()


def test_pictures_stand_side_by_side_with_y_up():
    first = np.zeros((*SHAPE, 3), np.uint8)
    first[-1, 0] = 200, 100, 50
    png = join_pictures([first, np.zeros((300, 100, 3), np.uint8)], ["one", "two"], size_pix=60)
    with Image.open(io.BytesIO(png)) as picture:
        array = np.asarray(picture)
    assert array.shape == (60 + TEXT_PIX + 2 * MARGIN_PIX, 4 * 14 + 20 + 3 * MARGIN_PIX, 3)
    top, left = TEXT_PIX + MARGIN_PIX, MARGIN_PIX
    assert (array[top : top + 4, left : left + 4] == (200, 100, 50)).all()
    assert (array[top + 4 : top + 36, left : left + 56] == 0).all()
