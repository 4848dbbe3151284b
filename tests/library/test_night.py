"""The night table: identities, kinds, and a reason for every file that is not reduced."""

import gzip
import json
import os
import re

import numpy as np
import pytest
from astropy.io import fits
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
        ({"EXPDTST": "0001-01-01T00:00:00"}, "start time 0001-01-01T00:00:00 is outside 1990 to 2100"),
        ({"EXPDTST": "0001-01-01T00:00:00+05:00"}, "start time cannot be read"),
        ({"EXPDTST": "2100-01-01T00:00:00"}, "outside 1990 to 2100"),
        ({"EXPDTST": "1989-12-31T23:59:59"}, "outside 1990 to 2100"),
        ({"EXPDTST": None, "EXPMJDST": 1e300}, "outside 1990 to 2100"),
        ({"EXPDTST": None, "EXPMJDST": -5}, "outside 1990 to 2100"),
        ({"EXPDTST": None, "EXPJDST": "noon"}, "start time cannot be read"),
        ({"OBJECT": "caf\udce9\n"}, r"OBJECT is 'caf\\udce9\\n', expected printable ASCII"),
        ({"PROGNUM": "P123\n"}, "PROGNUM is 'P123"),
        ({"RA": None}, "without RA"),
        ({"PA": None}, "a science exposure without PA: give it in exposures.yaml"),
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
        ({"DATE-OBS": "2024-09-25T06:00:00+05:00"}, "2024-09-25T01:00:00.000"),
        ({"DATE-OBS": "2024-09-24", "TIME-OBS": "20:00:00-10:00"}, "2024-09-25T06:00:00.000"),
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


def test_what_is_no_file_is_a_rejected_file(tmp_path):
    (tmp_path / "a.fits").mkdir()
    os.mkfifo(tmp_path / "b.fits")
    assert {scan["error"] for scan in scan_raw(tmp_path, {}).values()} == {"not a file: take it out of raw/"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9.fits", r"caf\xe9.fits"),
        (b"a\nb.fits", r"a\nb.fits"),
        (b"a\x1b[2Jb.fits.gz", r"a\x1b[2Jb.fits.gz"),
        ("a\u2028b.fits".encode(), r"a\u2028b.fits"),
        (b"a\\nb.fits", r"a\\nb.fits"),
        ("café Ω.fits".encode(), "café Ω.fits"),
    ],
)
def test_a_name_that_no_terminal_can_show_is_a_rejected_file(tmp_path, name, shown):
    (tmp_path / os.fsdecode(name)).touch()
    scans = scan_raw(tmp_path, {})
    assert list(scans) == [shown]
    row = rows_of(json.loads(json.dumps(scans, ensure_ascii=False).encode()))[shown]
    assert row["status"] == "rejected"
    assert ("rename the file" in row["reason"]) == (shown != "café Ω.fits")
    assert rows_of(scans, {"exclude": [{"file": shown, "reason": "junk"}]})[shown]["status"] == "excluded"


def write_exposure(path, **changes):
    """Write a small Level 0 file that the night table accepts."""
    primary = fits.PrimaryHDU()
    primary.header.update(scan("SCI", 1, **changes)["keywords"])
    fits.HDUList([primary, fits.ImageHDU(np.zeros((1, 2, 3, 4), np.uint16), name="DATA")]).writeto(path)
    return path.read_bytes()


def test_bad_files_leave_the_good_one(tmp_path):
    content = write_exposure(tmp_path / "good.fits")
    packed = bytearray(gzip.compress(content))
    packed[40] ^= 0xFF
    (tmp_path / "flipped.fits.gz").write_bytes(packed)
    (tmp_path / "axis.fits").write_bytes(content.replace(b"NAXIS1  ", b"NAXISX  "))
    (tmp_path / "count.fits").write_bytes(
        content.replace(b"PCOUNT  =                    0", b"PCOUNT  = 'x'".ljust(30))
    )
    (tmp_path / "date.fits").write_bytes(content.replace(b"'2024-09-25T", b"'0001-01-01T"))
    (tmp_path / "huge.fits").write_bytes(content.replace(b"NAXIS1  =  ", b"NAXIS1  = 9"))
    (tmp_path / "caf\udce9.fits").write_bytes(content)
    scans = scan_raw(tmp_path, {})
    rows = rows_of(scans)
    json.dumps([scans, rows], ensure_ascii=False, allow_nan=False).encode()
    assert len(rows) == 7
    assert [file for file, row in rows.items() if row["status"] == "accepted"] == ["good.fits"]
    assert all(len(row["reason"]) > 20 for file, row in rows.items() if file != "good.fits")


@pytest.fixture(scope="module")
def exposure(tmp_path_factory):
    """Return (empty folder, bytes of an accepted file, the same gzipped)."""
    content = write_exposure(tmp_path_factory.mktemp("whole") / "a.fits")
    return tmp_path_factory.mktemp("fuzz"), content, gzip.compress(content, mtime=0)


@given(data=st.data())
def test_a_damaged_file_is_always_a_row(exposure, data):
    folder, plain, packed = exposure
    for name, whole in (("a.fits", plain), ("b.fits.gz", packed)):
        content = bytearray(whole)
        damage = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
        for place, byte in data.draw(st.lists(damage, max_size=3)):
            content[place] = byte
        (folder / name).write_bytes(content[: data.draw(st.sampled_from([None, None, None, 100, -100]))])
    scans = scan_raw(folder, {})
    rows = rows_of(scans)
    assert set(rows) == {"a.fits", "b.fits.gz"}
    assert all(row["reason"].isprintable() and (row["reason"] or row["status"] == "accepted") for row in rows.values())
    json.dumps([scans, rows], ensure_ascii=False, allow_nan=False).encode()


text = st.text(max_size=12)
dates = st.one_of(st.datetimes(), st.datetimes(timezones=st.timezones())).map(lambda moment: moment.isoformat())
values = st.one_of(text, dates, st.integers(-5, 10**6), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


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
                "EXPMJDST",
                "EXPJDST",
                "DATE-OBS",
                "TIME-OBS",
                "DATAQUAL",
                "RA",
                "PA",
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
