"""Ramps of many pixels at once: the recursions of `drs.ramp` on lanes of neighbouring pixels.

Each inner loop is a kernel of its own over contiguous float32 rows, which the compiler turns into vector
instructions; two differences at a time, so that a pixel's sums are read and written half as often. Pixels that need it
are then looked at in batches.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.ramp_pixels import fit_some_of_rows, weigh_reads

LANE = 1024  # pixels; their reads and recursions (16 bytes per read and pixel) fit into the second cache
PARTS = 16  # of the rows of a block; each has enough pixels for a batch, and there are several for every thread
FLAGS = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
PART = {**FLAGS, "forceinline": True}  # a call hands over arrays by reference counts: as long as some 500 pixels


class _Lane(NamedTuple):
    """Buffers of one lane."""

    steps: np.ndarray  # (n, 3, width): p, y, s after each difference, the first row is zero
    sums: np.ndarray  # (2, width): dt^T C^-1 d, dt^T C^-1 dt
    state: np.ndarray  # (8, width): z, u, q, worst jump, sums of (3), chi-square, number of differences
    pixel: np.ndarray  # (4, width): rate / r^2, r^2, rate, 1 / dt^T C^-1 dt


def fit_rows(signal_e, read_variance_e2, plan, fit, found, hit):
    """Fit every pixel: first as if its ramp had neither a jump nor a gap, then alone where it has.

    Parameters
    ----------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
    read_variance_e2 : ndarray, float32, (ny, nx)
    plan : Plan
    fit : tuple of ndarray, (ny, nx)
        Filled: rate, read factor, photon factor, chi-square, reads used.
    found : ndarray, uint8, (n_difference, ny, nx)
        Filled: JUMP, STRONG, LARGE of the differences that hold a jump.
    hit : ndarray, bool, (ny, nx)
        Set where a jump was found.
    """
    _fit_rows_kernel(signal_e, read_variance_e2, plan, weigh_reads(plan), fit, found, hit)


@njit(**PART)
def _add_read_kernel(weight, signal, total):
    """Add one weighted read of a lane to a sum; a read that is not usable makes it NaN."""
    for i in range(signal.size):
        total[i] += weight * signal[i]


@njit(**PART)
def _eliminate_kernel(difference, terms, ratio, last, sums):
    """Eliminate one difference of a pixel: p, y, s, and the sums; one that is NaN ends a segment: p = y = 0."""
    dt, g, c = terms
    p, y, s = last
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    e = ratio * c - one
    f = e * p
    p = one / (two + ratio * g - e * f)
    y = difference - f * y
    s = dt - f * s
    p = p if y == y else zero
    y = y if y == y else zero
    return (p, y, s), (sums[0] + p * s * y, sums[1] + p * s * s)


@njit(**PART)
def _substitute_kernel(step, terms, limits, pixel, state):
    """Substitute one difference of a pixel: eq. (4) and the sums of eq. (3)."""
    dt, g, c = terms
    threshold2, left_over, flicker = limits
    ratio, variance, rate, inverse = pixel
    z, before, q, worst, ends, photons, chi2, count = state
    p, y, s = step
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    f = (ratio * c - one) * p
    r = y - rate * s
    z = p * r - f * z
    u = p * s - f * before
    q = p + f * f * q
    left = max(q - u * u * inverse, left_over * q)
    light = flicker * dt * left * max(rate, zero)
    worst = max(worst, z * z - threshold2 * (variance * left + light * light))
    ends += (u - before) * (u - before)
    photons += u * u * g + two * u * before * c
    return z, u, q, worst, ends, photons, chi2 + p * r * r, count + (one if p > 0 else zero)


@njit(**PART)
def _step_forwards_kernel(reads, terms, ratio, last, new, sums):
    """Eliminate one difference of a lane."""
    before, after = reads
    for i in range(ratio.size):
        step = last[0, i], last[1, i], last[2, i]
        step, total = _eliminate_kernel(after[i] - before[i], terms, ratio[i], step, (sums[0, i], sums[1, i]))
        new[0, i], new[1, i], new[2, i] = step
        sums[0, i], sums[1, i] = total


@njit(**PART)
def _step_forwards_twice_kernel(reads, terms, ratio, last, new, sums):
    """Eliminate two differences of a lane."""
    before, between, after = reads
    first, second = new
    for i in range(ratio.size):
        step = last[0, i], last[1, i], last[2, i]
        step, total = _eliminate_kernel(between[i] - before[i], terms[0], ratio[i], step, (sums[0, i], sums[1, i]))
        first[0, i], first[1, i], first[2, i] = step
        step, total = _eliminate_kernel(after[i] - between[i], terms[1], ratio[i], step, total)
        second[0, i], second[1, i], second[2, i] = step
        sums[0, i], sums[1, i] = total


@njit(**PART)
def _step_backwards_kernel(step, terms, limits, pixel, state):
    """Substitute one difference of a lane."""
    for i in range(pixel.shape[1]):
        own = pixel[0, i], pixel[1, i], pixel[2, i], pixel[3, i]
        old = state[0, i], state[1, i], state[2, i], state[3, i], state[4, i], state[5, i], state[6, i], state[7, i]
        new = _substitute_kernel((step[0, i], step[1, i], step[2, i]), terms, limits, own, old)
        state[0, i], state[1, i], state[2, i], state[3, i] = new[0], new[1], new[2], new[3]
        state[4, i], state[5, i], state[6, i], state[7, i] = new[4], new[5], new[6], new[7]


@njit(**PART)
def _step_backwards_twice_kernel(steps, terms, limits, pixel, state):
    """Substitute two differences of a lane."""
    first, second = steps
    for i in range(pixel.shape[1]):
        own = pixel[0, i], pixel[1, i], pixel[2, i], pixel[3, i]
        old = state[0, i], state[1, i], state[2, i], state[3, i], state[4, i], state[5, i], state[6, i], state[7, i]
        new = _substitute_kernel((first[0, i], first[1, i], first[2, i]), terms[0], limits, own, old)
        new = _substitute_kernel((second[0, i], second[1, i], second[2, i]), terms[1], limits, own, new)
        state[0, i], state[1, i], state[2, i], state[3, i] = new[0], new[1], new[2], new[3]
        state[4, i], state[5, i], state[6, i], state[7, i] = new[4], new[5], new[6], new[7]


@njit(**FLAGS)
def _divide_kernel(total, span, rate):
    """Divide the sums of a lane by their span of time."""
    for i in range(total.size):
        rate[i] = total[i] / span


@njit(**PART)
def _terms_kernel(plan, j):
    """Return dt, dt - 2c and c of a difference in float32."""
    dt = plan.times[j + 1] - plan.times[j]
    return np.float32(dt), np.float32(dt - 2 * plan.blur), np.float32(plan.blur)


@njit(**FLAGS)
def _mean_of_rest_kernel(signal, y, x, plan):
    """Return the mean slope of the differences that a pixel has; NaN without one."""
    total, span, before = np.float32(0), np.float32(0), np.float32(np.nan)
    for k in range(plan.times.size):
        value = signal[plan.groups[k], plan.reads[k], y, x]
        if k > 0 and plan.live[k - 1] and np.isfinite(value - before):
            total, span = total + (value - before), span + np.float32(plan.times[k] - plan.times[k - 1])
        before = value
    return total / span


@njit(**FLAGS)
def _guess_rate_kernel(signal, place, plan, rate):
    """Write the mean slope of the segments of a lane, as far as they go."""
    y, a, b = place
    total, span, n = np.zeros(b - a, np.float32), np.float32(0), plan.times.size
    for k in range(n):
        weight = int(k > 0 and plan.live[k - 1]) - int(k < n - 1 and plan.live[k])
        if weight != 0:
            _add_read_kernel(np.float32(weight), signal[plan.groups[k], plan.reads[k], y, a:b], total)
        if k < n - 1 and plan.live[k]:
            span += _terms_kernel(plan, k)[0]
    _divide_kernel(total, span, rate)
    for i in range(b - a):
        if not np.isfinite(rate[i]):
            rate[i] = _mean_of_rest_kernel(signal, y, a + i, plan)


@njit(**FLAGS)
def _solve_lane_kernel(signal, place, variance, plan, lane):
    """Solve eq. (2) for a lane, and test all its differences: fills `lane`."""
    y, a, b = place
    steps, sums, state, pixel = lane
    zero, n = np.float32(0), plan.times.size
    _guess_rate_kernel(signal, place, plan, pixel[2])
    for i in range(b - a):
        pixel[1, i] = variance[i] / np.float32(plan.n_average) + np.float32(plan.rounding_e2)
    for rows in (3, n):  # the first time only the last row is needed, and two stay in the nearest cache
        for i in range(b - a):
            pixel[0, i] = max(pixel[2, i], zero) / pixel[1, i]
        sums[:], steps[0] = 0, 0
        j = 0
        while j < n - 1:
            last, new = steps[j % rows], steps[(j + 1) % rows]
            if not plan.live[j]:
                new[:] = 0
                j += 1
                continue
            before = signal[plan.groups[j], plan.reads[j], y, a:b]
            after = signal[plan.groups[j + 1], plan.reads[j + 1], y, a:b]
            if j < n - 2 and plan.live[j + 1]:
                reads = before, after, signal[plan.groups[j + 2], plan.reads[j + 2], y, a:b]
                terms = _terms_kernel(plan, j), _terms_kernel(plan, j + 1)
                _step_forwards_twice_kernel(reads, terms, pixel[0], last, (new, steps[(j + 2) % rows]), sums)
                j += 2
            else:
                _step_forwards_kernel((before, after), _terms_kernel(plan, j), pixel[0], last, new, sums)
                j += 1
        for i in range(b - a):
            pixel[2, i] = sums[0, i] / sums[1, i]
    for i in range(b - a):
        pixel[3, i] = np.float32(1) / sums[1, i]
    state[:] = 0
    limits = np.float32(plan.threshold_sigma**2), np.float32(plan.left_over), np.float32(plan.flicker)
    for j in range(n - 2, 0, -2):
        terms = _terms_kernel(plan, j), _terms_kernel(plan, j - 1)
        _step_backwards_twice_kernel((steps[j + 1], steps[j]), terms, limits, pixel, state)
    if n % 2 == 0:
        _step_backwards_kernel(steps[1], _terms_kernel(plan, 0), limits, pixel, state)


@njit(**FLAGS)
def _count_reads_kernel(signal, y, x, plan):
    """Return the reads in segments of two or more of a pixel, and whether a segment has a gap."""
    used, length, missing, gap = 0, 0, False, False
    for k in range(plan.times.size):
        if k > 0 and not plan.live[k - 1]:
            used, length, missing = used + (length if length > 1 else 0), 0, False
        if np.isfinite(signal[plan.groups[k], plan.reads[k], y, x]):
            length, gap = length + 1, gap or missing
        else:
            missing = length > 0
    return used + (length if length > 1 else 0), gap


@njit(**FLAGS)
def _judge_kernel(state, pixel, chi_square, alone):
    """Write the chi-square of a lane, and where there is a jump."""
    for i in range(alone.size):
        alone[i] = state[3, i] > 0
        freedom = state[7, i] - np.float32(1)
        chi_square[i] = state[6, i] / (pixel[1, i] * freedom) if freedom > 0 else np.float32(np.nan)


@njit(**FLAGS)
def _take_likelihood_kernel(state, pixel, rate, read_factor, photon_factor):
    """Write the optimal rates of a lane, and the sums of eq. (3)."""
    for i in range(rate.size):
        scale, last = pixel[3, i] * pixel[3, i], state[1, i]
        rate[i], photon_factor[i] = pixel[2, i], state[5, i] * scale
        read_factor[i] = (state[4, i] + last * last) * scale


@njit(**FLAGS)
def _fit_lane_kernel(signal, place, variance, plan, whole, lane, fit, alone):
    """Fit a lane; mark the pixels that have a jump or a gap."""
    y, a, b = place
    weights, read_factor, photon_factor, n_used = whole
    rate, read_factors, photon_factors, chi_square, n_reads = fit
    chi_square[:], n_reads[:], n_live = np.nan, n_used, plan.live.sum()
    if plan.solve:
        _solve_lane_kernel(signal, place, variance, plan, lane)
        _judge_kernel(lane.state, lane.pixel, chi_square, alone)
    if plan.n_coadd < 0:
        _take_likelihood_kernel(lane.state, lane.pixel, rate, read_factors, photon_factors)
        for i in range(b - a):
            if lane.state[7, i] < n_live:
                n_reads[i], gap = _count_reads_kernel(signal, y, a + i, plan)
                alone[i] |= gap
        return
    total = np.zeros(b - a, np.float64)
    for k in range(plan.times.size):
        _add_read_kernel(weights[k], signal[plan.groups[k], plan.reads[k], y, a:b], total)
    read_factors[:], photon_factors[:] = read_factor, photon_factor
    for i in range(b - a):
        rate[i] = total[i]
        alone[i] |= not np.isfinite(total[i])


@njit(parallel=True, nogil=True, **FLAGS)
def _fit_rows_kernel(signal, variance, plan, whole, fit, found, hit):
    """Fit rows of pixels, each in lanes, and then the pixels of some rows that need it in batches."""
    ny, nx = variance.shape
    rate, read_factor, photon_factor, chi_square, n_reads = fit
    n, width, n_part = plan.times.size, min(LANE, nx), min(PARTS, ny)
    for part in prange(n_part):
        first, stop = part * ny // n_part, (part + 1) * ny // n_part
        alone = np.zeros((stop - first, nx), np.bool_)
        lane = _Lane(
            np.empty((n, 3, width), np.float32),
            np.empty((2, width), np.float32),
            np.empty((8, width), np.float32),
            np.empty((4, width), np.float32),
        )
        for y in range(first, stop):
            for start in range(0, nx, width):
                a = min(start, nx - width)  # the last lane begins earlier in place of ending later
                b = a + width
                rows = rate[y, a:b], read_factor[y, a:b], photon_factor[y, a:b], chi_square[y, a:b], n_reads[y, a:b]
                own = alone[y - first, a:b]
                _fit_lane_kernel(signal, (y, a, b), variance[y, a:b], plan, whole, lane, rows, own)
        fit_some_of_rows(signal, variance, plan, first, alone, fit, found, hit)
