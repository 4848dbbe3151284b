"""Channels: offsets removed without bias of the variance, shrinkage that keeps what is significant."""

import numpy as np
import pytest

from drs.channels import clip_mean, find_channels, remove_offsets, shrink_to_channels


def test_channels_are_bands_of_columns():
    assert find_channels(12, 3).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_offsets_are_removed_and_the_variance_stays():
    rng = np.random.default_rng(1)
    frames = rng.normal(0, 2.0, (60, 20, 48)).astype(np.float32)
    rows, cells = rng.normal(0, 9, (60, 20, 1)), rng.normal(0, 9, (60, 1, 4, 1, 2))
    drift = np.broadcast_to(cells, (60, 20, 4, 6, 2)).reshape(60, 20, 48) + rows
    use = rng.random(frames.shape) < 0.9
    cleaned, share = remove_offsets((frames + drift).astype(np.float32), use, n_channel=4)
    variance = (cleaned[use] ** 2).sum() / (use.sum(axis=(1, 2)) * share).sum()
    assert variance == pytest.approx(4.0, rel=0.02)
    assert (cleaned[~use] == 0).all()


def test_what_noise_explains_goes_and_what_it_does_not_stays():
    rng, shape = np.random.default_rng(2), (40, 60)
    true = 10 + rng.normal(0, 1.0, shape)
    true[3, 5] = 40.0
    noise = np.full(shape, 1.0)
    values, good = true + rng.normal(0, 1, shape), np.ones(shape, bool)
    good[0, 0] = False
    shrunk, spread = shrink_to_channels(values, noise, np.array([10.0, 10.0]), good, n_channel=2)
    assert spread == pytest.approx([1.0, 1.0], rel=0.1)
    assert shrunk[3, 5] == pytest.approx(values[3, 5])
    assert shrunk[0, 0] == 10.0
    error = np.delete((shrunk - true).ravel(), [0, 3 * 60 + 5])
    assert error.std() == pytest.approx(np.sqrt(0.5), rel=0.05)  # 1 / (1/S + 1/N)
    flat, spread = shrink_to_channels(10 + rng.normal(0, 1, shape), noise, np.array([10.0]), good, n_channel=1)
    assert (np.abs(flat - 10) < 1e-9).mean() > 0.999
    assert spread[0] < 0.4


def test_a_clipped_mean_leaves_outliers_out():
    assert clip_mean(np.r_[np.linspace(0.9, 1.1, 11), 50.0], clip_sigma=5) == pytest.approx(1.0)
    assert np.isnan(clip_mean(np.empty(0), clip_sigma=5))
