"""Axes, times and averages of a ramp, from every kind of header."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.sampling import (
    FIRST,
    LAST,
    check_counts,
    cut_reference_output,
    find_average,
    find_axes,
    find_times,
    find_times_of_files,
)

SHAPE = (2, 3, 5, 7)
STAMP_US = 5_200_000_000_000_000  # a moment of 2023 in microseconds since MJD 0
PLACES = [(group, read) for group in (1, 2) for read in (1, 2, 3)]


def test_times_tell_the_order_of_the_axes():
    assert find_axes((2, 4, 2, 5), (2, 4)) == ((2, 4, 2, 5), FIRST)
    assert find_axes((2, 5, 2, 4), (2, 4)) == ((2, 4, 2, 5), LAST)
    assert find_axes((4, 2, 5), None) == ((1, 4, 2, 5), FIRST)
    with pytest.raises(ReductionError, match=r"\(2, 4\) does not tell which axes of DATA \(2, 4, 2, 4\)"):
        find_axes((2, 4, 2, 4), (2, 4))


@pytest.mark.parametrize(
    ("stored", "size", "kept"),
    [
        ((48, 128), (48, 64), (48, 64)),  # 64 columns more
        ((48, 164), (48, 64), (48, 64)),  # 100 more
        ((48, 127), (48, 64), (48, 127)),  # neither the detector nor one with its reference output
        ((48, 165), (48, 64), (48, 165)),
        ((40, 128), (48, 64), (40, 128)),
        ((48, 64), (48, 64), (48, 64)),
        ((48, 128), None, (48, 128)),
    ],
)
def test_columns_of_the_reference_output_are_cut(stored, size, kept):
    assert cut_reference_output((2, 3, *stored), size) == (2, 3, *kept)


@pytest.mark.parametrize(("key", "count"), [("NGROUPS", 3), ("NREADS", 2)])
def test_counts_that_disagree_with_the_data_are_refused(key, count):
    check_counts(SHAPE, {"NGROUPS": 2, "NREADS": 3})
    with pytest.raises(ReductionError, match=f"{key} is {count}, but DATA has"):
        check_counts(SHAPE, {key: count})


def test_a_moment_is_no_interval():
    times_s, source = find_times(None, (1, 3, 5, 7), {"READTIME": STAMP_US, "EXPTIME": 4.0})
    np.testing.assert_array_equal(times_s, [[2.0, 4.0, 6.0]])
    assert source == "EXPTIME"


def headers_of(key, values, **others):
    """Return (group, read) -> keywords with one value of a keyword for each."""
    return {place: {key: value, **others} for place, value in zip(PLACES, values, strict=True)}


def test_itime_is_the_time_of_a_read():
    times_s, source = find_times_of_files(headers_of("ITIME", [0, 1.5, 4, 0.5, 2, 5], READTIME=9.0), SHAPE)
    np.testing.assert_array_equal(times_s, [[0, 1.5, 4], [0.5, 2, 5]])
    assert source == "ITIME"


def test_moments_of_reads_and_resets():
    headers = headers_of("READTIME", [STAMP_US + k * 1_500_000 for k in (1, 2, 3, 5, 6, 7)])
    times_s, source = find_times_of_files(headers, SHAPE)  # without the reset: the first read one interval after it
    np.testing.assert_allclose(times_s, [[1.5, 3, 4.5], [1.5, 3, 4.5]], rtol=1e-12)
    assert source == "READTIME"
    for (group, _), keywords in headers.items():
        keywords["RST_TIME"] = STAMP_US + (500_000 if group == 1 else 6_000_000)
    times_s, _ = find_times_of_files(headers, SHAPE)
    np.testing.assert_allclose(times_s, [[1, 2.5, 4], [1.5, 3, 4.5]], rtol=1e-12)


def test_moments_without_the_first_read():
    headers = headers_of("READTIME", [STAMP_US + k * 1_500_000 for k in (1, 2, 3, 5, 6, 7)])
    del headers[1, 1]
    np.testing.assert_allclose(find_times_of_files(headers, SHAPE)[0], [[1.5, 3, 4.5]] * 2, rtol=1e-12)


def test_one_moment_per_ramp_needs_that_of_the_reset():
    headers = {(1, 1): {"READTIME": STAMP_US}}
    with pytest.raises(ReductionError, match=r"add ITIME \[s\] or RST_TIME"):
        find_times_of_files(headers, (1, 1, 5, 7))
    headers[1, 1]["RST_TIME"] = STAMP_US - 2_000_000
    np.testing.assert_allclose(find_times_of_files(headers, (1, 1, 5, 7))[0], [[2.0]])


def test_intervals_of_reads():
    times_s, source = find_times_of_files(headers_of("READTIME", [1.5] * 6), SHAPE)
    np.testing.assert_array_equal(times_s, [[1.5, 3, 4.5]] * 2)
    assert source == "READTIME"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (headers_of("ITIME", [1, 2, 3, 1, 3, 2]), "ITIME must increase .* read 3 of group 2 is at 2 s after 3 s"),
        (headers_of("ITIME", [1, 2, 3, 1, 2, "later"]), "ITIME is missing or no time in read 3 of ramp 2"),
        (headers_of("READTIME", [STAMP_US, STAMP_US, STAMP_US + 1] * 2), "READTIME must increase"),
        (headers_of("OTHER", [0] * 6), "neither READTIME nor EXPTIME"),
    ],
)
def test_times_that_cannot_be_are_refused(headers, message):
    with pytest.raises(ReductionError, match=message):
        find_times_of_files(headers, SHAPE)


@given(st.integers(1, 3), st.integers(2, 9), st.data())
def test_times_of_reads_that_are_not_there_stand_between_the_others(n_group, n_read, data):
    places = [(group + 1, read + 1) for group, read in np.ndindex(n_group, n_read)]
    lost = data.draw(st.lists(st.sampled_from(places), max_size=len(places) - 2, unique=True))
    headers = {place: {"ITIME": 0.7 * place[1]} for place in places if place not in lost}
    times_s, _ = find_times_of_files(headers, (n_group, n_read, 5, 7))
    np.testing.assert_allclose(times_s, np.tile(0.7 * np.arange(1, n_read + 1), (n_group, 1)), rtol=1e-12)


def test_averaged_reads():
    times_s = np.array([[10.0, 20.0, 32.0]])
    assert find_average({}, times_s) == (1, 0.0)
    assert find_average({"NFRAMES": 1, "FRMTIME": 2.0}, times_s) == (1, 0.0)
    assert find_average({"NFRAMES": 4}, times_s) == (4, 2.5)
    assert find_average({"NFRAMES": 4.0, "FRMTIME": 1.5}, times_s) == (4, 1.5)
    assert find_average({"NFRAMES": 4}, times_s[:, :1]) == (4, 2.5)


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True])
def test_an_illegal_number_of_averaged_reads_is_refused(value):
    with pytest.raises(ReductionError, match="expected a whole number of averaged reads"):
        find_average({"NFRAMES": value}, np.array([[1.0, 2.0]]))


@pytest.mark.parametrize("value", [0.0, -1.0, 4.0, "fast"])
def test_averaged_reads_that_do_not_fit_are_refused(value):
    with pytest.raises(ReductionError, match="4 averaged reads must fit into 10 s"):
        find_average({"NFRAMES": 4, "FRMTIME": value}, np.array([[10.0, 20.0]]))
