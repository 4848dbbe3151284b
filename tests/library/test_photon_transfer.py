"""Photon transfer on made-up linear ramps: the gain with its error, read noise, shapes that do not fit."""

import numpy as np
import pytest

from drs.photon_transfer import measure_differences, measure_noise, solve_gain, solve_noise

SHAPE, N_CHANNEL, GAIN, NOISE_DN = (40, 96), 2, 2.5, 4.0


def make_ramps(rng, rate_dn, n_ramp, n_read=6):
    """Return linear ramps with photon and read noise, DN."""
    charge = np.cumsum(rng.poisson(rate_dn * GAIN, (n_ramp, n_read, *SHAPE)), axis=1)
    return (charge / GAIN + rng.normal(0, NOISE_DN, charge.shape)).astype(np.float32)


def test_gain_is_unbiased_with_errors_that_hold():
    ratios, good = [], np.ones(SHAPE, bool)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        signal = make_ramps(rng, 400.0, 4)
        signal[1, 3, 5, 7] += 4000  # a cosmic ray in one of the ramps
        total = measure_differences(signal, np.ones(signal.shape[1:], "f4"), good, n_channel=N_CHANNEL, middle_dn=1e3)
        gain = solve_gain(total, np.full(SHAPE, NOISE_DN**2), good, n_channel=N_CHANNEL)
        ratios += list((gain.channels - GAIN) / gain.error[0, [0, -1]])
        assert np.abs(gain.gain / GAIN - 1).max() < 0.05
        assert abs(gain.coupling) < 5 * gain.coupling_error
    assert abs(np.mean(ratios)) < 0.5
    assert np.std(ratios) < 1.3


def test_read_noise_and_its_jumps():
    rng, times = np.random.default_rng(3), np.arange(1.0, 9.0)[np.newaxis]
    ramps = [(1000 + rng.normal(0, NOISE_DN, (1, 8, *SHAPE)), times) for _ in range(5)]
    for reads, _ in ramps:
        reads[0, 2:5, 11, 13] += 300
        reads[0, 4:, 17, 19] += 300
    good = np.ones(SHAPE, bool)
    noise = measure_noise(ramps, good, n_channel=N_CHANNEL, inverse_gain=0.0)
    variance, error, channels = solve_noise(noise, good, n_channel=N_CHANNEL)
    assert np.sqrt(channels) == pytest.approx([NOISE_DN] * N_CHANNEL, rel=0.01)
    assert np.sqrt(np.median(variance)) == pytest.approx(NOISE_DN, rel=0.01)
    assert (error >= 0).all()
    assert (noise.up[11, 13], noise.down[11, 13]) == (5, 5)
    assert (noise.up[17, 19], noise.down[17, 19]) == (5, 0)
    assert noise.down.sum() == 5


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        measure_differences(np.ones((1, 3, 4, 8)), np.ones((3, 4, 8)), np.ones((4, 8), bool), n_channel=1, middle_dn=1)
