"""Clipped means and medians: known answers, errors, and what is rejected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from drs.clipping import SCALES, clip_frames, find_median

OPTIONS = {"statistic": "mean", "scale": "error", "clip_sigma": 5.0, "clip_gradient": 0.0}


def make(n=7, ny=5, nx=9, seed=3):
    values = np.random.default_rng(seed).normal(100, 3, (n, ny, nx)).astype("f4")
    return values, np.full(values.shape, 9, "f4"), np.full(values.shape, 50, "f4")


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 45), st.just(2), st.just(3)),
        elements=st.sampled_from([1.0, 2.5, 7.0, np.nan, -3.0, 4.0]),
    )
)
@settings(deadline=None)
def test_the_median_is_that_of_numpy(values):
    found, counts = find_median(values, 2), np.isfinite(values).sum(axis=0)
    for place in np.ndindex(2, 3):
        column = values[(slice(None), *place)]
        if counts[place] < 2:
            assert np.isnan(found[place])
        else:
            assert found[place] == np.median(column[np.isfinite(column)])


def test_mean_and_median_of_clean_frames():
    values, variance, weight = make()
    weight[0] *= 3
    mean = clip_frames(values, variance, weight, **OPTIONS)
    np.testing.assert_allclose(mean.value, np.average(values, axis=0, weights=weight[:, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(mean.variance, 9 * (9 + 6) / 81, rtol=1e-6)
    np.testing.assert_allclose(mean.weight, 450)
    median = clip_frames(values, variance, weight, **OPTIONS | {"statistic": "median"})
    np.testing.assert_array_equal(median.value, np.median(values, axis=0))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_a_hit_goes_on_every_scale(scale, statistic):
    values, variance, weight = make(n=12)
    values[4, 2, 3] += 2000
    sigma = 2.5 if scale == "sigma" else 6.0
    result = clip_frames(
        values, variance, weight, statistic=statistic, scale=scale, clip_sigma=sigma, clip_gradient=0.0
    )
    assert result.rejected[4, 2, 3]
    assert result.value[2, 3] == pytest.approx(100, abs=5)
    assert result.rejected.mean() < 0.03


def test_a_gradient_spares_what_steep_profiles_do():
    values, variance, weight = make()
    values[:, 2, 3] += 1000
    values[1, 2, 3] += 500
    assert clip_frames(values, variance, weight, **OPTIONS).rejected.any()
    assert not clip_frames(values, variance, weight, **OPTIONS | {"clip_gradient": 0.6}).rejected.any()


def test_two_frames_are_kept_and_none_is_nan():
    values, variance, weight = make(n=2)
    values[0, 1, 1] += 999
    weight[:, 3, 4] = 0
    result = clip_frames(values, variance, weight, **OPTIONS)
    assert not result.rejected.any()
    assert np.argwhere(np.isnan(result.value)).tolist() == [[3, 4]]
    assert result.n_used[3, 4] == 0
    with pytest.raises(ValueError, match="expected one"):
        clip_frames(values, variance[:, 1:], weight, **OPTIONS)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 30])
def test_errors_of_means_and_medians_hold(n):
    values, variance, weight = make(n, 150, 200)
    for statistic in ("mean", "median"):
        result = clip_frames(values, variance, weight, **OPTIONS | {"statistic": statistic})
        pulls = (result.value - 100) / np.sqrt(result.variance)
        assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
        assert pulls.std() == pytest.approx(1, abs=0.02)
