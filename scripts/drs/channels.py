"""Output channels: bands of columns of one width; their offsets, their means, and pixels shrunk towards these."""

import numpy as np

MAD_TO_SIGMA = 1.4826
N_ROUND = 2  # of alternating means of rows and cells, which only exchange what excluded pixels unbalance
NOISE_KNOWN = 0.1  # to which the variance of a value's noise is known
CLIP_SIGMA = 4.0  # pixels this far from their channel do not tell how much the others vary


def find_channels(n_column, n_channel):
    """Return the output channel of each column."""
    return np.arange(n_column) * n_channel // n_column


def remove_offsets(frames, use, *, n_channel):
    """Return frames less what rows, and odd and even columns of each channel, have in common; and what that left.

    Means of the pixels in use are subtracted: of each row (1/f noise is common to the channels, which are read
    together), of each parity of each channel (drifts of the outputs).

    Parameters
    ----------
    frames : ndarray, float32, (n, ny, nx)
    use : ndarray, bool, (n, ny, nx)
    n_channel : int
        nx is a multiple of twice this.

    Returns
    -------
    cleaned : ndarray, float32, (n, ny, nx)
    share : ndarray, float64, (n,)
        Part of the variance of independent pixels that the means have left.
    """
    n, ny, nx = frames.shape
    cell = (n, ny, n_channel, nx // n_channel // 2, 2)
    weight = use.astype(np.float32)
    n_row, n_cell = weight.sum(axis=2, dtype=np.float64), weight.reshape(cell).sum(axis=(1, 3), dtype=np.float64)
    cleaned = np.where(use, frames, np.float32(0))
    for _ in range(N_ROUND):
        row = cleaned.sum(axis=2, dtype=np.float64) / np.maximum(n_row, 1)
        cleaned = (cleaned - row[..., np.newaxis].astype(np.float32)) * weight
        mean = cleaned.reshape(cell).sum(axis=(1, 3), dtype=np.float64) / np.maximum(n_cell, 1)
        spread = np.broadcast_to(mean[:, np.newaxis, :, np.newaxis].astype(np.float32), cell)
        cleaned = (cleaned - spread.reshape(frames.shape)) * weight
    n_use = n_row.sum(axis=1)
    lost = (n_row > 0).sum(axis=1) + (n_cell > 0).sum(axis=(1, 2)) - 1
    return cleaned, np.where(n_use > 0, np.maximum(n_use - lost, 1) / np.maximum(n_use, 1), 1.0)


def measure_scatter(values):
    """Return (median, 1.4826 times the median absolute deviation) of values; NaN without any."""
    if values.size == 0:
        return np.nan, np.nan
    median = np.median(values)
    return float(median), float(MAD_TO_SIGMA * np.median(np.abs(values - median)))


def clip_mean(values, *, clip_sigma):
    """Return the mean of the values that are within `clip_sigma` robust sigma of their median; NaN without any."""
    median, sigma = measure_scatter(values)
    kept = values[np.abs(values - median) <= clip_sigma * sigma] if sigma > 0 else values
    return float(kept.mean(dtype=np.float64)) if kept.size else np.nan


def shrink_to_channels(values, variance, centres, good, *, n_channel, limit_sigma=6.0):
    """Return values shrunk towards those of their channel by what their noise explains.

    Empirical Bayes with limited translation: the part S / (S + N) of the deviation is kept, with N the variance of the
    value and S that of the true ones, from the scatter of the channel; a value that deviates by more than `limit_sigma`
    is its own (Efron & Morris 1972, JASA 67, 130). Where no S stands out from chance, and from how well N is known, all
    are their channel's.

    Parameters
    ----------
    values, variance : ndarray, (ny, nx)
    centres : ndarray, (n_channel,)
    good : ndarray, bool, (ny, nx)
        Pixels to learn from; the others, and those without a finite value, get their channel's.
    n_channel : int
    limit_sigma : float, optional
        Beyond, a deviation is no chance, even of the skewed distribution of variances.

    Returns
    -------
    shrunk : ndarray, float64, (ny, nx)
    spread : ndarray, float64, (n_channel,)
        Standard deviation S^(1/2) of the true values in each channel; where none stands out, what may be there unseen.
    """
    channel = find_channels(values.shape[1], n_channel)
    shrunk, spread = np.empty(values.shape), np.zeros(n_channel)
    for k, centre in enumerate(centres):
        columns = channel == k
        deviation, noise = values[:, columns] - centre, variance[:, columns]
        known = good[:, columns] & np.isfinite(deviation) & np.isfinite(noise) & (noise > 0)
        excess, chance = _measure_excess(deviation[known], noise[known])
        spread[k] = np.sqrt(max(excess, chance))
        with np.errstate(invalid="ignore", divide="ignore"):
            own = excess / (excess + noise) * deviation
            own = np.where(deviation**2 > limit_sigma**2 * (excess + noise), deviation, own)
        shrunk[:, columns] = centre + np.where(known, own, 0.0)
    return shrunk, spread


def _measure_excess(deviation, noise):
    """Return (variance of deviations beyond their noise, without outliers, 0 where insignificant; its error)."""
    _, sigma = measure_scatter(deviation)
    kept = np.abs(deviation) <= CLIP_SIGMA * sigma
    if np.count_nonzero(kept) < 2:
        return 0.0, 0.0
    typical = float(noise[kept].mean(dtype=np.float64))
    excess = float((deviation[kept] ** 2).mean(dtype=np.float64)) - typical
    chance = typical * np.sqrt(2.0 / np.count_nonzero(kept))
    return (excess if excess > max(3.0 * chance, NOISE_KNOWN * typical) else 0.0), chance
