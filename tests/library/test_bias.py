"""Bias of made-up frames: drifts and outliers do not reach it."""

import numpy as np
import pytest

from drs.bias import measure_bias, measure_reset_noise

SHAPE = (24, 40)


def test_bias_error_and_reset_noise():
    rng = np.random.default_rng(5)
    true = 1000 + rng.normal(0, 40, SHAPE)
    frames = true + rng.normal(0, 6.0, (12, *SHAPE)) + rng.normal(0, 5, (12, 24, 1)) + rng.normal(0, 9, (12, 1, 1))
    frames[4, 3, 7] += 4000
    good = np.ones(SHAPE, bool)
    bias = measure_bias(frames.astype(np.float32), good, n_channel=2, clip_sigma=5)
    pull = (bias.level_dn - true - np.median(bias.level_dn - true)) / bias.error_dn
    assert bias.number[3, 7] == 11
    assert abs(pull[3, 7]) < 5
    noise, error = measure_reset_noise(bias.variance_dn2, 2.0**2, good)
    assert noise == pytest.approx(np.sqrt(36 - 4), abs=5 * error)


def test_no_good_pixel_tells_no_reset_noise():
    noise, _ = measure_reset_noise(np.ones(SHAPE), 0.0, np.zeros(SHAPE, bool))
    assert np.isnan(noise)
