"""Clipped means: known answers, noise, and what is rejected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from drs.stack import combine_stack

RNG = np.random.default_rng(20241)


def make_stack(n=6, ny=5, nx=9, level=100.0, noise=3.0):
    """Return frames of one level with Gaussian noise, their variance, and no bad pixel."""
    values = RNG.normal(level, noise, (n, ny, nx)).astype(np.float32)
    return values, np.full(values.shape, noise**2, np.float32), np.zeros(values.shape, bool)


def test_mean_and_variance_without_outliers():
    values, variance, unusable = make_stack()
    stack = combine_stack(values, variance, unusable, clip_sigma=0)
    np.testing.assert_allclose(stack.value, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stack.variance, 9.0 / 6, rtol=1e-6)
    assert (stack.n_used == 6).all()
    assert not stack.outlier.any()


def test_an_outlier_is_rejected_and_only_it():
    values, variance, unusable = make_stack()
    values[2, 3, 7] += 500
    stack = combine_stack(values, variance, unusable, clip_sigma=5)
    np.testing.assert_allclose(stack.value[3, 7], np.delete(values[:, 3, 7], 2).mean(), rtol=1e-6)
    assert stack.n_used[3, 7] == 5
    assert np.argwhere(stack.outlier).tolist() == [[3, 7]]


def test_tolerance_keeps_what_differs_for_other_reasons():
    values, variance, unusable = make_stack()
    values[2, 3, 7] += 500
    tolerance = np.zeros(values.shape[1:], np.float32)
    tolerance[3, 7] = 600
    assert not combine_stack(values, variance, unusable, clip_sigma=5, tolerance=tolerance).outlier.any()


def test_a_pair_that_disagrees_is_kept_whole():
    values, variance, unusable = make_stack(n=2)
    values[0] += 1000
    stack = combine_stack(values, variance, unusable, clip_sigma=5)
    np.testing.assert_allclose(stack.value, values.mean(axis=0), rtol=1e-6)


def test_pixels_without_value_are_nan_and_others_use_what_is_left():
    values, variance, unusable = make_stack(n=3)
    values[:, 1, 2] = np.nan
    unusable[:, 1, 2] = True
    unusable[0, 4, 8] = True
    stack = combine_stack(values, variance, unusable, clip_sigma=5)
    assert np.isnan(stack.value[1, 2])
    assert stack.n_used[1, 2] == 0
    np.testing.assert_allclose(stack.value[4, 8], values[1:, 4, 8].mean(), rtol=1e-6)


def test_weights_of_frames():
    values, variance, unusable = make_stack(n=2)
    stack = combine_stack(values, variance, unusable, clip_sigma=0, weights=[1.0, 3.0])
    np.testing.assert_allclose(stack.value, (values[0] + 3 * values[1]) / 4, rtol=1e-6)
    np.testing.assert_allclose(stack.variance, 9.0 * 10 / 16, rtol=1e-6)
    np.testing.assert_allclose(stack.weight, 4.0)


def test_errors_of_the_mean_hold_and_clipping_removes_no_gaussian_noise():
    values, variance, unusable = make_stack(n=8, ny=100, nx=200, level=0.0)
    stack = combine_stack(values, variance, unusable, clip_sigma=5)
    pull = stack.value / np.sqrt(stack.variance)
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)
    assert abs(pull.std() - 1) < 4 / np.sqrt(2 * pull.size)
    assert stack.outlier.mean() < 1e-4


def test_shapes_must_agree():
    values, variance, unusable = make_stack()
    with pytest.raises(ValueError, match="expected one"):
        combine_stack(values, variance[:, :4], unusable, clip_sigma=5)


shapes = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)


@settings(deadline=None)
@given(
    shapes.flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32)), hnp.arrays(bool, shape)
        )
    ),
    st.floats(1, 10),
)
def test_the_mean_lies_within_the_values_and_arguments_are_untouched(arrays, clip_sigma):
    values, unusable = arrays
    before = values.copy(), unusable.copy()
    stack = combine_stack(values, np.ones_like(values), unusable, clip_sigma=clip_sigma)
    assert (stack.n_used <= (~unusable).sum(axis=0)).all()
    seen = stack.n_used > 0
    low = np.where(unusable, np.inf, values).min(axis=0)[seen]
    high = np.where(unusable, -np.inf, values).max(axis=0)[seen]
    margin = 1e-5 * np.maximum(1, np.abs(values).max())
    assert ((stack.value[seen] >= low - margin) & (stack.value[seen] <= high + margin)).all()
    assert np.isnan(stack.value[~seen]).all()
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(unusable, before[1])
