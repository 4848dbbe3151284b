"""Cosmic rays: tracks of charge at random times."""

import math

import numpy as np

HIT = np.dtype([("GROUP", "i4"), ("READ", "i4"), ("Y", "i4"), ("X", "i4"), ("CHARGE_E", "f4")])
MEDIAN_CHARGE_E = 1500.0  # a muon through 5 to 10 um of HgCdTe frees some 1e3 electrons
CHARGE_SCATTER = 0.9  # natural logarithm; the tail reaches 2e4 electrons
MEAN_LENGTH_PIX = 1.5  # projected length of a track
DIFFUSION_PIX = 0.35  # spread of the charge about the track
N_DROP = 60  # a track is so many drops of charge
LEAST_E = 5.0  # less charge in a pixel is below the read noise and not kept


def make_hits(times_s, shape, *, rate_per_cm2_s, pixel_um, stream):
    """Return the charge of all cosmic rays of an exposure.

    Parameters
    ----------
    times_s : ndarray, (n_group, n_read)
        Seconds since the reset of each group.
    shape : (ny, nx)
    rate_per_cm2_s : float
    pixel_um : float
        Size of a pixel.
    stream : numpy.random.Generator

    Returns
    -------
    structured array
        GROUP, READ (first read that holds the charge), Y, X (all 0-based), CHARGE_E; one row per pixel and hit.
    """
    area_cm2 = shape[0] * shape[1] * (pixel_um * 1e-4) ** 2
    parts = [np.zeros(0, dtype=HIT)]
    for group, reads_s in enumerate(times_s):
        for _ in range(stream.poisson(rate_per_cm2_s * area_cm2 * reads_s[-1])):
            read = np.searchsorted(reads_s, stream.uniform(0.0, reads_s[-1]))
            parts.append(_make_track(shape, stream, group, read))
    return np.concatenate(parts)


def _make_track(shape, stream, group, read):
    """Return the pixels of one hit."""
    start = stream.uniform(0.0, shape)
    angle, length = stream.uniform(0.0, 2.0 * math.pi), stream.exponential(MEAN_LENGTH_PIX)
    charge_e = MEDIAN_CHARGE_E * math.exp(CHARGE_SCATTER * stream.standard_normal())
    along = stream.uniform(0.0, length, N_DROP)[:, None] * np.array([math.sin(angle), math.cos(angle)])
    drops = np.floor(start + along + DIFFUSION_PIX * stream.standard_normal((N_DROP, 2))).astype(int)
    drops = drops[np.all((drops >= 0) & (drops < shape), axis=1)]
    pixels, counts = np.unique(drops, axis=0, return_counts=True)
    rows = [(group, read, y, x, charge_e * n / N_DROP) for (y, x), n in zip(pixels, counts, strict=True)]
    track = np.array(rows, dtype=HIT)
    return track[track["CHARGE_E"] >= LEAST_E]
