"""Combine frames pixel by pixel: clipped weighted mean with its variance, and what was rejected."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange


class Stack(NamedTuple):
    """Combined frames, all (ny, nx).

    `value` float32 (NaN without input), `variance` float32, `weight` float32 (sum of the weights used), `n_used`
    uint16, `outlier` bool (at least one frame was rejected).
    """

    value: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    n_used: np.ndarray
    outlier: np.ndarray


def combine_stack(values, variance, unusable, *, clip_sigma, weights=None, tolerance=None):
    """Return the clipped mean of n frames.

    In each pixel the frame farthest from the median is rejected while it deviates by more than
    `clip_sigma` noise + `tolerance` and at least three frames are left. The noise of a frame is the larger of its
    own and the frames' median error, so that a noisy estimate of a small error rejects nothing. Weights belong
    to whole frames: weights made from a pixel's own error would follow its noise and bias the mean.

    Parameters
    ----------
    values, variance : ndarray, float32, (n_frame, ny, nx)
    unusable : ndarray, bool, (n_frame, ny, nx)
        True where a frame has no value.
    clip_sigma : float
        Rejection threshold; 0 rejects nothing.
    weights : ndarray, (n_frame,) or (n_frame, ny, nx), optional
        For example exposure times in s; default 1.
    tolerance : ndarray, float32, (ny, nx), optional
        Deviation that is allowed on top of the noise, where frames differ for reasons other than noise.

    Returns
    -------
    Stack
    """
    shape = values.shape
    if values.ndim != 3 or variance.shape != shape or unusable.shape != shape:
        raise ValueError(f"frames have shapes {shape}, {variance.shape}, {unusable.shape}; expected one (n, ny, nx)")
    weights = np.ones(shape[0]) if weights is None else np.asarray(weights)
    if weights.ndim == 1:
        weights = np.broadcast_to(weights[:, None, None], shape)
    tolerance = np.zeros(shape[1:]) if tolerance is None else tolerance
    result = Stack(
        np.empty(shape[1:], np.float32),
        np.empty(shape[1:], np.float32),
        np.empty(shape[1:], np.float32),
        np.empty(shape[1:], np.uint16),
        np.empty(shape[1:], np.bool_),
    )
    _combine_pixels_kernel(
        values.astype(np.float32, copy=False),
        variance.astype(np.float32, copy=False),
        unusable,
        weights.astype(np.float32, copy=False),
        tolerance.astype(np.float32, copy=False),
        np.float32(clip_sigma),
        result,
    )
    return result


@njit(cache=True, nogil=True)
def _median_kernel(numbers, n):
    """Return the median of the first `n` numbers; sorts them in place (insertion: n is small)."""
    for i in range(1, n):
        number, j = numbers[i], i - 1
        while j >= 0 and numbers[j] > number:
            numbers[j + 1] = numbers[j]
            j -= 1
        numbers[j + 1] = number
    return numbers[n // 2] if n % 2 else 0.5 * (numbers[n // 2 - 1] + numbers[n // 2])


@njit(cache=True, nogil=True)
def _farthest_kernel(value, noise, kept, median, allowed):
    """Return (frame, excess) of the kept frame farthest outside `allowed` [sigma, tolerance]; -1 if none is."""
    worst, excess = -1, 0.0
    for k in range(value.size):
        if kept[k]:
            over = abs(value[k] - median) - allowed[0] * noise[k] - allowed[1]
            if over > excess:
                worst, excess = k, over
    return worst


@njit(parallel=True, cache=True, nogil=True)
def _combine_pixels_kernel(values, variance, unusable, weights, tolerance, clip_sigma, result):
    """Fill `result` pixel by pixel; rows are independent, so the outcome does not depend on threads."""
    n_frame, ny, nx = values.shape
    out_value, out_variance, out_weight, n_used, outlier = result
    for y in prange(ny):
        value, noise, scratch = np.empty(n_frame), np.empty(n_frame), np.empty(n_frame)
        kept = np.empty(n_frame, np.bool_)
        allowed = np.empty(2)
        for x in range(nx):
            n = 0
            for k in range(n_frame):
                kept[k] = not unusable[k, y, x]
                value[k] = values[k, y, x]
                if kept[k]:
                    scratch[n] = variance[k, y, x]
                    n += 1
            outlier[y, x] = False
            if n > 2 and clip_sigma > 0:
                common = _median_kernel(scratch, n)
                for k in range(n_frame):
                    noise[k] = np.sqrt(max(variance[k, y, x], common))
                allowed[0], allowed[1] = clip_sigma, tolerance[y, x]
                while n > 2:
                    m = 0
                    for k in range(n_frame):
                        if kept[k]:
                            scratch[m] = value[k]
                            m += 1
                    worst = _farthest_kernel(value, noise, kept, _median_kernel(scratch, m), allowed)
                    if worst < 0:
                        break
                    kept[worst] = False
                    outlier[y, x] = True
                    n -= 1
            total, mean, spread = 0.0, 0.0, 0.0
            for k in range(n_frame):
                if kept[k]:
                    w = weights[k, y, x]
                    total += w
                    mean += w * value[k]
                    spread += w * w * variance[k, y, x]
            n_used[y, x] = n
            out_weight[y, x] = total
            result.weight[y, x] = total
            out_value[y, x] = mean / total if total > 0 else np.nan
            out_variance[y, x] = spread / (total * total) if total > 0 else np.nan
