"""The continuum below lines: against the truth, with noise, bad bins, and bins without a value."""

import numpy as np
import pytest

from drs.baseline import fit_baseline

N_BIN, NOISE, PERIOD = 700, 0.05, 80


def make_spectrum(n_line, *, seed=1):
    """Return a spectrum with lines and noise, and its continuum."""
    rng, bins = np.random.default_rng(seed), np.arange(N_BIN)
    continuum = 6 + 2 * np.sin(2 * np.pi * bins / 900) + 20 * np.exp((bins - N_BIN) / 250)  # thermal light rises so
    places, fluxes = rng.uniform(0, N_BIN, n_line), 10 ** rng.uniform(-1, 2.5, n_line)
    lines = np.exp(-0.5 * ((bins[:, np.newaxis] - places) / 1.2) ** 2) @ fluxes
    return continuum + lines + NOISE * rng.normal(size=N_BIN), continuum


# Of 150 lines, a bin in ten is free of their wings: what is left is in noises of one bin.
@pytest.mark.parametrize(("n_line", "most"), [(0, 0.3), (60, 0.7), (150, 1.5)])
def test_below_the_lines(n_line, most):
    bias, rms = [], []
    for seed in range(8):
        values, continuum = make_spectrum(n_line, seed=seed)
        away = (fit_baseline(values, np.full(N_BIN, NOISE), period=PERIOD) - continuum) / NOISE
        bias.append(away.mean())
        rms.append(away.std())
    assert abs(np.mean(bias)) < most
    assert np.mean(rms) < most


def test_bins_that_are_bad_or_unknown():
    values, _ = make_spectrum(60)
    error = np.full(N_BIN, NOISE)
    clean = fit_baseline(values, error, period=PERIOD)
    values[[100, 333]] = -1e5
    values[200:230], error[400:410] = np.nan, np.nan
    np.testing.assert_allclose(fit_baseline(values, error, period=PERIOD), clean, atol=2 * NOISE)


def test_without_noise_the_curve_is_the_spectrum():
    line = np.linspace(3, 5, 40)
    np.testing.assert_allclose(fit_baseline(line, np.zeros(40), period=PERIOD), line, rtol=1e-9)
    np.testing.assert_array_equal(fit_baseline(np.zeros(40), np.zeros(40), period=PERIOD), 0)


def test_spectra_without_a_curve():
    np.testing.assert_array_equal(fit_baseline(np.array([2.0, 4.0]), np.ones(2), period=PERIOD), 3)
    np.testing.assert_array_equal(fit_baseline(np.full(5, np.nan), np.ones(5), period=PERIOD), 0)
