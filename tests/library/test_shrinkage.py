"""Shrinkage: least error with known spreads, nothing from nothing, noise as stated."""

import numpy as np
import pytest
from scipy.fft import idct

from drs.shrinkage import cell_variance, estimate_spreads, filter_profiles, shrink_cells

N_READ, N_CHANNEL = 4000, 8


def make_cells(rng, spreads, noise):
    """Return true cells (1, n_read, n_channel, 2) of zero mean, and measured ones."""
    common, half, mean = (np.sqrt(spread) for spread in spreads)
    normal = rng.normal
    halves = common * normal(size=(1, N_READ, 1)) + half * normal(size=(1, N_READ, N_CHANNEL))
    means = mean * normal(size=(1, N_READ, N_CHANNEL))
    means -= means.mean(axis=-1, keepdims=True)
    truth = np.stack([means - halves, means + halves], axis=-1)
    return truth, truth + np.sqrt(noise) * normal(size=truth.shape)


@pytest.mark.parametrize("spreads", [(0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (0.0, 4.0, 1.0), (9.0, 0.5, 30.0)])
def test_spreads_are_found_and_the_error_is_the_least(spreads):
    truth, cells = make_cells(np.random.default_rng(1), spreads, noise=2.0)
    variance = np.full(cells.shape, 2.0)
    found = estimate_spreads(cells, variance, 1.0)
    spreads = spreads[0] + spreads[1] / N_CHANNEL, *spreads[1:]  # the mean of the channels' own belongs to the common
    np.testing.assert_allclose(found, spreads, rtol=0.1, atol=0.02)
    noises = 1.0 / N_CHANNEL, 1.0, 1.0
    left = [s * n / (s + n) * f for s, n, f in zip(spreads, noises, (1, 7 / 8, 7 / 8), strict=True)]
    error = ((shrink_cells(cells, variance, found) - truth) ** 2).mean()
    np.testing.assert_allclose(error, sum(left), rtol=0.05, atol=0.01)


def test_the_noise_of_shrunk_cells_is_as_stated():
    rng = np.random.default_rng(2)
    variance = rng.uniform(0.5, 3, (N_CHANNEL, 2))
    variance[2, 1] = variance[5] = np.inf
    noise = rng.normal(size=(1, N_READ, N_CHANNEL, 2)) * np.sqrt(np.where(np.isfinite(variance), variance, 0))
    spreads, sources = (0.3, 1.0, 4.0), np.zeros((N_CHANNEL, 2))
    sources[[0, 0, 7, 7], [0, 1, 0, 1]] = 0.25
    shrunk = shrink_cells(noise, np.broadcast_to(variance, noise.shape), spreads)
    shrunk = shrunk - (shrunk * sources).sum(axis=(-1, -2), keepdims=True)
    np.testing.assert_allclose((shrunk**2).mean(), cell_variance(variance, spreads, sources), rtol=0.03)


def test_cells_that_were_not_measured_follow_the_others():
    cells = np.array([[1.0, 3.0], [5.0, 99.0], [99.0, 99.0], [-3.0, -1.0]])
    variance = np.array([[1e-9, 1e-9], [1e-9, np.inf], [np.inf, np.inf], [1e-9, 1e-9]])
    shrunk = shrink_cells(cells, variance, (1.0, 1.0, 1.0))
    mean = (2 / 0.5 + 6 / 1 - 2 / 0.5) / (1 / 0.5 + 1 / 1 + 1 / 0.5)  # one parity has twice the noise of both
    np.testing.assert_allclose(shrunk + mean, [[1, 3], [5, 7], [mean - 1, mean + 1], [-3, -1]], atol=1e-6)


def make_halves(rng, power, *, noise=1.0, local=0.0, ny=200):
    """Return the truth (1, n_read, ny) and what left and right columns show of it."""
    truth = idct(rng.normal(size=(1, 500, ny)) * np.sqrt(power), axis=-1, norm="ortho")
    halves = truth + np.sqrt(2 * noise) * rng.normal(size=(2, *truth.shape))
    halves[0] += idct(rng.normal(size=truth.shape) * np.sqrt(local), axis=-1, norm="ortho")
    return truth, halves - halves.mean(axis=-1, keepdims=True)


def pink(ny=200):
    return np.append(0, 40 / np.arange(1, ny))


@pytest.mark.parametrize("with_halves", [True, False])
def test_the_profile_is_filtered_to_the_least_error(with_halves):
    power = pink()
    truth, halves = make_halves(np.random.default_rng(3), power)
    halves_given = halves if with_halves else None
    filtered, variance = filter_profiles(halves.mean(axis=0), halves_given, (1.0, 1.0), 500, finest=1)
    ideal = power / (power + 1)
    np.testing.assert_allclose(((filtered - truth) ** 2).mean(), ideal.mean(), rtol=0.02)
    np.testing.assert_allclose(variance, (ideal**2).mean(), rtol=0.03)


@pytest.mark.parametrize("with_halves", [True, False])
def test_white_noise_is_left_out(with_halves):
    _, halves = make_halves(np.random.default_rng(4), np.zeros(200))
    halves_given = halves if with_halves else None
    filtered, variance = filter_profiles(halves.mean(axis=0), halves_given, (1.0, 1.0), 500, finest=1)
    assert (filtered**2).mean() < 1e-3
    assert variance < 1e-3


def test_what_one_side_has_alone_is_noise():
    """The active pixels have no part in it: the filter takes left and right together as the signal."""
    rng = np.random.default_rng(5)
    truth, halves = make_halves(rng, 0 * pink(), local=100 * pink())
    filtered, _ = filter_profiles(halves.mean(axis=0), halves, (1.0, 1.0), 500, finest=1)
    assert (filtered**2).mean() < 0.02 * (halves.mean(axis=0) ** 2).mean()
    power = pink()
    truth, halves = make_halves(rng, power, local=4 * power)
    filtered, variance = filter_profiles(halves.mean(axis=0), halves, (1.0, 1.0), 500, finest=1)
    ideal = power / (2 * power + 1)  # a quarter of the local power is in the mean
    np.testing.assert_allclose(((filtered - truth) ** 2).mean(), (ideal * (power + 1)).mean(), rtol=0.03)
    np.testing.assert_allclose(variance, (ideal**2 * (power + 1)).mean(), rtol=0.03)


def test_structure_finer_than_asked_is_left_alone():
    _, halves = make_halves(np.random.default_rng(6), np.full(200, 50.0))
    filtered, variance = filter_profiles(halves.mean(axis=0), halves, (1.0, 1.0), 500, finest=10)
    np.testing.assert_allclose(variance, 20 / 200, rtol=0.1)  # 20 modes, as much as a running mean of 10 rows
    np.testing.assert_allclose((filtered**2).mean(), 20 / 200 * 50, rtol=0.1)
    none, variance = filter_profiles(halves.mean(axis=0), halves, (1.0, 1.0), 500, finest=201)
    assert not none.any()
    assert variance == 0
