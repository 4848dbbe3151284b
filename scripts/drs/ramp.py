"""Ramps to rates: search for jumps, fit of every group, combination of the groups.

Every estimate of a rate here is linear in the reads of its segments (stretches of reads without a jump):
rate = sum_k u_k S_k / sum_k u_k t_k with sum_k u_k = 0 in each segment. With c_j = -sum_{k<=j} u_k / sum u t this
is sum_j c_j d_j over the differences d_j = S_{j+1} - S_j, and because the reads have independent read noise r and
the photons of different intervals dt_j are independent,
    VAR_RNOISE  = r^2 sum_k u_k^2 / (sum u t)^2       (the correlation of neighbouring differences included)
    VAR_POISSON = rate sum_j c_j^2 dt_j
`ols` has u_k = t_k - mean(t) of the segment (least squares with a common slope and free intercepts; Robberto 2014,
JWST-STScI-003193), `mcds` +1/n for the last n and -1/n for the first n reads (Fowler sampling), `cds` is n = 1.

A pixel whose reads are all usable and without a jump takes the fast way: lanes of neighbouring pixels, which the
compiler vectorises. All others go through the same formulas one by one. No sum is reordered, so the result does
not depend on the number of threads or on the blocks.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.dq import Flag
from drs.errors import ReductionError

METHODS = ("ols", "mcds", "cds")
LANE = 256
MIN_DIFFERENCES = 3  # of a ramp, good ones, for a jump to be told from the rest
JUMP_DET, UNUSABLE = np.uint32(Flag.JUMP_DET), np.uint32(Flag.DO_NOT_USE)
ROUNDING_E2 = 0.01  # variance of a difference of float32 signals near 1e5 e-; keeps noiseless ramps free of jumps
TINY = 1e-30  # (e-/s)^2, keeps the weights of noiseless groups finite


class RampFit(NamedTuple):
    """Result of a fit; all arrays (ny, nx).

    `rate` float32 e-/s; `var_rnoise` float32 (e-/s)^2; `photon_factor` float32 1/s, the variance by photon noise
    per rate; `dq` uint32, JUMP_DET or DO_NOT_USE; `n_reads` uint16, reads used. Without a value: NaN, DO_NOT_USE.
    """

    rate: np.ndarray
    var_rnoise: np.ndarray
    photon_factor: np.ndarray
    dq: np.ndarray
    n_reads: np.ndarray


class _Plan(NamedTuple):
    """What depends on the times and the method only: for each group the weights and factors of a whole ramp."""

    times: np.ndarray
    weights: np.ndarray
    read_factors: np.ndarray
    photon_factors: np.ndarray
    n_used: np.ndarray
    tests: np.ndarray  # (n_group, n_difference, 4): alpha, factors of read variance and rate in eq. (1), interval
    n_coadd: int  # 0 is ols
    threshold_sigma: float  # 0 is no search for jumps


class _Work(NamedTuple):
    """Buffers of one lane (.., LANE) and of one ramp (.., n_read)."""

    sums: np.ndarray
    suspect: np.ndarray
    groups: np.ndarray  # (3, n_group, LANE): rate, read factor, photon factor
    ramp: np.ndarray  # (3, n_read): times, signals, weights of the usable reads of one pixel
    good: np.ndarray


def fit_ramp(signal_e, times_s, read_variance_e2, *, method, n_coadd=1, jump_threshold_sigma=None):
    """Fit the rate of every pixel of a ramp.

    Parameters
    ----------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
        Signal of each read; NaN where a read is not usable.
    times_s : ndarray, float64, (n_group, n_read)
        Time of each read since the reset of its group, increasing.
    read_variance_e2 : ndarray, float32, (ny, nx)
        Variance of one read by read noise and digitisation.
    method : str
        'ols', 'mcds' or 'cds'.
    n_coadd : int
        Reads averaged at each end by 'mcds'; a ramp with fewer than twice as many uses half of its reads.
    jump_threshold_sigma : float, optional
        Threshold of the search for jumps; None is no search.

    Returns
    -------
    RampFit
    """
    if signal_e.ndim != 4 or signal_e.shape[2:] != read_variance_e2.shape:
        raise ValueError(f"signal {signal_e.shape} and variance {read_variance_e2.shape} do not fit each other")
    plan = _plan(np.asarray(times_s, np.float64), signal_e.shape[:2], method, n_coadd, jump_threshold_sigma)
    fit = RampFit(*(np.zeros(signal_e.shape[2:], dtype) for dtype in ("f4", "f4", "f4", "u4", "u2")))
    _fit_rows_kernel(np.ascontiguousarray(signal_e), np.ascontiguousarray(read_variance_e2), plan, fit)
    return fit


def _plan(times_s, expected, method, n_coadd, jump_threshold_sigma):
    """Return the plan of a fit, its arguments checked."""
    if method not in METHODS:
        raise ReductionError(f"method '{method}' is none of {', '.join(METHODS)}")
    if n_coadd < 1:
        raise ReductionError(f"n_coadd is {n_coadd}, expected 1 or more")
    if times_s.shape != expected or not (np.isfinite(times_s).all() and (np.diff(times_s) > 0).all()):
        raise ReductionError(f"times of shape {times_s.shape}: expected {expected}, increasing from read to read")
    n_group, n_read = expected
    coadd = {"ols": 0, "mcds": n_coadd, "cds": 1}[method]
    threshold = float(jump_threshold_sigma or 0)
    weights, factors = np.zeros(expected), np.zeros((3, n_group))
    tests = np.zeros((n_group, max(n_read - 1, 0), 4))
    for group in range(n_group if n_read > 1 else 0):
        times = times_s[group]
        norm, squares, photons, used = _weigh_segment_kernel(times, 0, n_read, coadd, weights[group])
        weights[group] /= norm
        factors[:, group] = squares / norm**2, photons / norm**2, used
        for j in range(n_read - 1 if n_read > 2 else 0):
            dt = times[j + 1] - times[j]
            alpha = dt / (times[-1] - times[0] - dt)
            tests[group, j] = (alpha, *_test_noise_kernel(dt, alpha, 1, j > 0, j < n_read - 2), dt)
    threshold = threshold if n_read > MIN_DIFFERENCES else 0.0
    return _Plan(times_s, weights, factors[0], factors[1], factors[2].astype(np.int64), tests, coadd, threshold)


@njit(cache=True, error_model="numpy")
def _weigh_segment_kernel(times, start, stop, n_coadd, weights):
    """Write u_k of one segment; return sum u t, sum u^2, sum (cumulated u)^2 dt, and the reads used."""
    n, mean = stop - start, 0.0
    coadd = min(n_coadd, n // 2)
    for k in range(start, stop):
        mean += times[k] / n
    norm, squares, photons, cumulated, used = 0.0, 0.0, 0.0, 0.0, 0
    for k in range(start, stop):
        u = times[k] - mean
        if n_coadd > 0:
            u = (1.0 if k >= stop - coadd else 0.0) - (1.0 if k < start + coadd else 0.0)
            u /= coadd
        weights[k] = u
        norm += u * (times[k] - mean)
        squares += u * u
        used += n_coadd == 0 or u != 0
        if k < stop - 1:
            cumulated += u
            photons += cumulated * cumulated * (times[k + 1] - times[k])
    return norm, squares, photons, used


@njit(cache=True, error_model="numpy")
def _test_noise_kernel(dt, alpha, n_segment, left, right):
    """Return the factors of read variance and of rate in the variance of a jump's test value, eq. (1).

    The value is d_j - alpha sum of the other good differences, alpha = dt_j / their time: in terms of reads, each
    end of a segment enters with -+alpha, and the two reads of d_j with 1 + alpha (1 where the neighbouring
    difference is not good). Its variance is r^2 K + rate (dt + alpha^2 dt_others), alpha dt_others = dt.   (1)
    """
    inner = (1 + alpha) * (1 + alpha)
    factor = 2 * alpha * alpha * n_segment
    factor += inner if left else 1 - alpha * alpha
    factor += inner if right else 1 - alpha * alpha
    return factor, dt * (1 + alpha)


@njit(cache=True, error_model="numpy")
def _find_jumps_kernel(ramp, n, read_variance, threshold_sigma, good):
    """Mark differences that do not agree with the mean of the other good ones, the worst first; return how many.

    The test value and its noise are those of `_test_noise_kernel`, the rate being that of the others: so the test
    is a normal deviate whatever the number of differences (a comparison with the median of all is not: it finds
    3.2 sigma where it says 5.5 for three differences).
    """
    n_good, found = n - 1, 0
    times, signal = ramp[0], ramp[1]
    while n_good >= MIN_DIFFERENCES:
        total, span, n_segment, worst, where = 0.0, 0.0, 0, threshold_sigma * threshold_sigma, -1
        for j in range(n - 1):
            if good[j]:
                total += signal[j + 1] - signal[j]
                span += times[j + 1] - times[j]
                n_segment += j == 0 or not good[j - 1]
        for j in range(n - 1):
            if good[j]:
                d, dt = signal[j + 1] - signal[j], times[j + 1] - times[j]
                alpha = dt / (span - dt)
                left, right = j > 0 and good[j - 1], j < n - 2 and good[j + 1]
                read_factor, photon_factor = _test_noise_kernel(dt, alpha, n_segment, left, right)
                rate = (total - d) / (span - dt)
                variance = read_variance * read_factor + max(rate, 0.0) * photon_factor + ROUNDING_E2
                deviation = d - dt * rate
                if deviation * deviation > worst * variance:
                    worst, where = deviation * deviation / variance, j
        if where < 0:
            break
        good[where] = False
        n_good -= 1
        found += 1
    return found


@njit(cache=True, error_model="numpy")
def _fit_segments_kernel(ramp, n, n_coadd, good):
    """Return rate, read factor, photon factor and reads used of one ramp with jumps; factor 0: no rate."""
    times, signal, weights = ramp[0], ramp[1], ramp[2]
    norm, squares, photons, value, used, start = 0.0, 0.0, 0.0, 0.0, 0, 0
    while start < n:
        stop = start + 1
        while stop < n and good[stop - 1]:
            stop += 1
        if stop - start > 1:
            terms = _weigh_segment_kernel(times, start, stop, n_coadd, weights)
            norm, squares, photons, used = norm + terms[0], squares + terms[1], photons + terms[2], used + terms[3]
            for k in range(start, stop):
                value += weights[k] * (signal[k] - signal[start])
        start = stop
    if norm == 0:
        return 0.0, 0.0, 0.0, 0
    return value / norm, squares / norm**2, photons / norm**2, used


@njit(cache=True, error_model="numpy")
def _combine_groups_kernel(groups, i, read_variance):
    """Return rate, read factor and photon factor of all groups of pixel i, by inverse variance.

    The variances are those of one common rate, so that a group whose noise made it faint gets no greater weight.
    The common rate is found in two rounds from weights of read noise alone: with nearly optimal weights its
    covariance is the same with every group, and the bias of the weights vanishes to first order.
    """
    n_group = groups.shape[1]
    if n_group == 1:
        return groups[0, 0, i], groups[1, 0, i], groups[2, 0, i]
    common, read_factor, photon_factor = 0.0, 0.0, 0.0
    for turn in range(4):
        total, value, read_factor, photon_factor = 0.0, 0.0, 0.0, 0.0
        for group in range(n_group):
            if groups[1, group, i] > 0:
                photons = 0.0 if turn == 0 else max(common, 0.0) * groups[2, group, i]
                noise = 1.0 if turn == 0 else read_variance
                weight = 1 / (noise * groups[1, group, i] + photons + TINY)
                total += weight
                value += weight * groups[0, group, i]
                read_factor += weight * weight * groups[1, group, i]
                photon_factor += weight * weight * groups[2, group, i]
        if total == 0:
            return 0.0, 0.0, 0.0
        common = value / total
    return common, read_factor / total**2, photon_factor / total**2


@njit(cache=True, error_model="numpy")
def _add_read_kernel(weight, signal, sums):
    """Add one weighted read of a lane to the sums; a read that is not usable makes its sum NaN."""
    for i in range(signal.size):
        sums[i] += weight * signal[i]


@njit(cache=True, error_model="numpy")
def _suspect_jump_kernel(test, span, signals, read_variance, threshold_sigma, suspect):
    """Mark the pixels of a lane whose difference fails the first round of `_find_jumps_kernel`, in float32."""
    alpha, read_factor, photon_factor = np.float32(test[0]), np.float32(test[1]), np.float32(test[2])
    before, after, first, last = signals
    limit, per_time = np.float32(threshold_sigma**2), np.float32(1 / (span - test[3]))
    rounding, zero = np.float32(ROUNDING_E2), np.float32(0)
    for i in range(before.size):
        d = after[i] - before[i]
        others = last[i] - first[i] - d
        variance = read_variance[i] * read_factor + max(others * per_time, zero) * photon_factor + rounding
        deviation = d - alpha * others
        suspect[i] |= deviation * deviation > limit * variance


@njit(cache=True, error_model="numpy")
def _fit_pixel_kernel(signal, i, group, read_variance, plan, work):
    """Fit the usable reads of one group of one pixel of a lane; return the reads used and its flags."""
    n, n_jump = 0, 0
    for k in range(signal.shape[0]):
        if np.isfinite(signal[k, i]):
            work.ramp[0, n], work.ramp[1, n] = plan.times[group, k], signal[k, i]
            work.good[n] = True
            n += 1
    if plan.threshold_sigma > 0:
        n_jump = _find_jumps_kernel(work.ramp, n, read_variance, plan.threshold_sigma, work.good)
    rate, read_factor, photon_factor, used = _fit_segments_kernel(work.ramp, n, plan.n_coadd, work.good)
    work.groups[0, group, i], work.groups[1, group, i], work.groups[2, group, i] = rate, read_factor, photon_factor
    return used, JUMP_DET if n_jump > 0 else np.uint32(0)


@njit(cache=True, error_model="numpy")
def _fit_group_kernel(signal, group, read_variance, plan, work, fit):
    """Fit one group (n_read, n_pix) of a lane."""
    n_read, n_pix = signal.shape
    work.suspect[:] = False
    work.sums[:] = 0
    for read in range(n_read):
        _add_read_kernel(plan.weights[group, read], signal[read], work.sums)
    if plan.threshold_sigma > 0:
        span = plan.times[group, n_read - 1] - plan.times[group, 0]
        for j in range(n_read - 1):
            reads = signal[j], signal[j + 1], signal[0], signal[n_read - 1]
            test = plan.tests[group, j]
            _suspect_jump_kernel(test, span, reads, read_variance, plan.threshold_sigma, work.suspect)
    for i in range(n_pix):
        used = plan.n_used[group]
        work.groups[0, group, i], work.groups[1, group, i] = work.sums[i], plan.read_factors[group]
        work.groups[2, group, i] = plan.photon_factors[group]
        if work.suspect[i] or not np.isfinite(work.sums[i]):
            used, flags = _fit_pixel_kernel(signal, i, group, read_variance[i], plan, work)
            fit.dq[i] |= flags
        fit.n_reads[i] = min(fit.n_reads[i] + used, 65535)


@njit(cache=True, error_model="numpy")
def _fit_lane_kernel(signal, read_variance, plan, work, fit):
    """Fit all groups (n_group, n_read, n_pix) of a lane, and combine them."""
    for group in range(signal.shape[0]):
        _fit_group_kernel(signal[group], group, read_variance, plan, work, fit)
    for i in range(signal.shape[2]):
        rate, read_factor, photon_factor = _combine_groups_kernel(work.groups, i, read_variance[i])
        var_rnoise = read_variance[i] * read_factor
        if read_factor == 0 or not np.isfinite(rate + var_rnoise + photon_factor):
            rate, var_rnoise, photon_factor = np.nan, np.nan, np.nan
            fit.dq[i] |= UNUSABLE
            fit.n_reads[i] = 0
        fit.rate[i], fit.var_rnoise[i], fit.photon_factor[i] = rate, var_rnoise, photon_factor


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _fit_rows_kernel(signal, read_variance, plan, fit):
    """Fit rows of pixels (n_group, n_read, ny, nx), each in lanes of neighbouring pixels; fill `fit`."""
    n_group, n_read, ny, nx = signal.shape
    for y in prange(ny):
        work = _Work(
            np.empty(LANE, np.float64),
            np.empty(LANE, np.bool_),
            np.empty((3, n_group, LANE), np.float64),
            np.empty((3, n_read), np.float64),
            np.empty(n_read, np.bool_),
        )
        for x in range(0, nx, LANE):
            to = min(x + LANE, nx)
            part = RampFit(
                fit.rate[y, x:to],
                fit.var_rnoise[y, x:to],
                fit.photon_factor[y, x:to],
                fit.dq[y, x:to],
                fit.n_reads[y, x:to],
            )
            _fit_lane_kernel(signal[:, :, y, x:to], read_variance[y, x:to], plan, work, part)
