"""Outliers of an image against the median of all images, looked up where its pixels fall: blot and derivative."""

import numpy as np
from numba import njit, prange

from drs.steepness import AROUND, take_steepness_kernel

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
# The core of a star whose median is known at some of its pixels only is up to 5 steps above what the others say.
GUESS = 5.0
# Linear interpolation spreads light by 1/6 pixel^2 along each axis in the mean of all phases: taken back by half that
# part of the second derivative.
SMOOTHING = 1 / 12
# Errors of that: parts of the largest step and of what is taken back. Fluxes of bright stars have chi-square 0.9 .. 1.2
# with them, at FWHM of 1.8 and 2.6 pixels and with 0.3 % of bad pixels.
STEP_ERROR, SMOOTHING_ERROR = 0.03, 1.0
LEAST_AROUND = 6  # of the eight pixels around a lost one: wider gaps are no dead pixels but no part of the image


def blot(median, places, first):
    """Return the median image where the pixels of an image fall: cubic convolution (Keys 1981, IEEE ASSP 29, 1153).

    Not below the nearest four pixels, as a cubic is beside a steep star.

    Parameters
    ----------
    median : ndarray, float32, (rows, columns)
        Rows of the median from row `first` on; NaN where it says nothing.
    places : ndarray, float64, (2, n_row, nx)
        x and y on the grid of the median.
    first : int

    Returns
    -------
    blotted : ndarray, float32, (n_row, nx)
        Where some of the sixteen pixels are NaN, the linear mean of those of the nearest four that are not; NaN
        without any.
    guessed : ndarray, bool, (n_row, nx)
        Where some are NaN.
    """
    blotted, guessed = np.empty(places.shape[1:], np.float32), np.empty(places.shape[1:], np.bool_)
    _blot_kernel(median, places, int(first), blotted, guessed)
    return blotted, guessed


def find_outliers(frame, median, *, clip_sigma, clip_gradient, neighbour_sigma):
    """Return True where an image is not what the median of all images says.

    A pixel is rejected where it differs from the blotted median by more than `clip_sigma` errors plus
    `clip_gradient` times the derivative, the largest step of the blotted median to one of the eight neighbours (after
    Gonzaga et al. 2012, The DrizzlePac Handbook, 4.2.5, of four): images of different dither, seeing and sub-pixel
    smoothing differ in the cores of stars by a part of it, by 0.79 at most where the FWHM is 1.8 pixels. Where the
    median is guessed the derivative counts 5 times. The four neighbours of a rejected pixel are rejected from
    `neighbour_sigma` on. An error counts as at least the median error, so that a noisy estimate rejects nothing.

    Parameters
    ----------
    frame : tuple
        `values`, `variance`, float32, and `usable`, bool, (n_row, nx).
    median : tuple
        `blotted`, float32 (NaN: no judgement), and `guessed`, bool, (n_row, nx), of `blot`.
    clip_sigma, clip_gradient, neighbour_sigma : float
        `clip_sigma` 0 rejects nothing.

    Returns
    -------
    ndarray, bool, (n_row, nx)
        Right for all rows but the two at either end that are no ends of the image.
    """
    shapes = {plane.shape for plane in (*frame, *median)}
    if len(shapes) > 1:
        raise ValueError(f"shapes {', '.join(map(str, shapes))} differ")
    values, variance, usable = frame
    if not clip_sigma:
        return np.zeros(values.shape, bool)
    excess = np.empty(values.shape, np.float32)
    limits = float(clip_gradient), min(float(clip_sigma), float(neighbour_sigma))
    _measure_excess_kernel(values, variance, usable, tuple(median), limits, excess)
    outlier = np.empty(values.shape, bool)
    _mark_kernel(excess, float(clip_sigma), float(neighbour_sigma), outlier)
    return outlier


def estimate_lost(median, lost, *, noise2, n_frame):
    """Return what the median of all images says of pixels that an image has lost: values, variance and where.

    An image without a pixel in a star samples it in other phases than all do: the mosaic has another mean there than
    the sum of the star asks for, by many errors where it is bright. With the median in place of the pixel, and the
    rest of the image as measured, less is lost. Nothing is estimated where the median is guessed or the gap is wide.

    Parameters
    ----------
    median : tuple
        Of `blot`.
    lost : ndarray, bool, (n_row, nx)
    noise2 : float
        Variance of a pixel of blank sky.
    n_frame : int
        Images of which the median is made.

    Returns
    -------
    values, variance : ndarray, float32, (n_row, nx)
        0 where nothing is estimated. With this variance, taken as independent, the mean of all images has that of the
        mean of the others; and the error of the estimate besides.
    estimated : ndarray, bool, (n_row, nx)
    """
    blotted, guessed = median
    estimated = np.zeros(lost.shape, np.bool_)
    values, variance = np.zeros(lost.shape, np.float32), np.zeros(lost.shape, np.float32)
    noise2 = noise2 * (2 * n_frame - 1) / (n_frame - 1)
    _estimate_kernel(blotted, lost, guessed, noise2, (values, variance, estimated))
    return values, variance, estimated


@njit(parallel=True, cache=True, error_model="numpy")
def _estimate_kernel(blotted, lost, guessed, noise2, made):
    """Fill values, variances and where they are estimated; rows are independent."""
    values, variance, estimated = made
    ny, nx = blotted.shape
    for y in prange(ny):
        for x in range(nx):
            if not lost[y, x] or guessed[y, x]:
                continue
            n = 0
            for dy, dx in AROUND:
                n += 0 <= y + dy < ny and 0 <= x + dx < nx and not lost[y + dy, x + dx]
            if n < LEAST_AROUND:
                continue
            bend = 0.0
            for dy, dx in NEIGHBOURS:
                if 0 <= y + dy < ny and 0 <= x + dx < nx and not np.isnan(blotted[y + dy, x + dx]):
                    bend += blotted[y + dy, x + dx] - blotted[y, x]
            sharpening, step = SMOOTHING * bend, take_steepness_kernel(blotted, y, x)
            estimated[y, x], values[y, x] = True, blotted[y, x] - sharpening
            variance[y, x] = noise2 + (STEP_ERROR * step) ** 2 + (SMOOTHING_ERROR * sharpening) ** 2


@njit(cache=True, error_model="numpy")
def _weigh_kernel(t, weights):
    """Fill the weights of four neighbouring pixels (Keys' cubic convolution, a = -1/2)."""
    weights[0] = t * (-0.5 + t * (1.0 - 0.5 * t))
    weights[1] = 1.0 + t * t * (-2.5 + 1.5 * t)
    weights[2] = t * (0.5 + t * (2.0 - 1.5 * t))
    weights[3] = t * t * (-0.5 + 0.5 * t)


@njit(cache=True, error_model="numpy")
def _blend_kernel(median, corner, part):
    """Return the linear mean of those of four pixels that have a value; NaN without any."""
    total, weight = 0.0, 0.0
    for b in range(2):
        for a in range(2):
            y, x = min(corner[0] + b, median.shape[0] - 1), min(corner[1] + a, median.shape[1] - 1)
            w = (part[0] if b else 1.0 - part[0]) * (part[1] if a else 1.0 - part[1])
            if w > 0.0 and not np.isnan(median[y, x]):
                total, weight = total + w * median[y, x], weight + w
    return total / weight


@njit(parallel=True, cache=True, error_model="numpy")
def _blot_kernel(median, places, first, blotted, guessed):
    """Fill the blotted image and where it is guessed; rows are independent."""
    ny, nx = median.shape
    for y in prange(places.shape[1]):
        along, across = np.empty(4), np.empty(4)
        for x in range(places.shape[2]):
            u, v = places[0, y, x], places[1, y, x]
            blotted[y, x], guessed[y, x] = np.nan, True
            i, j = int(np.floor(u)), int(np.floor(v))
            s, t = u - i, v - j
            j -= first
            if i < 0 or j < 0 or i > nx - 1 or j > ny - 1:
                continue
            if i > 0 and j > 0 and i < nx - 2 and j < ny - 2:
                _weigh_kernel(s, along)
                _weigh_kernel(t, across)
                total, least = 0.0, np.inf
                for b in range(4):
                    for a in range(4):
                        total += across[b] * along[a] * median[j - 1 + b, i - 1 + a]
                        if 0 < a < 3 and 0 < b < 3:
                            least = min(least, median[j - 1 + b, i - 1 + a])
                if total < least:  # as no star does; not where one is NaN
                    total = least
                blotted[y, x], guessed[y, x] = total, np.isnan(total)
            if guessed[y, x]:
                blotted[y, x] = _blend_kernel(median, (j, i), (t, s))


@njit(parallel=True, cache=True, error_model="numpy")
def _measure_excess_kernel(values, variance, usable, median, limits, excess):
    """Fill how far each pixel is from the blotted median beyond the tolerance of its gradient, in errors.

    `limits`: the part of the gradient, and the least distance in errors that is looked at; 0 below.
    """
    (blotted, guessed), (clip_gradient, least) = median, limits
    ny, nx = values.shape
    for y in prange(ny):
        for x in range(nx):
            excess[y, x] = 0.0
            difference = abs(values[y, x] - blotted[y, x])
            if not usable[y, x] or not difference**2 > least**2 * variance[y, x]:  # nor where the median is NaN
                continue
            tolerance = clip_gradient * take_steepness_kernel(blotted, y, x) * (GUESS if guessed[y, x] else 1.0)
            excess[y, x] = (difference - tolerance) / np.sqrt(variance[y, x])


@njit(parallel=True, cache=True, error_model="numpy")
def _mark_kernel(excess, clip_sigma, neighbour_sigma, outlier):
    """Fill the outliers: above `clip_sigma`, or beside such a one above `neighbour_sigma`."""
    ny, nx = excess.shape
    for y in prange(ny):
        for x in range(nx):
            outlier[y, x] = excess[y, x] > clip_sigma
            if outlier[y, x] or not excess[y, x] > neighbour_sigma:
                continue
            for dy, dx in NEIGHBOURS:
                if 0 <= y + dy < ny and 0 <= x + dx < nx and excess[y + dy, x + dx] > clip_sigma:
                    outlier[y, x] = True
