"""FITS as a stream of bytes: images written by pieces, and opened to be read by rows.

What is written is byte for byte what astropy writes with `add_checksum`, but no image is copied.
"""

import gzip
import io
import math
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits

from drs.headers import BLOCK
from drs.planes import PIECE_BYTES, Plane, encode, is_shifted, open_planes, split_rows, write_at

COMMENT = "of this HDU"
WORD = 0xFFFFFFFF
# Punctuation between the digits, capitals and small letters of ASCII, which CHECKSUM avoids.
EXCLUDED = frozenset(b":;<=>?@[\\]^_`")


def write_hdu(stream, hdu, array=None):
    """Write an HDU with CHECKSUM and DATASUM.

    Parameters
    ----------
    stream : binary file
        Seekable.
    hdu : HDU of astropy
        PRIMARY without data of a file with extensions, a table, or an image made by `make_image`.
    array : ndarray or Plane, optional
        Data of the image.
    """
    if array is not None:
        return _write_image(stream, hdu.header, array)
    is_first, buffer = isinstance(hdu, fits.PrimaryHDU), io.BytesIO()
    if is_first:
        hdu.header.set("EXTEND", True, after="NAXIS")
    hdu.add_checksum(when=COMMENT)
    hdu.writeto(buffer)
    # Before a lone extension, astropy puts an empty PRIMARY of one block.
    return stream.write(buffer.getvalue()[0 if is_first else BLOCK :])


def make_image(array, header, name):
    """Return the HDU of an image that is only a header: its data are one pixel of the array's dtype."""
    hdu = fits.ImageHDU(np.zeros((1,) * array.ndim, array.dtype), header=header, name=name)
    for k, length in enumerate(reversed(array.shape), start=1):
        hdu.header[f"NAXIS{k}"] = length
    return hdu


def make_table(rows, name):
    """Return the table extension of a structured array: that of BinTableHDU(rows, name=name).

    Given rows, BinTableHDU imports astropy.table to see whether they are one: a fifth of the start of a script.
    """
    hdu = fits.BinTableHDU()
    hdu.data = fits.FITS_rec.from_columns(rows)
    hdu.name = name
    return hdu


def _write_image(stream, header, array):
    """Write header and data of an image: the sums are known at the end, and put into the header then."""
    start = stream.tell()
    header["DATASUM"] = ("0", COMMENT)
    header.set("CHECKSUM", "0" * 16, COMMENT, before="DATASUM")
    stream.write(header.tostring().encode("ascii"))
    n_bytes, total = 0, 0
    for piece in _pieces(array):
        stored = encode(piece)
        stream.write(stored.data)
        n_bytes, total = n_bytes + stored.nbytes, sum_words(stored, total)
    stream.write(bytes(-n_bytes % BLOCK))
    end = stream.tell()
    header["DATASUM"] = (str(total), COMMENT)
    header["CHECKSUM"] = encode_sum(~sum_words(header.tostring().encode("ascii"), total) & WORD)
    stream.seek(start)
    stream.write(header.tostring().encode("ascii"))
    stream.seek(end)


def _pieces(array):
    """Return the values of an array as 1-D arrays of 256 KiB; only the last may be no whole number of words."""
    if not isinstance(array, np.ndarray):
        return array.pieces()
    flat, step = array.reshape(-1), PIECE_BYTES // array.itemsize
    return (flat[first : first + step] for first in range(0, flat.size, step))


def sum_words(data, total=0):
    """Return the ones' complement sum of the 32-bit words of `data` and a sum before (FITS standard 4.0, 4.4.2.7)."""
    octets = np.frombuffer(data, np.uint8)
    n_whole = octets.size // 4 * 4
    total += int(octets[:n_whole].view(">u4").sum(dtype=np.uint64))
    total += int.from_bytes(octets[n_whole:].tobytes().ljust(4, b"\0"), "big")
    while total > WORD:
        total = (total & WORD) + (total >> 32)
    return total


def encode_sum(value):
    """Return the 16 characters of a CHECKSUM: each byte of `value` is the sum of four (FITS standard 4.0, J)."""
    text = bytearray(16)
    for i, octet in enumerate(value.to_bytes(4, "big")):
        quarter, rest = divmod(octet, 4)
        four = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
        for j in (0, 2):
            while {four[j], four[j + 1]} & EXCLUDED:
                four[j], four[j + 1] = four[j] + 1, four[j + 1] - 1
        text[i::4] = bytes(four)
    return (text[-1:] + text[:-1]).decode()


def read_image(hdu):
    """Return the data of an image as an array in native byte order."""
    return np.ascontiguousarray(hdu.data, dtype=hdu.data.dtype.newbyteorder("="))


@contextmanager
def open_images(path):
    """Open a FITS file whose images are read by rows.

    Parameters
    ----------
    path : path-like
        `.fits`, or `.fits.gz` and `.fits.fz`, which are unpacked to temporary files by pieces.

    Yields
    ------
    hdus : HDUList
        For headers and tables.
    load : callable
        Image HDU -> Plane, to be read as long as the context is open.
    """
    path = Path(path)
    with ExitStack() as stack:
        file = stack.enter_context(_open_plain(path))
        hdus = stack.enter_context(fits.open(file, memmap=False))

        def load(hdu):
            dtype = _stored_dtype(hdu)
            if dtype is None:
                return stack.enter_context(_unpack(hdu))
            return Plane(file, hdu.fileinfo()["datLoc"], hdu.shape, dtype, fits=True)

        yield hdus, load


@contextmanager
def _open_plain(path):
    """Open a file for reading; a gzipped one is unpacked to a temporary file, where any part is near."""
    if path.suffix != ".gz":
        with path.open("rb", buffering=0) as file:
            yield file
        return
    with tempfile.TemporaryFile(buffering=0) as file:
        with gzip.open(path) as packed:
            while piece := packed.read(PIECE_BYTES):
                write_at(file, piece, file.seek(0, io.SEEK_END))
        with os.fdopen(os.dup(file.fileno()), "rb", buffering=0) as unpacked:
            unpacked.seek(0)
            yield unpacked


def _stored_dtype(hdu):
    """Return the dtype of an image whose values need nothing but decoding; None for a compressed or scaled one."""
    header = hdu.header
    if isinstance(hdu, fits.CompImageHDU) or header.get("BSCALE", 1) != 1 or "BLANK" in header:
        return None
    dtype = np.dtype({8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}[header["BITPIX"]])
    zero, unsigned = header.get("BZERO", 0), np.dtype(f"u{dtype.itemsize}")
    if dtype.kind == "i" and is_shifted(unsigned) and zero == 1 << (8 * dtype.itemsize - 1):
        return unsigned
    return dtype if zero == 0 else None


@contextmanager
def _unpack(hdu):
    """Copy an image that is compressed or scaled to a temporary plane, by pieces."""
    *lead, ny, nx = hdu.shape
    dtype = hdu.section[(*[0] * len(lead), slice(0, 1))].dtype.newbyteorder("=")
    tile_rows = hdu.tile_shape[-2] if isinstance(hdu, fits.CompImageHDU) else 1
    with open_planes((math.prod(lead) * ny, nx), {"all": dtype}) as spool:
        for k, index in enumerate(np.ndindex(*lead)):
            for rows in split_rows(ny, nx * dtype.itemsize, multiple=tile_rows):
                part = np.asarray(hdu.section[(*index, rows)], dtype)
                spool.write("all", slice(k * ny + rows.start, k * ny + rows.stop), part)
        yield spool.plane("all").reshape(hdu.shape)
