"""Planes in files: what is written by rows is read by rows, and a full disk or a short file is named."""

import errno
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drs import planes
from drs.errors import MachineError

SHAPE = (37, 53)
DTYPES = {"rate": "f4", "flags": "u4", "reads": "u2"}


@pytest.fixture
def spool():
    with planes.open_planes(SHAPE, DTYPES) as spool:
        yield spool


def make_array(dtype, shape=SHAPE):
    """Return an array with every byte different from its neighbours."""
    return (np.arange(np.prod(shape)).reshape(shape) * 257 % 65521).astype(dtype)


def read_file_by_rows(path, shape, dtype):
    """Return an array read from a FITS-like file in two parts."""
    with Path(path).open("rb", buffering=0) as file:
        plane = planes.Plane(file, 0, shape, dtype, fits=True)
        return np.concatenate([plane.read(slice(0, 2)), plane.read(slice(2, None))], axis=-2)


def test_planes_do_not_mix(spool):
    arrays = {name: make_array(dtype) for name, dtype in DTYPES.items()}
    for rows in (slice(20, 37), slice(0, 7), slice(7, 20)):
        for name, array in arrays.items():
            spool.write(name, rows, array[rows])
    for name, array in arrays.items():
        plane = spool.plane(name)
        assert (plane.shape, plane.dtype, plane.ndim) == (array.shape, array.dtype, 2)
        np.testing.assert_array_equal(plane.read(slice(5, 30)), array[5:30])
        np.testing.assert_array_equal(spool.read(name, slice(None)), array)


def test_rows_read_are_new_arrays(spool):
    spool.write("rate", slice(0, 2), make_array("f4")[:2])
    spool.read("rate", slice(0, 2))[:] = 0
    np.testing.assert_array_equal(spool.read("rate", slice(0, 2)), make_array("f4")[:2])


def test_rows_not_written_are_zeros(spool):
    spool.write("reads", slice(36, 37), make_array("u2")[36:])
    assert not spool.read("reads", slice(0, 36)).any()


def test_rows_that_are_not_contiguous_are_written(spool):
    wide = make_array("f4", (37, 106))
    spool.write("rate", slice(0, 37), wide[:, ::2])
    np.testing.assert_array_equal(spool.read("rate", slice(None)), wide[:, ::2])


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 7)),
    dtype=st.sampled_from(["u1", "u2", "f4"]),
    data=st.data(),
)
def test_any_rows_of_a_stack(shape, dtype, data):
    array, written = make_array(dtype, shape), np.zeros(shape, dtype)
    with planes.open_planes(shape, {"all": dtype}) as spool:
        for _ in range(3):
            low, high = sorted(data.draw(st.tuples(*[st.integers(0, shape[1])] * 2)))
            spool.write("all", slice(low, high), array[:, low:high])
            written[:, low:high] = array[:, low:high]
        low, high = sorted(data.draw(st.tuples(*[st.integers(0, shape[1])] * 2)))
        np.testing.assert_array_equal(spool.read("all", slice(low, high)), written[:, low:high])


@pytest.mark.parametrize("shape", [(3, 5), (300, 701)])
def test_pieces_are_the_whole_plane_in_order(shape):
    array = make_array("f4", shape)
    with planes.open_planes(shape, {"first": "u2", "all": "f4"}) as spool:
        spool.write("all", slice(None), array)
        pieces = list(spool.plane("all").pieces())
    assert max(piece.nbytes for piece in pieces) <= planes.PIECE_BYTES
    assert {piece.nbytes for piece in pieces[:-1]} <= {planes.PIECE_BYTES}
    np.testing.assert_array_equal(np.concatenate(pieces), array.ravel())


@pytest.mark.parametrize(
    ("dtype", "values", "stored"),
    [
        ("u2", [0, 1, 40000], np.array([-32768, -32767, 7232], ">i2")),
        ("u4", [0, 1, 2**32 - 1], np.array([-(2**31), 1 - 2**31, 2**31 - 1], ">i4")),
        ("i2", [-5, 1, 300], np.array([-5, 1, 300], ">i2")),
        ("f4", [np.nan, -0.0, 1.5], np.array([np.nan, -0.0, 1.5], ">f4")),
        ("u1", [0, 7, 255], np.array([0, 7, 255], "u1")),
    ],
)
def test_values_as_fits_stores_them(tmp_path, dtype, values, stored):
    values = np.array(values, dtype)
    assert planes.encode(values).tobytes() == stored.tobytes()
    (tmp_path / "stored").write_bytes(stored.tobytes())
    back = read_file_by_rows(tmp_path / "stored", (3, 1), dtype)[:, 0]
    np.testing.assert_array_equal(back, values)
    assert back.dtype == np.dtype(dtype)
    assert back.dtype.isnative


def test_the_last_axis_is_put_first():
    stored = make_array("f4", (11, 7, 3))
    with planes.open_planes((11, 21), {"all": "f4"}) as spool:
        spool.write("all", slice(None), stored.reshape(11, 21))
        with planes.deinterleave(spool.plane("all").reshape(stored.shape)) as plane:
            np.testing.assert_array_equal(plane.read(slice(2, 9)), np.moveaxis(stored, -1, 0)[:, 2:9])


def test_rows_are_split_without_gap_and_in_multiples():
    parts = planes.split_rows(1000, 3000, multiple=16)
    assert [parts[0].start, *[part.stop for part in parts]] == [*[part.start for part in parts], 1000]
    assert {(part.stop - part.start) % 16 for part in parts[:-1]} == {0}
    assert planes.split_rows(3, 10**9) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_programming_errors(spool):
    with pytest.raises(ValueError, match="no range of the 37 rows"):
        spool.read("rate", slice(30, 38))
    with pytest.raises(ValueError, match="no range of the 37 rows"):
        spool.read("rate", slice(0, 8, 2))
    with pytest.raises(ValueError, match=r"rows of float64 \(1, 53\), expected float32 \(1, 53\)"):
        spool.write("rate", slice(0, 1), np.zeros((1, 53)))
    with pytest.raises(ValueError, match="expected uint16"):
        spool.write("reads", slice(0, 1), np.zeros((2, 53), "u2"))


def raise_os_error(number, *_):
    """Raise what the system does."""
    raise OSError(number, os.strerror(number))


def test_a_full_disk_is_named(spool, monkeypatch):
    monkeypatch.setattr(planes.os, "pwrite", partial(raise_os_error, errno.ENOSPC))
    with pytest.raises(MachineError, match=r"temporary file in .*No space left.*212 bytes.*TMPDIR"):
        spool.write("rate", slice(0, 1), make_array("f4")[:1])


def test_a_short_write_goes_on(spool, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(planes.os, "pwrite", lambda fd, view, offset: pwrite(fd, view[:100], offset))
    spool.write("rate", slice(0, 4), make_array("f4")[:4])
    np.testing.assert_array_equal(spool.read("rate", slice(0, 4)), make_array("f4")[:4])


def test_a_file_that_ends_early_is_named(tmp_path, monkeypatch):
    path = tmp_path / "short.fits"
    path.write_bytes(bytes(100))
    with pytest.raises(MachineError, match=r"short.fits ends at byte 100, 20 more were expected"):
        read_file_by_rows(path, (6, 5), "f4")
    monkeypatch.setattr(planes.os, "preadv", partial(raise_os_error, errno.EIO))
    with pytest.raises(MachineError, match=r"short.fits cannot be read \(Input/output error\)"):
        read_file_by_rows(path, (6, 5), "f4")


def test_nothing_is_left_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(planes.tempfile, "tempdir", str(tmp_path))
    with planes.open_planes(SHAPE, DTYPES) as spool:
        spool.write("rate", slice(0, 37), make_array("f4"))
        assert list(tmp_path.iterdir()) == []
