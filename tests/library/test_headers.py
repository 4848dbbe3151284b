"""Structure of FITS files: whole, cut, with junk, and no FITS at all."""

import gzip
import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.headers import _keywords_of_packed_primary, parse_utc, read_keywords, scan_headers


@pytest.fixture
def ramp(tmp_path):
    """Path of a small whole Level 0 file."""
    return write_ramp(tmp_path / "a.fits")


def write_ramp(path):
    """Write a small whole Level 0 file."""
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"] = "IRIS"
    primary.header["EXPNUM"] = 3
    data = fits.ImageHDU(np.zeros((1, 4, 5, 7), np.uint16), name="DATA")
    times = fits.ImageHDU(np.arange(4.0)[None], name="TIMES")
    fits.HDUList([primary, data, times]).writeto(path)
    return path


def replace_card(path, keyword, card, n_header=0):
    """Replace a card of the n-th header by other text; a card of blanks takes it away."""
    content = path.read_bytes()
    start = [k for k in range(0, len(content), 2880) if content[k : k + 8] in (b"SIMPLE  ", b"XTENSION")][n_header]
    place = content.index(keyword.encode().ljust(8) + b"=", start)
    path.write_bytes(content[:place] + card.encode("latin-1").ljust(80) + content[place + 80 :])


def test_whole_file_gives_keywords_and_shapes(ramp):
    scan = scan_headers(ramp)
    assert scan["keywords"]["INSTRUME"] == "IRIS"
    assert scan["keywords"]["EXPNUM"] == 3
    assert scan["images"] == [("DATA", (1, 4, 5, 7)), ("TIMES", (1, 4))]
    assert scan["notes"] == []


@pytest.mark.parametrize("suffix", [".gz", ".fz"])
def test_compressed_files_give_the_same(ramp, tmp_path, suffix):
    path = tmp_path / f"b.fits{suffix}"
    if suffix == ".gz":
        with gzip.open(path, "wb") as out, ramp.open("rb") as plain:
            shutil.copyfileobj(plain, out)
    else:
        with fits.open(ramp) as hdus:
            data = fits.CompImageHDU(hdus["DATA"].data[0], name="DATA")
            fits.HDUList([hdus[0], data]).writeto(path)
    scan = scan_headers(path)
    assert scan["keywords"]["EXPNUM"] == 3
    assert scan["images"][0] == (("DATA", (1, 4, 5, 7)) if suffix == ".gz" else ("DATA", (4, 5, 7)))


@pytest.mark.parametrize("cut", [100, 2880 + 50, 2880 * 2 + 100, -2880, -1])
def test_a_cut_file_is_refused_at_every_place(ramp, cut):
    content = ramp.read_bytes()
    ramp.write_bytes(content[:cut])
    with pytest.raises(ReductionError, match=r"truncated|without END"):
        scan_headers(ramp)


def test_a_cut_gzip_is_refused(ramp, tmp_path):
    path = tmp_path / "b.fits.gz"
    path.write_bytes(gzip.compress(ramp.read_bytes())[:-20])
    with pytest.raises(ReductionError, match="transfer the file again"):
        scan_headers(path)


def test_trailing_junk_is_noted_not_refused(ramp):
    size = ramp.stat().st_size
    ramp.write_bytes(ramp.read_bytes() + b"junk" * 10)
    assert scan_headers(ramp)["notes"] == [f"bytes behind the last HDU at offset {size} are ignored"]
    ramp.write_bytes(ramp.read_bytes()[:size] + b"\0" * 2880)
    assert scan_headers(ramp)["notes"] == []


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x89PNG" * 1000])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "c.fits"
    path.write_bytes(content)
    with pytest.raises(ReductionError, match="not a FITS file"):
        scan_headers(path)


def test_a_header_without_end_is_refused(tmp_path):
    path = tmp_path / "c.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(2880) + b" " * 2880 * 500)
    with pytest.raises(ReductionError, match="without END"):
        scan_headers(path)


def test_values_without_meaning_count_as_missing(ramp):
    content = ramp.read_bytes().replace(b"EXPNUM  =                    3", b"EXPNUM  =                     ")
    ramp.write_bytes(content)
    assert "EXPNUM" not in scan_headers(ramp)["keywords"]


def test_a_flipped_bit_in_a_gzip_is_refused(ramp, tmp_path):
    path = tmp_path / "b.fits.gz"
    content = bytearray(gzip.compress(ramp.read_bytes()))
    content[40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ReductionError, match=r"cannot be read to its end \(Error .*transfer the file again"):
        scan_headers(path)


@pytest.mark.parametrize(
    ("keyword", "card", "message"),
    [
        ("NAXIS1", "", "NAXIS1 is missing, expected a whole number"),
        ("NAXIS1", "NAXIS1  =                   'x'", "NAXIS1 is 'x'"),
        ("NAXIS1", "NAXIS1  =                  -700", "NAXIS1 is -700"),
        ("NAXIS1", "NAXIS1  =                   7.0", r"NAXIS1 is 7\.0"),
        ("NAXIS1", "NAXIS1  = 99999999999999999999999999", "truncated: its headers state at least"),
        ("NAXIS", "NAXIS   =            2000000000", "expected at most 999"),
        ("NAXIS", "NAXIS   =                     5", "NAXIS5 is missing"),
        ("BITPIX", "BITPIX  =                    17", "BITPIX is 17, expected one of 8, 16"),
        ("BITPIX", "", "BITPIX is missing"),
        ("PCOUNT", "PCOUNT  = 'x'", "PCOUNT is 'x'"),
        ("GCOUNT", "GCOUNT  =                     T", "GCOUNT is True"),
        ("EXTNAME", "EXTNAME = 'DA\x1bTA'", "card 'EXTNAME' cannot be read"),
        ("EXTNAME", "EXTNAME = 'DÄTA'", "what is not FITS"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_structure_that_makes_no_sense_is_refused(ramp, keyword, card, message, packed):
    replace_card(ramp, keyword, card, n_header=1)
    if packed:
        packed = ramp.with_name("a.fits.gz")
        packed.write_bytes(gzip.compress(ramp.read_bytes()))
    with pytest.raises(ReductionError, match=message):
        scan_headers(packed or ramp)


def test_a_strange_card_is_no_reason_to_refuse(ramp):
    replace_card(ramp, "EXPNUM", "KEY  =3")  # astropy warns
    assert scan_headers(ramp)["keywords"]["INSTRUME"] == "IRIS"


def test_an_unreadable_card_is_named(ramp):
    replace_card(ramp, "INSTRUME", "INSTRUME= 'IRIS")
    with pytest.raises(ReductionError, match="card 'INSTRUME' cannot be read"):
        scan_headers(ramp)


def test_what_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(ReductionError, match="Is a directory"):
        scan_headers(tmp_path)
    for read in (scan_headers, read_keywords):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nowhere.fits")


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """Suffix -> (path to write to, bytes of a whole file)."""
    folder = tmp_path_factory.mktemp("fuzz")
    content = write_ramp(folder / "whole.fits").read_bytes()
    return {
        ".fits": (folder / "x.fits", content),
        ".fits.gz": (folder / "x.fits.gz", gzip.compress(content, mtime=0)),
    }


def check_scan_or_refusal(path, content):
    """Check that a file gives a scan that JSON can hold, or a refusal that a terminal can hold."""
    path.write_bytes(content)
    try:
        found = scan_headers(path)
    except ReductionError as error:
        found = str(error)
    assert isinstance(found, dict) or found.isprintable()
    json.dumps(found, allow_nan=False).encode()


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@given(data=st.data())
def test_no_damage_is_more_than_a_refusal(forms, suffix, data):
    path, whole = forms[suffix]
    content = bytearray(whole)
    damage = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    for place, byte in data.draw(st.lists(damage, min_size=1, max_size=4)):
        content[place] = byte
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    check_scan_or_refusal(path, content[:end])


tokens = st.sampled_from(["", "x", "'x'", "-1", "0", "1E999", "9" * 25, "T", "(1,2)", "1.5", "'", "\0", "\x1b[0m", "/"])


@given(st.lists(st.tuples(st.integers(0, 60), tokens), min_size=1, max_size=3))
def test_no_value_of_a_card_is_more_than_a_refusal(forms, changes):
    path, whole = forms[".fits"]
    cards = [k for k in range(0, len(whole), 80) if whole[k + 8 : k + 10] == b"= "]
    content = bytearray(whole)
    for number, value in changes:
        place = cards[number % len(cards)]
        content[place + 10 : place + 80] = value.rjust(20).ljust(70).encode()
    check_scan_or_refusal(path, content)


@pytest.mark.parametrize(
    ("text", "hour"),
    [("06:00:00", 6), ("06:00:00Z", 6), ("06:00:00+05:00", 1), ("06:00:00-10:00", 16), ("06:00:00.000+00:00", 6)],
)
def test_moments_are_in_utc(text, hour):
    assert parse_utc(f"2024-09-24T{text}") == datetime(2024, 9, 24, hour, tzinfo=UTC)
    assert parse_utc(f"2024-09-24T{text}").utcoffset().total_seconds() == 0


@pytest.mark.parametrize("packed", [False, True])
def test_keywords_of_a_file_that_was_cut(ramp, tmp_path, packed):
    content = gzip.compress(ramp.read_bytes(), mtime=0)[:-40] if packed else ramp.read_bytes()[:-2880]
    path = tmp_path / ("cut.fits.gz" if packed else "cut.fits")
    path.write_bytes(content)
    with pytest.raises(ReductionError):
        scan_headers(path)
    assert read_keywords(path)["INSTRUME"] == "IRIS"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "it is empty"), (b"SIMPLE  =" + b" " * 3000, "truncated in a header")],
)
def test_keywords_of_what_is_no_header_are_refused(tmp_path, content, message):
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(ReductionError, match=message):
        read_keywords(tmp_path / "a.fits")


def test_keywords_of_a_tile_compressed_primary():
    """The header of a PRIMARY that was packed stands in the table with its tiles."""
    header = fits.Header(
        [("ZSIMPLE", True), ("TFORM1", "1PB"), ("ZCMPTYPE", "RICE_1"), ("ZENITH", 3.0), ("OBJECT", "x")]
    )
    assert _keywords_of_packed_primary(header) == {"ZENITH": 3.0, "OBJECT": "x"}
    del header["ZSIMPLE"]
    assert _keywords_of_packed_primary(header) == {}
