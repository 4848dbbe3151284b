"""Bias: the level of every pixel right after the reset, its error, and the noise of the reset (kTC)."""

from typing import NamedTuple

import numpy as np

from drs.channels import MAD_TO_SIGMA, remove_offsets

N_ROUND = 2


class Bias(NamedTuple):
    """Bias of a band: `level_dn`, `error_dn` float32 (ny, nx); `number` of frames used; `variance_dn2` of a frame."""

    level_dn: np.ndarray
    error_dn: np.ndarray
    number: np.ndarray
    variance_dn2: np.ndarray


def measure_bias(frames_dn, good, *, n_channel, clip_sigma):
    """Return the clipped mean of frames, less the drifts that rows and channels of each have against it.

    Parameters
    ----------
    frames_dn : ndarray, float32, (n, ny, nx)
        Levels at the reset, one per reset; three or more.
    good : ndarray, bool, (ny, nx)
        Pixels that tell the drifts.
    n_channel : int
    clip_sigma : float
        A frame this far from the others is left out in a pixel.
    """
    median = np.median(frames_dn, axis=0)
    deviation = frames_dn - median
    level = np.median(deviation[:, good], axis=1) if good.any() else np.zeros(len(frames_dn))
    deviation = deviation - level[:, np.newaxis, np.newaxis].astype(np.float32)
    sigma = max(MAD_TO_SIGMA * float(np.median(np.abs(deviation[:, good]))) if good.any() else 0.0, 0.3)
    use = good & (np.abs(deviation) <= clip_sigma * sigma)
    cleaned, share = remove_offsets(deviation, use, n_channel=n_channel)
    n, ny, nx = deviation.shape
    cell = (n, ny, n_channel, nx // n_channel // 2, 2)
    offsets = np.where(use, deviation - cleaned, 0).reshape(cell).sum(axis=3)
    offsets /= np.maximum(use.reshape(cell).sum(axis=3), 1)
    deviation = deviation - np.broadcast_to(offsets[:, :, :, np.newaxis], cell).reshape(deviation.shape)
    own = np.float32(MAD_TO_SIGMA) * np.median(np.abs(deviation - np.median(deviation, axis=0)), axis=0)
    kept = np.abs(deviation - np.median(deviation, axis=0)) <= clip_sigma * np.maximum(own, np.float32(sigma))
    number = kept.sum(axis=0)
    mean = np.where(kept, deviation, 0).sum(axis=0, dtype=np.float64) / np.maximum(number, 1)
    square = (np.where(kept, deviation - mean, 0).astype(np.float64) ** 2).sum(axis=0)
    variance = square / np.maximum(number - 1, 1) / float(share.mean())
    shift = float(level.mean())  # of all frames: the mean of their drifts stays in the bias
    error = np.sqrt(variance / np.maximum(number, 1))
    return Bias((median + mean + shift).astype(np.float32), error.astype(np.float32), number, variance)


def measure_reset_noise(variance_dn2, read_variance_dn2, good):
    """Return (noise of the reset in DN, its error): what the scatter of the resets has beyond that of the reads.

    Parameters
    ----------
    variance_dn2 : ndarray, (ny, nx)
        Of the level after a reset.
    read_variance_dn2 : float
        Part of it that the reads make.
    good : ndarray, bool, (ny, nx)
    """
    if not good.any():
        return float("nan"), float("nan")
    mean = float(variance_dn2[good].mean())
    spread = float(variance_dn2[good].std()) / np.sqrt(np.count_nonzero(good))
    noise = np.sqrt(max(mean - read_variance_dn2, 0.0))
    return noise, spread / (2 * noise) if noise > 0 else np.sqrt(spread)
