"""Plateau and polynomial of made-up ramps with the known answer."""

import numpy as np
import pytest

from drs.linearity import fit_strength, measure_plateau, prepare_steps, solve_polynomial, solve_shapes, sum_equations

SHAPE, TIMES_S = (7, 12), np.arange(1.0, 21.0)
C2, C3 = 1e-6, 4e-12


def make_signal(strength, rate=2000.0):
    """Return x with x + s (C2 x^2 + C3 x^3) = rate t, (1, n_read, ny, nx), by bisection."""
    true = rate * TIMES_S[:, None, None] * np.ones(SHAPE)
    low, high = np.zeros_like(true), true.copy()
    for _ in range(60):
        x = (low + high) / 2
        above = x + strength * (C2 * x**2 + C3 * x**3) > true
        low, high = np.where(above, low, x), np.where(above, x, high)
    return x[np.newaxis]


def test_a_noiseless_polynomial_comes_back():
    strength = np.linspace(0.8, 1.2, 84).reshape(SHAPE)
    steps, good = prepare_steps(make_signal(strength), TIMES_S, order=3), np.ones(SHAPE, bool)
    shapes = solve_shapes(sum_equations(steps, good, n_channel=2))
    polynomial = solve_polynomial(
        fit_strength(steps, shapes), shapes, good, np.full(SHAPE, 4e4), maximum_chi_square=1e9
    )
    x = 3e4
    found = sum(polynomial.coefficients[k] * x**k for k in range(4)) / x - 1
    assert found == pytest.approx(strength * (C2 * x + C3 * x**2), abs=2e-4)
    assert not polynomial.unfit.any()


def test_a_pixel_without_reads_is_unfit():
    signal, good = make_signal(np.ones(SHAPE)), np.ones(SHAPE, bool)
    signal[0, 2:, 3, 4] = np.nan
    steps = prepare_steps(signal, TIMES_S, order=3)
    shapes = solve_shapes(sum_equations(steps, good, n_channel=1))
    full_dn = np.full(SHAPE, 4e4)
    full_dn[0, 0] = 0
    made = solve_polynomial(fit_strength(steps, shapes), shapes, good, full_dn, maximum_chi_square=1e9)
    assert np.argwhere(made.unfit).tolist() == [[0, 0], [3, 4]]


def test_plateaus():
    reads = 1000 + np.minimum(5000.0 * np.arange(1, 9), 21000.0)[:, None, None] * np.ones(SHAPE)
    reads[:, 1, 2] = 1000 + 100 * np.arange(8)  # never full
    reads[:, 3, 4] = 65535
    limits = {"ceiling_dn": 65535, "minimum_signal_dn": 500}
    plateau = measure_plateau([reads] * 3, np.full(SHAPE, 1000.0), **limits)
    assert plateau.level_dn[0, 0] == 22000
    assert plateau.level_dn[3, 4] == 65535
    assert np.argwhere(np.isnan(plateau.level_dn)).tolist() == [[1, 2]]
