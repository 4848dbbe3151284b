"""Jumps of single pixels: the search of `drs.ramp` for a batch of pixels in lockstep.

Each inner loop is a kernel of its own over the pixels of a batch, which the compiler turns into vector instructions.
In each round the clearest jump of every pixel is left out; those without one are done, the others close ranks.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from drs.chain import JUMP, LARGE, STRONG

SAMPLES = 5120  # reads of a batch: its recursions (52 bytes per read) stay in the second cache
STRIP = 32  # pixels; a batch has a multiple, so that the compiler's loops have no rest
APART = 8  # columns that are not used: rows that are a power of two apart compete for the same lines of a cache
SPLIT_SIGMA = 2.0  # a jump within an averaged read is split: its other part beside it is looked for down to this
LEAST_SKEWNESS = 1e-6  # for which photon noise is not taken to be normal
FLAGS = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


class Batch(NamedTuple):
    """Buffers of a batch of `width` pixels with n reads."""

    reads: np.ndarray  # (n, width) float32, NaN where not usable
    ramp: np.ndarray  # (3, n, width + APART): the difference that ends with a read (0 s where there is none), its time,
    # and the sigma from which it holds a jump, infinite where it is left out
    steps: np.ndarray  # (4, n, width + APART): p, y, s after each difference; then z, its weight in (4), u, and
    # z^2 over its square at the limit
    pixel: np.ndarray  # (4, width): rate / r^2, r^2, rate, 1 / dt^T C^-1 dt
    sums: np.ndarray  # (11, width): dt^T C^-1 d, dt^T C^-1 dt, good differences, reads used; z, u, q; ends and
    # photons of (3), chi-square, the greatest z^2 over its square at the limit
    source: np.ndarray  # (width,): where the reads of a pixel are
    settings: np.ndarray  # (5,): blur, left_over, flicker, threshold, time since the read before


@njit(**FLAGS)
def make_batch(n, like):
    """Return the buffers of a batch of ramps of n reads, with the precision of an array."""
    width = max(SAMPLES // max(n, 1) // STRIP, 1) * STRIP
    ramp = np.empty((3, n, width + APART), like.dtype)
    steps = np.empty((4, n, width + APART), like.dtype)
    pixel, sums = np.empty((4, width), like.dtype), np.empty((11, width), like.dtype)
    reads, settings = np.empty((n, width), np.float32), np.empty(5, like.dtype)
    return Batch(reads, ramp, steps, pixel, sums, np.empty(width, np.int64), settings)


@njit(**FLAGS)
def _leave_out_kernel(excluded, plan, k, pixels, joined):
    """Part the reads k - 1 and k of pixels that have an excluded difference between them."""
    before = plan.groups[k - 1] * plan.n_read + plan.reads[k - 1] if k > 0 else 0
    for difference in range(before, plan.groups[k] * plan.n_read + plan.reads[k]):
        for i in range(pixels.shape[1]):
            joined[i] = 0.0 if excluded[difference, pixels[0, i], pixels[1, i]] else joined[i]


@njit(**FLAGS)
def _take_read_kernel(values, settings, last, ramp, k):
    """Write the difference that ends with a read of each pixel; none (of time 0) where it is not usable."""
    time, threshold = settings
    zero, one, infinite = np.float32(0), np.float32(1), np.float32(np.inf)
    for i in range(values.size):
        value, before, since, joined = values[i], last[0, i], last[1, i] + time, last[2, i]
        here = value - value == 0
        some = here and before == before
        ramp[0, k, i] = value - before if some else zero
        ramp[1, k, i] = since if some else zero
        ramp[2, k, i] = threshold if some and joined > 0 else infinite
        last[0, i], last[1, i], last[2, i] = (value, zero, one) if here else (before, since, joined)


@njit(**FLAGS)
def order_reads(excluded, plan, pixels, batch):
    """Turn the reads of a batch into differences of usable ones.

    Parameters
    ----------
    excluded : ndarray, bool, (n_difference, ny, nx)
        As in `drs.ramp_pixels.fit_pixels`; empty for none.
    plan : Plan
    pixels : ndarray, int64, (2, n_pixel)
    batch : Batch
        `reads` given, `ramp` is filled.
    """
    last, settings = np.empty_like(batch.sums[:3]), batch.settings
    last[0], last[1], last[2] = np.nan, 0, 1
    settings[0], settings[1], settings[2] = plan.blur, plan.left_over, plan.flicker
    settings[3], settings[4] = plan.threshold_sigma, 0
    for k in range(plan.times.size):
        if k > 0:
            settings[4] = plan.times[k] - plan.times[k - 1] if plan.live[k - 1] else 1  # no time, but there is a cut
            last[2] *= plan.live[k - 1]
        if excluded.shape[0] > 0:
            _leave_out_kernel(excluded, plan, k, pixels, last[2])
        _take_read_kernel(batch.reads[k], (settings[4], settings[3]), last, batch.ramp, k)


@njit(**FLAGS)
def _eliminate_kernel(ramp, ratio, blur, steps, sums):
    """Eliminate the differences of some pixels, one after the other."""
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    for k in range(1, ramp.shape[1]):
        for i in range(ratio.size):
            d, dt, good = ramp[0, k, i], ramp[1, k, i], ramp[2, k, i] < np.float32(np.inf)
            p, y, s = sums[4, i], sums[5, i], sums[6, i]
            e = ratio[i] * blur - one
            f = e * p
            own_p = one / (two + ratio[i] * (dt - two * blur) - e * f) if good else zero
            own_y = d - f * y if good else zero
            own_s = dt - f * s if good else zero
            sums[0, i] += own_p * own_s * own_y
            sums[1, i] += own_p * own_s * own_s
            sums[2, i] += one if good else zero
            sums[3, i] += (one if p > 0 else two) if good else zero
            p, y, s = own_p if dt > 0 else p, own_y if dt > 0 else y, own_s if dt > 0 else s
            sums[4, i], sums[5, i], sums[6, i] = p, y, s
            steps[0, k, i], steps[1, k, i], steps[2, k, i] = p, y, s


@njit(**FLAGS)
def _substitute_kernel(ramp, settings, pixel, width, steps, sums):
    """Substitute the differences of some pixels: eq. (4), sums of eq. (3), chi-square; leave z, its weight, u, worth.

    Where there is no difference, nothing changes: with p = 0 and f = -1. All is read first, as the compiler
    vectorises no branch that reads what is written.
    """
    blur, left_over, flicker = settings[0], settings[1], settings[2]
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    for k in np.arange(ramp.shape[1] - 1, 0, -1):  # a range that falls is not vectorised
        for i in range(width):
            dt, limit, ratio, variance, rate = ramp[1, k, i], ramp[2, k, i], pixel[0, i], pixel[1, i], pixel[2, i]
            p, y, s, before, there = steps[0, k, i], steps[1, k, i], steps[2, k, i], sums[5, i], dt > 0
            p = p if there else zero
            f, r = (ratio * blur - one) * p if there else -one, y - rate * s
            z, u, q = p * r - f * sums[4, i], p * s - f * before, p + f * f * sums[6, i]
            left = max(q - u * u * pixel[3, i], left_over * q)
            light = flicker * max(rate, zero) * dt * left
            worth = z * z / (limit * limit * (variance * left + light * light))
            sums[4, i], sums[5, i], sums[6, i] = z, u, q
            sums[7, i] += (u - before) * (u - before)
            sums[8, i] += u * u * (dt - two * blur) + two * u * before * blur if there else zero
            sums[9, i] += p * r * r
            sums[10, i] = worth if worth > sums[10, i] else sums[10, i]
            steps[0, k, i], steps[1, k, i], steps[2, k, i], steps[3, k, i] = z, left, u, worth


@njit(**FLAGS)
def _gauss_kernel(charge, variance, photons):
    """Return the sigma of a normal deviate that is as rare as this charge; of a negative one, at least as rare.

    Photon noise is skew: charge has third cumulant `photons` (those expected in the difference) and skewness k, and a
    normal deviate w corresponds to t = charge / deviation = w + k (w^2 - 1) / 6 (Cornish & Fisher 1938), solved for w.
    """
    deviation = np.sqrt(variance)
    t, k = charge / deviation, photons / (variance * deviation)
    if t < 0 or k < LEAST_SKEWNESS:
        return abs(t)
    return 3 / k * (np.sqrt(1 + 2 * k / 3 * (t + k / 6)) - 1)


@njit(**FLAGS)
def _whole_strips_kernel(n_pixel):
    """Return a number of pixels that is a whole number of strips."""
    return (n_pixel + STRIP - 1) // STRIP * STRIP


@njit(**FLAGS)
def _divide_kernel(rate, variance, ratio):
    """Write the rates of some pixels over their r^2."""
    for i in range(ratio.size):
        ratio[i] = max(rate[i], np.float32(0)) / variance[i]


@njit(**FLAGS)
def _solve_batch_kernel(batch, width, plan):
    """Solve eq. (2) for the good differences of some pixels; leave p, y, s and the sums."""
    ratio, sums = batch.pixel[0, :width], batch.sums
    _divide_kernel(batch.pixel[2], batch.pixel[1], ratio)
    sums[:, :width] = 0
    _eliminate_kernel(batch.ramp, ratio, batch.settings[0], batch.steps, sums)


@njit(**FLAGS)
def _test_batch_kernel(batch, width, plan):
    """Apply eq. (4) to some pixels with their rates of eq. (2); leave z, its weight, u and the sums."""
    pixel, sums = batch.pixel, batch.sums
    sums[4:7, :width] = 0
    for i in range(width):
        pixel[2, i], pixel[3, i] = sums[0, i] / sums[1, i], 1 / sums[1, i]
    _substitute_kernel(batch.ramp, batch.settings, pixel, width, batch.steps, sums)


@njit(**FLAGS)
def _guess_rates_kernel(batch, n_pixel, width, plan):
    """Write the rate of eq. (2) where there is none to begin with; its covariance is that of the mean slope."""
    given, total = batch.pixel[2, :n_pixel].copy(), np.zeros_like(batch.pixel[:2, :n_pixel])
    if np.isfinite(given).all():
        return
    for k in range(1, plan.times.size):
        for i in range(n_pixel):
            if batch.ramp[2, k, i] < np.inf:
                total[0, i] += batch.ramp[0, k, i]
                total[1, i] += batch.ramp[1, k, i]
    batch.pixel[2, :n_pixel] = total[0] / total[1]
    _solve_batch_kernel(batch, width, plan)
    for i in range(n_pixel):
        batch.pixel[2, i] = given[i] if np.isfinite(given[i]) else batch.sums[0, i] / batch.sums[1, i]


@njit(**FLAGS)
def _greater_kernel(ramp, i):
    """Return which of the good differences of a pixel has the greatest slope."""
    where, slope = -1, 0.0
    for k in range(1, ramp.shape[1]):
        if ramp[2, k, i] < np.inf and (where < 0 or ramp[0, k, i] / ramp[1, k, i] > slope):
            where, slope = k, ramp[0, k, i] / ramp[1, k, i]
    return where


@njit(**FLAGS)
def _pick_jump_kernel(batch, i, plan):
    """Return the jump that it is most worth to allow in a pixel: its read (or -1), sigma, charge, the rate without it.

    Of two good differences, which explain chi-square equally well, the greater one holds the jump: charge is added,
    not taken.
    """
    variance, rate = np.float64(batch.pixel[1, i]), np.float64(batch.pixel[2, i])
    where, best, largest, charge, without = -1, 1.0, 0.0, 0.0, rate
    if not batch.sums[10, i] > 1 or batch.sums[2, i] < 2:
        return where, largest, charge, without
    only = _greater_kernel(batch.ramp, i) if batch.sums[2, i] == 2 else -1
    n, first = plan.times.size, 1
    while batch.steps[3, first, i] != batch.sums[10, i]:
        first += 1
    for turn in range(n):  # the clearest first: few others come near it
        k = n - turn if turn > 0 else first
        if batch.steps[3, k, i] > best * best and (only < 0 or only == k):
            z, left = np.float64(batch.steps[0, k, i]), np.float64(batch.steps[1, k, i])
            limit, light = np.float64(batch.ramp[2, k, i]), max(rate, 0.0) * batch.ramp[1, k, i]
            noise = variance * left + (plan.flicker * light * left) ** 2  # of z
            sigma = _gauss_kernel(z / left, noise / left**2, light)
            if sigma > best * limit:
                where, best, largest, charge = k, sigma / limit, sigma, z / left
                without = rate - batch.steps[2, k, i] * batch.pixel[3, i] * charge
    return where, largest, charge, without


@njit(**FLAGS)
def _leave_jump_out_kernel(ramp, i, where, plan):
    """Leave a difference of a pixel out; of averaged reads, its neighbours hold a jump from less sigma on."""
    ramp[2, where, i] = np.inf
    for step in (-1, 1):
        k = where + step
        while 0 < k < ramp.shape[1] and ramp[1, k, i] == 0:
            k += step
        if plan.n_average > 1 and 0 < k < ramp.shape[1] and ramp[2, k, i] < np.inf:
            ramp[2, k, i] = min(SPLIT_SIGMA, plan.threshold_sigma)


@njit(**FLAGS)
def _move_pixel_kernel(batch, i, to):
    """Move what a pixel needs for the next round."""
    for k in range(batch.ramp.shape[1] if i != to else 0):
        for row in range(3):
            batch.ramp[row, k, to] = batch.ramp[row, k, i]
    batch.pixel[1, to], batch.pixel[2, to], batch.source[to] = batch.pixel[1, i], batch.pixel[2, i], batch.source[i]


@njit(**FLAGS)
def _grade_jump_kernel(sigma, charge, plan):
    """Return the flags of a jump."""
    strong = charge > 0 and sigma >= plan.strong_sigma
    return np.uint8(JUMP | (STRONG if strong else 0) | (LARGE if charge >= plan.large_e else 0))


@njit(**FLAGS)
def _write_fit_kernel(batch, i, fit):
    """Write rate, read and photon factors of a pixel, chi-square per degree of freedom, and which reads are good."""
    values, n_reads, good = fit
    sums, place, n_good = batch.sums, batch.source[i], batch.sums[2, i]
    inverse, last = batch.pixel[3, i], sums[5, i]
    values[0, place], n_reads[place] = batch.pixel[2, i], sums[3, i]
    values[1, place], values[2, place] = (sums[7, i] + last * last) * inverse**2, sums[8, i] * inverse**2
    values[3, place] = sums[9, i] / batch.pixel[1, i] / (n_good - 1) if n_good > 1 else np.nan
    if n_good == 0:
        values[1:3, place] = 0
    for k in range(good.shape[0]):
        good[k, place] = batch.ramp[2, k, i] < np.inf


@njit(**FLAGS)
def search_jumps(batch, plan, pixels, found, fit, hit):
    """Leave the jumps of the pixels of a batch out, the clearest first, and fit the rest.

    Parameters
    ----------
    batch : Batch
        `ramp`, and in `pixel` r^2 and a rate to begin with, NaN for none.
    plan : Plan
    pixels : ndarray, int64, (2, n_pixel)
    found : ndarray, uint8, (n_difference, ny, nx)
        Filled, unless empty: JUMP, STRONG, LARGE.
    fit : tuple of ndarray
        Filled: (4, n_pixel) rate of eq. (2), its read and photon factors, chi-square per degree of freedom; (n_pixel)
        reads used; (n, n_pixel) True where the difference that ends with a read is good, or
        empty.
    hit : ndarray, bool, (n_pixel)
        Filled: True where a jump was found.
    """
    n_pixel = pixels.shape[1]
    hit[:], batch.source[:n_pixel] = False, np.arange(n_pixel)
    _guess_rates_kernel(batch, n_pixel, _whole_strips_kernel(n_pixel), plan)
    while n_pixel > 0:
        width = _whole_strips_kernel(n_pixel)
        _solve_batch_kernel(batch, width, plan)
        _test_batch_kernel(batch, width, plan)
        for i in range(n_pixel - 1, -1, -1):
            where, sigma, charge, without = _pick_jump_kernel(batch, i, plan)
            if where < 0:
                _write_fit_kernel(batch, i, fit)
                n_pixel -= 1
                _move_pixel_kernel(batch, n_pixel, i)  # the last one that is not done takes its place
                continue
            place = batch.source[i]
            if found.shape[0] > 0:
                difference = plan.groups[where] * plan.n_read + plan.reads[where] - 1
                found[difference, pixels[0, place], pixels[1, place]] = _grade_jump_kernel(sigma, charge, plan)
            hit[place], batch.pixel[2, i] = True, without
            _leave_jump_out_kernel(batch.ramp, i, where, plan)
