"""Rates from ramps: known answers, exact errors, Monte Carlo pulls, and the same bytes whatever the blocks."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ramps import fit_equal_noise as fit
from ramps import fit_signal, make_messy, make_reads, make_signal, make_times, reduce_reads
from scipy.stats import norm

from drs.chain import make_chain
from drs.dq import Flag
from drs.errors import ReductionError
from drs.ramp import METHODS, fit_ramp

REPO = Path(__file__).resolve().parents[2]
IMAGE = (3, 5)
UNEVEN = np.array([[1.0, 2.0, 4.0, 4.5, 7.0, 9.0]])


def read_covariance(times, rate, noise_e, group=None):
    """Return the covariance of reads: read noise, and photons that arrived before both (rate * min(t_i, t_j))."""
    same = 1.0 if group is None else np.equal.outer(group, group)
    return noise_e**2 * np.eye(len(times)) + rate * np.minimum.outer(times, times) * same


def read_weights(times, method, n_coadd, segments, *, rate=3.0, noise_e=6.0):
    """Return the weights of the reads, computed another way: a linear least-squares problem or plain means.

    Each segment has a free intercept: that is what leaves out the pedestal, and the charge of a jump.
    """
    if method in ("likelihood", "ols"):
        design = np.zeros((len(times), 1 + len(segments)))
        used = np.zeros(len(times), bool)
        for k, (start, stop) in enumerate(segments):
            design[start:stop, 0], design[start:stop, 1 + k] = times[start:stop], 1
            used[start:stop] = stop - start > 1
        design, weights = design[used][:, design[used].any(axis=0)], np.zeros(len(times))
        covariance = read_covariance(times[used], rate if method == "likelihood" else 0.0, noise_e)
        inverse = np.linalg.inv(covariance)
        weights[used] = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse)[0]
        return weights
    total, weights = 0.0, np.zeros(len(times))
    for start, stop in segments:
        n, one = min(n_coadd if method == "mcds" else 1, (stop - start) // 2), np.zeros(len(times))
        if n:
            one[start : start + n] -= 1 / n
            one[stop - n : stop] += 1 / n
            one /= one @ times
            total, weights = total + 1 / (one @ one), weights + one / (one @ one)  # by inverse variance
    return weights / total


def expected_factors(times, weights):
    """Return (read factor, photon factor) from the full covariance of the reads: r^2 I and rate * min(t_i, t_j)."""
    photons = np.minimum.outer(times, times)
    return weights @ weights, weights @ photons @ weights


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_group", [1, 3])
def test_noiseless_ramp_has_its_slope(method, n_group):
    times_s = np.tile(UNEVEN, (n_group, 1)) * (1 + np.arange(n_group))[:, np.newaxis]
    result = fit(make_signal(7.25, times_s), times_s, method, n_coadd=2, threshold=4.5)
    np.testing.assert_allclose(result.rate, 7.25, rtol=1e-6)
    assert not result.dq.any()
    assert not result.found.any()
    assert (result.n_reads == n_group * {"likelihood": 6, "ols": 6, "mcds": 4, "cds": 2}[method]).all()
    assert [array.dtype for array in result] == [np.dtype(d) for d in ("f4", "f4", "f4", "f4", "u4", "i4", "u1")]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate", [0.0, 3.0, 400.0])
def test_errors_agree_with_the_covariance_of_the_reads(method, rate):
    times = UNEVEN[0]
    result = fit(make_signal(rate, UNEVEN), UNEVEN, method, n_coadd=2)
    weights = read_weights(times, method, 2, [(0, 6)], rate=rate)
    read_factor, photon_factor = expected_factors(times, weights)
    np.testing.assert_allclose(result.var_rnoise, 36 * read_factor, rtol=3e-4)
    np.testing.assert_allclose(result.photon_factor, photon_factor, rtol=3e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hit", [1, 2, 3, 5])
def test_jump_splits_the_ramp_into_segments(method, hit):
    signal = make_signal(3.0, UNEVEN)
    signal[0, hit:, 1, 2] += 5000
    result = fit(signal, UNEVEN, method, n_coadd=2, threshold=5)
    np.testing.assert_allclose(result.rate, 3.0, rtol=2e-3)
    assert np.argwhere(result.dq == Flag.JUMP_DET).tolist() == [[1, 2]]
    assert np.argwhere(result.found).tolist() == [[hit - 1, 1, 2]]
    weights = read_weights(UNEVEN[0], method, 2, [(0, hit), (hit, 6)])
    read_factor, photon_factor = expected_factors(UNEVEN[0], weights)
    np.testing.assert_allclose(result.var_rnoise[1, 2], 36 * read_factor, rtol=1e-3)
    np.testing.assert_allclose(result.photon_factor[1, 2], photon_factor, rtol=1e-3)


def test_several_jumps_of_either_sign_are_found():
    times_s = make_times(1, 12)
    signal = make_signal(20.0, times_s)
    signal[0, 3:, 0, 1] += 400
    signal[0, 4:, 0, 1] += 2000
    signal[0, 9:, 0, 1] -= 300
    result = fit(signal, times_s, threshold=4.5)
    np.testing.assert_allclose(result.rate, 20.0, rtol=1e-4)
    assert np.argwhere(result.dq).tolist() == [[0, 1]]
    assert result.n_reads[0, 1] == 3 + 5 + 3


def jump_sigma(times, good, hit, rate, noise_e):
    """Return the standard deviation of the best estimate of a jump, from the covariance of the reads."""
    segments = np.cumsum(np.append(True, ~good))
    design = np.equal.outer(np.arange(1, segments[-1] + 1), segments).T.astype(float)
    step = (np.arange(len(times)) >= hit) * np.equal(segments, segments[hit])
    design = np.column_stack([step, times, design])
    inverse = np.linalg.inv(read_covariance(times, rate, noise_e))
    return np.sqrt(np.linalg.inv(design.T @ inverse @ design)[0, 0])


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("hit", [1, 3, 5])
@pytest.mark.parametrize("before", [None, 2])
@pytest.mark.parametrize("method", ["likelihood", "cds"])
def test_threshold_is_in_sigma_of_the_best_test(hit, before, gap, method):
    """A jump is found just above the threshold, not just below.

    An earlier jump (a second round of the search), or a read that is missing, sends the pixel the scalar way.
    """
    n_read, noise_e, threshold = 6, 6.0, 4.5
    good = np.ones(n_read - 1, bool)
    if before is not None:
        good[before - 1] = False
    times_s = make_times(1, n_read + gap)
    present = np.delete(np.arange(n_read + gap), [n_read - 1] if gap else [])
    sigma = jump_sigma(times_s[0, present], good, hit, 0.0, noise_e)
    for factor, found in ((0.98, False), (1.02, True)):
        signal = make_signal(-200.0, times_s)  # no photons, so that the jump does not make photon noise either
        signal[0, present[hit] :, 1, 3] += factor * threshold * sigma
        if before is not None:
            signal[0, present[before] :, 1, 3] += 30000
        signal[:, np.delete(np.arange(n_read + gap), present), 1, 3] = np.nan
        result = fit(signal, times_s, method, noise_e=noise_e, threshold=threshold)
        assert (result.found[:, 1, 3] > 0).sum() == found + (before is not None)


@pytest.mark.parametrize("method", METHODS)
def test_reads_that_are_not_usable_are_left_out(method):
    signal = make_signal(3.0, UNEVEN)
    signal[0, 4:, 0, 0] = np.nan  # saturated from read 4 on
    signal[0, 2, 0, 1] = np.nan
    signal[0, 2:, 0, 2] = np.nan  # two reads: CDS
    signal[0, 1:, 0, 3] = np.nan  # one read: no rate
    signal[0, :, 0, 4] = np.nan
    result = fit(signal, UNEVEN, method, n_coadd=2, threshold=5)
    np.testing.assert_allclose(result.rate[0], [3, 3, 3, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(result.dq[0], [0, 0, 0, Flag.DO_NOT_USE, Flag.DO_NOT_USE])
    np.testing.assert_array_equal(np.isnan(result.var_rnoise[0]), [False, False, False, True, True])
    np.testing.assert_array_equal(result.n_reads[0, 2:], [2, 0, 0])
    for pixel, reads in ((0, [0, 1, 2, 3]), (1, [0, 1, 3, 4, 5]), (2, [0, 1])):
        weights = read_weights(UNEVEN[0, reads], method, 2, [(0, len(reads))])
        read_factor, photon_factor = expected_factors(UNEVEN[0, reads], weights)
        np.testing.assert_allclose(result.var_rnoise[0, pixel], 36 * read_factor, rtol=3e-4)
        np.testing.assert_allclose(result.photon_factor[0, pixel], photon_factor, rtol=3e-4)


@pytest.mark.parametrize("method", METHODS)
def test_groups_are_combined_by_inverse_variance(method):
    """One group of 6 reads, one of which 3 are left, one of which 1 is left: weights from the covariance of all."""
    times_s = make_times(3, 6)
    signal = make_signal(0.0, times_s)
    signal[0] += 2.0 * times_s[0][:, np.newaxis, np.newaxis].astype(np.float32)
    signal[1] -= 1.0 * times_s[1][:, np.newaxis, np.newaxis].astype(np.float32)
    signal[1, 3:, 0, 0] = np.nan
    signal[2, 1:, 0, 0] = np.nan
    result = fit(signal, times_s, method, noise_e=4.0, n_coadd=2)
    np.testing.assert_allclose(result.rate[1, 1], (2 - 1 + 0) / 3, rtol=1e-5)
    rate, factors = result.rate[0, 0], []
    for n in (6, 3):
        times = times_s[0, :n]
        weights = read_weights(times, method, 2, [(0, n)], rate=rate, noise_e=4.0)
        factors.append(expected_factors(times, weights))
    variances = [16 * r + (rate * p if method == "likelihood" else 0.0) for r, p in factors]
    inverse = 1 / np.array(variances)
    np.testing.assert_allclose(rate, inverse @ [2.0, -1.0] / inverse.sum(), rtol=1e-3)
    share = inverse / inverse.sum()
    np.testing.assert_allclose(result.var_rnoise[0, 0], 16 * share**2 @ [r for r, _ in factors], rtol=1e-3)
    np.testing.assert_allclose(result.photon_factor[0, 0], share**2 @ [p for _, p in factors], rtol=1e-3)
    assert result.n_reads[0, 0] == {"likelihood": 9, "ols": 9, "mcds": 6, "cds": 4}[method]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_average", [1, 2, 5])
def test_averaged_reads_have_the_covariance_of_what_was_averaged(method, n_average):
    """The rate of averages is that of all single reads with the weights of their averages."""
    step, rate, noise_e = 0.7, 3.0, 6.0
    single = step * (1 + np.arange(6 * n_average))
    average = np.kron(np.eye(6), np.full(n_average, 1 / n_average))
    times = average @ single
    covariance = average @ read_covariance(single, rate, noise_e) @ average.T
    signal = make_signal(rate, times[np.newaxis])
    sampling = {"n_average": n_average, "average_step_s": step if n_average > 1 else 0.0}
    result = fit(signal, times[np.newaxis], method, n_coadd=2, noise_e=noise_e, sampling=sampling)
    if method == "likelihood":
        design, inverse = np.column_stack([times, np.ones(6)]), np.linalg.inv(covariance)
        weights = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse)[0]
    else:
        weights = read_weights(times, method, 2, [(0, 6)])
    expected = weights @ covariance @ weights
    np.testing.assert_allclose(result.var_rnoise + rate * result.photon_factor, expected, rtol=3e-4)
    np.testing.assert_allclose(result.rate, rate, rtol=1e-5)


def test_dropped_reads_and_poor_intervals_are_left_out():
    """A dropped read joins its neighbours; a poor interval parts them, with the light it collected."""
    usable, poor = np.ones(UNEVEN.shape, bool), np.zeros(UNEVEN.shape, bool)
    usable[0, 2], poor[0, 4] = False, True
    signal = make_signal(3.0, UNEVEN)
    signal[0, 2] = 9e4
    signal[0, 4:] += 700
    for method in METHODS:
        result = fit(signal, UNEVEN, method, n_coadd=1, threshold=4.5, sampling={"usable": usable, "poor": poor})
        np.testing.assert_allclose(result.rate, 3.0, rtol=1e-5)
        times = np.delete(UNEVEN[0], 2)
        read_factor, photon_factor = expected_factors(times, read_weights(times, method, 1, [(0, 3), (3, 5)]))
        np.testing.assert_allclose(result.var_rnoise, 36 * read_factor, rtol=3e-4)
        np.testing.assert_allclose(result.photon_factor, photon_factor, rtol=3e-4)
        assert not result.dq.any()


def test_chi_square_is_that_of_a_constant_rate():
    rng, times_s, shape = np.random.default_rng(9), make_times(2, 7), (2, 7, 60, 80)
    reads = make_reads(rng, 20.0, shape, times_s=times_s, noise_e=6.0).astype(np.float32)
    result = fit(reads, times_s, noise_e=np.sqrt(36 + 1 / 12))
    assert abs(result.chi_square.mean() - 1) < 5 * np.sqrt(2 / 11 / 4800)
    one = reads[:, :, 3, 5].astype(float).ravel()
    group = np.repeat([0, 1], 7)
    design = np.column_stack([np.tile(times_s[0], 2), group == 0, group == 1])
    inverse = np.linalg.inv(read_covariance(np.tile(times_s[0], 2), result.rate[3, 5], np.sqrt(36 + 1 / 12), group))
    residual = one - design @ np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ one)
    np.testing.assert_allclose(result.chi_square[3, 5], residual @ inverse @ residual / 11, rtol=1e-3)
    assert np.isnan(fit(reads, times_s, "ols").chi_square).all()


def test_gain_or_noise_that_is_no_number_gives_no_rate():
    variance = np.full(IMAGE, 36, np.float32)
    variance[2, 1] = np.nan
    for method in METHODS:
        result = fit_signal(
            make_signal(3.0, make_times(2, 4)), make_times(2, 4), variance, method=method, threshold=4.5
        )
        assert np.argwhere(np.isnan(result.rate)).tolist() == [[2, 1]]
        assert result.dq[2, 1] == Flag.DO_NOT_USE


@pytest.mark.parametrize(
    ("options", "message"),
    [({"method": "median"}, "none of likelihood, ols, mcds, cds"), ({"method": "mcds", "n_coadd": 0}, "n_coadd is 0")],
)
def test_refused(options, message):
    with pytest.raises(ReductionError, match=message):
        fit_ramp(make_signal(1.0, UNEVEN), make_chain(UNEVEN), np.ones(IMAGE, np.float32), **options)


def test_signals_chain_and_variance_must_fit():
    signal, variance = make_signal(1.0, UNEVEN), np.ones(IMAGE, np.float32)
    for chain, noise in ((make_chain(UNEVEN[:, :4]), variance), (make_chain(UNEVEN), variance.T)):
        with pytest.raises(ValueError, match="do not fit"):
            fit_ramp(signal, chain, noise, method="ols")


def test_result_does_not_depend_on_blocks_or_threads():
    signal, times_s = make_messy()
    options = {"threshold": 4.5}  # of likelihood, which takes every way there is
    whole = fit(signal, times_s, **options)
    for step in (1, 7):
        parts = [fit(signal[:, :, y : y + step], times_s, **options) for y in range(0, signal.shape[2], step)]
        for array, blocks in zip(whole, zip(*parts, strict=True), strict=True):
            assert array.tobytes() == np.concatenate(blocks, axis=array.ndim - 2).tobytes()
    shifted = fit(np.roll(signal, 17, axis=3), times_s, **options)
    assert shifted.rate.tobytes() == np.roll(whole.rate, 17, axis=1).tobytes()
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert fit(signal, times_s, **options).rate.tobytes() == whole.rate.tobytes()
    finally:
        numba.set_num_threads(before)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(1, 5)),
    seed=st.integers(0, 2**32 - 1),
    gaps=st.floats(0, 1),
    method=st.sampled_from(METHODS),
)
def test_a_rate_is_finite_or_flagged(shape, seed, gaps, method):
    rng = np.random.default_rng(seed)
    times_s = np.cumsum(rng.uniform(0.1, 5, shape[:2]), axis=1)
    signal = rng.normal(1000, 300, shape).astype(np.float32)
    signal[rng.random(shape) < gaps] = np.nan
    result = fit(signal, times_s, method, n_coadd=2, threshold=4.5)
    usable = np.isfinite(signal).sum(axis=1)
    unusable = result.dq & Flag.DO_NOT_USE != 0
    np.testing.assert_array_equal(unusable, ~np.isfinite(result.rate))
    np.testing.assert_array_equal(unusable, ~np.isfinite(result.var_rnoise))
    assert unusable[(usable < 2).all(axis=0)].all()
    assert not unusable[((usable == 2) | (usable == 3)).any(axis=0)].any()
    assert (result.var_rnoise[~unusable] > 0).all()
    assert (result.photon_factor[~unusable] > 0).all()
    assert (result.n_reads[~unusable] >= 2).all()


CASES = [
    (method, noise_e, n_read, n_group, cosmic)
    for method, n_read in (
        *(("cds", 2), ("likelihood", 2), ("likelihood", 3), ("ols", 4), ("mcds", 8), ("likelihood", 8)),
        *(("ols", 32), ("cds", 32), ("mcds", 32), ("likelihood", 32), ("likelihood", 100)),
    )
    for noise_e, n_group in ((5.0, 1), (12.0, 3))
    for cosmic in (False, True)[: n_read - 2]  # it takes a few differences to tell the one with a jump
]


@pytest.mark.parametrize("rate", [0, 0.1, 1, 10, 100, 1000])
@pytest.mark.parametrize(("method", "noise_e", "n_read", "n_group", "cosmic"), CASES)
def test_pulls_are_standard_normal(method, noise_e, n_read, n_group, cosmic, rate):
    rng, gain, shape = np.random.default_rng(11), 2.2, (n_group, n_read, 130, 190)
    times_s = make_times(n_group, n_read, 1.5 if n_read < 100 else 0.5)  # 1000 e-/s stay below 16 bits
    reads = make_reads(rng, rate, shape, times_s=times_s, noise_e=noise_e, gain=gain)
    if cosmic:
        start = rng.integers(1, n_read, shape[2:])
        size = np.where(rng.random(shape[2:]) < 0.05, rng.uniform(300, 9000, shape[2:]), 0).astype(np.uint16)
        reads[0] += np.where(np.arange(n_read)[:, np.newaxis, np.newaxis] >= start, size, 0).astype(np.uint16)
    maps = {
        "bias_dn": np.full(shape[2:], 1000, np.float32),
        "gain_e_per_dn": np.full(shape[2:], gain, np.float32),
        "read_noise_e": np.full(shape[2:], np.sqrt(noise_e**2 + gain**2 / 12), np.float32),
    }
    result, error = reduce_reads(reads, times_s, method=method, n_coadd=4, threshold=4.5, **maps)
    pull = (result.rate - rate) / error
    assert np.isfinite(pull).all()
    assert abs(pull.mean()) < 0.02
    assert abs(pull.std() - 1) < 0.02
    if cosmic:
        hit = (size > 0) & (result.dq & Flag.JUMP_DET != 0)
        assert hit.sum() > 0.98 * (size > 0).sum()


def test_combined_groups_of_unequal_length_are_not_biased():
    """Own noisy rates as weights would give -0.27 sigma here: faint groups would count more."""
    rng, shape, rate = np.random.default_rng(3), (3, 8, 200, 300), 2.0
    times_s = np.cumsum(np.full((3, 8), [[1.0], [2.0], [4.0]]), axis=1)
    reads = make_reads(rng, rate, shape, times_s=times_s, noise_e=1.0)
    noise = np.full(shape[2:], np.sqrt(1 + 1 / 12), np.float32)
    result, error = reduce_reads(reads, times_s, read_noise_e=noise, threshold=None)
    assert abs(((result.rate - rate) / error).mean()) < 0.02
    assert abs(((result.rate - rate) / error).std() - 1) < 0.02


@pytest.mark.parametrize("rate", [0.01, 1.0, 30.0, 2000.0])
@pytest.mark.parametrize(("n_read", "n_average"), [(3, 1), (12, 1), (12, 4), (32, 1)])
def test_scatter_is_at_the_cramer_rao_bound(rate, n_read, n_average):
    """The bound from the full covariance of the reads; 40 000 ramps tell their scatter to 0.35 %."""
    rng, noise_e, step = np.random.default_rng(4), 5.0, 1.5 / n_average
    single = step * (1 + np.arange(n_read * n_average))
    average = np.kron(np.eye(n_read), np.full(n_average, 1 / n_average))
    times, covariance = average @ single, average @ read_covariance(single, rate, noise_e) @ average.T
    signal = np.zeros((n_read, 200, 200))
    level = np.zeros(signal.shape[1:])
    for k in range(n_read * n_average):
        level += rng.poisson(rate * step, level.shape)
        signal[k // n_average] += (level + rng.normal(0, noise_e, level.shape)) / n_average
    sampling = {"n_average": n_average, "average_step_s": step if n_average > 1 else 0.0}
    result = fit(
        signal[np.newaxis].astype(np.float32), times[np.newaxis], noise_e=noise_e, threshold=4.5, sampling=sampling
    )
    design, inverse = np.column_stack([times, np.ones(n_read)]), np.linalg.inv(covariance)
    bound = np.sqrt(np.linalg.inv(design.T @ inverse @ design)[0, 0])
    assert abs((result.rate.mean() - rate) / bound) < 4 / 200
    assert result.rate.std() / bound < 1.01 + 0.0035
    assert abs(np.std((result.rate - rate) / np.sqrt(result.var_rnoise + rate * result.photon_factor)) - 1) < 0.0105


@pytest.mark.parametrize("n_read", [4, 8, 32])
@pytest.mark.parametrize("rate", [1.0, 30.0])
def test_jumps_are_found_as_often_as_their_significance_says(n_read, rate):
    """False alarms and power of a Gaussian test, whose noise is that of the rate of the ramp with the jump in it."""
    rng, shape, noise_e, threshold = np.random.default_rng(5), (1, n_read, 200, 300), 5.0, 4.0
    times_s, chance = make_times(1, n_read), 2 * norm.sf(threshold)
    reads = make_reads(rng, rate, shape, times_s=times_s, noise_e=noise_e)
    noise = np.full(shape[2:], np.sqrt(noise_e**2 + 1 / 12), np.float32)
    clean, _ = reduce_reads(reads, times_s, read_noise_e=noise, threshold=threshold)
    expected = chance * clean.found.size
    assert (clean.found > 0).sum() < 1.2 * expected + 4 * np.sqrt(expected)
    start = rng.integers(1, n_read, shape[2:])
    size = np.rint(rng.uniform(3, 9, shape[2:]) * np.sqrt(2 * noise_e**2 + rate * 1.5)).astype(np.uint16)
    reads[0] += np.where(np.arange(n_read)[:, np.newaxis, np.newaxis] >= start, size, 0).astype(np.uint16)
    hit, _ = reduce_reads(reads, times_s, read_noise_e=noise, threshold=threshold)
    good, sigma = np.ones(n_read - 1, bool), np.empty(shape[2:])
    pooled = rate + size / (times_s[0, -1] - times_s[0, 0])
    for hit_read in range(1, n_read):
        here = start == hit_read
        levels = np.linspace(rate, pooled[here].max(), 20)
        sigmas = [jump_sigma(times_s[0], good, hit_read, level, noise[0, 0]) for level in levels]
        sigma[here] = np.interp(pooled[here], levels, sigmas)
    skewness = pooled * 1.5 / sigma**3  # photon noise makes large charges less rare: more is needed
    power = norm.sf(threshold + skewness * (threshold**2 - 1) / 6 - size / sigma)
    found = np.take_along_axis(hit.found, start[np.newaxis] - 1, axis=0)[0] > 0
    assert abs(found.mean() - power.mean()) < 0.01


def test_result_does_not_depend_on_the_number_of_threads_of_a_process():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from ramps import make_reads, make_times, reduce_reads; import numpy as np, hashlib\n"
        "t = make_times(2, 8); r = make_reads(np.random.default_rng(1), 9.0, (2, 8, 40, 300), times_s=t, noise_e=5.0)\n"
        "fit, error = reduce_reads(r, t, threshold=4.0)\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in (*fit, error))).hexdigest())\n"
    )
    command = [sys.executable, "-c", code, str(REPO / "scripts"), str(REPO / "tests")]
    digests = {
        subprocess.run(
            command, env={**os.environ, "NUMBA_NUM_THREADS": n}, capture_output=True, text=True, check=True
        ).stdout
        for n in ("1", "2")
    }
    assert len(digests) == 1
