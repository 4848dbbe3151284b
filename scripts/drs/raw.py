"""Level 0: open a ramp in any of its forms and hand out its reads in blocks of rows.

A file holds an image DATA (or SCI) and, where the writer knew them, TIMES: seconds since the reset of a group's
ramp. A group is one ramp bounded by resets, a read one sample of it. Three orders of axes exist (numpy):
(n_group, n_read, ny, nx), (ny, nx, n_group, n_read), and (n_read, ny, nx) for one group. Whatever the form, the
reads leave this module as (n_group, n_read, ny, nx), uint16 or float32, and never more than two blocks of them
are in memory. Compressed files are unpacked to a temporary file (in TMPDIR) first, piece by piece.
"""

import gzip
import shutil
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from drs.errors import ReductionError
from drs.headers import scan_headers

BLOCK_BYTES = 16 << 20  # largest block, whatever the number of rows asked for
STRUCTURE = ("SIMPLE", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK", "BUNIT", "INHERIT")
FIRST, LAST = "reads first", "reads last"


@dataclass(frozen=True)
class Ramp:
    """An open Level 0 file.

    Attributes
    ----------
    path : Path
    keywords : dict
        PRIMARY keywords without structure.
    times_s : ndarray, float64, (n_group, n_read)
        Time of each read since the reset of its group.
    times_source : str
        Where they came from: TIMES (the extension), READTIME or EXPTIME (the keyword, for equally spaced reads).
    shape : tuple
        (n_group, n_read, ny, nx)
    """

    path: Path
    keywords: dict
    times_s: np.ndarray
    times_source: str
    shape: tuple
    pixels: "_Pixels" = field(repr=False)

    def read_rows(self, start, stop):
        """Return the reads of rows start <= y < stop as a new array (n_group, n_read, stop - start, nx).

        Returns
        -------
        reads_dn : ndarray, uint16 or float32
            float32 where the file holds anything but unsigned 16-bit integers; blank values are NaN.
        """
        try:
            return self.pixels.decode(self.pixels.load(self.shape, start, stop))
        except (OSError, EOFError) as error:
            raise ReductionError(f"{self.path}: rows {start} to {stop} cannot be read ({error})") from error

    def blocks(self, block_rows):
        """Yield (slice of rows, reads) from the first row to the last, the next block being read meanwhile.

        Parameters
        ----------
        block_rows : int
            Rows of a block; fewer where a block would be larger than BLOCK_BYTES.
        """
        n_group, n_read, ny, nx = self.shape
        row_bytes = n_group * n_read * nx * self.pixels.dtype.itemsize
        step = max(1, min(block_rows, BLOCK_BYTES // row_bytes))
        rows = [slice(start, min(start + step, ny)) for start in range(0, ny, step)]
        with ThreadPoolExecutor(max_workers=1) as reader:
            pending = reader.submit(self.read_rows, rows[0].start, rows[0].stop)
            for k, block in enumerate(rows):
                reads = pending.result()
                if k + 1 < len(rows):
                    pending = reader.submit(self.read_rows, rows[k + 1].start, rows[k + 1].stop)
                yield block, reads


@dataclass(frozen=True)
class _Pixels:
    """Where the pixels of an image lie in an uncompressed file, and what their numbers mean."""

    stream: BinaryIO
    offset: int
    dtype: np.dtype
    order: str
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    def load(self, shape, start, stop):
        """Return the stored numbers of some rows, (n_group, n_read, rows, nx), as they stand in the file."""
        n_group, n_read, ny, nx = shape
        reads = np.empty((n_group, n_read, stop - start, nx), self.dtype)
        if self.order == LAST:
            for y in range(start, stop):
                row = np.empty((nx, n_group, n_read), self.dtype)
                self._fill(row, y * row.size)
                reads[:, :, y - start] = row.transpose(1, 2, 0)
        else:
            for read, plane in enumerate(reads.reshape(n_group * n_read, stop - start, nx)):
                self._fill(plane, (read * ny + start) * nx)
        return reads

    def _fill(self, array, first):
        """Fill a contiguous array with the numbers from number `first` on."""
        self.stream.seek(self.offset + first * self.dtype.itemsize)
        if self.stream.readinto(array.view(np.uint8).data) != array.nbytes:
            raise EOFError("the file ends before its data; transfer it again")

    def decode(self, stored):
        """Return the values of stored numbers (changed in place): uint16 stays, all else becomes float32."""
        if not stored.dtype.isnative:
            stored = stored.byteswap(inplace=True).view(stored.dtype.newbyteorder("="))
        if self.blank is None and self.scale == 1:
            if stored.dtype == np.uint16 and self.zero == 0:
                return stored
            if stored.dtype == np.int16 and self.zero == 32768:
                stored = stored.view(np.uint16)
                stored ^= np.uint16(0x8000)
                return stored
        values = (stored * self.scale + self.zero).astype(np.float32)
        if self.blank is not None:
            values[stored == self.blank] = np.nan
        return values


def read_keywords(path):
    """Return the PRIMARY keywords of a Level 0 file, structure aside; cheap for every form of file."""
    try:
        header = fits.getheader(path, 0)
        return {key: header[key] for key in header if key not in ("", "COMMENT", "HISTORY") and _is_science(key)}
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, fits.VerifyError) as error:
        raise ReductionError(f"{path}: its header cannot be read ({error}); transfer it again") from error


def _is_science(keyword):
    """Return False for keywords of the file's structure."""
    return keyword not in STRUCTURE and not keyword.startswith("NAXIS")


@contextmanager
def open_ramp(path, corrections=()):
    """Open a Level 0 file: plain, gzipped, or tile-compressed.

    Parameters
    ----------
    path : path-like
    corrections : sequence of {"set": {keyword: value}, ...}
        Corrections of the PRIMARY header, applied before anything is concluded from it.

    Yields
    ------
    Ramp

    Raises
    ------
    ReductionError
        The file is damaged, its axes do not make a ramp or cannot be told apart, or its times are missing or wrong.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            plain = _decompress(path, stack)
            scan = scan_headers(plain)
            keywords = dict(scan["keywords"])
            for correction in corrections:
                keywords.update(correction["set"])
            hdus = stack.enter_context(fits.open(plain, memmap=False))
            index = _find_image(hdus, scan["images"])
            stored = hdus["TIMES"].data if "TIMES" in hdus else None
            shape, order = find_axes(hdus[index].shape, None if stored is None else stored.shape)
            times_s, times_source = _times(stored, shape, keywords)
            _check_counts(shape, keywords)
            pixels = _locate(plain, hdus[index], order, stack)
        except ReductionError as error:
            raise ReductionError(f"{path}: {error}") from error
        except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, fits.VerifyError) as error:
            raise ReductionError(f"{path} cannot be read ({error}); transfer it again") from error
        keywords = {key: value for key, value in keywords.items() if _is_science(key)}
        yield Ramp(path, keywords, times_s, times_source, shape, pixels)


def _decompress(path, stack):
    """Return the path of the file without gzip: the file itself, or a temporary one that `stack` removes."""
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ramp-")))
    with gzip.open(path) as packed, (folder / "ramp.fits").open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 22)
    return folder / "ramp.fits"


def _find_image(hdus, images):
    """Return the index of the HDU that holds the reads: DATA, SCI, or the first image with three axes or more."""
    for name in ("DATA", "SCI"):
        if name in hdus:
            return hdus.index_of(name)
    for index, hdu in enumerate(hdus):
        if hdu.is_image and len(hdu.shape) > 2:
            return index
    found = ", ".join(f"{name or 'PRIMARY'} {shape}" for name, shape in images) or "no image at all"
    raise ReductionError(f"no extension DATA with the reads of a ramp; found {found}")


def find_axes(shape, times_shape):
    """Return what the axes of an image are.

    Parameters
    ----------
    shape : tuple
        Shape of the image, numpy order.
    times_shape : tuple or None
        Shape of TIMES.

    Returns
    -------
    shape : tuple
        (n_group, n_read, ny, nx)
    order : str
        FIRST or LAST: where the reads stand.
    """
    if len(shape) not in (3, 4) or 0 in shape:
        raise ReductionError(f"DATA has shape {shape}; expected (n_group, n_read, ny, nx) or (n_read, ny, nx)")
    if len(shape) == 3:
        if times_shape not in (None, shape[:1], (1, *shape[:1])):
            raise ReductionError(f"TIMES has shape {times_shape}, DATA {shape}; expected TIMES (1, {shape[0]})")
        return (1, *shape), FIRST
    if times_shape is None:
        raise ReductionError(f"no extension TIMES, so the order of the four axes {shape} is not known; add TIMES")
    fits_first, fits_last = times_shape == shape[:2], times_shape == shape[2:]
    if fits_first == fits_last:
        raise ReductionError(
            f"TIMES of shape {times_shape} does not tell which axes of DATA {shape} are groups and reads; it must be "
            "the shape of either the first or the last two axes"
        )
    return (shape, FIRST) if fits_first else ((*shape[2:], *shape[:2]), LAST)


def _times(stored, shape, keywords):
    """Return the times of the reads (n_group, n_read), and where they came from: TIMES, READTIME, or EXPTIME.

    EXPTIME is the time from the first to the last read, so it spans n_read - 1 intervals.
    """
    n_group, n_read = shape[:2]
    if stored is not None:
        times_s = np.array(stored, dtype=np.float64).reshape(n_group, n_read)
        if not (np.isfinite(times_s).all() and (np.diff(times_s) > 0).all()):
            raise ReductionError("TIMES must increase from read to read within each group and be finite; correct it")
        return times_s, "TIMES"
    for key, n_interval in (("READTIME", 1), ("EXPTIME", n_read - 1)):
        value = keywords.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            if n_interval < 1:
                raise ReductionError("no extension TIMES and no READTIME, and one read has no EXPTIME; add READTIME")
            return np.arange(1, n_read + 1, dtype=np.float64)[np.newaxis] * (value / n_interval), key
    raise ReductionError("no extension TIMES, and neither READTIME nor EXPTIME is a number of seconds; add one of them")


def _check_counts(shape, keywords):
    """Refuse a header whose NGROUPS or NREADS is not what the data hold."""
    for key, found in (("NGROUPS", shape[0]), ("NREADS", shape[1])):
        if keywords.get(key, found) != found:
            raise ReductionError(
                f"{key} is {keywords[key]}, but DATA has {found} (n_group, n_read, ny, nx = {shape}); correct {key} "
                "in exposures.yaml, or transfer the file again"
            )


def _locate(path, hdu, order, stack):
    """Return where and what the pixels of an image HDU are; tiles are unpacked to a temporary file."""
    if isinstance(hdu, fits.CompImageHDU):
        return _unpack(hdu, order, stack.enter_context(tempfile.TemporaryFile(prefix="ramp-")))
    header = hdu.header
    dtype = np.dtype({8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[header["BITPIX"]])
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    stream = stack.enter_context(path.open("rb", buffering=0))
    return _Pixels(stream, hdu.fileinfo()["datLoc"], dtype, order, scale, zero, header.get("BLANK"))


def _unpack(hdu, order, stream):
    """Write the pixels of a tile-compressed image to an open file, plane by plane, and return where they are."""
    dtype = np.dtype(np.uint16) if hdu.section[(slice(0, 1),) * len(hdu.shape)].dtype == np.uint16 else np.dtype("f4")
    rows = ((slice(y, y + 1),) for y in range(hdu.shape[0]))
    pieces = rows if order == LAST else np.ndindex(hdu.shape[:-2])
    for piece in pieces:
        stream.write(np.ascontiguousarray(hdu.section[piece], dtype=dtype).data)
    stream.flush()
    return _Pixels(stream, 0, dtype, order)
