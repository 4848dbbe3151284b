"""Blot and derivative: interpolation, what is rejected and what is spared."""

import numpy as np
import pytest

from drs.blotting import blot, estimate_lost, find_outliers

SHAPE = (13, 19)
OPTIONS = {"clip_sigma": 5.0, "clip_gradient": 0.8, "neighbour_sigma": 3.0}


def places(dx=0.0, dy=0.0):
    y, x = np.indices(SHAPE, float)
    return np.stack([x + dx, y + dy])


def known(values):
    """Return a blotted image that is known everywhere."""
    return values.astype(np.float32), np.zeros(values.shape, bool)


def test_a_smooth_image_is_blotted_exactly():
    y, x = np.indices((20, 25), np.float32)
    median = 0.3 * x + 0.02 * x * y - 0.1 * y
    u, v = places(3.3, 2.6)
    blotted, guessed = blot(median, places(3.3, 2.6), 0)
    assert not guessed.any()
    np.testing.assert_allclose(blotted, 0.3 * u + 0.02 * u * v - 0.1 * v, rtol=1e-5)
    np.testing.assert_array_equal(blot(median[1:], places(3.3, 2.6), 1)[0], blotted)


def test_beside_a_star_the_median_is_not_below_its_pixels():
    median = np.zeros((20, 25), np.float32)
    median[10, 12] = 1e4
    blotted, _ = blot(median, places(0.5, 0.5), 0)
    assert blotted.min() == 0
    assert blotted[9, 11] > 1e3


def test_no_value_where_the_median_has_none():
    median = np.ones((20, 25), np.float32)
    median[10, 10] = np.nan
    blotted, guessed = blot(median, places(0.5, 0.5), 0)
    np.testing.assert_allclose(blotted, 1)
    assert guessed[8:12, 8:12].all()
    assert not guessed[1:8, 1:].any()
    assert np.argwhere(np.isnan(blot(median, places(), 0)[0])).tolist() == [[10, 10]]
    outside, guessed = blot(median, places(-3.0, 0.0), 0)
    assert np.isnan(outside[:, :3]).all()
    assert guessed[:, :3].all()


def frame_of(values, error=1.0):
    return values.astype(np.float32), np.full(SHAPE, error**2, np.float32), np.ones(SHAPE, bool)


def test_a_hit_and_its_neighbours_are_found_and_nothing_else():
    values = np.zeros(SHAPE)
    values[5, 8], values[5, 9], values[6, 9], values[2, 2] = 50, 4, 4, 4
    outlier = find_outliers(frame_of(values), known(np.zeros(SHAPE)), **OPTIONS)
    assert np.argwhere(outlier).tolist() == [[5, 8], [5, 9]]


def test_negative_outliers_are_found_too():
    values = np.zeros(SHAPE)
    values[5, 8] = -6
    assert np.argwhere(find_outliers(frame_of(values), known(np.zeros(SHAPE)), **OPTIONS)).tolist() == [[5, 8]]


def test_the_core_of_a_star_is_spared_by_its_gradient():
    y, x = np.indices(SHAPE)
    star = 1e4 * np.exp(-((y - 6) ** 2 + (x - 9) ** 2) / 2.4)
    sharper = 1e4 * 1.15 * np.exp(-((y - 6) ** 2 + (x - 9) ** 2) / 2.1)
    assert not find_outliers(frame_of(sharper), known(star), **OPTIONS).any()
    assert find_outliers(frame_of(sharper), known(star), **OPTIONS | {"clip_gradient": 0.1}).any()


def test_corners_count_and_a_guess_is_trusted_less():
    """A star in a corner of a 2 x 2 block: the step to the diagonal neighbour is the largest."""
    median = np.zeros(SHAPE)
    median[5:7, 8:10] = [[100, 40], [40, 0]]
    values = median.copy()
    values[6, 9] = 70  # 40 above its direct neighbours, 100 below the diagonal one
    assert not find_outliers(frame_of(values), known(median), **OPTIONS).any()
    values[6, 9] = 200
    assert find_outliers(frame_of(values), known(median), **OPTIONS)[6, 9]
    guessed = np.zeros(SHAPE, bool)
    guessed[6, 9] = True
    assert not find_outliers(frame_of(values), (median.astype("f4"), guessed), **OPTIONS)[6, 9]
    values[6, 9] = 450
    assert find_outliers(frame_of(values), (median.astype("f4"), guessed), **OPTIONS)[6, 9]


def test_what_cannot_be_judged_is_kept():
    values, blotted = np.full(SHAPE, 99.0), np.zeros(SHAPE)
    blotted[3, 4] = np.nan
    median = known(blotted)
    *planes, usable = frame_of(values)
    usable[7, 7] = False
    outlier = find_outliers((*planes, usable), median, **OPTIONS)
    assert np.argwhere(~outlier).tolist() == [[3, 4], [7, 7]]
    assert not find_outliers((*planes, usable), median, **OPTIONS | {"clip_sigma": 0}).any()
    with pytest.raises(ValueError, match="differ"):
        find_outliers((*planes, usable[1:]), median, **OPTIONS)


def test_a_lost_pixel_is_estimated_from_the_median_and_a_wide_gap_is_not():
    """A paraboloid smoothed by 1/6 pixel^2 along each axis, as its median is, is sharp again."""
    y, x = np.indices(SHAPE, float)
    sharp = 500 - 3 * (y - 6) ** 2 - 2 * (x - 9) ** 2
    smooth = sharp - 6 / 12 - 4 / 12
    lost = np.zeros(SHAPE, bool)
    lost[6, 9] = lost[3, 3] = True
    lost[8:11, 12:16] = True
    guessed = np.zeros(SHAPE, bool)
    guessed[3, 3] = True
    values, variance, estimated = estimate_lost((smooth.astype("f4"), guessed), lost, noise2=2.0, n_frame=4)
    assert np.argwhere(estimated).tolist() == [[6, 9]]
    assert values[6, 9] == pytest.approx(sharp[6, 9], abs=1e-3)
    # mean of 4 with this one has the variance of the mean of 3 others: (3 s2 + v) / 16 = s2 / 3; largest step 5
    assert variance[6, 9] == pytest.approx(2.0 * 7 / 3 + (0.03 * 5) ** 2 + (10 / 12) ** 2, rel=1e-5)
    assert not values[~estimated].any()
