"""The night table: identities, kinds, and a reason for every file that is not reduced."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nights import INSTRUMENTS, RULES, night, scan

from drs.errors import ReductionError
from drs.night import build_rows, scan_raw, slug


def rows_of(scans, corrections=None):
    """Return file -> row."""
    return {row["file"]: row for row in build_rows(scans, INSTRUMENTS, RULES, corrections or {})}


def test_identity_is_made_from_the_header():
    row = rows_of(night(a=scan("SCI", 7)))["a.fits"]
    assert row["status"] == "accepted"
    assert row["id"] == "2024B-P123-008_IRIS_IMG1_SCI_0007-00"
    assert (row["obs"], row["exp"]) == ("2024B-P123-008_IRIS_IMG1_SCI", "0007-00")
    assert (row["kind"], row["mode"]) == ("science", "imager")
    assert row["keys"]["NIGHT"] == "20240924"
    assert row["night_middle"] == "2024-09-25T10:00:00"


@pytest.mark.parametrize(
    ("start", "semester"),
    [
        ("2024-08-02T05:00:00", "2024B"),
        ("2025-01-31T05:00:00", "2024B"),
        ("2025-02-01T05:00:00", "2024B"),  # the night of January 31
        ("2025-02-02T05:00:00", "2025A"),
        ("2024-07-31T23:00:00", "2024A"),
    ],
)
def test_semester_of_the_night_when_the_header_has_none(start, semester):
    row = rows_of(night(a=scan("SCI", 1, start=start, SEMID=None)))["a.fits"]
    assert row["keys"]["SEMID"] == semester


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"INSTRUME": None}, "INSTRUME is missing"),
        ({"DETECTOR": None}, "DETECTOR is missing"),
        ({"EXPNUM": None}, "EXPNUM is missing"),
        ({"IMTYPE": None}, "IMTYPE .or OBSNAME. is missing"),
        ({"INSTRUME": "OSIRIS"}, "INSTRUME is illegal"),
        ({"DETECTOR": "IMG9"}, "DETECTOR is illegal"),
        ({"DETECTOR": "IMG"}, "IRIS has no detector 'IMG'"),
        ({"EXPNUM": "one"}, "EXPNUM is illegal"),
        ({"EXPNUM": -1}, "EXPNUM is illegal"),
        ({"PROGNUM": "../../etc"}, "PROGNUM is illegal"),
        ({"OBSNUM": "8; rm -rf ~"}, "OBSNUM is illegal"),
        ({"SEMID": "$(id)"}, "SEMID is illegal"),
        ({"FILTER": "Y'; true"}, "FILTER is illegal"),
        ({"DEC": 91.0}, "DEC is illegal"),
        ({"IMTYPE": "MIRACLE"}, "none of SCI"),
        ({"EXPDTST": "yesterday"}, "start time cannot be read"),
        ({"EXPDTST": None}, "no start time"),
        ({"RA": None}, "without RA"),
        ({"FILTER": None}, "without FILTER"),
        ({"OBSNAME": "IMG1-DRK"}, "disagree"),
    ],
)
def test_a_header_that_cannot_be_used_is_rejected_with_its_reason(changes, text):
    rows = rows_of(night(bad=scan("SCI", 1, **changes), good=scan("SCI", 2)))
    assert rows["bad.fits"]["status"] == "rejected"
    assert re.search(text, rows["bad.fits"]["reason"]), rows["bad.fits"]["reason"]
    assert rows["good.fits"]["status"] == "accepted"


@pytest.mark.parametrize("shape", [(48, 64), (2, 1, 8, 48, 64), (0, 8, 48, 64)])
def test_wrong_dimensions_are_rejected(shape):
    row = rows_of(night(a=scan("SCI", 1, shape=shape)))["a.fits"]
    assert "expected 3 or 4 axes" in row["reason"]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ({"EXPMJDST": 60578.25}, "2024-09-25T06:00:00.000"),
        ({"EXPJDST": 2460578.75}, "2024-09-25T06:00:00.000"),
        ({"DATE-OBS": "2024-09-25", "TIME-OBS": "06:00:00"}, "2024-09-25T06:00:00.000"),
        ({"DATE-OBS": "2024-09-25T06:00:00.123Z"}, "2024-09-25T06:00:00.123"),
    ],
)
def test_start_time_is_found_under_its_other_names(time, expected):
    row = rows_of(night(a=scan("SCI", 1, EXPDTST=None, **time)))["a.fits"]
    assert row["keys"]["EXPDTST"] == expected


def test_two_files_with_one_identity_are_rejected_and_both_named():
    rows = rows_of(night(a=scan("SCI", 1), b=scan("SCI", 1), c=scan("SCI", 2)))
    for file in ("a.fits", "b.fits"):
        assert rows[file]["status"] == "rejected"
        assert "a.fits, b.fits" in rows[file]["reason"]
    assert rows["c.fits"]["status"] == "accepted"


def test_kind_comes_from_obsname_when_there_is_no_imtype():
    row = rows_of(night(a=scan("SCI", 1, IMTYPE=None, OBSNAME="IMG1-NFF")))["a.fits"]
    assert (row["kind"], row["keys"]["IMTYPE"]) == ("flat", "FLAT")


def test_engineering_and_bad_exposures_are_set_apart():
    rows = rows_of(night(a=scan("ENG", 1, OBSNAME="IMG1-FOC"), b=scan("SCI", 2, DATAQUAL="BAD")))
    assert (rows["a.fits"]["status"], "engineering" in rows["a.fits"]["reason"]) == ("set aside", True)
    assert (rows["b.fits"]["status"], "DATAQUAL" in rows["b.fits"]["reason"]) == ("excluded", True)


def test_corrections_and_exclusions_carry_their_reason():
    corrections = {
        "exclude": [{"file": "a.fits", "reason": "dome light"}],
        "correct": [{"file": "b.fits", "set": {"DETECTOR": "IMG2"}, "reason": "header bug"}],
    }
    rows = rows_of(night(a=scan("SCI", 1), b=scan("SCI", 2, DETECTOR=None)), corrections)
    assert (rows["a.fits"]["status"], rows["a.fits"]["reason"]) == ("excluded", "dome light")
    assert rows["b.fits"]["keys"]["DETECTOR"] == "IMG2"
    assert rows["b.fits"]["corrections"] == [{"set": {"DETECTOR": "IMG2"}, "reason": "header bug"}]


def test_a_correction_of_an_unknown_file_is_refused():
    with pytest.raises(ReductionError, match=r"not in raw/: z\.fits"):
        rows_of(night(a=scan("SCI", 1)), {"exclude": [{"file": "z.fits", "reason": "cloud"}]})


def test_scan_reads_only_changed_files(tmp_path, monkeypatch):
    for name in ("a.fits", "b.fits", "notes.txt"):
        (tmp_path / name).write_bytes(b"SIMPLE")
    first = scan_raw(tmp_path, {})
    assert set(first) == {"a.fits", "b.fits"}
    (tmp_path / "b.fits").write_bytes(b"longer than before")
    opened = []
    monkeypatch.setattr("drs.night.scan_headers", lambda path: opened.append(path.name) or {})
    scan_raw(tmp_path, first)
    assert opened == ["b.fits"]


def test_a_dangling_link_is_a_rejected_file(tmp_path):
    (tmp_path / "a.fits").symlink_to(tmp_path / "nowhere")
    assert "cannot be opened" in scan_raw(tmp_path, {})["a.fits"]["error"]


text = st.text(max_size=12)
values = st.one_of(text, st.integers(-5, 10**6), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "INSTRUME",
                "DETECTOR",
                "EXPNUM",
                "PROGNUM",
                "OBSNUM",
                "SEMID",
                "IMTYPE",
                "OBJECT",
                "EXPDTST",
                "RA",
                "SUBARRID",
                "FILTER",
                "OBSNAME",
            ]
        ),
        values,
    )
)
def test_no_header_breaks_the_table_and_no_identity_leaves_its_alphabet(changes):
    row = rows_of({"a.fits": scan("SCI", 1) | {"keywords": scan("SCI", 1)["keywords"] | changes}})["a.fits"]
    assert row["status"] in ("accepted", "rejected", "set aside")
    if row["status"] == "accepted":
        assert set(row["id"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    else:
        assert row["reason"]


@given(text)
def test_slug_is_always_part_of_a_file_name(name):
    assert set(slug(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-")
    assert slug(name) not in ("", ".", "..")
