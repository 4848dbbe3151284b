"""Photon noise of rates without the feedback of each pixel's own noise on its error.

An error taken from a pixel's own noisy rate is small where the rate came out low and large where it came out high:
over equal pixels of 3 e- noise the pulls get mean -0.1 and width 0.9, and every later inverse-variance weight is
biased. So the rate that enters the variance is shrunk towards the mean of its surroundings as far as these are
uniform within their noise: the local Wiener filter of Lee (1980, IEEE PAMI 2, 165). Where the surroundings have
structure, or the pixel stands out, its own rate is used. Pixels that stand out (warm ones, stars) from the median of
their cell, a square of a fixed grid, are not counted among the surroundings of others.
"""

import numpy as np
from numba import njit, prange

from drs.errors import ReductionError

MIN_PIXELS = 5  # neighbours from which a mean and a scatter mean something
MIN_CELL = 8  # pixels
STANDS_OUT_SIGMA2 = 9.0  # a pixel 3 sigma from its surroundings keeps its own rate


def estimate_poisson_variance(rate, photon_factor, var_rnoise, excluded, *, box_pix):
    """Return the variance by photon noise of each rate.

    Rows of an image may be handled in parts that begin at multiples of `box_pix` and have as many rows more at each
    side, where there are any.

    Parameters
    ----------
    rate : ndarray, float32, (ny, nx)
        e-/s; NaN where there is none.
    photon_factor : ndarray, float32, (ny, nx)
        1/s; variance by photon noise per rate.
    var_rnoise : ndarray, float32, (ny, nx)
        (e-/s)^2; variance by read noise.
    excluded : ndarray, bool, (ny, nx)
        True where a pixel says nothing about its neighbours (hot, bad); it still gets a variance.
    box_pix : int
        Odd width of the box that is the surroundings, and of the cells; 1 uses the pixel's own rate.

    Returns
    -------
    var_poisson : ndarray, float32, (ny, nx)
        (e-/s)^2, >= 0, or NaN.
    """
    images = (rate, photon_factor, var_rnoise)
    if any(image.shape != excluded.shape for image in images):
        raise ValueError(f"images differ in shape: {[image.shape for image in images]}, excluded {excluded.shape}")
    if box_pix < 1 or box_pix % 2 == 0:
        raise ReductionError(f"box_pix is {box_pix}, expected an odd number: 1 is the pixel alone")
    if box_pix == 1:
        return np.maximum(rate, np.float32(0)) * photon_factor
    ordinary, var_poisson = np.zeros(rate.shape, np.bool_), np.empty_like(rate)
    _mark_ordinary_kernel(*images, ~excluded & np.isfinite(rate), box_pix, ordinary)
    _shrink_rate_kernel(*images, ordinary, box_pix // 2, var_poisson)
    return var_poisson


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _mark_ordinary_kernel(rate, photon_factor, var_rnoise, usable, size, ordinary):
    """Mark the usable pixels that are within 3 sigma of the median of their cell."""
    ny, nx = rate.shape
    step = 2 if size > MIN_CELL else 1  # a quarter of a large cell tells its median well enough
    for row in prange((ny + size - 1) // size):
        values = np.empty(size * size, np.float32)
        first, stop = row * size, min(row * size + size, ny)
        for left in range(0, nx, size):
            right, n = min(left + size, nx), 0
            for y in range(first, stop, step):
                for x in range(left, right, step):
                    if usable[y, x]:
                        values[n] = rate[y, x]
                        n += 1
            median = np.median(values[:n]) if n > 0 else np.float32(0)
            for y in range(first, stop):
                for x in range(left, right):
                    noise = var_rnoise[y, x] + photon_factor[y, x] * max(median, 0.0)
                    near = (rate[y, x] - median) ** 2 <= STANDS_OUT_SIGMA2 * noise
                    ordinary[y, x] = usable[y, x] and near


@njit(cache=True, error_model="numpy")
def _add_row_kernel(rate, photon_factor, var_rnoise, usable, sign, columns):
    """Add a row of images to the sums of columns (5, nx): number, rate, rate^2, read variance, photon factor."""
    for x in range(rate.size):
        part = sign if usable[x] else 0.0
        value = np.float64(rate[x]) if usable[x] else 0.0
        columns[0, x] += part
        columns[1, x] += part * value
        columns[2, x] += part * (value * value)
        columns[3, x] += part * (np.float64(var_rnoise[x]) if usable[x] else 0.0)
        columns[4, x] += part * (np.float64(photon_factor[x]) if usable[x] else 0.0)


@njit(cache=True, error_model="numpy")
def _sum_boxes_kernel(columns, half, boxes):
    """Write the sums over the columns x - half to x + half."""
    nx, last = columns.shape[1], columns.shape[1] - 1
    sums = columns[:, : min(half, nx)].sum(axis=1)
    for x in range(nx):
        for term in range(5):
            entering = columns[term, min(x + half, last)] if x + half < nx else 0.0
            leaving = columns[term, max(x - half - 1, 0)] if x > half else 0.0
            sums[term] += entering - leaving
            boxes[term, x] = sums[term]


@njit(cache=True, error_model="numpy")
def _shrink_row_kernel(rate, photon_factor, var_rnoise, boxes, var_poisson):
    """Write the variance by photon noise of a row of pixels, from the sums over their boxes."""
    for x in range(rate.size):
        own, n = np.float64(rate[x]), boxes[0, x]
        others = max(n - 1, 1.0)
        mean = boxes[1, x] / max(n, 1.0)
        light = max(mean, 0.0)
        scatter = max(boxes[2, x] - n * mean * mean, 0.0) / others
        noise = (boxes[3, x] + boxes[4, x] * light) / max(n, 1.0)
        excess = max(scatter - noise * (1 + 2 * np.sqrt(2 / others)), 0.0)
        part = excess / (excess + noise) if excess > 0 else 0.0
        alone = (own - mean) ** 2 > STANDS_OUT_SIGMA2 * (var_rnoise[x] + photon_factor[x] * light)
        estimate = own if alone or n < MIN_PIXELS else mean + part * (own - mean)
        var_poisson[x] = max(estimate, 0.0) * photon_factor[x]


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _shrink_rate_kernel(rate, photon_factor, var_rnoise, usable, half, var_poisson):
    """Write the variance by photon noise of every pixel; the sums of columns go on from row to row within a cell."""
    ny, nx = rate.shape
    size = 2 * half + 1
    for cell in prange((ny + size - 1) // size):
        columns, boxes, first = np.zeros((5, nx)), np.empty((5, nx)), cell * size
        for y in range(max(first - half, 0), min(first + half, ny)):
            _add_row_kernel(rate[y], photon_factor[y], var_rnoise[y], usable[y], 1.0, columns)
        for y in range(first, min(first + size, ny)):
            new, old = y + half, y - half - 1
            if new < ny:
                _add_row_kernel(rate[new], photon_factor[new], var_rnoise[new], usable[new], 1.0, columns)
            if old >= 0 and y > first:
                _add_row_kernel(rate[old], photon_factor[old], var_rnoise[old], usable[old], -1.0, columns)
            _sum_boxes_kernel(columns, half, boxes)
            _shrink_row_kernel(rate[y], photon_factor[y], var_rnoise[y], boxes, var_poisson[y])
