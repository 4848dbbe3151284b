"""One file per read: which files make an exposure, in which order, and what is wrong with those that make none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nights import scan

from drs.errors import ReductionError
from drs.reads import check_shapes, find_image, gather_exposures, is_read, name_exposure, order_reads


def header(read, ramp=1, **changes):
    """Return the keywords of one read of an exposure of one ramp of three."""
    made = {"RAMP_NO": ramp, "READ_NO": read, "NUMRAMPS": 1, "NUMREADS": 3, "COMPLETE": True} | changes
    return {key: value for key, value in made.items() if value is not None}


def named(*headers):
    """Return (name, keywords), named a, b, ..."""
    return list(zip("abcdefgh", headers, strict=False))


def read_scan(read, expnum=7, ramp=1, shape=(48, 64), **changes):
    """Return the header scan of a file with one read."""
    return scan("SCI", expnum, shape=shape, **header(read, ramp, **changes))


@given(st.integers(1, 4), st.integers(1, 6), st.randoms(use_true_random=False))
def test_any_order_of_files_gives_the_order_of_reads(n_group, n_read, random):
    places = [(group + 1, read + 1) for group, read in np.ndindex(n_group, n_read)]
    shuffled = random.sample(places, len(places))
    headers = [(str(k), header(read, ramp, NUMRAMPS=None, NUMREADS=None)) for k, (ramp, read) in enumerate(shuffled)]
    found = order_reads(headers)
    assert found[:2] == (n_group, n_read)
    assert list(found[2]) == places
    assert [shuffled[index] for index in found[2].values()] == places


def test_a_file_without_a_ramp_is_of_the_first():
    assert order_reads(named({"READ_NO": 2}, {"READ_NO": 1})) == (1, 2, {(1, 1): 1, (1, 2): 0})


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (named(header(1), header(2), header(2), header(3)), "read 2 of ramp 1 is there twice: b, c; exclude one"),
        (named(header(1), header(3)), r"missing: reads 2 of ramp 1 \(NUMRAMPS 1, NUMREADS 3\)"),
        (named(header(1), header(2), header(3, COMPLETE=False)), r"read 3 of ramp 1 is not complete \(c: COMPLETE"),
        (named(header(1), header(2), header(3, NUMREADS=4)), "NUMREADS is 3 in a, but 4 in c"),
        (named(header(1), header(2), header(3), header(4)), "d is read 4 of ramp 1, but there are 1 ramps of 3"),
        (named(header(0)), "a: READ_NO is 0, expected a whole number from 1"),
        (named(header(1, ramp="x")), "a: RAMP_NO is 'x', expected a whole number from 1"),
        (named(header(1, NUMREADS=2.5)), "a: NUMREADS is 2.5, expected a whole number"),
        (named(header(1, NUMREADS=99_999)), "reads 2-99999 of ramp 1"),
        (
            named(header(2, NUMREADS=9, NUMRAMPS=10**9), header(4, NUMREADS=9, NUMRAMPS=10**9)),
            "reads 1, 3, 5-9 of ramp",
        ),
        (named(header(1, 2, NUMREADS=1, NUMRAMPS=4)), "missing: all of ramp 1, 3-4"),
        (
            named(header(1, 1, NUMREADS=None), header(2, 1, NUMREADS=None), header(1, 2, NUMRAMPS=None, NUMREADS=None)),
            "there are 1 ramps of 2 reads",
        ),
        (named(*(header(k, g, NUMRAMPS=2, NUMREADS=None) for k, g in ((1, 1), (2, 1), (1, 2)))), "reads 2 of ramp 2"),
    ],
)
def test_reads_that_make_no_ramp_are_refused_with_their_numbers(headers, message):
    with pytest.raises(ReductionError, match=message):
        order_reads(headers)


def test_dropped_reads_may_be_missing_or_incomplete():
    headers = named(header(1), header(3, COMPLETE=False))
    assert order_reads(headers, {(1, 2), (1, 3)}) == (1, 3, {(1, 1): 0, (1, 3): 1})


def test_many_ramps_without_reads_are_named_briefly():
    headers = [(str(k), header(1, k, NUMRAMPS=500)) for k in range(1, 501)]
    with pytest.raises(ReductionError, match="reads 2-3 of ramp 8 and more, in 500 ramps") as refusal:
        order_reads(headers)
    assert len(str(refusal.value)) < 500


def test_what_a_read_is():
    assert is_read(read_scan(1))
    assert is_read({"error": "truncated", "keywords": {"READ_NO": 3}})
    assert not is_read({"error": "truncated"})
    assert not is_read(scan("SCI", 1, shape=(48, 64)))
    assert not is_read(scan("SCI", 1, READ_NO=3))  # a whole ramp whose header says where it ended
    assert not is_read(read_scan(1) | {"images": []})


def test_the_image_of_a_file():
    assert find_image([("", ()), ("SCI", (5, 7))]) == 1
    assert find_image([("", (5, 7)), ("TIMES", (1, 3)), ("X", (3, 5, 7))]) == 2
    assert find_image([("TIMES", (1, 3)), ("", (5, 7))]) == 1
    assert find_image([("", (5, 7))], least_axes=3) is None


def test_the_number_of_an_exposure_has_two_names():
    assert name_exposure({"EXP_NO": 5})["EXPNUM"] == 5
    assert name_exposure({"EXP_NO": 5, "EXPNUM": 6})["EXPNUM"] == 6
    assert "EXPNUM" not in name_exposure({})


def test_reads_of_other_shapes_are_refused():
    check_shapes([("a", (5, 7)), ("b", (5, 7))])
    with pytest.raises(ReductionError, match=r"a has \(5, 7\), b has \(5, 8\)"):
        check_shapes([("a", (5, 7)), ("b", (5, 8))])


def gather(scans, **corrections):
    """Return file of the first read -> exposure."""
    return {exposure["file"]: exposure for exposure in gather_exposures(scans, corrections)}


def make_scans(**changes):
    """Return two exposures of three reads, in files whose names say nothing, and one of one file."""
    scans = {f"{8 - read}{exp}.fits": read_scan(read, exp, **changes) for read in (1, 2, 3) for exp in (7, 8)}
    return scans | {"whole.fits": scan("SCI", 9)}


def test_reads_with_one_identity_are_an_exposure():
    found = gather(make_scans())
    assert sorted(found) == ["77.fits", "78.fits", "whole.fits"]
    assert found["77.fits"]["files"] == ["77.fits", "67.fits", "57.fits"]
    assert found["77.fits"]["scan"]["images"] == [("DATA", (1, 3, 48, 64))]
    assert found["whole.fits"]["files"] == ["whole.fits"]
    assert not any(exposure["problem"] or exposure["dropped"] for exposure in found.values())


def test_exp_no_is_the_number_of_the_exposure():
    scans = {f"{k}.fits": read_scan(k, None, EXP_NO=5) for k in (1, 2, 3)}
    assert gather(scans)["1.fits"]["scan"]["keywords"]["EXPNUM"] == 5


def test_a_read_that_does_not_say_its_exposure_stays_alone():
    assert sorted(gather({f"{k}.fits": read_scan(k, None) for k in (1, 2, 3)})) == ["1.fits", "2.fits", "3.fits"]


def test_a_damaged_read_is_listed_and_named_by_its_exposure():
    scans = make_scans()
    scans["67.fits"] = {"error": "truncated: bring it again", "keywords": scans["67.fits"]["keywords"]}
    found = gather(scans)
    assert found["67.fits"]["scan"]["error"] == "truncated: bring it again"
    assert found["77.fits"]["problem"].startswith("read 2 of ramp 1 is damaged: 67.fits: truncated")
    assert not found["78.fits"]["problem"]


@pytest.mark.parametrize("damaged", [False, True])
def test_an_excluded_read_is_dropped(damaged):
    scans = make_scans()
    if damaged:
        scans["67.fits"] = {"error": "truncated", "keywords": scans["67.fits"]["keywords"]}
    found = gather(scans, exclude=[{"file": "67.fits", "reason": "clouds"}])
    assert (found["77.fits"]["files"], found["77.fits"]["dropped"]) == (["77.fits", "57.fits"], [[1, 2]])
    assert found["77.fits"]["notes"] == ["dropped: read 2 of ramp 1: clouds (67.fits)"]
    assert not found["77.fits"]["problem"]
    assert found["67.fits"]["files"] == ["67.fits"]


def test_of_two_files_with_one_read_the_excluded_one_counts_for_nothing():
    scans = make_scans() | {"again.fits": read_scan(2, 7)}
    assert "there twice: 67.fits, again.fits" in gather(scans)["77.fits"]["problem"]
    found = gather(scans, exclude=[{"file": "67.fits", "reason": "older"}])
    assert (found["77.fits"]["files"], found["77.fits"]["dropped"]) == (["77.fits", "again.fits", "57.fits"], [])
    assert not found["77.fits"]["problem"]


def test_an_exposure_all_of_whose_reads_are_excluded_is_none():
    exclude = [{"file": f"{8 - read}7.fits", "reason": "clouds"} for read in (1, 2, 3)]
    assert [e["file"] for e in gather_exposures(make_scans(), {"exclude": exclude}) if len(e["files"]) > 1] == [
        "78.fits"
    ]


def test_reads_are_dropped_by_their_numbers():
    drop = [{"file": "57.fits", "reads": [3, 1], "reason": "poor seeing"}]
    drop.append({"file": "whole.fits", "group": 2, "reads": [4], "reason": "jump"})
    found = gather(make_scans(), drop_reads=drop)
    assert found["77.fits"]["dropped"] == [[1, 1], [1, 3]]
    assert len(found["77.fits"]["files"]) == 3
    assert found["77.fits"]["notes"] == ["dropped: reads 1, 3 of group 1: poor seeing"]
    assert found["whole.fits"]["dropped"] == [[2, 4]]
    scans = make_scans()
    del scans["67.fits"]
    assert "missing: reads 2 of ramp 1" in gather(scans)["77.fits"]["problem"]
    lost = gather(scans, drop_reads=[{"file": "77.fits", "reads": [2], "reason": "lost"}])["77.fits"]
    assert (lost["problem"], lost["dropped"]) == ("", [[1, 2]])


def test_a_dropped_read_that_does_not_exist_is_refused():
    found = gather(make_scans(), drop_reads=[{"file": "77.fits", "reads": [4], "reason": "poor seeing"}])
    assert "drop_reads names read 4 of ramp 1, but there are 1 ramps of 3 reads" in found["77.fits"]["problem"]


def test_a_correction_of_one_read_is_one_of_the_exposure():
    entry = {"file": "57.fits", "set": {"OBJECT": "M 31"}, "reason": "typing error"}
    found = gather(make_scans(), correct=[entry])
    assert found["77.fits"]["scan"]["keywords"]["OBJECT"] == "M 31"
    assert found["77.fits"]["corrections"] == [entry]
    assert not found["78.fits"]["corrections"]


def test_a_correction_brings_a_read_back_to_its_exposure():
    scans = make_scans()
    scans["67.fits"] = read_scan(2, 7, DETECTOR="IMG2")
    found = gather(scans)
    assert "missing: reads 2" in found["77.fits"]["problem"]
    found = gather(scans, correct=[{"file": "67.fits", "set": {"DETECTOR": "IMG1"}, "reason": "typing error"}])
    assert not found["77.fits"]["problem"]
    assert len(found["77.fits"]["files"]) == 3


def test_a_correction_cannot_number_the_reads():
    entry = {"file": "67.fits", "set": {"READ_NO": 2}, "reason": "typing error"}
    assert "it cannot set READ_NO; exclude" in gather(make_scans(), correct=[entry])["77.fits"]["problem"]


def test_notes_of_reads_name_their_files():
    scans = make_scans()
    scans["67.fits"]["notes"] = ["bytes behind the last HDU"]
    assert gather(scans)["77.fits"]["notes"] == ["67.fits: bytes behind the last HDU"]


def test_shapes_that_differ_are_a_fault():
    scans = make_scans() | {"67.fits": read_scan(2, 7, shape=(48, 60))}
    assert "77.fits has (48, 64), 67.fits has (48, 60)" in gather(scans)["77.fits"]["problem"]
