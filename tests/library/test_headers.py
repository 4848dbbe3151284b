"""Structure of FITS files: whole, cut, with junk, and no FITS at all."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits

from drs.errors import ReductionError
from drs.headers import scan_headers


@pytest.fixture
def ramp(tmp_path):
    """Path of a small whole Level 0 file."""
    path = tmp_path / "a.fits"
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"] = "IRIS"
    primary.header["EXPNUM"] = 3
    data = fits.ImageHDU(np.zeros((1, 4, 5, 7), np.uint16), name="DATA")
    times = fits.ImageHDU(np.arange(4.0)[None], name="TIMES")
    fits.HDUList([primary, data, times]).writeto(path)
    return path


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
