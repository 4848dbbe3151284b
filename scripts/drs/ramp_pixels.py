"""Ramps of single pixels: fits of ramps with jumps and gaps; formulas of `drs.ramp`."""

import numpy as np
from numba import njit, prange

from drs.ramp_search import make_batch, order_reads, search_jumps

FLAGS = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def fit_pixels(signal_e, read_variance_e2, plan, pixels, guess, *, found=None, excluded=None):
    """Fit some pixels, in batches.

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
    _fit_pixels_kernel(signal_e, maps, plan, masks, np.stack(pixels), (values, n_reads), hit)
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
def _gather_reads_kernel(signal, plan, pixels, reads):
    """Collect the reads of some pixels, (n, n_pixel) and NaN beyond.

    Read by read: neighbours in a row share pages of memory, the reads of one pixel do not.
    """
    for k in range(plan.times.size):
        group, read = plan.groups[k], plan.reads[k]
        for i in range(pixels.shape[1]):
            reads[k, i] = signal[group, read, pixels[0, i], pixels[1, i]]
        reads[k, pixels.shape[1] :] = np.nan


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
def _apply_weights_kernel(reads, good, plan, work):
    """Return rate, read factor, photon factor and reads used of a pixel by ols, mcds or cds."""
    (times, signals, weights), joined = work
    n = 0
    for k in range(plan.times.size):
        if np.isfinite(reads[k]):
            times[n], signals[n] = plan.times[k], reads[k]
            if n > 0:
                joined[n - 1] = good[k]
            n += 1
    read_factor, photon_factor, n_used = _weigh_reads_kernel(times, joined, n, plan, weights)
    rate = 0.0
    for k in range(n):
        rate += weights[k] * (signals[k] - signals[0])
    return rate, read_factor, photon_factor, n_used


@njit(**FLAGS)
def _fit_batch_kernel(signal, maps, plan, masks, pixels, batch, fit, hit):
    """Fit the pixels of a batch: values (4, n_pixel) and reads used."""
    n, n_pixel = plan.times.size, pixels.shape[1]
    (variance, guess), (found, excluded), (values, n_reads) = maps, masks, fit
    _gather_reads_kernel(signal, plan, pixels, batch.reads)
    order_reads(excluded, plan, pixels, batch)
    for i in range(n_pixel):
        y, x = pixels[0, i], pixels[1, i]
        batch.pixel[1, i], batch.pixel[2, i] = variance[y, x] / plan.n_average + plan.rounding_e2, guess[y, x]
    good = np.empty((n if plan.n_coadd >= 0 else 0, n_pixel), np.bool_)  # the likelihood's fit is that of the search
    search_jumps(batch, plan, pixels, found, (values, n_reads, good), hit)
    if plan.n_coadd >= 0:
        work = np.empty((3, n)), np.empty(n, np.bool_)
        for i in range(n_pixel):
            result = _apply_weights_kernel(batch.reads[:, i], good[:, i], plan, work)
            values[0, i], values[1, i], values[2, i], n_reads[i] = result


@njit(parallel=True, nogil=True, **FLAGS)
def _fit_pixels_kernel(signal, maps, plan, masks, pixels, fit, hit):
    """Fit a list of pixels, in batches."""
    n_pixel = pixels.shape[1]
    values, n_reads = fit
    precise = np.zeros(0)  # for ramps of any length
    size = make_batch(plan.times.size, precise).source.size
    for part in prange((n_pixel + size - 1) // size):
        a, b = part * size, min(part * size + size, n_pixel)
        batch, own = make_batch(plan.times.size, precise), (values[:, a:b], n_reads[a:b])
        _fit_batch_kernel(signal, maps, plan, masks, pixels[:, a:b], batch, own, hit[a:b])


@njit(**FLAGS)
def fit_some_of_rows(signal, variance, plan, first, alone, fit, found, hit):
    """Fit the pixels where `alone`, soon after their rows were fitted: their reads are still in a cache.

    Arguments are those of `drs.ramp_lanes.fit_rows`, but `alone`: ndarray, bool, (n_row, nx), of rows from `first` on.
    """
    rate, read_factor, photon_factor, chi_square, n_reads = fit
    (ys, xs), masks = np.nonzero(alone), (found, np.zeros((0, 0, 0), np.bool_))
    batch = make_batch(plan.times.size, rate)
    for start in range(0, xs.size, batch.source.size):
        size = min(batch.source.size, xs.size - start)
        pixels = np.empty((2, size), np.int64)
        pixels[0], pixels[1] = first + ys[start : start + size], xs[start : start + size]
        values, counts, marks = np.empty((4, size), np.float32), np.empty(size, np.int32), np.empty(size, np.bool_)
        _fit_batch_kernel(signal, (variance, rate), plan, masks, pixels, batch, (values, counts), marks)
        for k in range(size):
            y, x = pixels[0, k], pixels[1, k]
            rate[y, x], read_factor[y, x] = values[0, k], values[1, k]
            photon_factor[y, x], chi_square[y, x] = values[2, k], values[3, k]
            n_reads[y, x], hit[y, x] = counts[k], marks[k]
