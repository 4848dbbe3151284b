"""Images in open files that are read and written by rows, so that no image is ever whole in memory.

Rows move by pread and pwrite: pages of a memory map would count as memory of the process.
"""

import math
import os
import tempfile
from contextlib import contextmanager

import numpy as np

from drs.errors import MachineError

PIECE_BYTES = 1 << 18  # stays in the cache between two passes


class Plane:
    """An image (ny, nx) or a stack of images (n, ny, nx) in an open file; it has the attributes of its array.

    Parameters
    ----------
    file : file object
        Open for reading, as long as the plane is used.
    offset : int
        Byte at which the values begin.
    shape : tuple
        Of the whole array.
    dtype : dtype
        Of the values as they are handed out, in native byte order.
    fits : bool, optional
        The values are stored as FITS stores them: most significant byte first, unsigned integers less half of their
        range (FITS standard 4.0, 5.2 and table 11).
    """

    def __init__(self, file, offset, shape, dtype, *, fits=False):
        self.shape, self.dtype, self.ndim = tuple(map(int, shape)), np.dtype(dtype), len(shape)
        self._file, self._offset, self._fits = file, offset, fits

    def read(self, rows):
        """Return a new array of some rows (a slice without step) of all images.

        Raises
        ------
        MachineError
            The file ends before, or cannot be read.
        """
        start, stop = find_bounds(rows, self.shape[-2])
        values = np.empty((*self.shape[:-2], stop - start, self.shape[-1]), self.dtype)
        for offset, part in self._parts(start, values):
            _read(self._file, part, offset)
        return self._decode(values)

    def pieces(self):
        """Yield all values in the order of the file: new 1-D arrays of 256 KiB, the last of what is left."""
        size, step = math.prod(self.shape), PIECE_BYTES // self.dtype.itemsize
        for first in range(0, size, step):
            values = np.empty(min(step, size - first), self.dtype)
            _read(self._file, values, self._offset + first * self.dtype.itemsize)
            yield self._decode(values)

    def reshape(self, shape):
        """Return the plane with its values in another shape."""
        return Plane(self._file, self._offset, shape, self.dtype, fits=self._fits)

    def _write(self, rows, array):
        """Write some rows; only a Spool's planes are open for it."""
        start, stop = find_bounds(rows, self.shape[-2])
        expected = (*self.shape[:-2], stop - start, self.shape[-1])
        if array.shape != expected or array.dtype != self.dtype:
            raise ValueError(f"rows of {array.dtype} {array.shape}, expected {self.dtype} {expected}")
        for offset, part in self._parts(start, np.ascontiguousarray(array)):
            write_at(self._file, part, offset)

    def _parts(self, start, values):
        """Yield (offset, 1-D view) of the rows from `start` on in each image of the stack."""
        ny, nx = self.shape[-2:]
        for k, part in enumerate(values.reshape(math.prod(self.shape[:-2]), -1)):
            yield self._offset + (k * ny + start) * nx * self.dtype.itemsize, part

    def _decode(self, values):
        """Return stored values as numbers; what is given may be changed."""
        if not self._fits:
            return values
        # Into a new array: swapping bytes in place takes twice as long.
        values = values.view(self.dtype.newbyteorder(">")).astype(self.dtype, copy=False)
        return _flip(values) if is_shifted(self.dtype) else values


class Spool:
    """Planes by name in one temporary file; rows not yet written read as zeros. Made by `open_planes`."""

    def __init__(self, file, shape, dtypes):
        self._planes, offset = {}, 0
        for name, dtype in dtypes.items():
            self._planes[name] = Plane(file, offset, shape, dtype)
            offset += math.prod(shape) * np.dtype(dtype).itemsize
        os.ftruncate(file.fileno(), offset)

    def plane(self, name):
        """Return a plane, to be read as long as the spool is open."""
        return self._planes[name]

    def read(self, name, rows):
        """Return a new array of some rows of a plane."""
        return self._planes[name].read(rows)

    def write(self, name, rows, array):
        """Write some rows of a plane.

        Parameters
        ----------
        name : str
        rows : slice
            Of detector rows, without step.
        array : ndarray, (..., rows, nx)
            Of the plane's dtype.

        Raises
        ------
        MachineError
            No space for the temporary file.
        """
        self._planes[name]._write(rows, array)


@contextmanager
def open_planes(shape, dtypes):
    """Open a spool: planes of one shape in a temporary file that has no name and vanishes with the process.

    Parameters
    ----------
    shape : tuple
        (ny, nx) of each plane, or (n, ny, nx).
    dtypes : dict
        Name of a plane -> dtype.

    Yields
    ------
    Spool
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        yield Spool(file, shape, dtypes)


@contextmanager
def deinterleave(plane):
    """Copy a plane stored (ny, nx, n) to a temporary one of shape (n, ny, nx), by pieces."""
    ny, nx, n = plane.shape
    pixels = plane.reshape((ny, nx * n))
    with open_planes((n, ny, nx), {"all": plane.dtype}) as spool:
        for rows in split_rows(ny, nx * n * plane.dtype.itemsize):
            part = pixels.read(rows).reshape(-1, nx, n)
            spool.write("all", rows, np.moveaxis(part, -1, 0))
        yield spool.plane("all")


def split_rows(n_row, row_bytes, *, multiple=1):
    """Return slices of rows, each of about 256 KiB and of a multiple of rows."""
    step = max(PIECE_BYTES // max(row_bytes * multiple, 1), 1) * multiple
    return [slice(first, min(first + step, n_row)) for first in range(0, n_row, step)]


def find_bounds(rows, n_row):
    """Return (start, stop) of a slice of rows; one with a step or outside of the image is refused."""
    start, stop = rows.start or 0, n_row if rows.stop is None else rows.stop
    if rows.step not in (None, 1) or not 0 <= start <= stop <= n_row:
        raise ValueError(f"{rows} is no range of the {n_row} rows of an image")
    return start, stop


def encode(values):
    """Return numbers as FITS stores them: most significant byte first, unsigned integers less half of their range."""
    if is_shifted(values.dtype):
        values = _flip(values.astype(values.dtype.newbyteorder("=")))
    return values.astype(values.dtype.newbyteorder(">"), copy=False)


def is_shifted(dtype):
    """Say whether FITS stores integers of this dtype with the sign changed and BZERO."""
    return dtype.kind == "u" and dtype.itemsize > 1


def _flip(values):
    """Subtract half of the range of unsigned integers (in place): in two's complement that inverts the first bit."""
    values ^= values.dtype.type(1 << (8 * values.dtype.itemsize - 1))
    return values


def _read(file, values, offset):
    """Fill a contiguous array from a file."""
    view = memoryview(values).cast("B")
    while view:
        try:
            n_read = os.preadv(file.fileno(), [view], offset)
        except OSError as error:
            raise MachineError(f"{_describe(file)} cannot be read ({error.strerror}): run again") from error
        if n_read == 0:
            raise MachineError(
                f"{_describe(file)} ends at byte {offset}, {len(view)} more were expected: it was changed while it "
                "was read; give the whole file and run again"
            )
        view, offset = view[n_read:], offset + n_read


def write_at(file, values, offset):
    """Write bytes or a contiguous array into a temporary file; a full disk is refused."""
    view = memoryview(values).cast("B")
    while view:
        try:
            n_written = os.pwrite(file.fileno(), view, offset)
        except OSError as error:
            raise MachineError(
                f"{_describe(file)} cannot be written ({error.strerror}), {len(view)} bytes from byte {offset} on are "
                "left: free space there, or name another folder by TMPDIR"
            ) from error
        view, offset = view[n_written:], offset + n_written


def _describe(file):
    """Return the name of a file, or where the temporary file is."""
    return str(file.name) if isinstance(file.name, str) else f"temporary file in {tempfile.gettempdir()}"
