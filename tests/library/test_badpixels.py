"""Bad pixels of made-up maps, each kind with the known answer; glow and vignetting are none."""

import numpy as np

from drs.badpixels import find_dead, find_hot, find_noisy, find_telegraph
from drs.dq import Flag

SHAPE = (40, 60)
ACTIVE = np.zeros(SHAPE, bool)
ACTIVE[4:-4, 4:-4] = True


def test_hot_warm_and_pixels_without_a_rate():
    rng = np.random.default_rng(6)
    rate = 0.1 + rng.normal(0, 0.05, SHAPE) + 1.5 * (np.arange(60) / 60) ** 8
    rate[10, 11], rate[20, 21], rate[30, 31] = 300.0, 4.0, np.nan
    rate[0, 0] = 500.0  # no pixel that sees light
    flags = find_hot(rate, np.full(SHAPE, 0.05), ACTIVE, n_channel=2, threshold_sigma=15, hot_minimum_e_per_s=20)
    assert {tuple(place): int(flags[tuple(place)]) for place in np.argwhere(flags)} == {
        (10, 11): Flag.HOT | Flag.DO_NOT_USE,
        (20, 21): Flag.WARM,
        (30, 31): Flag.HOT | Flag.DO_NOT_USE,
    }


def test_dead_and_insensitive():
    light = 500.0 * (1 - 0.1 * (np.arange(60) / 60) ** 2) * np.ones(SHAPE)
    light[10, 11], light[20, 21] = 3.0, 200.0
    flags = find_dead(light, ACTIVE, dead_response=0.2, low_response=0.5)
    assert flags[10, 11] == Flag.DEAD | Flag.DO_NOT_USE
    assert flags[20, 21] == Flag.LOW_QE
    assert np.count_nonzero(flags) == 2


def test_noisy_and_telegraph():
    variance = 9 + np.random.default_rng(7).normal(0, 1, SHAPE)
    variance[10, 11] = 200
    flags = find_noisy(variance, np.full(SHAPE, 50), ACTIVE, n_channel=2, threshold_sigma=15)
    assert np.argwhere(flags).tolist() == [[10, 11]]
    up, down = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    up[5, 5], up[6, 6], down[6, 6], up[7, 7], down[7, 7] = 9, 4, 1, 1, 1  # cosmic rays; telegraph; chance
    assert np.argwhere(find_telegraph(up, down, ACTIVE)).tolist() == [[6, 6]]
