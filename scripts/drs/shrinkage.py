"""Empirical Bayes: estimates of drifts shrunk by what the noise of their measurement explains.

A measured value x = s + n, with s of variance S and n of N, is best corrected by S / (S + N) x. S is known from many
values, reads and channels (Efron & Morris 1973, JASA 68, 117) or reads and modes of neighbouring spatial frequency (the
Wiener filter). Where no S stands out from chance, nothing is corrected: so a detector without drift gets no noise.
"""

from itertools import pairwise

import numpy as np
from scipy.fft import dct, idct

SIGNIFICANT_SIGMA = 2.0
BANDS_PER_OCTAVE = 2


def _excess(values, variance, share):
    """Return the variance of values (..., n) above that of their noise, 0 if it is not significant.

    `share` of the variance is left by the means that were subtracted, so many of the values are free.
    """
    known = np.isfinite(variance)
    free = np.count_nonzero(known) * share
    if free <= 0:
        return 0.0
    weight = 1 / variance
    ratio = (values * values * weight).sum() / free
    typical = np.count_nonzero(known) / weight.sum()
    return (ratio - 1) * typical if ratio - 1 > SIGNIFICANT_SIGMA * np.sqrt(2 / free) else 0.0


def _split_cells(cells, variance):
    """Return the parts of cells (..., n_channel, 2) and their variances, infinite where a part is not known.

    Common half difference of the parities (..., 1), half difference of each channel from it, and mean of each
    channel from that of all, (..., n_channel).
    """
    known = np.isfinite(variance)
    both, some = known.all(axis=-1), known.any(axis=-1)
    half_variance = variance.sum(axis=-1) / 4
    half = np.where(both, (cells[..., 1] - cells[..., 0]) / 2, 0)
    weight = 1 / half_variance
    total = weight.sum(axis=-1, keepdims=True)
    common = (half * weight).sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1)
    common_variance = np.where(total > 0, 1 / np.where(total > 0, total, 1), np.inf)
    single = np.where(known[..., 1], cells[..., 1] - common, cells[..., 0] + common)
    mean = np.where(both, cells.sum(axis=-1) / 2, np.where(some, single, 0))
    mean_variance = np.where(both, half_variance, variance.min(axis=-1))
    weight = 1 / mean_variance
    level = (mean * weight).sum(axis=-1, keepdims=True) / np.maximum(weight.sum(axis=-1, keepdims=True), 1e-300)
    parts = common, np.where(both, half - common, 0), np.where(some, mean - level, 0)
    return parts, (common_variance, half_variance, mean_variance)


def estimate_spreads(cells, variance, share):
    """Return how much the three parts of cells vary beyond noise.

    Parameters
    ----------
    cells : ndarray, float64, (n_group, n_read, n_channel, 2)
        Mean of each channel and parity.
    variance : ndarray, float64, (n_group, n_read, n_channel, 2)
        Noise variance of these, infinite where there is no measurement.
    share : float
        Of the variance, what the means over the reads that were subtracted have left.

    Returns
    -------
    spreads : list of float
        Variance of the half difference of parities that all channels have in common, of that of each channel from it,
        and of each channel's mean.
    """
    among = 1 - 1 / cells.shape[-2]  # left by the mean over the channels
    parts, variances = _split_cells(cells, variance)
    shares = share, share * among, share * among
    return [_excess(*terms) for terms in zip(parts, variances, shares, strict=True)]


def shrink_cells(cells, variance, spreads):
    """Return cells (..., n_channel, 2) without their mean, each of their parts shrunk by spread / (spread + noise).

    `cells`, `variance` and `spreads` as in `estimate_spreads`. A parity that was not measured takes the channel's other
    one with the common difference, a channel that was not measured the mean of all.
    """
    parts, variances = _split_cells(cells, variance)
    common, half, mean = (
        part * spread / (spread + noise) if spread > 0 else 0 * part
        for part, noise, spread in zip(parts, variances, spreads, strict=True)
    )
    half = common + half
    return np.stack([mean - half, mean + half], axis=-1)


def cell_variance(variance, spreads, sources):
    """Return the mean variance over the columns of shrunk cells less their part in the frame, by the cells' noise.

    `variance` and `sources` (n_channel, 2): noise of the cells, and their weights in the frame. All of it is linear in
    the means of the cells, so cells of 1 show the coefficients.
    """
    n_channel = len(variance)
    ones = np.eye(2 * n_channel).reshape(2 * n_channel, n_channel, 2)
    shrunk = shrink_cells(ones, variance, spreads)
    coefficients = shrunk - (shrunk * sources).sum(axis=(1, 2), keepdims=True)
    known = np.where(np.isfinite(variance), variance, 0).reshape(-1)
    return ((coefficients**2).sum(axis=(1, 2)) * known).sum() / (2 * n_channel)


def filter_profiles(profiles, halves, white_dn2, free, *, finest):
    """Return profiles along the rows by a Wiener filter, and the noise variance that it lets through.

    The filter acts on cosine modes, whose even extension leaves no step at the edges. Signal is what the left and
    right columns have in common, so that the active pixels between them may be expected to have it too: in each band
    of modes, S is the mean of left times right over all reads, and N that of the square of half their difference.

    Parameters
    ----------
    profiles : ndarray, float64, (n_group, n_read, ny)
        Mean of left and right columns, less its mean over the rows.
    halves : ndarray, float64, (2, n_group, n_read, ny) or None
        Left and right; None where one has no pixels: S is then what stands out from the white noise.
    white_dn2 : tuple of float
        White noise of `profiles`, and of half the difference of `halves` (more if one side lacks pixels).
    free : float
        Number of reads less one mean per group.
    finest : int
        Modes above ny / finest are left out.

    Returns
    -------
    filtered : ndarray, float64, (n_group, n_read, ny)
    variance_dn2 : float
    """
    ny = profiles.shape[-1]
    modes = dct(profiles, axis=-1, norm="ortho")
    white, white_half = white_dn2
    if halves is None:
        signal = (modes * modes).sum(axis=(0, 1)) / free - white
        noise = power = np.full(ny, white)
    else:
        left, right = dct(halves, axis=-1, norm="ortho")
        signal = (left * right).sum(axis=(0, 1)) / free
        noise = ((left - right) ** 2).sum(axis=(0, 1)) / (4 * free) + white - white_half
        power = np.sqrt((left * left).sum(axis=(0, 1)) * (right * right).sum(axis=(0, 1))) / free
    factors, variance, stop = np.zeros(ny), 0.0, min(ny, ny // finest + 1)
    octaves = np.arange(0, np.log2(stop), 1 / BANDS_PER_OCTAVE)
    edges = np.unique(np.append(np.rint(2**octaves).astype(int), stop))
    for low, high in pairwise(edges):
        scatter = power[low:high].mean() * np.sqrt((2 if halves is None else 1) / ((high - low) * free))
        s, n = signal[low:high].mean(), max(noise[low:high].mean(), 0.0)
        if s > SIGNIFICANT_SIGMA * scatter:
            factors[low:high] = s / (s + n)
            variance += n * (factors[low:high] ** 2).sum() / ny
    return idct(modes * factors, axis=-1, norm="ortho"), variance
