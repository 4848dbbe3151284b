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
from ramps import make_reads, make_times, reduce_reads

from drs.dq import Flag
from drs.errors import ReductionError
from drs.ramp import METHODS, fit_ramp

REPO = Path(__file__).resolve().parents[2]
IMAGE = (3, 5)
UNEVEN = np.array([[1.0, 2.0, 4.0, 4.5, 7.0, 9.0]])


def make_signal(rate, times_s, pedestal=100.0):
    """Return noiseless signals (n_group, n_read, 3, 5) of a rate, each group with its own pedestal."""
    n_group = len(times_s)
    start = pedestal * (1 + np.arange(n_group))[:, np.newaxis, np.newaxis, np.newaxis]
    return (start + rate * times_s[:, :, np.newaxis, np.newaxis] + np.zeros(IMAGE)).astype(np.float32)


def fit(signal, times_s, method="ols", *, noise_e=6.0, **options):
    variance = np.full(signal.shape[2:], noise_e**2, np.float32)
    return fit_ramp(signal, times_s, variance, method=method, **options)


def slope_matrix(times, method, n_coadd, segments):
    """Return the weights of the reads, computed another way: a linear least-squares problem or plain means."""
    if method == "ols":
        design = np.zeros((len(times), 1 + len(segments)))
        used = np.zeros(len(times), bool)
        for k, (start, stop) in enumerate(segments):
            design[start:stop, 0], design[start:stop, 1 + k] = times[start:stop], 1
            used[start:stop] = stop - start > 1
        return np.linalg.pinv(design * used[:, np.newaxis])[0] * used
    weights = np.zeros(len(times))
    for start, stop in segments:
        n = min(n_coadd if method == "mcds" else 1, (stop - start) // 2)
        if n:
            weights[start : start + n] -= 1 / n
            weights[stop - n : stop] += 1 / n
    return weights / (weights @ times)


def expected_factors(times, weights):
    """Return (read factor, photon factor) from the full covariance of the reads: r^2 I and rate * min(t_i, t_j)."""
    photons = np.minimum.outer(times, times)
    return weights @ weights, weights @ photons @ weights


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_group", [1, 3])
def test_noiseless_ramp_has_its_slope(method, n_group):
    times_s = np.tile(UNEVEN, (n_group, 1)) * (1 + np.arange(n_group))[:, np.newaxis]
    result = fit(make_signal(7.25, times_s), times_s, method, n_coadd=2, jump_threshold_sigma=4.5)
    np.testing.assert_allclose(result.rate, 7.25, rtol=1e-6)
    assert not result.dq.any()
    assert (result.n_reads == n_group * {"ols": 6, "mcds": 4, "cds": 2}[method]).all()
    assert [array.dtype for array in result] == [np.dtype(d) for d in ("f4", "f4", "f4", "u4", "u2")]


@pytest.mark.parametrize("method", METHODS)
def test_errors_agree_with_the_covariance_of_the_reads(method):
    times = UNEVEN[0]
    result = fit(make_signal(3.0, UNEVEN), UNEVEN, method, n_coadd=2)
    read_factor, photon_factor = expected_factors(times, slope_matrix(times, method, 2, [(0, 6)]))
    np.testing.assert_allclose(result.var_rnoise, 36 * read_factor, rtol=1e-6)
    np.testing.assert_allclose(result.photon_factor, photon_factor, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hit", [1, 2, 3, 5])
def test_jump_splits_the_ramp_into_segments(method, hit):
    signal = make_signal(3.0, UNEVEN)
    signal[0, hit:, 1, 2] += 5000
    result = fit(signal, UNEVEN, method, n_coadd=2, jump_threshold_sigma=5)
    np.testing.assert_allclose(result.rate, 3.0, rtol=2e-3)
    assert np.argwhere(result.dq == Flag.JUMP_DET).tolist() == [[1, 2]]
    weights = slope_matrix(UNEVEN[0], method, 2, [(0, hit), (hit, 6)])
    read_factor, photon_factor = expected_factors(UNEVEN[0], weights)
    np.testing.assert_allclose(result.var_rnoise[1, 2], 36 * read_factor, rtol=1e-5)
    np.testing.assert_allclose(result.photon_factor[1, 2], photon_factor, rtol=1e-5)


def test_several_jumps_of_either_sign_are_found():
    times_s = make_times(1, 12)
    signal = make_signal(20.0, times_s)
    signal[0, 3:, 0, 1] += 400
    signal[0, 4:, 0, 1] += 2000
    signal[0, 9:, 0, 1] -= 300
    result = fit(signal, times_s, jump_threshold_sigma=4.5)
    np.testing.assert_allclose(result.rate, 20.0, rtol=1e-4)
    assert np.argwhere(result.dq).tolist() == [[0, 1]]
    assert result.n_reads[0, 1] == 3 + 5 + 3


def test_search_goes_on_while_three_good_differences_are_left():
    times_s = make_times(1, 6)
    signal = make_signal(0.0, times_s)
    for hit, size in ((1, 40000), (3, 3000), (5, 300)):
        signal[0, hit:, 2, 4] += size
    result = fit(signal, times_s, jump_threshold_sigma=4.5)
    np.testing.assert_allclose(result.rate, 0, atol=1e-3)
    assert result.n_reads[2, 4] == 4


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("hit", [1, 3, 5])
@pytest.mark.parametrize("before", [None, 2])
def test_threshold_is_in_sigma_of_the_test_value(hit, before, gap):
    """A jump is found just above the threshold, not just below: its noise from the covariance of the reads.

    An earlier jump (a second round of the search), or a last read that is missing, sends the pixel the scalar way.
    """
    n_read, noise_e, threshold = 6, 6.0, 4.5
    good = np.ones(n_read - 1, bool)
    if before is not None:
        good[before - 1] = False
    coefficients = np.where(good, -1 / (good.sum() - 1), 0)  # d_j less the mean of the other good differences
    coefficients[hit - 1] = 1
    on_reads = np.append(0, coefficients) - np.append(coefficients, 0)
    sigma = np.sqrt(noise_e**2 * (on_reads @ on_reads) + 0.01)
    times_s = make_times(1, n_read + gap)
    for factor, found in ((0.98, False), (1.02, True)):
        signal = make_signal(0.0, times_s)
        signal[0, hit:, 1, 3] += factor * threshold * sigma
        if before is not None:
            signal[0, before:, 1, 3] += 30000
        if gap:
            signal[0, -1, 1, 3] = np.nan
        result = fit(signal, times_s, noise_e=noise_e, jump_threshold_sigma=threshold)
        assert (result.dq[1, 3] == Flag.JUMP_DET) == (found or before is not None)
        rate = result.rate[1, 3]
        assert abs(rate) < 1e-3 if found else abs(rate) > 1


def test_a_jump_needs_three_differences():
    for n_read, found in ((3, 0), (4, Flag.JUMP_DET)):
        times_s = make_times(1, n_read)
        signal = make_signal(1.0, times_s)
        signal[0, 2:, 0, 0] += 9000
        assert fit(signal, times_s, jump_threshold_sigma=4.5).dq[0, 0] == found


@pytest.mark.parametrize("method", METHODS)
def test_reads_that_are_not_usable_are_left_out(method):
    signal = make_signal(3.0, UNEVEN)
    signal[0, 4:, 0, 0] = np.nan  # saturated from read 4 on
    signal[0, 2, 0, 1] = np.nan
    signal[0, 2:, 0, 2] = np.nan  # two reads: CDS
    signal[0, 1:, 0, 3] = np.nan  # one read: no rate
    signal[0, :, 0, 4] = np.nan
    result = fit(signal, UNEVEN, method, n_coadd=2, jump_threshold_sigma=5)
    np.testing.assert_allclose(result.rate[0], [3, 3, 3, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(result.dq[0], [0, 0, 0, Flag.DO_NOT_USE, Flag.DO_NOT_USE])
    np.testing.assert_array_equal(np.isnan(result.var_rnoise[0]), [False, False, False, True, True])
    np.testing.assert_array_equal(result.n_reads[0, 2:], [2, 0, 0])
    for pixel, reads in ((0, [0, 1, 2, 3]), (1, [0, 1, 3, 4, 5]), (2, [0, 1])):
        weights = slope_matrix(UNEVEN[0, reads], method, 2, [(0, len(reads))])
        read_factor, photon_factor = expected_factors(UNEVEN[0, reads], weights)
        np.testing.assert_allclose(result.var_rnoise[0, pixel], 36 * read_factor, rtol=1e-6)
        np.testing.assert_allclose(result.photon_factor[0, pixel], photon_factor, rtol=1e-6)


def test_groups_are_combined_by_inverse_variance():
    times_s = make_times(3, 6)
    signal = make_signal(0.0, times_s)
    signal[0] += 2.0 * times_s[0][:, np.newaxis, np.newaxis].astype(np.float32)
    signal[1] -= 1.0 * times_s[1][:, np.newaxis, np.newaxis].astype(np.float32)
    signal[1, 3:, 0, 0] = np.nan
    signal[2, 1:, 0, 0] = np.nan
    result = fit(signal, times_s, noise_e=4.0)
    np.testing.assert_allclose(result.rate[1, 1], (2 - 1 + 0) / 3, rtol=1e-6)
    single = [expected_factors(times_s[0, :n], slope_matrix(times_s[0, :n], "ols", 1, [(0, n)])) for n in (6, 3)]
    rate = 0.0
    for _ in range(50):
        weights = np.array([1 / (16 * r + max(rate, 0) * p) for r, p in single])
        rate = weights @ [2.0, -1.0] / weights.sum()
    np.testing.assert_allclose(result.rate[0, 0], rate, rtol=0.02)
    total = result.var_rnoise[0, 0] + result.rate[0, 0] * result.photon_factor[0, 0]
    np.testing.assert_allclose(total, 1 / weights.sum(), rtol=0.02)
    assert result.n_reads[0, 0] == 9


def test_gain_or_noise_that_is_no_number_gives_no_rate():
    variance = np.full(IMAGE, 36, np.float32)
    variance[2, 1] = np.nan
    result = fit_ramp(make_signal(3.0, make_times(2, 4)), make_times(2, 4), variance, method="ols")
    assert np.argwhere(np.isnan(result.rate)).tolist() == [[2, 1]]
    assert result.dq[2, 1] == Flag.DO_NOT_USE


@pytest.mark.parametrize(
    ("times_s", "options", "message"),
    [
        (UNEVEN, {"method": "median"}, "none of ols, mcds, cds"),
        (UNEVEN, {"method": "mcds", "n_coadd": 0}, "n_coadd is 0"),
        (UNEVEN[:, ::-1], {"method": "ols"}, "increasing"),
        (UNEVEN[:, :4], {"method": "ols"}, r"shape \(1, 4\)"),
    ],
)
def test_refused(times_s, options, message):
    with pytest.raises(ReductionError, match=message):
        fit_ramp(make_signal(1.0, UNEVEN), times_s, np.ones(IMAGE, np.float32), **options)


def test_signals_and_variance_must_fit():
    with pytest.raises(ValueError, match="do not fit"):
        fit_ramp(make_signal(1.0, UNEVEN), UNEVEN, np.ones((5, 3), np.float32), method="ols")


def make_messy(shape=(2, 9, 23, 300)):
    """Return signals with noise, jumps and gaps, and their times."""
    rng = np.random.default_rng(7)
    times_s = make_times(*shape[:2])
    signal = make_reads(rng, 30.0, shape, times_s=times_s, noise_e=6.0).astype(np.float32)
    signal[0, 4:] += np.where(rng.random(shape[2:]) < 0.1, 900, 0).astype(np.float32)
    signal[rng.random(shape) < 0.02] = np.nan
    return signal, times_s


def test_result_does_not_depend_on_blocks_or_threads():
    signal, times_s = make_messy()
    options = {"jump_threshold_sigma": 4.5}
    whole = fit(signal, times_s, **options)
    for step in (1, 7):
        parts = [fit(signal[:, :, y : y + step], times_s, **options) for y in range(0, signal.shape[2], step)]
        for array, blocks in zip(whole, zip(*parts, strict=True), strict=True):
            assert array.tobytes() == np.concatenate(blocks).tobytes()
    shifted = fit(np.roll(signal, 17, axis=3), times_s, **options)
    assert shifted.rate.tobytes() == np.roll(whole.rate, 17, axis=1).tobytes()
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert fit(signal, times_s, **options).rate.tobytes() == whole.rate.tobytes()
    finally:
        numba.set_num_threads(before)


def test_fast_and_scalar_way_agree():
    """A gap in an added, weightless group sends every pixel the scalar way; the rate must stay the same."""
    signal, times_s = make_messy((1, 9, 5, 300))
    signal = np.where(np.isfinite(signal), signal, 0)
    fast = fit(signal, times_s)
    longer = np.concatenate([signal, np.full((1, 1, *signal.shape[2:]), np.nan, np.float32)], axis=1)
    scalar = fit(longer, np.append(times_s, [[99.0]], axis=1))
    for one, other in zip(fast, scalar, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-5)


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
    result = fit(signal, times_s, method, n_coadd=2, jump_threshold_sigma=4.5)
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
    for method, n_read in (("cds", 2), ("ols", 4), ("mcds", 8), ("ols", 32), ("cds", 32), ("mcds", 32))
    for noise_e, n_group in ((5.0, 1), (12.0, 3))
    for cosmic in (False, True)[: n_read - 1]  # no jump can be told from two reads
]


@pytest.mark.parametrize("rate", [0, 0.1, 1, 10, 100, 1000])
@pytest.mark.parametrize(("method", "noise_e", "n_read", "n_group", "cosmic"), CASES)
def test_pulls_are_standard_normal(method, noise_e, n_read, n_group, cosmic, rate):
    rng, gain, shape = np.random.default_rng(11), 2.2, (n_group, n_read, 130, 190)
    times_s = make_times(n_group, n_read)
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
    assert abs(pull.std() - 1) < 0.03
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


@pytest.mark.parametrize(("n_read", "complete"), [(4, 0.65), (8, 0.90), (32, 0.97)])
def test_jumps_of_6_to_8_sigma_are_found_and_few_false_ones(n_read, complete):
    rng, shape, noise_e = np.random.default_rng(5), (1, n_read, 200, 300), 5.0
    times_s = make_times(1, n_read)
    reads = make_reads(rng, 1.0, shape, times_s=times_s, noise_e=noise_e)
    noise = np.full(shape[2:], np.sqrt(noise_e**2 + 1 / 12), np.float32)
    clean, _ = reduce_reads(reads, times_s, read_noise_e=noise, threshold=4.5)
    assert (clean.dq & Flag.JUMP_DET != 0).mean() < 3e-5 * (n_read - 1)
    start = rng.integers(1, n_read, shape[2:])
    size = np.rint(rng.uniform(6, 8, shape[2:]) * np.sqrt(2 * noise_e**2 + 1.5)).astype(np.uint16)
    reads[0] += np.where(np.arange(n_read)[:, np.newaxis, np.newaxis] >= start, size, 0).astype(np.uint16)
    hit, _ = reduce_reads(reads, times_s, read_noise_e=noise, threshold=4.5)
    assert (hit.dq & Flag.JUMP_DET != 0).mean() > complete


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
