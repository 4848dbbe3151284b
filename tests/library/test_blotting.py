"""Blot and derivative: interpolation, what is rejected and what is spared."""

import numpy as np
import pytest

from drs.blotting import blot, find_outliers

SHAPE = (13, 19)
OPTIONS = {"clip_sigma": 5.0, "clip_gradient": 1.0, "neighbour_sigma": 3.0}


def places(dx=0.0, dy=0.0):
    y, x = np.indices(SHAPE, float)
    return np.stack([x + dx, y + dy])


def test_a_smooth_image_is_blotted_exactly():
    y, x = np.indices((20, 25), np.float32)
    median = 0.3 * x + 0.02 * x * y - 0.1 * y
    u, v = places(3.3, 2.6)
    np.testing.assert_allclose(blot(median, places(3.3, 2.6), 0), 0.3 * u + 0.02 * u * v - 0.1 * v, rtol=1e-5)
    np.testing.assert_array_equal(blot(median[1:], places(3.3, 2.6), 1), blot(median, places(3.3, 2.6), 0))


def test_no_value_where_the_median_has_none():
    median = np.ones((20, 25), np.float32)
    median[10, 10] = np.nan
    np.testing.assert_allclose(blot(median, places(0.5, 0.5), 0), 1)
    assert np.argwhere(np.isnan(blot(median, places(), 0))).tolist() == [[10, 10]]
    assert np.isnan(blot(median, places(-3.0, 0.0), 0)[:, :3]).all()


def frame_of(values, error=1.0):
    return values.astype(np.float32), np.full(SHAPE, error**2, np.float32), np.ones(SHAPE, bool)


def test_a_hit_and_its_neighbours_are_found_and_nothing_else():
    values = np.zeros(SHAPE)
    values[5, 8], values[5, 9], values[6, 9], values[2, 2] = 50, 4, 4, 4
    outlier = find_outliers(frame_of(values), np.zeros(SHAPE, np.float32), **OPTIONS)
    assert np.argwhere(outlier).tolist() == [[5, 8], [5, 9]]


def test_negative_outliers_are_found_too():
    values = np.zeros(SHAPE)
    values[5, 8] = -6
    assert np.argwhere(find_outliers(frame_of(values), np.zeros(SHAPE, "f4"), **OPTIONS)).tolist() == [[5, 8]]


def test_the_core_of_a_star_is_spared_by_its_gradient():
    y, x = np.indices(SHAPE)
    star = 1e4 * np.exp(-((y - 6) ** 2 + (x - 9) ** 2) / 2.4)
    sharper = 1e4 * 1.15 * np.exp(-((y - 6) ** 2 + (x - 9) ** 2) / 2.1)
    blotted = star.astype("f4")
    assert not find_outliers(frame_of(sharper), blotted, **OPTIONS).any()
    assert find_outliers(frame_of(sharper), blotted, **OPTIONS | {"clip_gradient": 0.1}).any()


def test_what_cannot_be_judged_is_kept():
    values, blotted = np.full(SHAPE, 99.0), np.zeros(SHAPE, "f4")
    blotted[3, 4] = np.nan
    *planes, usable = frame_of(values)
    usable[7, 7] = False
    outlier = find_outliers((*planes, usable), blotted, **OPTIONS)
    assert np.argwhere(~outlier).tolist() == [[3, 4], [7, 7]]
    assert not find_outliers((*planes, usable), blotted, **OPTIONS | {"clip_sigma": 0}).any()
    with pytest.raises(ValueError, match="differ"):
        find_outliers((*planes, usable[1:]), blotted, **OPTIONS)
