"""Mean or median of frames pixel by pixel, with outliers clipped by their errors, their scatter or their MAD."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.steepness import take_steepness_kernel

SCALES = {"error": 0, "sigma": 1, "mad": 2}
STATISTICS = {"mean": 0, "median": 1}
MAD_TO_SIGMA = 1.4826
# Variance of the median of n normal values over that of their mean (order statistics, integrated), n from 1; pi / 2
# for many.
MEDIAN_VARIANCE = np.array([1, 1, 1.3461, 1.1923, 1.4341, 1.2880, 1.4725, 1.3448, 1.4937, 1.3822, 1.5070, 1.4087])
ASYMPTOTE = np.pi / 2


class Clipped(NamedTuple):
    """Combined frames, all (ny, nx) but `rejected`, bool (n_frame, ny, nx).

    `value` and `variance` float32 (NaN without input), `weight` float32, `n_used` uint16.
    """

    value: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    n_used: np.ndarray
    rejected: np.ndarray


def find_median(values, minimum=1):
    """Return the median of frames, NaN where fewer than `minimum` have a value.

    Parameters
    ----------
    values : ndarray, float32, (n_frame, ny, nx)
        NaN: no value.
    """
    median = np.empty(values.shape[1:], np.float32)
    _find_median_kernel(values, int(minimum), median)
    return median


def clip_frames(values, variance, weight, *, statistic, scale, clip_sigma, clip_gradient):
    """Return the clipped mean or median of frames.

    In each pixel the frame farthest from the median is rejected while it deviates by more than `clip_sigma` scales
    plus `clip_gradient` times the largest step of the median to one of the eight neighbours, and three frames or more
    are left. The scale is each frame's own error or the frames' median error, whichever is larger (`error`), the
    standard deviation of the values (`sigma`: of n values none can deviate by more than (n - 1) / sqrt(n) of them), or
    1.4826 times their median absolute deviation (`mad`).

    Parameters
    ----------
    values, variance, weight : ndarray, float32, (n_frame, ny, nx)
        Weight 0: no value.
    statistic, scale : str
    clip_sigma, clip_gradient : float
        `clip_sigma` 0 rejects nothing.

    Returns
    -------
    Clipped
        The mean is weighted, the median not; the variance of a median is that of a mean with the factor of normal
        values.
    """
    if values.ndim != 3 or not values.shape == variance.shape == weight.shape:
        raise ValueError(f"shapes {values.shape}, {variance.shape}, {weight.shape}; expected one (n, ny, nx)")
    n, shape = values.shape[0], values.shape[1:]
    median = find_median(np.where(weight > 0, values, np.float32(np.nan)))
    factors = np.full(n + 1, ASYMPTOTE)
    factors[1 : len(MEDIAN_VARIANCE) + 1] = MEDIAN_VARIANCE[:n]
    made = [np.empty(shape, np.float32) for _ in range(3)]
    result = Clipped(*made, np.empty(shape, np.uint16), np.zeros(values.shape, np.bool_))
    choice = STATISTICS[statistic], SCALES[scale], float(clip_sigma), float(clip_gradient)
    _clip_kernel(values, variance, weight, median, factors, choice, tuple(result))
    return result


@njit(cache=True, error_model="numpy")
def _median_kernel(numbers, n):
    """Return the median of the first `n` numbers; their order is changed (few: insertion, many: selection)."""
    if n <= 16:
        for i in range(1, n):
            number, j = numbers[i], i - 1
            while j >= 0 and numbers[j] > number:
                numbers[j + 1] = numbers[j]
                j -= 1
            numbers[j + 1] = number
        return numbers[n // 2] if n % 2 else 0.5 * (numbers[n // 2 - 1] + numbers[n // 2])
    low, high, k = 0, n - 1, n // 2
    while low < high:
        pivot, i, j = numbers[(low + high) // 2], low, high
        while i <= j:
            while numbers[i] < pivot:
                i += 1
            while numbers[j] > pivot:
                j -= 1
            if i <= j:
                numbers[i], numbers[j] = numbers[j], numbers[i]
                i, j = i + 1, j - 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    upper = numbers[k]
    if n % 2:
        return upper
    lower = numbers[0]
    for i in range(1, k):
        lower = max(lower, numbers[i])
    return 0.5 * (lower + upper)


@njit(parallel=True, cache=True, error_model="numpy")
def _find_median_kernel(values, minimum, median):
    """Fill the median; rows are independent."""
    for y in prange(values.shape[1]):
        scratch = np.empty(values.shape[0])
        for x in range(values.shape[2]):
            n = 0
            for k in range(values.shape[0]):
                if not np.isnan(values[k, y, x]):
                    scratch[n] = values[k, y, x]
                    n += 1
            median[y, x] = _median_kernel(scratch, n) if n >= minimum and n > 0 else np.nan


@njit(cache=True, error_model="numpy")
def _scale_kernel(value, kept, middle, scale, scratch):
    """Return the scatter of the kept values: standard deviation (1) or 1.4826 MAD (2)."""
    n, total, square = 0, 0.0, 0.0
    for k in range(value.size):
        if kept[k]:
            scratch[n] = abs(value[k] - middle)
            total, square, n = total + (value[k] - middle), square + (value[k] - middle) ** 2, n + 1
    if scale == 1:
        return np.sqrt(max(square - total * total / n, 0.0) / (n - 1))
    return MAD_TO_SIGMA * _median_kernel(scratch, n)


@njit(cache=True, error_model="numpy")
def _clip_pixel_kernel(value, noise, kept, n, choice, scratch):
    """Reject values of a pixel (in `kept`); return how many are left. `choice`: scale, sigma, tolerance."""
    scale, clip_sigma, tolerance = choice
    while n > 2:
        m = 0
        for k in range(value.size):
            if kept[k]:
                scratch[m] = value[k]
                m += 1
        middle = _median_kernel(scratch, m)
        common = 0.0 if scale == 0 else _scale_kernel(value, kept, middle, scale, scratch)
        worst, excess = -1, 0.0
        for k in range(value.size):
            if kept[k]:
                allowed = clip_sigma * (noise[k] if scale == 0 else common) + tolerance
                over = abs(value[k] - middle) - allowed
                if over > excess:
                    worst, excess = k, over
        if worst < 0:
            break
        kept[worst] = False
        n -= 1
    return n


@njit(parallel=True, cache=True, error_model="numpy")
def _clip_kernel(values, variance, weight, median, factors, choice, result):
    """Fill the result pixel by pixel; rows are independent."""
    statistic, scale, clip_sigma, clip_gradient = choice
    out_value, out_variance, out_weight, n_used, rejected = result
    n_frame = values.shape[0]
    for y in prange(values.shape[1]):
        value, noise, scratch = np.empty(n_frame), np.empty(n_frame), np.empty(n_frame)
        kept = np.empty(n_frame, np.bool_)
        for x in range(values.shape[2]):
            n = 0
            for k in range(n_frame):
                kept[k], value[k] = weight[k, y, x] > 0, values[k, y, x]
                if kept[k]:
                    scratch[n] = variance[k, y, x]
                    n += 1
            if n > 2 and clip_sigma > 0:
                common = _median_kernel(scratch, n)
                for k in range(n_frame):
                    noise[k] = np.sqrt(max(variance[k, y, x], common))
                tolerance = clip_gradient * take_steepness_kernel(median, y, x)
                n = _clip_pixel_kernel(value, noise, kept, n, (scale, clip_sigma, tolerance), scratch)
            total, mean, spread, m = 0.0, 0.0, 0.0, 0
            for k in range(n_frame):
                rejected[k, y, x] = weight[k, y, x] > 0 and not kept[k]
                if kept[k]:
                    w = np.float64(weight[k, y, x])
                    share = 1.0 if statistic == 1 else w
                    total, mean, spread = total + share, mean + share * value[k], spread + share**2 * variance[k, y, x]
                    scratch[m] = value[k]
                    m += 1
            weights = 0.0
            for k in range(n_frame):
                if kept[k]:
                    weights += weight[k, y, x]
            out_weight[y, x], n_used[y, x] = weights, n
            out_value[y, x] = out_variance[y, x] = np.nan
            if n > 0:
                out_value[y, x] = _median_kernel(scratch, m) if statistic == 1 else mean / total
                out_variance[y, x] = spread / total**2 * (factors[n] if statistic == 1 else 1.0)
