"""Drift of an image with the wavelength: truth, errors, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import legendre
from scipy.special import ndtr

from drs.dispersion import evaluate_drift, fit_drift, is_significant, measure_drift, measure_size
from drs.errors import ReductionError

SHAPE = (64, 11, 14)
PLACE = (5.3, 6.6)
SETTINGS = {"order": 2, "radius_pix": 4.0}
NOISE = 2.0


def make_cube(coefficients, *, flux=3000.0, seed=1, place=PLACE, halo=0.1):
    """Return rate, error, dq of a star with a halo that drifts, and the drift of every bin."""
    u = np.linspace(-1, 1, SHAPE[0])
    drift = np.stack([legendre.legval(u, row) for row in coefficients], axis=1)
    rate = np.zeros(SHAPE)
    for share, fwhm in ((1 - halo, 1.6), (halo, 4.0)):
        rows, columns = (
            np.diff(ndtr((np.arange(n + 1) - 0.5 - at - drift[:, [axis]]) * 2.3548 / fwhm), axis=1)
            for axis, (n, at) in enumerate(zip(SHAPE[1:], place, strict=True))
        )
        rate += share * flux * rows[:, :, np.newaxis] * columns[:, np.newaxis]
    error = np.sqrt(NOISE**2 + rate / 50)
    noisy = rate + error * np.random.default_rng(seed).normal(size=SHAPE)
    return noisy.astype(np.float32), error.astype(np.float32), np.zeros(SHAPE, np.uint32), drift - drift.mean(axis=0)


@pytest.mark.parametrize("coefficients", [((0, 0.2, 0.0), (0, -0.35, 0.08)), ((0, 0, 0), (0, 0.5, 0.2))])
def test_the_drift_is_the_true_one(coefficients):
    *cube, truth = make_cube(coefficients)
    drift = measure_drift(*cube, PLACE, **SETTINGS)
    found = evaluate_drift(drift.coefficients, SHAPE[0])
    assert np.abs(found - truth).max() < 0.03  # bar 0.05
    assert drift.largest_pix == pytest.approx(np.hypot(*np.ptp(truth, axis=0)), abs=0.05)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)
    assert is_significant(drift)
    assert drift.n_block == 16
    assert 0.5 < drift.width_pix < 1.2


def test_errors_are_those_of_the_noise():
    pulls = []
    for seed in range(12):
        *cube, truth = make_cube(((0, 0.05, 0.0), (0, -0.1, 0.0)), flux=400.0, seed=seed, halo=0.0)
        drift = measure_drift(*cube, PLACE, **SETTINGS)
        found = evaluate_drift(drift.coefficients, SHAPE[0])
        pulls.append((found - truth) / drift.error_pix)
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.3)
    assert abs(np.mean(np.array(pulls)[:, -1])) < 1.0


def test_no_drift_is_not_significant():
    drifts = [measure_drift(*make_cube(((0, 0, 0), (0, 0, 0)), flux=400.0, seed=k)[:3], PLACE, **SETTINGS)
              for k in range(8)]  # fmt: skip
    assert not any(map(is_significant, drifts))


def test_bins_without_a_value_and_hits_do_not_count():
    rate, error, dq, truth = make_cube(((0, 0.2, 0.0), (0, -0.35, 0.0)))
    rate[8:12], dq[8:12] = np.nan, 1
    rate[40, 5, 9] += 1e5
    drift = measure_drift(rate, error, dq, PLACE, **SETTINGS)
    assert np.abs(evaluate_drift(drift.coefficients, SHAPE[0]) - truth).max() < 0.03
    assert drift.n_block < 16


def test_bins_in_which_rows_are_missing_do_not_move_the_source():
    rate, error, dq, truth = make_cube(((0, 0, 0), (0, 0, 0)), place=(5.1, 6.3))
    for bins in (slice(0, 7), slice(60, 64)):  # slices begin and end at other wavelengths, every other one alike
        rate[bins, ::2], dq[bins, ::2] = np.nan, 1
    drift = measure_drift(rate, error, dq, (5.1, 6.3), **SETTINGS)
    assert np.abs(evaluate_drift(drift.coefficients, SHAPE[0]) - truth).max() < 0.03
    assert not is_significant(drift)
    assert drift.n_block == 14


def test_too_faint_a_source_is_refused():
    *cube, _ = make_cube(((0, 0, 0), (0, 0, 0)), flux=3.0)
    with pytest.raises(ReductionError, match=r"blocks of bins show the source, at least 5 needed"):
        measure_drift(*cube, PLACE, **SETTINGS)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n_bin=st.integers(8, 70), order=st.integers(1, 3))
def test_a_drift_of_bins_and_its_coefficients_are_the_same(data, n_bin, order):
    rows = st.lists(st.floats(-1, 1), min_size=order, max_size=order)
    coefficients = np.array([[0.0, *data.draw(rows)] for _ in range(2)])
    drift = evaluate_drift(coefficients, n_bin)
    known = drift - drift.mean(axis=0)
    known[0] = np.nan
    found = evaluate_drift(fit_drift(known, order), n_bin)
    np.testing.assert_allclose(found, drift - drift.mean(axis=0), atol=1e-6)
    assert measure_size(coefficients) >= 0


def test_a_drift_of_too_few_bins_is_refused():
    with pytest.raises(ReductionError, match="known in 2 bins of the cube, at least 4 needed"):
        fit_drift(np.where(np.arange(9)[:, np.newaxis] < 2, 0.1, np.nan) * np.ones(2), 2)
