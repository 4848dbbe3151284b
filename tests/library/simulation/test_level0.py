"""Level 0 files read back with astropy: every form, both orders."""

import numpy as np
import pytest
from astropy.io import fits

from drs.errors import ReductionError
from drs.headers import scan_headers
from drs.raw import open_ramp
from drs.simulation.level0 import write_level0

SHAPE = (13, 17)
KEYWORDS = [("DETECTOR", "IMG1", "detector"), ("PA", 30.0, "a comment that is much longer than a card has room for it")]
TIMES_S = np.array([[1.5, 3.0, 4.5], [1.5, 3.0, 4.5]])


def make_reads(n_group=2):
    return np.random.default_rng(2).integers(0, 65536, (n_group, 3, *SHAPE)).astype(np.uint16)


def write(path, reads, **options):
    blocks = ((slice(first, min(first + 5, 13)), reads[:, :, first : first + 5]) for first in range(0, 13, 5))
    return write_level0(path, KEYWORDS, TIMES_S[: reads.shape[0]], blocks, shape=SHAPE, **options)


@pytest.mark.parametrize(("order", "axes"), [("reads_first", (0, 1, 2, 3)), ("pixels_first", (2, 3, 0, 1))])
def test_both_orders_hold_the_reads(tmp_path, order, axes):
    reads = make_reads()
    path = write(tmp_path / "a.fits", reads, order=order)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "TIMES", "DATA"]
        assert hdus[0].header["DETECTOR"] == "IMG1"
        assert hdus["DATA"].data.dtype == np.uint16
        assert np.array_equal(hdus["DATA"].data, reads.transpose(axes))
        assert np.array_equal(hdus["TIMES"].data, TIMES_S)
        assert hdus["TIMES"].data.dtype == np.dtype(">f8")
    assert path.stat().st_size % 2880 == 0


def test_three_axes_hold_one_group(tmp_path):
    reads = make_reads(n_group=1)
    with fits.open(write(tmp_path / "a.fits", reads, form="3-d")) as hdus:
        assert np.array_equal(hdus["DATA"].data, reads[0])
        assert hdus["TIMES"].data.shape == (1, 3)
    with pytest.raises(ValueError, match="one group"):
        write(tmp_path / "b.fits", make_reads(), form="3-d")


def test_gzip_has_no_name_and_no_time(tmp_path):
    reads = make_reads()
    first = write(tmp_path / "a.fits", reads, form="gzip")
    second = write(tmp_path / "b.fits", reads, form="gzip")
    assert first.name == "a.fits.gz"
    assert not (tmp_path / "a.fits").exists()
    assert first.read_bytes() == second.read_bytes()
    with fits.open(first) as hdus:
        assert np.array_equal(hdus["DATA"].data, reads)


def test_a_truncated_file_is_shorter_than_its_headers_say(tmp_path):
    whole = write(tmp_path / "a.fits", make_reads())
    part = write(tmp_path / "b.fits", make_reads(), form="truncated")
    assert part.stat().st_size < whole.stat().st_size
    assert whole.read_bytes().startswith(part.read_bytes())
    assert scan_headers(whole)["images"] == [("TIMES", (2, 3)), ("DATA", (2, 3, *SHAPE))]
    with pytest.raises(ReductionError, match="truncated"):
        scan_headers(part)


def test_one_file_per_read_makes_the_exposure(tmp_path):
    reads = make_reads()
    keywords = [
        *KEYWORDS,
        ("EXPNUM", 12, "exposure"),
        ("EXPDTST", "2024-09-25T06:00:00.250", ""),
        ("READTIME", 1.5, ""),
    ]
    blocks = [(slice(0, 7), reads[:, :, :7]), (slice(7, 13), reads[:, :, 7:])]
    path = write_level0(tmp_path / "TI.00012.fits", keywords, TIMES_S, blocks, shape=SHAPE, form="per-read")
    names = [f"TI.00012_r{read:03d}_g{group:03d}.fits" for read in (1, 2, 3) for group in (1, 2)]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert path.name == names[0]
    with fits.open(tmp_path / "TI.00012_r002_g002.fits") as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "DATA"]
        assert np.array_equal(hdus["DATA"].data, reads[1, 1])
        header = hdus[0].header
        found = {
            key: header[key] for key in ("RAMP_NO", "READ_NO", "NUMRAMPS", "NUMREADS", "EXP_NO", "COMPLETE", "ITIME")
        }
        assert list(found.values()) == [2, 2, 2, 3, 12, True, 3.0]
        start_us = round(60578.25 * 86400e6) + 250_000
        assert (header["RST_TIME"], header["READTIME"]) == (start_us + 4_500_000, start_us + 7_500_000)
    with open_ramp(tmp_path.iterdir()) as ramp:
        assert np.array_equal(ramp.read_rows(0, 13), reads)
        assert np.array_equal(ramp.times_s, TIMES_S)
