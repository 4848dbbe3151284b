"""Ramps of single pixels: the search for jumps, and fits of ramps with jumps and gaps; formulas of `drs.ramp`."""

import numpy as np
from numba import njit, prange

from drs.chain import JUMP, LARGE, STRONG

SPLIT_SIGMA = 2.0  # a jump within an averaged read is split: its other part beside it is looked for down to this
MODERATE_SIGMA, LARGEST_CORRECTION = 6.0, 0.3  # of the correction for the skewness of photon noise
FLAGS = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def fit_pixels(signal_e, read_variance_e2, plan, pixels, excluded=None):
    """Fit some pixels one by one.

    Parameters
    ----------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
    read_variance_e2 : ndarray, float32, (ny, nx)
    plan : Plan
    pixels : tuple of ndarray, (n_pixel)
        y and x.
    excluded : ndarray, bool, (n_difference, ny, nx), optional
        True where the difference that begins with a read is left out.

    Returns
    -------
    fit : list of ndarray, (n_pixel)
        Rate, read factor, photon factor, chi-square (float32), reads used (int32).
    found : ndarray, uint8, (n_difference, n_pixel)
        JUMP, STRONG, LARGE of the differences that hold a jump.
    """
    n_pixel = pixels[0].size
    values, n_reads = np.zeros((4, n_pixel), np.float32), np.zeros(n_pixel, np.int32)
    found = np.zeros((np.prod(signal_e.shape[:2]) - 1, n_pixel), np.uint8)
    excluded = np.zeros((0, 0, 0), np.bool_) if excluded is None else excluded
    _fit_pixels_kernel(signal_e, read_variance_e2, plan, excluded, np.stack(pixels), values, n_reads, found)
    return [*values, n_reads], found


def weigh_reads(plan):
    """Return the weights of the reads of a whole ramp, its read factor, photon factor and number of reads."""
    weights = np.zeros(plan.times.size)
    if plan.n_coadd < 0:
        ends = np.zeros(plan.times.size, bool)
        ends[1:] |= plan.live
        ends[:-1] |= plan.live
        return weights, 0.0, 0.0, int(ends.sum())
    return weights, *_weigh_reads_kernel(plan.times, plan.live, plan.times.size, plan, weights)


@njit(**FLAGS)
def _gather_pixel_kernel(signal, y, x, plan, excluded, ramp, good):
    """Collect the finite reads of a pixel: times, signals, place in the exposure; say which differences are good."""
    n, joined = 0, True
    for k in range(plan.times.size):
        joined &= k == 0 or plan.live[k - 1]
        place = plan.groups[k] * plan.n_read + plan.reads[k]
        if excluded.shape[0] > 0 and place > 0:
            joined &= not excluded[place - 1, y, x]
        value = signal[plan.groups[k], plan.reads[k], y, x]
        if np.isfinite(value):
            ramp[0, n], ramp[1, n], ramp[2, n] = plan.times[k], value, place
            if n > 0:
                good[n - 1] = joined
            n, joined = n + 1, True
    return n


@njit(**FLAGS)
def _solve_pixel_kernel(ramp, good, n, ratio, blur):
    """Solve eq. (2) for the good differences of a pixel with a rate of `ratio` r^2 in C; leave p, y, s in `ramp`.

    Returns `ratio`, the rate, and r^2 dt^T C^-1 dt.
    """
    top, bottom, p, y, s = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(n - 1):
        if good[j]:
            dt = ramp[0, j + 1] - ramp[0, j]
            e = ratio * blur - 1
            f = e * p
            p = 1 / (2 + ratio * (dt - 2 * blur) - e * f)
            y = ramp[1, j + 1] - ramp[1, j] - f * y
            s = dt - f * s
            top += p * s * y
            bottom += p * s * s
        else:
            p, y, s = 0.0, 0.0, 0.0
        ramp[3, j], ramp[4, j], ramp[5, j] = p, y, s
    return ratio, top / bottom, bottom


@njit(**FLAGS)
def _test_pixel_kernel(ramp, good, n, solution, plan, variance):
    """Apply eq. (4) to a pixel; return the difference most worth a jump (or -1), its sigma and its charge.

    The last three numbers are the sums of eq. (3) and chi-square. Of two good differences, which explain
    chi-square equally well, the greater one is the jump: charge is added, not taken.
    """
    ratio, rate, bottom = solution
    z, u, q, ends, photons, chi2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    where, best, largest, charge, n_good = -1, 1.0, 0.0, 0.0, 0
    for j in range(n - 2, -1, -1):
        p, y, s = ramp[3, j], ramp[4, j], ramp[5, j]
        f, r, before = (ratio * plan.blur - 1) * p, y - rate * s, u
        z, u, q = p * r - f * z, p * s - f * u, p + f * f * q
        ends += (u - before) ** 2
        dt = ramp[0, j + 1] - ramp[0, j]
        photons += u * u * (dt - 2 * plan.blur) + 2 * u * before * plan.blur
        chi2 += p * r * r
        n_good += good[j]
        if not good[j]:
            continue
        left = max(q - u * u / bottom, plan.left_over * q)
        sigma = _gauss_kernel(z / left, variance / left, max(rate, 0.0) * dt)
        beside = plan.n_average > 1 and ramp[6, j] > 0
        gain = sigma / (min(SPLIT_SIGMA, plan.threshold_sigma) if beside else plan.threshold_sigma)
        if gain > best:
            where, best, largest, charge = j, gain, sigma, z / left
    if where >= 0 and n_good == 2:
        for j in range(n - 1):
            if good[j] and j != where and _slope_kernel(ramp, j) > _slope_kernel(ramp, where):
                where = j
    return where, largest, charge, ends + u * u, photons, chi2 / variance


@njit(**FLAGS)
def _gauss_kernel(charge, variance, photons):
    """Return the sigma of a normal deviate that is as rare as this charge, positive or negative.

    Photon noise is skew: charge has third cumulant `photons` (those expected in the difference), so t = charge / its
    deviation is as rare as the normal deviate t - k (t^2 - 1) / 6, with k the skewness (Cornish & Fisher 1938). The
    expansion is for small corrections: beyond MODERATE_SIGMA, where nothing is by chance, it stays what it is there.
    """
    t = charge / np.sqrt(variance)
    moderate = min(abs(t), MODERATE_SIGMA)
    return abs(t - min(photons / variance**1.5 * (moderate * moderate - 1) / 6, LARGEST_CORRECTION * moderate))


@njit(**FLAGS)
def _slope_kernel(ramp, j):
    """Return the slope of one difference of a pixel."""
    return (ramp[1, j + 1] - ramp[1, j]) / (ramp[0, j + 1] - ramp[0, j])


@njit(**FLAGS)
def _search_pixel_kernel(ramp, good, n, variance, plan):
    """Exclude the jumps of a pixel from `good`, the clearest first, and mark them in `ramp`; return the last fit.

    That is the rate of eq. (2), its read and photon factors, and chi-square per degree of freedom.
    """
    ramp[6, :n] = 0  # differences beside a jump
    ramp[7, :n] = 0  # jumps: JUMP, STRONG, LARGE
    while True:
        span, total, n_good = 0.0, 0.0, 0
        for j in range(n - 1):
            if good[j]:
                span, total = span + ramp[0, j + 1] - ramp[0, j], total + ramp[1, j + 1] - ramp[1, j]
                n_good += 1
        if n_good == 0:
            return np.nan, 0.0, 0.0, np.nan
        _, rate, _ = _solve_pixel_kernel(ramp, good, n, max(total / span, 0.0) / variance, plan.blur)
        solution = _solve_pixel_kernel(ramp, good, n, max(rate, 0.0) / variance, plan.blur)
        where, sigma, charge, ends, photons, chi2 = _test_pixel_kernel(ramp, good, n, solution, plan, variance)
        if where < 0 or n_good < 2:
            _, rate, bottom = solution
            chi2 = chi2 / (n_good - 1) if n_good > 1 else np.nan
            return rate, ends / bottom**2, photons / bottom**2, chi2
        good[where] = False
        ramp[6, max(where - 1, 0)] = ramp[6, where + 1] = 1
        ramp[7, where] = JUMP | (STRONG if sigma >= plan.strong_sigma else 0)
        ramp[7, where] += LARGE if charge >= plan.large_e else 0


@njit(**FLAGS)
def _weigh_segment_kernel(times, start, stop, plan, weights):
    """Write the weights of the reads start <= k < stop of a segment; return sum u t, sum u^2, photons, reads used."""
    n, mean = stop - start, 0.0
    coadd = min(plan.n_coadd, n // 2)
    for k in range(start, stop):
        mean += times[k] / n
    norm, squares, photons, cumulated, used = 0.0, 0.0, 0.0, 0.0, 0
    for k in range(start, stop):
        u = times[k] - mean
        if plan.n_coadd > 0:
            u = (1.0 if k >= stop - coadd else 0.0) - (1.0 if k < start + coadd else 0.0)
            u /= coadd
        weights[k] = u
        norm += u * (times[k] - mean)
        squares += u * u
        used += plan.n_coadd == 0 or u != 0
        if k < stop - 1:
            photons += 2 * plan.blur * cumulated * (cumulated + u)
            cumulated += u
            photons += cumulated * cumulated * (times[k + 1] - times[k] - 2 * plan.blur)
    return norm, squares, photons, used


@njit(**FLAGS)
def _weigh_reads_kernel(times, good, n, plan, weights):
    """Write the weights of all reads of ols, mcds or cds; return read factor, photon factor, reads used.

    Segments are combined by the inverse of their variances by read noise, sum u^2 / (sum u t)^2.
    """
    total, read_factor, photon_factor, n_used, start = 0.0, 0.0, 0.0, 0, 0
    weights[:n] = 0
    while start < n:
        stop = start + 1
        while stop < n and good[stop - 1]:
            stop += 1
        if stop - start > 1:
            norm, squares, photons, used = _weigh_segment_kernel(times, start, stop, plan, weights)
            scale = norm / squares
            weights[start:stop] *= scale
            total, n_used = total + scale * norm, n_used + used
            read_factor, photon_factor = read_factor + scale * scale * squares, photon_factor + scale * scale * photons
        start = stop
    if total == 0:
        return 0.0, 0.0, 0
    weights[:n] /= total
    return read_factor / total**2, photon_factor / total**2, n_used


@njit(**FLAGS)
def _fit_pixel_kernel(signal, place, variance, plan, excluded, found):
    """Fit one pixel; return rate, read factor, photon factor, chi-square and reads used; mark jumps in `found`."""
    y, x = place
    ramp, good = np.empty((8, plan.times.size), np.float64), np.zeros(plan.times.size, np.bool_)
    n = _gather_pixel_kernel(signal, y, x, plan, excluded, ramp, good)
    read_variance = variance / plan.n_average + plan.rounding_e2
    rate, read_factor, photon_factor, chi2 = _search_pixel_kernel(ramp, good, n, read_variance, plan)
    for j in range(n - 1):
        if ramp[7, j] > 0:
            found[np.int64(ramp[2, j + 1]) - 1] = np.uint8(ramp[7, j])
    n_used = 0
    if plan.n_coadd < 0:
        for k in range(n):
            n_used += (k > 0 and good[k - 1]) or (k < n - 1 and good[k])
        return rate, read_factor, photon_factor, chi2, n_used
    read_factor, photon_factor, n_used = _weigh_reads_kernel(ramp[0], good, n, plan, ramp[3])
    rate = 0.0
    for k in range(n):
        rate += ramp[3, k] * (ramp[1, k] - ramp[1, 0])
    return rate, read_factor, photon_factor, chi2, n_used


@njit(parallel=True, nogil=True, **FLAGS)
def _fit_pixels_kernel(signal, variance, plan, excluded, pixels, values, n_reads, found):
    """Fit a list of pixels."""
    for k in prange(pixels.shape[1]):
        place, jumps = (pixels[0, k], pixels[1, k]), np.zeros(found.shape[0], np.uint8)
        result = _fit_pixel_kernel(signal, place, variance[place], plan, excluded, jumps)
        values[0, k], values[1, k], values[2, k], values[3, k], n_reads[k] = result
        found[:, k] = jumps
