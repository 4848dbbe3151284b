"""Ramps of single pixels: the search for jumps, and fits of ramps with jumps and gaps; formulas of `drs.ramp`."""

import numpy as np
from numba import njit, prange

from drs.chain import JUMP, LARGE, STRONG

BATCH = 64  # pixels whose reads are collected together
SPLIT_SIGMA = 2.0  # a jump within an averaged read is split: its other part beside it is looked for down to this
LEAST_SKEWNESS = 1e-6  # for which photon noise is not taken to be normal
FLAGS = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def fit_pixels(signal_e, read_variance_e2, plan, pixels, guess, *, found=None, excluded=None):
    """Fit some pixels one by one.

    Parameters
    ----------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
    read_variance_e2 : ndarray, float32, (ny, nx)
    plan : Plan
    pixels : tuple of ndarray, (n_pixel)
        y and x.
    guess : ndarray, float32, (ny, nx)
        A rate to begin with; NaN where there is none.
    found : ndarray, uint8, (n_difference, ny, nx), optional
        Filled: JUMP, STRONG, LARGE of the differences that hold a jump.
    excluded : ndarray, bool, (n_difference, ny, nx), optional
        True where the difference that begins with a read is left out.

    Returns
    -------
    fit : list of ndarray, (n_pixel)
        Rate, read factor, photon factor, chi-square (float32), reads used (int32).
    hit : ndarray, bool, (n_pixel)
        True where a jump was found.
    """
    n_pixel, nothing = pixels[0].size, (0, 0, 0)
    values, n_reads = np.zeros((4, n_pixel), np.float32), np.zeros(n_pixel, np.int32)
    masks = np.zeros(nothing, np.uint8) if found is None else found, np.zeros(nothing, np.bool_)
    masks = masks if excluded is None else (masks[0], excluded)
    hit = np.zeros(n_pixel, np.bool_)
    maps = read_variance_e2, np.asarray(guess, np.float32)
    _fit_pixels_kernel(signal_e, maps, plan, masks, np.stack(pixels), values, n_reads, hit)
    return [*values, n_reads], hit


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
def _gather_batch_kernel(signal, plan, excluded, pixels, values, left_out):
    """Collect the reads of some pixels (n_pixel, n), and which differences that end with them are excluded.

    Read by read: neighbours in a row share pages of memory, the reads of one pixel do not.
    """
    before = 0
    for k in range(plan.times.size):
        group, read = plan.groups[k], plan.reads[k]
        place = group * plan.n_read + read
        for i in range(pixels.shape[1]):
            values[i, k] = signal[group, read, pixels[0, i], pixels[1, i]]
            left_out[i, k] = False
        for difference in range(before, place if excluded.shape[0] > 0 else before):
            for i in range(pixels.shape[1]):
                left_out[i, k] |= excluded[difference, pixels[0, i], pixels[1, i]]
        before = place


@njit(**FLAGS)
def _order_pixel_kernel(values, left_out, plan, ramp, good):
    """Write the finite reads of a pixel: times, signals, place in the exposure; say which differences are good."""
    n, joined = 0, True
    for k in range(plan.times.size):
        joined &= (k == 0 or plan.live[k - 1]) and not left_out[k]
        if np.isfinite(values[k]):
            ramp[0, n], ramp[1, n] = plan.times[k], values[k]
            ramp[2, n] = plan.groups[k] * plan.n_read + plan.reads[k]
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
    """Apply eq. (4) to a pixel; return the jump it is most worth to allow, and the sums of eq. (3) and chi-square.

    The jump is its difference (or -1), its sigma, its charge, and the rate without it. Of two good differences,
    which explain chi-square equally well, the greater one holds the jump: charge is added, not taken.
    """
    ratio, rate, bottom = solution
    z, u, q, ends, photons, chi2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    where, best, largest, charge, without = -1, 1.0, 0.0, 0.0, rate
    only, inverse, split = _greater_kernel(ramp, good, n), 1 / bottom, plan.n_average > 1
    for j in range(n - 2, -1, -1):
        p, y, s = ramp[3, j], ramp[4, j], ramp[5, j]
        f, r, before = (ratio * plan.blur - 1) * p, y - rate * s, u
        z, u, q = p * r - f * z, p * s - f * u, p + f * f * q
        ends += (u - before) ** 2
        dt = ramp[0, j + 1] - ramp[0, j]
        photons += u * u * (dt - 2 * plan.blur) + 2 * u * before * plan.blur
        chi2 += p * r * r
        left = max(q - u * u * inverse, plan.left_over * q)
        limit = min(SPLIT_SIGMA, plan.threshold_sigma) if split and ramp[6, j] > 0 else plan.threshold_sigma
        light = max(rate, 0.0) * dt
        noise = variance * left + (plan.flicker * light * left) ** 2  # of z
        if z * z > (best * limit) ** 2 * noise and good[j] and (only < 0 or only == j):
            sigma = _gauss_kernel(z / left, noise / left**2, light)
            if sigma > best * limit:
                where, best, largest, charge = j, sigma / limit, sigma, z / left
                without = rate - u * inverse * charge
    return (where, largest, charge, without), (ends + u * u, photons, chi2 / variance)


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
def _greater_kernel(ramp, good, n):
    """Return which of two good differences has the greater slope; -1 if there are not two."""
    if np.count_nonzero(good[: n - 1]) != 2:
        return -1
    where, slope = -1, 0.0
    for j in range(n - 1):
        if good[j]:
            own = (ramp[1, j + 1] - ramp[1, j]) / (ramp[0, j + 1] - ramp[0, j])
            if where < 0 or own > slope:
                where, slope = j, own
    return where


@njit(**FLAGS)
def _mean_rate_kernel(ramp, good, n):
    """Return the mean slope of the good differences of a pixel."""
    span, total = 0.0, 0.0
    for j in range(n - 1):
        if good[j]:
            span, total = span + ramp[0, j + 1] - ramp[0, j], total + ramp[1, j + 1] - ramp[1, j]
    return total / span


@njit(**FLAGS)
def _search_pixel_kernel(ramp, good, n, rate, variance, plan):
    """Exclude the jumps of a pixel from `good`, the clearest first, and mark them in `ramp`; return the last fit.

    That is the rate of eq. (2), its read and photon factors, and chi-square per degree of freedom.
    """
    ramp[6, :n] = 0  # differences beside a jump
    ramp[7, :n] = 0  # jumps: JUMP, STRONG, LARGE
    n_good = np.count_nonzero(good[: max(n - 1, 0)])
    if n_good == 0:
        return np.nan, 0.0, 0.0, np.nan
    if not np.isfinite(rate):
        mean = _mean_rate_kernel(ramp, good, n)
        _, rate, _ = _solve_pixel_kernel(ramp, good, n, max(mean, 0.0) / variance, plan.blur)
    while True:
        solution = _solve_pixel_kernel(ramp, good, n, max(rate, 0.0) / variance, plan.blur)
        jump, sums = _test_pixel_kernel(ramp, good, n, solution, plan, variance)
        where, sigma, charge, rate = jump
        if where < 0 or n_good < 2:
            _, rate, bottom = solution
            ends, photons, chi2 = sums
            return rate, ends / bottom**2, photons / bottom**2, (chi2 / (n_good - 1) if n_good > 1 else np.nan)
        good[where] = False
        n_good -= 1
        ramp[6, max(where - 1, 0)] = ramp[6, where + 1] = 1
        ramp[7, where] = JUMP | (STRONG if charge > 0 and sigma >= plan.strong_sigma else 0)
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
def _fit_pixel_kernel(values, left_out, guess, variance, plan, work):
    """Fit one pixel; return rate, read factor, photon factor, chi-square and reads used; leave its reads in `work`."""
    ramp, good = work
    n = _order_pixel_kernel(values, left_out, plan, ramp, good)
    read_variance = variance / plan.n_average + plan.rounding_e2
    rate, read_factor, photon_factor, chi2 = _search_pixel_kernel(ramp, good, n, guess, read_variance, plan)
    ramp[7, max(n - 1, 0) :] = 0
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


@njit(**FLAGS)
def _mark_jumps_kernel(ramp, found, y, x):
    """Mark the jumps of a pixel in `found`, where there is one; say whether there are any."""
    hit = False
    for j in range(ramp.shape[1] - 1):
        if ramp[7, j] > 0:
            hit = True
            if found.shape[0] > 0:
                found[np.int64(ramp[2, j + 1]) - 1, y, x] = np.uint8(ramp[7, j])
    return hit


@njit(**FLAGS)
def _fit_batch_kernel(signal, maps, plan, masks, pixels, values, n_reads, hit):
    """Fit the pixels of a batch."""
    n, n_pixel = plan.times.size, pixels.shape[1]
    (variance, guess), (found, excluded) = maps, masks
    reads, left_out = np.empty((n_pixel, n), np.float32), np.empty((n_pixel, n), np.bool_)
    _gather_batch_kernel(signal, plan, excluded, pixels, reads, left_out)
    work = np.empty((8, n), np.float64), np.zeros(n, np.bool_)
    for k in range(n_pixel):
        y, x = pixels[0, k], pixels[1, k]
        result = _fit_pixel_kernel(reads[k], left_out[k], np.float64(guess[y, x]), variance[y, x], plan, work)
        values[0, k], values[1, k], values[2, k], values[3, k], n_reads[k] = result
        hit[k] = _mark_jumps_kernel(work[0], found, y, x)


@njit(parallel=True, nogil=True, **FLAGS)
def _fit_pixels_kernel(signal, maps, plan, masks, pixels, values, n_reads, hit):
    """Fit a list of pixels, in batches."""
    n_pixel = pixels.shape[1]
    for batch in prange((n_pixel + BATCH - 1) // BATCH):
        a, b = batch * BATCH, min(batch * BATCH + BATCH, n_pixel)
        part = pixels[:, a:b], values[:, a:b], n_reads[a:b], hit[a:b]
        _fit_batch_kernel(signal, maps, plan, masks, *part)


@njit(**FLAGS)
def fit_some_of_row(signal, variance, plan, y, alone, fit, found, hit):
    """Fit the pixels of row y where `alone`, soon after their row was fitted: its reads are still in a cache.

    Arguments are those of `drs.ramp_lanes.fit_rows`, but `alone`: ndarray, bool, (nx).
    """
    rate, read_factor, photon_factor, chi_square, n_reads = fit
    xs, masks = np.nonzero(alone)[0], (found, np.zeros((0, 0, 0), np.bool_))
    for start in range(0, xs.size, BATCH):
        pixels = np.empty((2, min(BATCH, xs.size - start)), np.int64)
        pixels[0], pixels[1] = y, xs[start : start + BATCH]
        size = pixels.shape[1]
        values, counts, marks = np.empty((4, size), np.float32), np.empty(size, np.int32), np.empty(size, np.bool_)
        _fit_batch_kernel(signal, (variance, rate), plan, masks, pixels, values, counts, marks)
        for k in range(size):
            x = pixels[1, k]
            rate[y, x], read_factor[y, x] = values[0, k], values[1, k]
            photon_factor[y, x], chi_square[y, x] = values[2, k], values[3, k]
            n_reads[y, x], hit[y, x] = counts[k], marks[k]
