"""Independent random streams, one per thing that is random.

A stream is keyed by what it is for (detector, exposure, effect, block of rows), not by the order of the calls,
so that switching one effect off, or leaving one exposure out, changes no other number.
"""

import zlib

import numpy as np


def make_stream(seed, *key):
    """Return the random generator of `key`.

    Parameters
    ----------
    seed : int
        Seed of the night, >= 0.
    *key : str or int
        What the numbers are for, for example 'IRIS', 'IMG1', 'read_noise', 3.

    Returns
    -------
    numpy.random.Generator
    """
    words = [zlib.crc32(str(part).encode()) for part in key]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=words))
