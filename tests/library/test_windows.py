"""Guide windows and the border of reference pixels, in full frames and subarrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.windows import cut_part, find_border, find_windows

SHAPE = (40, 60)
SUBARRAY = {"SUBARRAY": "CUSTOM", "SUBSTRT1": 11, "SUBSTRT2": 21, "DETXSIZE": 60, "DETYSIZE": 40}


def test_windows_count_from_one_and_columns_come_first():
    keywords = {"ODGW1PS": "1 1 3 2", "ODGW3PS": " 57  31 4 10 "}
    assert find_windows(keywords, SHAPE) == [
        ("ODGW1", slice(0, 2), slice(0, 3)),
        ("ODGW3", slice(30, 40), slice(56, 60)),
    ]
    assert find_windows({"ODGW5PS": "1 1 3 2"}, SHAPE) == []


@pytest.mark.parametrize(
    ("status", "in_use"),
    [("ON", 1), ("track", 1), ("GUIDE ", 1), ("ACTIVE", 1), (True, 1), (None, 1), ("OFF", 0), (False, 0), ("", 0)],
)
def test_the_status_says_whether_a_window_is_in_use(status, in_use):
    keywords = {"ODGW2PS": "5 5 3 2"} | ({} if status is None else {"ODGW2ST": status})
    assert len(find_windows(keywords, SHAPE)) == in_use


@pytest.mark.parametrize("text", ["", " ", "N/A", "None"])
def test_a_window_without_position_and_status_is_none(text):
    assert find_windows({"ODGW1PS": text}, SHAPE) == []


@pytest.mark.parametrize(
    "text", ["1 2 3", "1 2 3 4 5", "a b c d", "0 5 3 2", "5 0 3 2", "5 5 0 2", "1.5 2 3 4", "-1 2 3 4", "60 1 2 1", 7]
)
def test_an_illegal_position_is_refused(text):
    message = rf"ODGW4PS = {text!r}: expected 'xstart ystart xsize ysize'.*60 columns and 40 rows.*ODGW4ST to OFF"
    with pytest.raises(ReductionError, match=message):
        find_windows({"ODGW4PS": text}, SHAPE)
    assert find_windows({"ODGW4PS": text, "ODGW4ST": "OFF"}, SHAPE) == []


def test_a_window_in_use_needs_a_position():
    with pytest.raises(ReductionError, match="ODGW1PS = None"):
        find_windows({"ODGW1ST": "ON"}, SHAPE)


def test_a_subarray_sees_its_part_of_a_window():
    keywords = {"ODGW1PS": "5 25 10 4", "ODGW2PS": "1 1 3 3"}
    assert find_windows(SUBARRAY | keywords, (8, 16)) == [("ODGW1", slice(4, 8), slice(0, 4))]


def test_the_frame_of_a_subarray_bounds_its_windows():
    keywords = {"ODGW1PS": "55 25 10 4"}
    with pytest.raises(ReductionError, match="within 60 columns"):
        find_windows(SUBARRAY | keywords, (8, 16))
    assert find_windows(SUBARRAY | keywords, (8, 16), frame=(40, 64)) == []
    unknown = {key: value for key, value in SUBARRAY.items() if not key.startswith("DET")}
    assert find_windows(unknown | keywords, (8, 16)) == []


def mark(parts, shape):
    """Return where parts of an image lie."""
    marked = np.zeros(shape, bool)
    for part in parts:
        marked[part] = True
    return marked


@pytest.mark.parametrize("border_pix", [0, 1, 4])
def test_the_border_of_a_full_frame(border_pix):
    expected = np.ones(SHAPE, bool)
    expected[border_pix : SHAPE[0] - border_pix, border_pix : SHAPE[1] - border_pix] = False
    np.testing.assert_array_equal(mark(find_border({}, SHAPE, border_pix), SHAPE), expected)


@pytest.mark.parametrize(("start", "shape"), [((1, 1), (10, 12)), ((51, 35), (6, 10)), ((11, 21), (8, 16))])
def test_a_subarray_has_its_part_of_the_border(start, shape):
    keywords = SUBARRAY | {"SUBSTRT1": start[0], "SUBSTRT2": start[1]}
    whole = mark(find_border({}, SHAPE, 4), SHAPE)
    rows, columns = slice(start[1] - 1, start[1] - 1 + shape[0]), slice(start[0] - 1, start[0] - 1 + shape[1])
    expected = whole[rows, columns]
    np.testing.assert_array_equal(mark(find_border(keywords, shape, 4), shape), expected)


def test_a_border_that_cannot_be_is_refused():
    with pytest.raises(ReductionError, match="set DETXSIZE and DETYSIZE"):
        find_border({"SUBARRAY": "CUSTOM", "SUBSTRT1": 1, "SUBSTRT2": 1}, (8, 16), 4)
    with pytest.raises(ReductionError, match="a border of 20 reference pixels does not fit"):
        find_border({}, SHAPE, 20)


intervals = st.tuples(st.integers(0, 9), st.integers(1, 9)).map(lambda pair: slice(pair[0], pair[0] + pair[1]))


@given(rows=intervals, columns=intervals, start=st.tuples(*[st.integers(0, 9)] * 2), shape=st.just((5, 7)))
def test_a_part_is_cut_as_an_image_is(rows, columns, start, shape):
    whole = np.zeros((40, 40), bool)
    whole[rows, columns] = True
    expected = whole[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]
    part = cut_part(rows, columns, start, shape)
    np.testing.assert_array_equal(mark([part] if part else [], shape), expected)
