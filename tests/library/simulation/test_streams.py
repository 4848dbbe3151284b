"""Streams depend on their key alone."""

import numpy as np

from drs.simulation.streams import make_stream


def test_a_key_names_one_stream():
    first = make_stream(7, "IRIS", "IMG1", 3, "ktc").standard_normal(5)
    make_stream(7, "IRIS", "IMG1", 3, "dark").standard_normal(1000)
    assert np.array_equal(make_stream(7, "IRIS", "IMG1", 3, "ktc").standard_normal(5), first)


def test_seed_and_every_part_of_the_key_matter():
    keys = [(7, "a", "b"), (8, "a", "b"), (7, "b", "a"), (7, "a"), (7, "a", "b", 0), (7, "ab")]
    drawn = {make_stream(seed, *key).integers(1 << 62) for seed, *key in keys}
    assert len(drawn) == len(keys)
