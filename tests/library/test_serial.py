"""FITS written by pieces is byte for byte what astropy writes; images are read by rows as astropy reads them."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from drs import planes, serial


def make_values(dtype, shape, seed=0):
    """Return random bytes as an array: every number, NaN and infinity included."""
    n_byte = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.random.default_rng(seed).integers(0, 256, n_byte, np.uint8).view(dtype).reshape(shape)


def make_header():
    """Return a header beside the structure."""
    header = fits.Header()
    header["BUNIT"] = ("electron/s", "unit of the values")
    header["CRPIX1"] = 3.0
    return header


def write_with_astropy(hdus):
    """Return the bytes of astropy's file with sums."""
    hdus, stream = fits.HDUList(hdus), io.BytesIO()
    for hdu in hdus:
        hdu.add_checksum(when="of this HDU")
    hdus.writeto(stream)
    return stream.getvalue()


def write_by_pieces(primary, images, tables):
    """Return the bytes of the file that is to be the same."""
    stream = io.BytesIO()
    serial.write_hdu(stream, primary)
    for name, array in images.items():
        serial.write_hdu(stream, serial.make_image(array, make_header(), name), array)
    for table in tables:
        serial.write_hdu(stream, table)
    return stream.getvalue()


def make_primary():
    """Return a primary HDU of two blocks."""
    header = fits.Header()
    header["OBJECT"] = ("star", "target")
    for k in range(40):
        header.add_history(f"line {k}")
    return fits.PrimaryHDU(header=header)


def make_table():
    """Return a table of text."""
    return fits.BinTableHDU(np.array([("a", "bcd")], dtype=[("X", "U1"), ("Y", "U3")]), name="T")


@pytest.mark.parametrize("dtype", ["f4", "u4", "u2", "i2", "u1", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (3, 5, 7), (701, 503)])
def test_the_bytes_are_those_of_astropy(dtype, shape):
    array = make_values(dtype, shape)
    image = fits.ImageHDU(array, header=make_header(), name="SCI")
    expected = write_with_astropy([make_primary(), image, make_table()])
    assert write_by_pieces(make_primary(), {"SCI": array}, [make_table()]) == expected
    with planes.open_planes(shape, {"all": dtype}) as spool:
        spool.write("all", slice(None), array)
        assert write_by_pieces(make_primary(), {"SCI": spool.plane("all")}, [make_table()]) == expected


@pytest.mark.parametrize("rows", [[], [("a", "", 1 << 31)], [("a", "bcd", 7), ("?", "x" * 90, 0)]])
def test_a_table_is_that_of_astropy(rows):
    rows = np.array(rows, dtype=[("X", "U1"), ("LONGER", "U90"), ("BIT", np.int64)])
    hdus = serial.make_table(rows, "T"), fits.BinTableHDU(rows, name="T")
    ours, theirs = (write_with_astropy([fits.PrimaryHDU(), hdu]) for hdu in hdus)
    assert ours == theirs


def test_a_product_is_written_without_the_import_of_tables():
    code = "import sys; from drs import dq, serial; serial.make_table(dq.definition_table(), 'T')"
    code += "; sys.exit('astropy.table' in sys.modules)"
    folder = Path(serial.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0


def test_an_array_is_not_changed_and_need_not_be_contiguous():
    array = make_values("u4", (10, 14))
    before, turned = array.copy(), np.asfortranarray(array)
    expected = write_by_pieces(make_primary(), {"DQ": array}, [])
    assert write_by_pieces(make_primary(), {"DQ": turned}, []) == expected
    assert write_by_pieces(make_primary(), {"DQ": array.astype(">u4")}, []) == expected
    np.testing.assert_array_equal(array, before)


def sum_slowly(data):
    """Return the sum of the words as the standard words it."""
    total = 0
    for k in range(0, len(data), 4):
        total += int.from_bytes(data[k : k + 4].ljust(4, b"\0"), "big")
        total = total - 0xFFFFFFFF if total > 0xFFFFFFFF else total
    return total


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300), before=st.integers(0, 2**32 - 1))
def test_the_sum_of_words(data, before):
    assert serial.sum_words(data) == sum_slowly(data)
    assert serial.sum_words(data, before) == sum_slowly(before.to_bytes(4, "big") + data)


def test_the_sum_of_the_largest_words_does_not_overflow():
    assert serial.sum_words(b"\xff" * (1 << 20)) == 0xFFFFFFFF


@settings(max_examples=50, deadline=None)
@given(value=st.floats(width=32))
def test_every_checksum_is_that_of_astropy(value):
    array = np.array([[value]], np.float32)
    image = fits.ImageHDU(array, header=make_header(), name="SCI")
    expected = write_with_astropy([make_primary(), image, make_table()])
    assert write_by_pieces(make_primary(), {"SCI": array}, [make_table()]) == expected


def compress(array):
    """Return a tile-compressed image, lossless."""
    return fits.CompImageHDU(array, name="SCI", compression_type="GZIP_2", quantize_level=0, tile_shape=(4, 5))


IMAGES = {
    "plain": lambda: [fits.ImageHDU(make_values("f4", (37, 53)), name="SCI")],
    "unsigned": lambda: [fits.ImageHDU(make_values("u4", (37, 53)), name="SCI")],
    "short": lambda: [fits.ImageHDU(make_values("i2", (37, 53)), name="SCI")],
    "stack": lambda: [fits.ImageHDU(make_values("f4", (3, 37, 53)), name="SCI")],
    "second": lambda: [fits.ImageHDU(make_values("f8", (4, 6))), fits.ImageHDU(make_values("u2", (7, 9)), name="SCI")],
    "compressed": lambda: [compress(make_values("u2", (37, 53)))],
    "compressed floats": lambda: [compress(np.arange(37 * 53, dtype="f4").reshape(37, 53))],
}


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@pytest.mark.parametrize("kind", IMAGES)
def test_rows_are_read_as_astropy_reads_them(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.setattr(planes, "PIECE_BYTES", 700)
    path = tmp_path / f"a{suffix}"
    fits.HDUList([fits.PrimaryHDU(), *IMAGES[kind]()]).writeto(path)
    with fits.open(path) as hdus:
        expected = serial.read_image(hdus["SCI"])
    with serial.open_images(path) as (hdus, load):
        plane = load(hdus["SCI"])
        assert (plane.shape, plane.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(plane.read(slice(3, 6)), expected[..., 3:6, :])
        np.testing.assert_array_equal(plane.read(slice(None)), expected)


def test_scaled_integers_are_read_as_astropy_scales_them(tmp_path):
    path = tmp_path / "scaled.fits"
    hdu = fits.ImageHDU(make_values("i2", (6, 5)), name="SCI")
    hdu.header["BLANK"] = 3
    hdu.writeto(path)
    for keyword, value in (("BSCALE", 0.5), ("BZERO", 7.0)):
        fits.setval(path, keyword, value=value, extname="SCI")
    with fits.open(path) as hdus:
        expected = serial.read_image(hdus["SCI"])
    with serial.open_images(path) as (hdus, load):
        np.testing.assert_array_equal(load(hdus["SCI"]).read(slice(1, 6)), expected[1:6])
