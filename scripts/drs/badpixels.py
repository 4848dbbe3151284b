"""Bad pixels: hot, warm, dead, insensitive, noisy and telegraph pixels, by robust statistics of each channel.

The rule is that of the team's design document: what stands out by 10 to 20 sigma of its kind is bad.
"""

import numpy as np
from scipy.ndimage import median_filter

from drs.channels import find_channels, measure_scatter
from drs.dq import Flag

BOX_PIX = 7  # surroundings of a pixel, without glow and vignetting
MIN_JUMPS = 3  # of a telegraph pixel, one or more of them downwards: cosmic rays only go up


def subtract_surroundings(values, active):
    """Return values (ny, nx) less the median of their surroundings, NaN where there is no value or not `active`."""
    rows, columns = np.flatnonzero(active.any(axis=1)), np.flatnonzero(active.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    known = np.isfinite(values) & active
    filled = np.where(known, values, np.median(values[known]) if known.any() else 0.0)[box]
    local = np.full(values.shape, np.nan)
    local[box] = median_filter(filled, size=BOX_PIX, mode="nearest")
    return np.where(known, values - local, np.nan), local


def find_hot(rate, error, active, *, n_channel, threshold_sigma, hot_minimum_e_per_s):
    """Return flags of pixels of high dark rate: HOT and DO_NOT_USE above a rate, WARM below.

    Parameters
    ----------
    rate, error : ndarray, (ny, nx)
        Dark rate and its error, e-/s.
    active : ndarray, bool, (ny, nx)
        Pixels that see light; one of these without a rate is HOT: it was full from the start.
    n_channel : int
    threshold_sigma : float
        Of the scatter of the channel and of the pixel's own error, added in quadrature.
    hot_minimum_e_per_s : float
    """
    excess, _ = subtract_surroundings(rate, active)
    sigma = np.hypot(_spread_scatter(excess, active, n_channel), error)
    with np.errstate(invalid="ignore"):
        high = excess > threshold_sigma * sigma
        hot = (high & (rate > hot_minimum_e_per_s)) | (active & ~np.isfinite(rate))
    return np.where(hot, HOT, np.where(high, np.uint32(Flag.WARM), np.uint32(0)))


HOT, DEAD = np.uint32(Flag.HOT | Flag.DO_NOT_USE), np.uint32(Flag.DEAD | Flag.DO_NOT_USE)


def _spread_scatter(values, active, n_channel):
    """Return the robust scatter of each channel at the place of each column, (nx,)."""
    channel = find_channels(values.shape[1], n_channel)
    scatter = np.empty(n_channel)
    for k in range(n_channel):
        here = values[:, channel == k]
        scatter[k] = measure_scatter(here[active[:, channel == k] & np.isfinite(here)])[1]
    return scatter[channel]


def find_dead(light, active, *, dead_response, low_response):
    """Return flags of pixels that see little light: DEAD and DO_NOT_USE, or LOW_QE.

    Parameters
    ----------
    light : ndarray, (ny, nx)
        Rate under a lamp, less the dark.
    active : ndarray, bool, (ny, nx)
    dead_response, low_response : float
        Response over that of the surroundings.
    """
    excess, local = subtract_surroundings(light, active)
    with np.errstate(invalid="ignore", divide="ignore"):
        response = 1.0 + excess / local
        dead, low = response < dead_response, response < low_response
    return np.where(dead, DEAD, np.where(low, np.uint32(Flag.LOW_QE), np.uint32(0)))


def find_noisy(variance_dn2, number, active, *, n_channel, threshold_sigma):
    """Return flags (UNRELIABLE_SLOPE) of pixels of high read noise.

    Parameters
    ----------
    variance_dn2, number : ndarray, (ny, nx)
        Of a read, and the differences of reads that tell it.
    active : ndarray, bool, (ny, nx)
    n_channel : int
    threshold_sigma : float
        Of the scatter of the variances in the channel.
    """
    channel = find_channels(active.shape[1], n_channel)
    noisy = np.zeros(active.shape, bool)
    for k in range(n_channel):
        columns = channel == k
        here, known = variance_dn2[:, columns], active[:, columns] & np.isfinite(variance_dn2[:, columns])
        median, sigma = measure_scatter(here[known])
        noisy[:, columns] = known & (here > median + threshold_sigma * sigma)
    return np.where(noisy & (number > 2), np.uint32(Flag.UNRELIABLE_SLOPE), np.uint32(0))


def find_telegraph(up, down, active):
    """Return flags of pixels whose reads jump between levels: TELEGRAPH and DO_NOT_USE.

    Parameters
    ----------
    up, down : ndarray of integers, (ny, nx)
        Differences of reads that are far above and far below the others of their pixel.
    active : ndarray, bool, (ny, nx)
    """
    jumps = active & (down > 0) & (up > 0) & (up + down >= MIN_JUMPS)
    return np.where(jumps, np.uint32(Flag.TELEGRAPH | Flag.DO_NOT_USE), np.uint32(0))
