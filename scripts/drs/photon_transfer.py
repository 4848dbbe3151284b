"""Photon transfer: gain from the noise of equal flat ramps, read noise from darks.

The photons that arrive between two reads are independent of all others, so that every difference of neighbouring
reads has the variance
    V = M / g + s^2 (p_i^2 + p_{i+1}^2)                                                             (DN^2)
with M its mean in linear DN, g the gain in e-/DN, s the noise of a read, p the slope of the correction of the
non-linearity (Janesick 2007, Photon Transfer, ch. 5; for ramps: Mortara & Fowler 1981, Proc. SPIE 290, 28). V is taken
from the deviations of equal ramps from their mean, so that no pattern of the detector enters; all levels of the ramps
count. Coupling of neighbours (IPC) lowers the variance of a pixel and gives it to covariances, whose sum with the
variance stays (Moore, Ninkov & Forrest 2006, Opt. Eng. 45, 076402): both are measured.
"""

from typing import NamedTuple

import numpy as np

from drs.channels import MAD_TO_SIGMA, clip_mean, find_channels, remove_offsets, shrink_to_channels

CLIP_SIGMA = 5.0  # a deviation beyond is a cosmic ray
CORRELATED = 1.5  # variance of mean squares of neighbouring differences, which share a read, over independent ones
SIGNIFICANT_SIGMA = 5.0  # of a coupling that is corrected for: a false one would spoil the gain


class Transfer(NamedTuple):
    """Sums over the differences of flat ramps; maps (ny, nx), float64.

    `square`: unbiased variances V; `signal`: means M; `slopes`: p_i^2 + p_{i+1}^2; each difference weighs M / V^2, the
    inverse of its variance of the gain; `power`: the variance of `square` by chance;
    `neighbours` (n_channel, 3): sums of the covariances with the next pixel in x and y, and of the variances of the
    pixels that have both; `levels` (2, n_channel, 3): square, signal, slopes of the lower and the upper half of the
    signals.
    """

    square: np.ndarray
    signal: np.ndarray
    slopes: np.ndarray
    power: np.ndarray
    neighbours: np.ndarray
    levels: np.ndarray

    def plus(self, other):
        """Return the sums of both, of the same pixels."""
        return Transfer(*(a + b for a, b in zip(self, other, strict=True)))


def stack_bands(parts):
    """Return the Transfer of a detector from those of its bands."""
    maps = [np.concatenate([getattr(part, name) for part in parts]) for name in Transfer._fields[:4]]
    return Transfer(*maps, sum(part.neighbours for part in parts), sum(part.levels for part in parts))


def measure_differences(signal_dn, slope, good, *, n_channel, middle_dn):
    """Return the Transfer of equal flat ramps in a band of rows.

    Parameters
    ----------
    signal_dn : ndarray, float32, (n_ramp, n_read, ny, nx)
        Linear signals of two or more ramps with the same times; NaN where a read is not usable.
    slope : ndarray, float32, (n_read, ny, nx)
        Derivative of the correction of the non-linearity at the mean read.
    good : ndarray, bool, (ny, nx)
        Pixels to use.
    n_channel : int
    middle_dn : float
        Signal that parts the lower from the upper half.

    Returns
    -------
    Transfer
    """
    n_ramp, n_read, ny, nx = signal_dn.shape
    if n_ramp < 2 or good.shape != (ny, nx) or slope.shape != (n_read, ny, nx):
        raise ValueError(f"signals {signal_dn.shape}, slopes {slope.shape} and pixels {good.shape} do not fit")
    total = _empty((ny, nx), n_channel)
    for read in range(n_read - 1):
        step = signal_dn[:, read + 1] - signal_dn[:, read]
        use = good & np.isfinite(step).all(axis=0)
        if not use.any():
            continue
        upper = float(np.mean(signal_dn[:, read][:, use])) > middle_dn
        slopes = slope[read].astype(np.float64) ** 2 + slope[read + 1].astype(np.float64) ** 2
        total = total.plus(_measure_step(step, use, slopes, n_channel, upper=upper))
    return total


def _empty(shape, n_channel):
    """Return a Transfer of nothing."""
    return Transfer(*(np.zeros(shape) for _ in range(4)), np.zeros((n_channel, 3)), np.zeros((2, n_channel, 3)))


def _measure_step(step, use, slopes, n_channel, *, upper):
    """Return the Transfer of one difference (n_ramp, ny, nx) of all ramps."""
    n_ramp = len(step)
    step = np.where(use, step, np.float32(0))
    mean = step.mean(axis=0)
    power = float((mean.astype(np.float64) ** 2).sum())
    scale = [float((frame.astype(np.float64) * mean).sum()) / power if power > 0 else 1.0 for frame in step]
    deviation = step - np.array(scale, np.float32)[:, np.newaxis, np.newaxis] * mean  # the lamp's level varies
    sigma = max(MAD_TO_SIGMA * float(np.median(np.abs(deviation[:, use]))), 1e-6)
    use = use & (np.abs(deviation) <= 2 * CLIP_SIGMA * sigma).all(axis=0)  # the drift is still in it
    deviation, share = remove_offsets(deviation, np.broadcast_to(use, deviation.shape), n_channel=n_channel)
    kept = use & (np.abs(deviation) <= CLIP_SIGMA * sigma).all(axis=0)
    factor = n_ramp / (n_ramp - 1) / share
    square = np.where(kept, (deviation.astype(np.float64) ** 2 * factor[:, None, None]).mean(axis=0), 0.0)
    n_kept = max(np.count_nonzero(kept), 1)
    typical = max(square.sum() / n_kept, 1e-12)
    weight = max(float(mean[kept].sum(dtype=np.float64)) / n_kept, 0.0) / typical**2
    square, slopes, factor = square * weight, np.where(kept, slopes * weight, 0.0), factor * weight
    signal = np.where(kept, mean.astype(np.float64) * weight, 0.0)
    power = kept * (2.0 * (weight * typical) ** 2 / (n_ramp - 1))
    channel = find_channels(kept.shape[1], n_channel)
    sums = np.stack([_sum_channels(part, channel, n_channel) for part in (square, signal, slopes)], axis=-1)
    levels = np.zeros((2, n_channel, 3))
    levels[int(upper)] = sums
    neighbours = _measure_neighbours(deviation, kept, factor, channel, n_channel)
    return Transfer(square, signal, slopes, power, neighbours, levels)


def _sum_channels(values, channel, n_channel):
    """Return the sum of an image (ny, nx) over each channel."""
    return np.bincount(channel, weights=values.sum(axis=0), minlength=n_channel)


def _measure_neighbours(deviation, kept, factor, channel, n_channel):
    """Return sums (n_channel, 3) of the covariance with the next pixel in x and y, and of the variance.

    The means that were subtracted make the pixels of a row, and those of one parity of a channel, anticorrelated by
    the inverse of their number, which is taken back.
    """
    both = kept[:-1, :-1] & kept[1:, :-1] & kept[:-1, 1:] & (channel[:-1] == channel[1:])
    here = deviation[:, :-1, :-1].astype(np.float64)
    terms = [here * deviation[:, :-1, 1:], here * deviation[:, 1:, :-1], here**2]
    terms = [np.where(both, (term * factor[:, None, None]).mean(axis=0), 0.0) for term in terms]
    n_row = max(float(kept.sum()) / max(np.count_nonzero(kept.any(axis=1)), 1), 1.0)
    n_cell = max(float(kept.sum()) / (2 * n_channel), 1.0)
    in_row, in_cell = terms[2] / n_row, terms[2] / n_cell
    sums = [_sum_channels(term, channel[:-1], n_channel) for term in (terms[0] + in_row, terms[1] + in_cell, terms[2])]
    return np.stack(sums, axis=-1)


class Gain(NamedTuple):
    """Gain of a detector.

    `gain`, `error` float32 (ny, nx), e-/DN; `channels` (n_channel,); `spread` (n_channel,): of the true gains of
    pixels, relative; `coupling`, `coupling_error`: part of a pixel's signal in each neighbour; `is_coupled`: whether it
    was corrected for; `trend`: gain from the upper over that from the lower half of the signals, less 1.
    """

    gain: np.ndarray
    error: np.ndarray
    channels: np.ndarray
    spread: np.ndarray
    coupling: float
    coupling_error: float
    is_coupled: bool
    trend: float


def solve_gain(transfer, noise_dn2, good, *, n_channel):
    """Return the gain of each channel and pixel.

    Parameters
    ----------
    transfer : Transfer
        Of the whole detector.
    noise_dn2 : ndarray, (ny, nx)
        Variance of a read, DN^2.
    good : ndarray, bool, (ny, nx)
    n_channel : int

    Returns
    -------
    Gain
    """
    channel = find_channels(good.shape[1], n_channel)
    known = good & (transfer.signal > 0)
    shot = np.where(known, transfer.square - noise_dn2 * transfer.slopes, 0.0)
    signal = np.where(known, transfer.signal, 0.0)
    raised, coupling, error = _measure_coupling(transfer, noise_dn2, good)
    is_coupled = abs(coupling) > SIGNIFICANT_SIGMA * error
    raised = raised if is_coupled else 1.0
    inverse = _sum_channels(shot, channel, n_channel) / np.maximum(_sum_channels(signal, channel, n_channel), 1e-30)
    inverse *= raised
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(known, shot / signal, np.nan) * raised
        variance = np.where(known, transfer.power / signal**2, np.nan) * raised**2
    shrunk, spread = shrink_to_channels(own, variance, inverse, known, n_channel=n_channel, limit_sigma=np.inf)
    shrunk = np.where(shrunk > 0.1 * inverse[channel], shrunk, inverse[channel])
    chance = _sum_channels(np.where(known, transfer.power, 0.0), channel, n_channel)
    chance /= np.maximum(_sum_channels(shot, channel, n_channel), 1e-30) ** 2
    relative2 = chance[channel] + ((8 * error) ** 2 if is_coupled else 0.0)
    true2 = (spread / np.maximum(inverse, 1e-30))[channel] ** 2
    variance = np.where(known, variance, np.inf) / inverse[channel] ** 2
    left2 = 1.0 / (1.0 / np.maximum(true2, 1e-30) + 1.0 / variance)
    gain = 1.0 / np.maximum(shrunk, 1e-30)
    relative = np.sqrt(relative2 + left2)
    trend = _measure_trend(transfer.levels, _mean_noise(noise_dn2, good))
    channels = 1.0 / np.maximum(inverse, 1e-30)
    facts = (channels, spread / np.maximum(inverse, 1e-30), coupling, error, bool(is_coupled), trend)
    return Gain(gain.astype(np.float32), (gain * relative).astype(np.float32), *facts)


def _mean_noise(noise_dn2, good):
    """Return the mean variance of a read."""
    return float(noise_dn2[good].mean()) if good.any() else 0.0


def _measure_coupling(transfer, noise_dn2, good):
    """Return (factor on the photon variance, coupling to one neighbour, its error).

    To first order a kernel of coupling a has the covariance 2 a V with each of the four neighbours, V that of the
    photons; the noise of reads does not couple.
    """
    in_x, in_y, square = transfer.neighbours.sum(axis=0)
    n_free = 2.0 * transfer.square.sum() ** 2 / max(transfer.power.sum(), 1e-30)
    slopes = transfer.slopes.sum() / max(transfer.square.sum(), 1e-30)
    share = 1.0 - _mean_noise(noise_dn2, good) * slopes  # of the variance that photons make
    if not square > 0 or n_free < 1 or not share > 0:
        return 1.0, 0.0, np.inf
    correlation = (in_x + in_y) / 2 / square / share
    error = 1.0 / np.sqrt(2 * n_free) / share
    # the whole variance is (1 + 4 correlation) of the pixel's own, which has lost 8 a of it
    return 1.0 + 4.0 * correlation, correlation / (2.0 + 8.0 * correlation), error / 2.0


def _measure_trend(levels, noise_dn2):
    """Return the gain from the upper half of the signals over that from the lower, less 1; NaN without one of them."""
    square, signal, slopes = np.moveaxis(levels.sum(axis=1), -1, 0)
    shot = square - noise_dn2 * slopes
    if not ((shot > 0) & (signal > 0)).all():
        return float("nan")
    low, high = signal / shot
    return float(high / low - 1.0)


class Noise(NamedTuple):
    """Noise of a read in a band of rows: `variance` (DN^2) and `number` (differences), float64, (ny, nx).

    `up`, `down`: differences that lie more than CLIP_SIGMA above and below the others, (ny, nx).
    """

    variance: np.ndarray
    number: np.ndarray
    up: np.ndarray
    down: np.ndarray


def measure_noise(ramps, good, *, n_channel, inverse_gain):
    """Return the noise of a read of each pixel, from the differences of neighbouring reads of darks.

    Parameters
    ----------
    ramps : list of (reads, times_s)
        reads_dn (n_group, n_read, ny, nx) with n_read >= 3, and their times (n_group, n_read).
    good : ndarray, bool, (ny, nx)
        Pixels that define rows and channels.
    n_channel : int
    inverse_gain : float
        DN per electron, for the photon noise of the dark current.

    Returns
    -------
    Noise
    """
    steps, spans = [], []
    for reads_dn, times_s in ramps:
        steps += list(np.diff(reads_dn.astype(np.float32), axis=1).reshape(-1, *good.shape))
        spans += list(np.diff(times_s, axis=1).ravel())
    steps, spans = np.stack(steps), np.array(spans, np.float32)[:, np.newaxis, np.newaxis]
    rate = np.median(steps / spans, axis=0)
    deviation = steps - rate * spans
    sigma = np.float32(max(MAD_TO_SIGMA * float(np.median(np.abs(deviation[:, good]))) if good.any() else 0.0, 1e-3))
    own = np.float32(MAD_TO_SIGMA) * np.median(np.abs(deviation), axis=0)
    calm = good & (own < 2 * sigma)
    _, share, deviation = _remove_all(deviation, calm & (np.abs(deviation) <= 2 * CLIP_SIGMA * sigma), n_channel)
    far = CLIP_SIGMA * np.where(own < 2 * sigma, sigma, own)  # many jumps widen a pixel's own scatter, but not twice
    up, down = (deviation > far).sum(axis=0), (deviation < -far).sum(axis=0)
    kept = np.abs(deviation) <= CLIP_SIGMA * np.maximum(own, sigma)
    number = kept.sum(axis=0).astype(np.float64)
    counted = np.where(kept, deviation, 0).astype(np.float64)
    centre = counted.sum(axis=0) / np.maximum((kept * spans).sum(axis=0), 1e-30)
    square = (np.where(kept, deviation - centre * spans, 0).astype(np.float64) ** 2).sum(axis=0)
    photons = np.maximum(rate, 0) * (kept * spans).sum(axis=0) * inverse_gain
    mean_reads = len(steps) / sum(len(reads) for reads, _ in ramps)
    variance = (square / np.where(calm, share.mean(), 1.0) - photons) / (2.0 * np.maximum(number - 1 / mean_reads, 1.0))
    return Noise(np.where(number > 1, np.maximum(variance, 0.0), np.nan), number, up, down)


def _remove_all(deviation, use, n_channel):
    """Return (cleaned where in use, share left, all deviations less the same offsets)."""
    cleaned, share = remove_offsets(deviation, use, n_channel=n_channel)
    offsets = np.where(use, deviation - cleaned, 0)
    n, ny, nx = deviation.shape
    cell = (n, ny, n_channel, nx // n_channel // 2, 2)
    weight = use.reshape(cell)
    # a row's offset in a cell is the same for all its pixels: the mean of those in use is that of the others
    mean = offsets.reshape(cell).sum(axis=3) / np.maximum(weight.sum(axis=3), 1)
    spread = np.broadcast_to(mean[:, :, :, np.newaxis], cell).reshape(deviation.shape)
    return cleaned, share, deviation - spread


def solve_noise(noise, good, *, n_channel):
    """Return the variance of a read of each pixel, shrunk towards its channel; and that of the channels, DN^2.

    Parameters
    ----------
    noise : Noise
        Of the whole detector.
    good : ndarray, bool, (ny, nx)
    n_channel : int

    Returns
    -------
    variance_dn2, error_dn2 : ndarray, float64, (ny, nx)
    channels_dn2 : ndarray, (n_channel,)
    """
    channel = find_channels(good.shape[1], n_channel)
    known = good & np.isfinite(noise.variance)
    channels = np.array([clip_mean(noise.variance[known & (channel == k)], clip_sigma=6.0) for k in range(n_channel)])
    relative = 2.0 * CORRELATED / np.maximum(noise.number, 1.0)
    variance = channels[channel] ** 2 * relative
    shrunk, spread = shrink_to_channels(noise.variance, variance, channels, known, n_channel=n_channel)
    spread2 = spread[channel] ** 2
    error = np.sqrt(np.where(known, spread2 * variance / np.maximum(spread2 + variance, 1e-30), spread2))
    return np.maximum(shrunk, 1.0 / 12.0), error, channels
