"""The night table: identities, kinds, and a reason for every file that is not reduced."""

import gzip
import json
import os
import re

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nights import INSTRUMENTS, RULES, ifs_scan, night, scan

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


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"INSTMODE": "LENSLET"}, "lenslet"),
        ({"INSTMODE": "IFS", "IFSMODE": "SLICER"}, "slicer"),
        ({"DETECTOR": "IFU", "INSTMODE": "SLICER"}, "slicer"),
    ],
)
def test_a_spectrograph_is_known_by_all_its_names(changes, mode):
    row = rows_of(night(a=ifs_scan("SCI", 7, NCHAN=16, **changes)))["a.fits"]
    assert row["id"] == "2024B-P123-008_IRIS_IFS_SCI_0007-00"
    assert (row["mode"], row["readout"]["n_channel"], row["keys"]["DETECTOR"]) == (mode, 16, "IFS")
    told = {key: value for entry in row["corrections"] for key, value in entry["set"].items()}
    assert {**changes, **told}["INSTMODE"] == mode.upper()


def test_the_observers_correction_comes_before_the_translation():
    correct = [{"file": "a.fits", "set": {"DETECTOR": "IFU", "INSTMODE": "LENSLET"}, "reason": "lost"}]
    row = rows_of(night(a=scan("SCI", 7)), {"correct": correct})["a.fits"]
    assert (row["status"], row["mode"], row["keys"]["DETECTOR"]) == ("accepted", "lenslet", "IFS")
    assert [entry["set"] for entry in row["corrections"]] == [correct[0]["set"], {"DETECTOR": "IFS"}]


@pytest.mark.parametrize(
    ("obsname", "mode", "kind", "imtype"),
    [
        ("LEN-SPX", "LENSLET", "lenslet-scan", "SCAN"),
        ("LEN-IDP", "LENSLET", "fibre", "FIBRE"),
        ("LEN-TEL", "LENSLET", "telluric", "TELLURIC"),
        ("LEN-DRK", "LENSLET", "dark", "DARK"),
        ("SLI-NFF", "SLICER", "flat", "FLAT"),
        ("SLI-SKY", "SLICER", "sky", "SKY"),
    ],
)
def test_kinds_of_a_spectrograph(obsname, mode, kind, imtype):
    row = rows_of(night(a=ifs_scan(None, 1, OBSNAME=obsname, INSTMODE=mode)))["a.fits"]
    assert (row["status"], row["kind"], row["keys"]["IMTYPE"]) == ("accepted", kind, imtype)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"INSTMODE": None}, "INSTMODE of detector IFS is missing, expected LENSLET or SLICER"),
        ({"INSTMODE": "GRISM"}, "INSTMODE is illegal: 'GRISM' is not one of ['IMG', 'SLICER', 'LENSLET', 'IFS']"),
        ({"INSTMODE": "IFS", "IFSMODE": "X"}, "IFSMODE 'X', expected LENSLET or SLICER"),
        ({"OBSNAME": "LEN-SCI"}, "OBSNAME 'LEN-SCI' is not of mode slicer"),
        ({"SCALE": 0.004}, "SCALE 0.004 is none of SLICER, which has 0.025, 0.05: correct it in exposures.yaml"),
        ({"GRATING": "1200-H"}, "GRATING '1200-H' is none of SLICER, which has 4000-Z"),
        ({"NCHAN": 7}, "7 output channels (NCHAN) do not divide 64 columns (DETXSIZE)"),
        ({"NCHAN": 0}, "NCHAN is illegal"),
        ({"CHANVERT": False}, "CHANVERT is F"),
    ],
)
def test_a_spectrograph_without_mode_or_with_unequal_channels_is_rejected(changes, text):
    row = rows_of(night(a=ifs_scan("SCI", 1, **changes)))["a.fits"]
    assert row["status"] == "rejected"
    assert text in row["reason"], row["reason"]


def test_a_dark_is_used_whatever_its_optics_were():
    rows = rows_of(night(a=ifs_scan("DARK", 1, SCALE=0.2, GRATING="?")))
    assert rows["a.fits"]["status"] == "accepted"


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


def read_scan(read, expnum, **changes):
    """Return the header scan of one read of an exposure of two ramps of three reads."""
    place = {
        "RAMP_NO": (read - 1) // 3 + 1,
        "READ_NO": (read - 1) % 3 + 1,
        "NUMRAMPS": 2,
        "NUMREADS": 3,
        "COMPLETE": True,
    }
    return scan("SCI", None, shape=(48, 64), **{"EXP_NO": expnum, **place, **changes})


def make_reads(expnum=7, **changes):
    """Return the scans of an exposure, one file per read, whose names tell nothing."""
    return {f"{expnum}{'fbdace'[read - 1]}.fits": read_scan(read, expnum, **changes) for read in range(1, 7)}


def test_the_reads_of_an_exposure_are_one_row():
    rows = rows_of(make_reads(7) | make_reads(8, DETECTOR="IMG2") | night(a=scan("SCI", 9)))
    assert sorted(rows) == ["7f.fits", "8f.fits", "a.fits"]
    row = rows["7f.fits"]
    assert (row["status"], row["id"]) == ("accepted", "2024B-P123-008_IRIS_IMG1_SCI_0007-00")
    assert row["files"] == ["7f.fits", "7b.fits", "7d.fits", "7a.fits", "7c.fits", "7e.fits"]
    assert (rows["a.fits"]["files"], rows["a.fits"]["dropped"]) == (["a.fits"], [])


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("7d.fits", None, "missing: reads 3 of ramp 1 (NUMRAMPS 2, NUMREADS 3)"),
        ("7d.fits", {"COMPLETE": False}, "read 3 of ramp 1 is not complete (7d.fits: COMPLETE is False)"),
        ("7d.fits", {"READ_NO": 2}, "read 2 of ramp 1 is there twice: 7b.fits, 7d.fits"),
        ("7d.fits", {"NUMREADS": 4}, "NUMREADS is 3 in 7f.fits, but 4 in 7d.fits"),
    ],
)
def test_reads_that_make_no_ramp_are_one_rejected_row(name, changes, reason):
    scans = make_reads(7) | make_reads(8)
    if changes is None:
        del scans[name]
    else:
        scans[name] = read_scan(3, 7, **changes)
    rows = rows_of(scans)
    assert [(row["status"], row["file"]) for row in rows.values() if row["status"] != "accepted"] == [
        ("rejected", "7f.fits")
    ]
    assert rows["7f.fits"]["reason"].startswith(reason)
    assert rows["8f.fits"]["status"] == "accepted"


def test_what_is_wrong_with_the_exposure_comes_before_its_reads():
    scans = make_reads(7, DETECTOR=None)
    del scans["7d.fits"]
    assert "DETECTOR is missing" in rows_of(scans)["7f.fits"]["reason"]
    assert rows_of(make_reads(7, IMTYPE="ENG", COMPLETE=False))["7f.fits"]["status"] == "set aside"


def test_a_damaged_read_is_a_row_and_the_reason_of_its_exposure(tmp_path):
    for read in (1, 2, 3):
        header = fits.Header(read_scan(read, 7, NUMRAMPS=1)["keywords"])
        hdus = [fits.PrimaryHDU(header=header), fits.ImageHDU(np.zeros((48, 64), np.uint16), name="DATA")]
        fits.HDUList(hdus).writeto(tmp_path / f"{read}.fits")
    whole = (tmp_path / "2.fits").read_bytes()
    (tmp_path / "2.fits").write_bytes(whole[:-2880])
    scans = json.loads(json.dumps(scan_raw(tmp_path, {})))
    assert scan_raw(tmp_path, scans) == scans
    rows = rows_of(scans)
    assert sorted(rows) == ["1.fits", "2.fits"]
    assert rows["2.fits"]["reason"].startswith("truncated")
    assert rows["1.fits"]["reason"].startswith("read 2 of ramp 1 is damaged: 2.fits: truncated")
    rows = rows_of(scans, {"exclude": [{"file": "2.fits", "reason": "cut off"}]})
    assert (rows["1.fits"]["status"], rows["1.fits"]["dropped"]) == ("accepted", [[1, 2]])
    assert rows["1.fits"]["notes"] == ["dropped: read 2 of ramp 1: cut off (2.fits)"]
    assert (rows["2.fits"]["status"], rows["2.fits"]["reason"]) == ("excluded", "cut off")


def test_reads_and_a_whole_ramp_with_one_identity_are_rejected():
    rows = rows_of(make_reads(7) | night(a=scan("SCI", 7)))
    assert {row["status"] for row in rows.values()} == {"rejected"}
    assert "is claimed by a.fits, 7f.fits" in rows["a.fits"]["reason"]


def test_dropped_reads_are_in_the_row():
    drop = [{"file": "a.fits", "group": 2, "reads": [5, 3], "reason": "poor seeing"}]
    drop += [{"file": "7c.fits", "reads": [1], "reason": "settling"}]
    rows = rows_of(make_reads(7) | night(a=scan("SCI", 9)), {"drop_reads": drop})
    assert (rows["a.fits"]["status"], rows["a.fits"]["dropped"]) == ("accepted", [[2, 3], [2, 5]])
    assert rows["a.fits"]["notes"] == ["dropped: reads 3, 5 of group 2: poor seeing"]
    assert (rows["7f.fits"]["dropped"], len(rows["7f.fits"]["files"])) == ([[1, 1]], 6)
    with pytest.raises(ReductionError, match=r"not in raw/: z\.fits"):
        rows_of(night(a=scan("SCI", 1)), {"drop_reads": [{"file": "z.fits", "reads": [1], "reason": "cloud"}]})


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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
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


readouts = st.fixed_dictionaries(
    {"INSTMODE": st.sampled_from(["SLICER", "LENSLET", "IFS", "IMG", None, "", 3])},
    optional={
        "DETECTOR": st.sampled_from(["IFS", "IFU", "IMG1"]),
        "IFSMODE": st.sampled_from(["SLICER", "LENSLET", "", 1.5, True]),
        "NCHAN": st.integers(-1, 70) | st.floats(0, 70),
        "CHANVERT": st.booleans() | st.just("T"),
        "DETXSIZE": st.integers(-1, 5000),
        "OBSNAME": st.sampled_from(["LEN-SCI", "SLI-SCI", "IMG1-SCI", "-", 7]),
    },
)


@given(readouts)
def test_an_accepted_exposure_has_a_mode_and_equal_channels(changes):
    row = rows_of(night(a=ifs_scan("SCI", 1, **changes)))["a.fits"]
    if row["status"] == "accepted":
        detector = INSTRUMENTS["IRIS"]["detectors"][row["keys"]["DETECTOR"]]
        assert row["mode"] in detector["modes"].values()
        assert (row["keys"]["DETXSIZE"] or 4096) % row["readout"]["n_channel"] == 0
    else:
        assert (row["status"], row["reason"] != "") == ("rejected", True)


numbering = st.sampled_from(["READ_NO", "RAMP_NO", "NUMREADS", "NUMRAMPS", "COMPLETE", "EXP_NO", "DETECTOR"])


@given(st.lists(st.dictionaries(numbering, values | st.integers(-1, 4)), min_size=6, max_size=6), st.data())
def test_no_headers_of_reads_break_the_table(changes, data):
    scans = make_reads(7)
    for file, own in zip(scans, changes, strict=True):
        scans[file]["keywords"] |= own
        if data.draw(st.booleans()):
            scans[file] = {"error": "truncated", "keywords": scans[file]["keywords"]}
    chosen = st.lists(st.sampled_from(sorted(scans)), max_size=2, unique=True)
    corrections = {"exclude": [{"file": file, "reason": "cloud"} for file in data.draw(chosen)]}
    corrections["drop_reads"] = [{"file": file, "reads": [1, 9], "reason": "cloud"} for file in data.draw(chosen)]
    corrections["correct"] = [{"file": file, "set": changes[0], "reason": "test"} for file in data.draw(chosen)]
    rows = build_rows(scans, INSTRUMENTS, RULES, corrections)
    assert {file for row in rows for file in row["files"]} == set(scans)
    assert all(row["reason"] or row["status"] == "accepted" for row in rows)
    json.dumps(rows, ensure_ascii=False, allow_nan=False).encode()


@given(text)
def test_slug_is_always_part_of_a_file_name(name):
    assert set(slug(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-")
    assert slug(name) not in ("", ".", "..")
