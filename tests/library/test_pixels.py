"""Numbers in files become values, by planes and interleaved, cut and whole."""

import numpy as np
import pytest
from astropy.io import fits

from drs.pixels import InterleavedReads, SeparateReads, Stored, locate_image

SHAPE = (2, 3, 5, 7)
UNSIGNED = {"dtype": np.dtype(">i2"), "zero": 32768}


@pytest.fixture
def reads():
    values = np.random.default_rng(3).integers(0, 65536, SHAPE).astype(np.uint16)
    values[0, 0, 0, :4] = [0, 32767, 32768, 65535]
    return values


def store(path, array, **kind):
    """Write numbers behind some other bytes and return where they are."""
    path.write_bytes(b"header" + array.tobytes())
    return Stored(path, 6, array.dtype if not kind else kind.pop("dtype"), **kind)


def encode(reads):
    """Return the int16 numbers that FITS holds for uint16 values."""
    return (reads.astype(np.int32) - 32768).astype(">i2")


def test_planes_in_one_file_and_in_several(tmp_path, reads):
    whole = store(tmp_path / "all", encode(reads), **UNSIGNED)
    in_one = SeparateReads(tuple(whole.skip(k * 35) for k in range(6)), 7)
    files = (store(tmp_path / str(k), encode(plane), **UNSIGNED) for k, plane in enumerate(reads.reshape(6, 5, 7)))
    in_six = SeparateReads(tuple(files), 7)
    for pixels in (in_one, in_six):
        found = pixels.read(SHAPE, 1, 4)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, reads[:, :, 1:4])


def test_an_open_file_is_read_by_position(tmp_path, reads):
    stored = store(tmp_path / "all", encode(reads), **UNSIGNED)
    with (tmp_path / "all").open("rb", buffering=0) as stream:
        stream.seek(100)
        pixels = SeparateReads(tuple(Stored(stream, stored.offset + 70 * k, **UNSIGNED) for k in range(6)), 7)
        np.testing.assert_array_equal(pixels.read(SHAPE, 0, 5), reads)
        assert stream.tell() == 100


def test_columns_behind_the_last_are_passed_over(tmp_path, reads):
    planes = store(tmp_path / "planes", encode(reads), **UNSIGNED)
    pixels = SeparateReads(tuple(planes.skip(k * 35) for k in range(6)), 7)
    turned = store(tmp_path / "turned", encode(reads.transpose(2, 3, 0, 1)), **UNSIGNED)
    for kind in (pixels, InterleavedReads(turned, 7)):
        np.testing.assert_array_equal(kind.read((2, 3, 5, 4), 1, 5), reads[:, :, 1:, :4])


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">f4", ">f8", "u1"])
def test_other_numbers_become_float32(tmp_path, dtype):
    values = np.arange(35).reshape(5, 7).astype(dtype)
    stored = store(tmp_path / "a", values, dtype=np.dtype(dtype), scale=2.0, zero=1.0)
    found = SeparateReads((stored,), 7).read((1, 1, 5, 7), 0, 5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, 0], np.arange(35).reshape(5, 7) * 2 + 1)


def test_one_read_of_another_kind_makes_all_float32(tmp_path, reads):
    one = store(tmp_path / "a", encode(reads[0, 0]), **UNSIGNED)
    other = store(tmp_path / "b", np.full((5, 7), 3, ">i4"), dtype=np.dtype(">i4"), blank=3)
    found = SeparateReads((one, other), 7).read((1, 2, 5, 7), 0, 5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, 0], reads[0, 0])
    assert np.isnan(found[0, 1]).all()


def test_a_read_that_is_not_there_is_zero(tmp_path, reads):
    one = store(tmp_path / "a", encode(reads[0, 0]), **UNSIGNED)
    found = SeparateReads((None, one), 7).read((1, 2, 5, 7), 0, 5)
    assert found.dtype == np.uint16
    assert not found[0, 0].any()
    np.testing.assert_array_equal(found[0, 1], reads[0, 0])


def test_a_copy_holds_the_same_numbers(tmp_path, reads):
    stored = store(tmp_path / "a", encode(reads[0, 0]), **UNSIGNED)
    with (tmp_path / "b").open("w+b") as stream:
        stream.write(b"before")
        copy = stored.copy_to(stream, 35)
        np.testing.assert_array_equal(SeparateReads((copy,), 7).read((1, 1, 5, 7), 0, 5)[0, 0], reads[0, 0])


def test_a_file_that_ends_early_is_noticed(tmp_path, reads):
    stored = store(tmp_path / "a", encode(reads[0, 0]), **UNSIGNED)
    with pytest.raises(EOFError, match="the file ends before its data"):
        SeparateReads((stored,), 7).read((1, 1, 6, 7), 0, 6)


def test_an_image_is_where_astropy_says(tmp_path, reads):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(reads[0, 0])]).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", memmap=False) as hdus:
        stored = locate_image(tmp_path / "a.fits", hdus[1])
    assert stored.is_unsigned
    np.testing.assert_array_equal(SeparateReads((stored,), 7).read((1, 1, 5, 7), 0, 5)[0, 0], reads[0, 0])
