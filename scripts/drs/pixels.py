"""Pixels of a ramp: where the numbers of its reads lie, and how rows of them become values.

Unsigned 16-bit integers stand in FITS as signed big-endian ones with BZERO = 32768 (standard 4.0, 4.4.2.5): the same
bits, the two bytes swapped and the highest bit flipped. They stay uint16; every other kind of number becomes float32.
Files are read by position, so that any thread may read any rows at any time.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits
from numba import njit

from drs.sampling import LAST

BIG_ENDIAN = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@njit(cache=True, error_model="numpy", nogil=True)
def _turn_bytes_kernel(numbers):
    """Turn (in place) the bits of big-endian int16 plus 32768 into those of native uint16."""
    for i in range(numbers.size):
        number = numbers[i]
        numbers[i] = ((number >> np.uint16(8)) | (number << np.uint16(8))) ^ np.uint16(0x8000)


@dataclass(frozen=True)
class Stored:
    """The numbers of an image in an uncompressed file.

    Attributes
    ----------
    source : Path or binary file
        A path is opened for each use and closed after it: an exposure may have more files than a process may open.
    offset : int
        Place of the first number, in bytes.
    dtype : numpy dtype
        Of the numbers in the file; a value is `number * scale + zero`, NaN where the number is `blank`.
    """

    source: Path | BinaryIO
    offset: int
    dtype: np.dtype
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    @property
    def is_unsigned(self):
        """Say whether the values are uint16."""
        return self.dtype == np.uint16 or (
            self.dtype == np.dtype(">i2") and (self.scale, self.zero, self.blank) == (1, 32768, None)
        )

    def fill(self, array, first):
        """Fill a contiguous array with the numbers from number `first` on."""
        position = self.offset + first * self.dtype.itemsize
        if not isinstance(self.source, Path):
            return _fill(self.source, array, position)
        with self.source.open("rb", buffering=0) as stream:
            return _fill(stream, array, position)

    def decode(self, numbers):
        """Return the values of numbers (a contiguous array that this may change): uint16 or float32."""
        if self.dtype == np.uint16:
            return numbers
        if self.is_unsigned:
            values = numbers.view(np.uint16)
            _turn_bytes_kernel(values.reshape(-1))
            return values
        values = (numbers * self.scale + self.zero).astype(np.float32)
        if self.blank is not None:
            values[numbers == self.blank] = np.nan
        return values

    def skip(self, n_numbers):
        """Return the numbers behind the first `n_numbers`."""
        return replace(self, offset=self.offset + n_numbers * self.dtype.itemsize)

    def copy_to(self, stream, n_numbers):
        """Append the numbers to an open file and return where they are."""
        offset = stream.seek(0, os.SEEK_END)
        piece = max(1, (1 << 22) // self.dtype.itemsize)
        for first in range(0, n_numbers, piece):
            numbers = np.empty(min(piece, n_numbers - first), self.dtype)
            self.fill(numbers, first)
            stream.write(numbers.view(np.uint8).data)
        stream.flush()
        return replace(self, source=stream, offset=offset)


def _fill(stream, array, position):
    """Fill a contiguous array with the bytes of an open file from `position` on."""
    room = memoryview(array.reshape(-1).view(np.uint8))
    while room:
        n_bytes = os.preadv(stream.fileno(), [room], position)
        if not n_bytes:
            raise EOFError("the file ends before its data; transfer it again")
        room, position = room[n_bytes:], position + n_bytes


@dataclass(frozen=True)
class SeparateReads:
    """Reads of which each lies in one piece: the reads stand first, or every read has its own file.

    Attributes
    ----------
    planes : sequence of (Stored or None)
        One per read, group after group; None for a read that is not there, whose values are zero.
    width : int
        Columns in the file; those behind the last one asked for are passed over.
    """

    planes: tuple
    width: int

    @property
    def dtype(self):
        """Type of the values."""
        return np.dtype(np.uint16 if all(plane is None or plane.is_unsigned for plane in self.planes) else np.float32)

    def read(self, shape, start, stop):
        """Return the reads of rows start <= y < stop, (n_group, n_read, stop - start, nx)."""
        n_group, n_read, _, nx = shape
        reads = np.empty((n_group * n_read, stop - start, nx), self.dtype)
        for plane, read in zip(self.planes, reads, strict=True):
            if plane is None:
                read[...] = 0
            elif self.width == nx and plane.is_unsigned and reads.dtype == np.uint16:
                numbers = read.view(plane.dtype)
                plane.fill(numbers, start * nx)
                plane.decode(numbers)  # in place, while the numbers are in the processor's cache
            else:
                numbers = np.empty((stop - start, self.width), plane.dtype)
                plane.fill(numbers, start * self.width)
                read[...] = plane.decode(numbers)[:, :nx]
        return reads.reshape(n_group, n_read, stop - start, nx)


@dataclass(frozen=True)
class InterleavedReads:
    """Reads that stand behind each other for every pixel: (ny, nx, n_group, n_read) in the file."""

    stored: Stored
    width: int

    @property
    def dtype(self):
        """Type of the values."""
        return np.dtype(np.uint16 if self.stored.is_unsigned else np.float32)

    def read(self, shape, start, stop):
        """Return the reads of rows start <= y < stop, (n_group, n_read, stop - start, nx)."""
        n_group, n_read, _, nx = shape
        reads = np.empty((n_group * n_read, stop - start, nx), self.dtype)
        row = np.empty((self.width, n_group * n_read), self.stored.dtype)
        for y in range(start, stop):
            self.stored.fill(row, y * row.size)
            reads[:, y - start] = self.stored.decode(row)[:nx].T
        return reads.reshape(n_group, n_read, stop - start, nx)


def locate_image(source, hdu):
    """Return where and what the numbers of an image HDU are.

    Parameters
    ----------
    source : Path or binary file
        The uncompressed file of the HDU.
    hdu : astropy image HDU
    """
    header = hdu.header
    dtype = np.dtype(BIG_ENDIAN[header["BITPIX"]])
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    return Stored(source, hdu.fileinfo()["datLoc"], dtype, scale, zero, header.get("BLANK"))


def unpack_tiles(hdu, order, stream):
    """Append the pixels of a tile-compressed image to an open file, piece by piece, and return where they are."""
    dtype = np.dtype(np.uint16) if hdu.section[(slice(0, 1),) * len(hdu.shape)].dtype == np.uint16 else np.dtype("f4")
    offset = stream.seek(0, os.SEEK_END)
    by_row = order == LAST or len(hdu.shape) == 2
    pieces = ((slice(y, y + 1),) for y in range(hdu.shape[0])) if by_row else np.ndindex(hdu.shape[:-2])
    for piece in pieces:
        stream.write(np.ascontiguousarray(hdu.section[piece], dtype=dtype).data)
    stream.flush()
    return Stored(stream, offset, dtype)


def is_tiled(hdu):
    """Say whether an image HDU is tile-compressed."""
    return isinstance(hdu, fits.CompImageHDU)
