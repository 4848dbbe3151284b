"""Ramps of many pixels at once: the recursions of `drs.ramp` on lanes of neighbouring pixels.

Each inner loop is a kernel of its own over contiguous float32 rows, which the compiler turns into vector
instructions. Pixels that need to be looked at one by one are only marked here.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

LANE = 1024  # pixels; their reads and recursions (16 bytes per read and pixel) fit into the second cache
FLAGS = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


class _Lane(NamedTuple):
    """Buffers of one lane."""

    steps: np.ndarray  # (n, 3, width): p, y, s after each difference, the first row is zero
    sums: np.ndarray  # (2, width): dt^T C^-1 d, dt^T C^-1 dt
    state: np.ndarray  # (8, width): z, u, q, worst jump, sums of (3), chi-square, number of differences
    pixel: np.ndarray  # (4, width): rate / r^2, r^2, rate, 1 / dt^T C^-1 dt


def fit_lanes(signal_e, read_variance_e2, plan, whole, fit, alone):
    """Fit every pixel as if its ramp had neither a jump nor a gap.

    Parameters
    ----------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
    read_variance_e2 : ndarray, float32, (ny, nx)
    plan : Plan
    whole : tuple
        Weights of the reads of a whole ramp, its read factor, photon factor and number of reads.
    fit : tuple of ndarray, (ny, nx)
        Filled: rate, read factor, photon factor, chi-square, reads used.
    alone : ndarray, bool, (ny, nx)
        Set where a pixel has a jump, or a gap that the result does not allow for.
    """
    _fit_rows_kernel(signal_e, read_variance_e2, plan, whole, fit, alone)


@njit(**FLAGS)
def _add_read_kernel(weight, signal, total):
    """Add one weighted read of a lane to a sum; a read that is not usable makes it NaN."""
    for i in range(signal.size):
        total[i] += weight * signal[i]


@njit(**FLAGS)
def _step_forwards_kernel(before, after, terms, ratio, last, new, sums):
    """Eliminate one difference of a lane; a difference that is NaN ends a segment: p = y = 0."""
    dt, g, c = terms
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    for i in range(before.size):
        e = ratio[i] * c - one
        f = e * last[0, i]
        p = one / (two + ratio[i] * g - e * f)
        y = after[i] - before[i] - f * last[1, i]
        s = dt - f * last[2, i]
        p = p if y == y else zero
        new[0, i] = p
        new[1, i] = y if y == y else zero
        new[2, i] = s
        sums[0, i] += p * s * new[1, i]
        sums[1, i] += p * s * s


@njit(**FLAGS)
def _step_backwards_kernel(step, terms, limits, pixel, state):
    """Substitute one difference of a lane: eq. (4) and the sums of eq. (3)."""
    dt, g, c = terms
    threshold2, left_over, flicker = limits
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    for i in range(pixel.shape[1]):
        p, y, s = step[0, i], step[1, i], step[2, i]
        f = (pixel[0, i] * c - one) * p
        r = y - pixel[2, i] * s
        z = p * r - f * state[0, i]
        before = state[1, i]
        u = p * s - f * before
        q = p + f * f * state[2, i]
        left = max(q - u * u * pixel[3, i], left_over * q)
        light = flicker * dt * left * max(pixel[2, i], zero)
        state[0, i] = z
        state[1, i] = u
        state[2, i] = q
        state[3, i] = max(state[3, i], z * z - threshold2 * (pixel[1, i] * left + light * light))
        state[4, i] += (u - before) * (u - before)
        state[5, i] += u * u * g + two * u * before * c
        state[6, i] += p * r * r
        state[7, i] += one if p > 0 else zero


@njit(**FLAGS)
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
    for i in range(b - a):
        rate[i] = total[i] / span if np.isfinite(total[i]) else _mean_of_rest_kernel(signal, y, a + i, plan)


@njit(**FLAGS)
def _solve_lane_kernel(signal, place, variance, plan, lane):
    """Solve eq. (2) for a lane, and test all its differences: fills `lane`."""
    y, a, b = place
    steps, sums, state, pixel = lane
    zero, n = np.float32(0), plan.times.size
    _guess_rate_kernel(signal, place, plan, pixel[2])
    for i in range(b - a):
        pixel[1, i] = variance[i] / np.float32(plan.n_average) + np.float32(plan.rounding_e2)
    for rows in (2, n):  # the first time only the last row is needed, and two stay in the nearest cache
        for i in range(b - a):
            pixel[0, i] = max(pixel[2, i], zero) / pixel[1, i]
        sums[:], steps[0] = 0, 0
        for j in range(n - 1):
            last, new = steps[j % rows], steps[(j + 1) % rows]
            if plan.live[j]:
                before = signal[plan.groups[j], plan.reads[j], y, a:b]
                after = signal[plan.groups[j + 1], plan.reads[j + 1], y, a:b]
                _step_forwards_kernel(before, after, _terms_kernel(plan, j), pixel[0], last, new, sums)
            else:
                new[:] = 0
        for i in range(b - a):
            pixel[2, i] = sums[0, i] / sums[1, i]
    for i in range(b - a):
        pixel[3, i] = np.float32(1) / sums[1, i]
    state[:] = 0
    limits = np.float32(plan.threshold_sigma**2), np.float32(plan.left_over), np.float32(plan.flicker)
    for j in range(n - 2, -1, -1):
        _step_backwards_kernel(steps[j + 1], _terms_kernel(plan, j), limits, pixel, state)


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
def _fit_lane_kernel(signal, place, variance, plan, whole, lane, fit, alone):
    """Fit a lane; mark the pixels that have a jump or a gap."""
    y, a, b = place
    weights, read_factor, photon_factor, n_used = whole
    rates, read_factors, photon_factors, chi_squares, n_reads = fit
    likelihood, total, n_live = plan.n_coadd < 0, np.zeros(b - a, np.float64), plan.live.sum()
    if plan.solve:
        _solve_lane_kernel(signal, place, variance, plan, lane)
    for k in range(0 if likelihood else plan.times.size):
        _add_read_kernel(weights[k], signal[plan.groups[k], plan.reads[k], y, a:b], total)
    for i in range(b - a):
        x = a + i
        rates[y, x], n_reads[y, x], chi_squares[y, x] = total[i], n_used, np.nan
        read_factors[y, x], photon_factors[y, x] = read_factor, photon_factor
        if plan.solve:
            alone[y, x] = lane.state[3, i] > 0
            freedom = lane.state[7, i] - 1
            chi_squares[y, x] = lane.state[6, i] / (lane.pixel[1, i] * freedom) if freedom > 0 else np.nan
        if likelihood:
            scale, last = lane.pixel[3, i] ** 2, lane.state[1, i]
            rates[y, x], photon_factors[y, x] = lane.pixel[2, i], lane.state[5, i] * scale
            read_factors[y, x] = (lane.state[4, i] + last * last) * scale
            if lane.state[7, i] < n_live:
                n_reads[y, x], gap = _count_reads_kernel(signal, y, x, plan)
                alone[y, x] |= gap
        else:
            alone[y, x] |= not np.isfinite(total[i])


@njit(parallel=True, nogil=True, **FLAGS)
def _fit_rows_kernel(signal, variance, plan, whole, fit, alone):
    """Fit rows of pixels, each in lanes."""
    ny, nx = variance.shape
    n, width = plan.times.size, min(LANE, nx)
    for y in prange(ny):
        lane = _Lane(
            np.zeros((n, 3, width), np.float32),
            np.zeros((2, width), np.float32),
            np.zeros((8, width), np.float32),
            np.zeros((4, width), np.float32),
        )
        for start in range(0, nx, width):
            a = min(start, nx - width)  # the last lane begins earlier in place of ending later
            _fit_lane_kernel(signal, (y, a, a + width), variance[y, a : a + width], plan, whole, lane, fit, alone)
