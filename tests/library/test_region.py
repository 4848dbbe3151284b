"""Subarrays: what of a map an exposure saw, and where it lies in the full frame."""

import pytest

from drs.errors import ReductionError
from drs.region import find_frame, find_region, find_start

SUBARRAY = {"SUBARRAY": "CUSTOM", "SUBSTRT1": 5, "SUBSTRT2": 3}


def test_part_of_a_full_frame_map():
    assert find_region((12, 16), SUBARRAY, (4, 7), name="gain") == (slice(2, 6), slice(4, 11))


def test_map_of_the_subarray_itself_is_taken_as_it_is():
    assert find_region((4, 7), SUBARRAY, (4, 7), name="gain") == (slice(None), slice(None))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, r"gain has shape \(12, 16\), the exposure \(4, 7\)"),
        ({"SUBARRAY": "CUSTOM"}, "needs SUBSTRT1 and SUBSTRT2"),
        (SUBARRAY | {"SUBSTRT1": 11}, r"shape \(12, 16\), too small .* SUBSTRT2, SUBSTRT1 = \[3, 11\]"),
        (SUBARRAY | {"SUBSTRT2": 0}, r"whole numbers from 1; found \[5, 0\]"),
    ],
)
def test_maps_that_do_not_hold_the_exposure_are_refused(keywords, message):
    with pytest.raises(ReductionError, match=message):
        find_region((12, 16), keywords, (4, 7), name="gain")


def test_where_an_exposure_begins():
    assert find_start({}) == find_start({"SUBARRAY": "N/A", "SUBSTRT1": 9}) == (0, 0)
    assert find_start(SUBARRAY) == (2, 4)


def test_the_full_frame_of_an_exposure():
    sizes = {"DETXSIZE": 16, "DETYSIZE": 12}
    assert find_frame({"SUBARRAY": "FULL"} | sizes, (4, 7)) == (4, 7)
    assert find_frame(SUBARRAY, (4, 7)) is None
    assert find_frame(SUBARRAY, (4, 7), [(4, 7), (20, 30)]) == (20, 30)
    assert find_frame(SUBARRAY | sizes, (4, 7), [(4, 7)]) == (12, 16)
