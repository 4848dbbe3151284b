"""Drifts of the electronics: offsets that a read adds to all pixels of a column or of a row, light or no light.

Reference pixels see the same offsets as the pixels beside them; that is how a reduction finds and removes them.
"""

from typing import NamedTuple

import numpy as np


class Drift(NamedTuple):
    """Offsets of every read of an exposure in DN: a pixel's is that of its column plus that of its row.

    `column_dn` (n_group, n_read, nx) holds what all pixels, an output channel, or the odd or even columns of a
    channel have in common; `row_dn` (n_group, n_read, ny) the 1/f noise.
    """

    column_dn: np.ndarray
    row_dn: np.ndarray

    def rows(self, rows):
        """Return the drift of a slice of rows."""
        return Drift(self.column_dn, self.row_dn[:, :, rows])

    def offsets(self):
        """Return the offset of every pixel, (n_group, n_read, ny, nx)."""
        return self.column_dn[:, :, None, :] + self.row_dn[:, :, :, None]

    def average(self, n_average):
        """Return the drift of the means of so many reads each."""
        return Drift(*(average_reads(array, n_average) for array in self))


def average_reads(values, n_average):
    """Return the means of each `n_average` reads in turn, of an array (n_group, n_read, ...)."""
    n_group, n_read = values.shape[:2]
    return values.reshape(n_group, n_read // n_average, n_average, *values.shape[2:]).mean(axis=2)


def make_drift(times_s, shape, physics, *, stream, without=()):
    """Return the drift of an exposure.

    Parameters
    ----------
    times_s : ndarray, (n_group, n_read)
        Seconds since the reset of each group.
    shape : (ny, nx)
    physics : dict
        n_channel; common_drift_dn, channel_drift_dn (random walks, rms after 1 s); odd_even_dn (rms); row_noise_dn
        (rms).
    stream : callable
        effect -> numpy.random.Generator.
    without : collection of str
        drift: of the columns; row_noise: the 1/f noise.

    Returns
    -------
    Drift
    """
    ny, nx = shape
    n_group, n_read = times_s.shape
    column, row = np.zeros((n_group, n_read, nx)), np.zeros((n_group, n_read, ny))
    if "drift" not in without:
        channel = channel_of_columns(nx, physics["n_channel"])
        parity = 1.0 - 2.0 * (np.arange(nx) % 2)
        size = (n_group, n_read, physics["n_channel"])
        column += physics["common_drift_dn"] * _walk(times_s, 1, stream("common_drift"))
        column += physics["channel_drift_dn"] * _walk(times_s, size[2], stream("channel_drift"))[:, :, channel]
        column += physics["odd_even_dn"] * stream("odd_even").standard_normal(size)[:, :, channel] * parity
    if "row_noise" not in without:
        row += physics["row_noise_dn"] * make_pink_noise((n_group, n_read, ny), stream("row_noise"))
    return Drift(column, row)


def channel_of_columns(nx, n_channel):
    """Return the output channel of each column: channels are bands of columns of one width.

    Raises
    ------
    ValueError
        The columns cannot be shared out evenly.
    """
    if nx % n_channel:
        raise ValueError(f"{nx} columns cannot be shared out to {n_channel} channels evenly")
    return np.arange(nx) // (nx // n_channel)


def _walk(times_s, n_walk, random):
    """Return random walks whose rms is 1 after 1 s, (n_group, n_read, n_walk); a reset does not start them anew."""
    step_s = np.diff(times_s, axis=1, prepend=0.0)
    steps = np.sqrt(step_s)[:, :, None] * random.standard_normal((*times_s.shape, n_walk))
    return np.cumsum(steps.reshape(-1, n_walk), axis=0).reshape(steps.shape)


def make_pink_noise(shape, random):
    """Return noise of rms 1 along the last axis whose power falls as 1/f.

    Random phases and normal amplitudes ~ f^(-1/2) (Timmer & Koenig 1995, A&A 300, 707) for twice the length, of
    which the first half is kept, so that the end does not join the start. There is no constant term.
    """
    n = 2 * shape[-1]
    frequency = np.arange(n // 2 + 1)
    amplitude = np.zeros(n // 2 + 1)
    amplitude[1:] = frequency[1:] ** -0.5
    parts = random.standard_normal((2, *shape[:-1], n // 2 + 1)) * amplitude
    # Parseval: a sample of irfft has the variance 2 / n^2 times the sum of |spectrum|^2, the last term counting half
    power = 2.0 * (2.0 * (amplitude[1:-1] ** 2).sum() + amplitude[-1] ** 2 / 2.0) / n**2
    return np.fft.irfft(parts[0] + 1j * parts[1], n, axis=-1)[..., : shape[-1]] / np.sqrt(power)
