import gzip
import io
import os

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.recording import find_target, write_keywords

DATA = np.arange(48, dtype=np.uint16).reshape(6, 8)


def write(path, *, primary=None, checksum=True, **keywords):
    first = fits.PrimaryHDU(primary)
    first.header.update(keywords)
    hdus = fits.HDUList([first, fits.ImageHDU(DATA, name="DATA")])
    hdus.writeto(path, checksum=checksum, overwrite=True)
    return path


def rest(path):
    """Return the bytes behind the PRIMARY header."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    with fits.open(io.BytesIO(content)) as hdus:
        return content[hdus[0].fileinfo()["datLoc"] :]


@pytest.mark.parametrize("primary", [None, DATA, DATA.astype(np.float32)])
@pytest.mark.parametrize("checksum", [True, False])
def test_only_the_header_changes_and_checksums_hold(tmp_path, primary, checksum):
    source = write(tmp_path / "a.fits", primary=primary, checksum=checksum, R_FLAT="old.fits", OBJECT="M 15")
    before = source.read_bytes()
    changes = write_keywords(source, tmp_path / "new" / "a.fits", {"R_FLAT": "new.fits", "R_DARK": "d.fits"})
    assert changes == {"R_FLAT": ("old.fits", "new.fits"), "R_DARK": (None, "d.fits")}
    assert source.read_bytes() == before
    assert rest(tmp_path / "new" / "a.fits") == rest(source)
    with fits.open(tmp_path / "new" / "a.fits", checksum=True) as hdus:  # a warning is an error
        assert (hdus[0].header["R_FLAT"], hdus[0].header["R_DARK"]) == ("new.fits", "d.fits")
        assert hdus[0].header["OBJECT"] == "M 15"
        assert ("CHECKSUM" in hdus[0].header) == checksum
        np.testing.assert_array_equal(hdus["DATA"].data, DATA)


def test_in_place_a_link_stays_a_link_and_modes_stay(tmp_path):
    source = write(tmp_path / "a.fits")
    source.chmod(0o640)
    (tmp_path / "link.fits").symlink_to(source)
    target = find_target(tmp_path / "link.fits", None)
    assert write_keywords(tmp_path / "link.fits", target, {"R_DARK": "d.fits"})
    assert (tmp_path / "link.fits").is_symlink()
    assert fits.getval(source, "R_DARK") == "d.fits"
    assert source.stat().st_mode & 0o777 == 0o640
    os.utime(source, (1, 1))
    assert write_keywords(source, source, {"R_DARK": "d.fits"}) == {}
    assert source.stat().st_mtime == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_gzipped_file_stays_one_and_has_the_same_bytes_twice(tmp_path):
    source = write(tmp_path / "a.fits.gz")
    for folder in ("one", "two"):
        write_keywords(source, tmp_path / folder / "a.fits.gz", {"R_DARK": "d.fits"})
    assert (tmp_path / "one/a.fits.gz").read_bytes() == (tmp_path / "two/a.fits.gz").read_bytes()
    assert rest(tmp_path / "one/a.fits.gz") == rest(source)
    assert fits.getval(tmp_path / "one/a.fits.gz", "R_DARK") == "d.fits"


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"R_[A-Z0-9]{1,6}", fullmatch=True),
        st.from_regex(r"[a-z0-9_.]{1,60}", fullmatch=True),
        max_size=60,
    )
)
def test_any_number_of_keywords_fits(tmp_path, keywords):
    source = write(tmp_path / "a.fits")
    write_keywords(source, tmp_path / "b.fits", keywords)
    assert rest(tmp_path / "b.fits") == rest(source)
    with fits.open(tmp_path / "b.fits", checksum=True) as hdus:
        assert {key: hdus[0].header[key] for key in keywords} == keywords


def test_a_damaged_file_is_refused_and_left(tmp_path):
    source = write(tmp_path / "a.fits")
    source.write_bytes(source.read_bytes()[:-2880])
    before = source.read_bytes()
    with pytest.raises(ReductionError, match="truncated"):
        write_keywords(source, source, {"R_DARK": "d.fits"})
    assert source.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_the_folder_of_the_files_is_no_place_for_copies(tmp_path):
    source = write(tmp_path / "a.fits")
    with pytest.raises(ReductionError, match="change it in place, or name another folder"):
        find_target(source, tmp_path)
    assert find_target(source, tmp_path / "new") == tmp_path / "new" / "a.fits"
