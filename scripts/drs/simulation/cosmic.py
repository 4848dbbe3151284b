"""Charge that arrives at once: cosmic rays at random times, and snowballs."""

import math

import numpy as np

HIT = np.dtype([("GROUP", "i4"), ("READ", "i4"), ("Y", "i4"), ("X", "i4"), ("CHARGE_E", "f4")])
SNOWBALL = np.dtype([("GROUP", "i4"), ("READ", "i4"), ("Y", "f4"), ("X", "f4"), ("RADIUS_PIX", "f4"), ("HALO_E", "f4")])
MEDIAN_CHARGE_E = 1500.0  # a muon through 5 to 10 um of HgCdTe frees some 1e3 electrons
CHARGE_SCATTER = 0.9  # natural logarithm; the tail reaches 2e4 electrons
MEAN_LENGTH_PIX = 1.5  # projected length of a track
DIFFUSION_PIX = 0.35  # spread of the charge about the track
N_DROP = 60  # a track is so many drops of charge
LEAST_E = 5.0  # less charge in a pixel is below the read noise and not kept
HALO_SCALE = 0.4  # of a snowball's radius: the charge around its core falls by e over so much


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


def make_snowballs(times_s, shape, *, facts, pixel_um, stream):
    """Return the snowballs of an exposure: discs of saturating charge with a halo, as H2RG detectors show them.

    Parameters
    ----------
    times_s : ndarray, (n_group, n_read)
        Seconds since the reset of each group.
    shape : (ny, nx)
    facts : dict
        per_cm2_s; radius_pix, halo_e: [least, most]; core_e: charge of a pixel of the core.
    pixel_um : float
    stream : numpy.random.Generator

    Returns
    -------
    snowballs : structured array
        SNOWBALL: GROUP, READ (first read that holds the charge), Y, X of the centre (0-based), RADIUS_PIX of the
        core, HALO_E: charge of a pixel at the edge of the core, which falls by e in HALO_SCALE radii.
    hits : structured array
        HIT: their pixels.
    """
    area_cm2 = shape[0] * shape[1] * (pixel_um * 1e-4) ** 2
    found = []
    for group, reads_s in enumerate(times_s):
        for _ in range(stream.poisson(facts["per_cm2_s"] * area_cm2 * reads_s[-1])):
            read = np.searchsorted(reads_s, stream.uniform(0.0, reads_s[-1]))
            sizes = stream.uniform(*facts["radius_pix"]), stream.uniform(*facts["halo_e"])
            found.append((group, read, *(stream.uniform(0.0, shape) - 0.5), *sizes))
    snowballs = np.array(found, dtype=SNOWBALL)
    parts = [_fill_snowball(snowball, shape, facts["core_e"]) for snowball in snowballs]
    return snowballs, np.concatenate([np.zeros(0, dtype=HIT), *parts])


def _fill_snowball(snowball, shape, core_e):
    """Return the pixels of one snowball."""
    distance = np.hypot(*(np.indices(shape) - np.array([snowball["Y"], snowball["X"]])[:, None, None]))
    outside = np.maximum(distance / snowball["RADIUS_PIX"] - 1.0, 0.0)
    charge_e = np.where(outside > 0, snowball["HALO_E"] * np.exp(-outside / HALO_SCALE), core_e)
    y, x = np.nonzero(charge_e >= LEAST_E)
    hits = np.zeros(y.size, dtype=HIT)
    hits["GROUP"], hits["READ"], hits["Y"], hits["X"] = snowball["GROUP"], snowball["READ"], y, x
    hits["CHARGE_E"] = charge_e[y, x]
    return hits
