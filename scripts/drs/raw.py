"""Level 0: open a ramp in any of its forms and hand out its reads in blocks of rows.

A file holds an image DATA (or SCI) and, where the writer knew them, TIMES: seconds since the reset of a group's
ramp. One file may hold a whole ramp (`drs.sampling` says with which axes), or one read of it (`drs.reads`). Whatever
the form, the reads leave this module as (n_group, n_read, ny, nx), uint16 or float32, and never more than two blocks of
them are in memory. Compressed files are unpacked to temporary files (in TMPDIR) first, piece by piece.
"""

import gzip
import math
import os
import shutil
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from drs import headers
from drs.errors import MachineError, ReductionError, is_of_machine
from drs.pixels import InterleavedReads, SeparateReads, is_tiled, locate_image, unpack_tiles
from drs.reads import check_shapes, find_image, find_place, name_exposure, order_reads
from drs.sampling import (
    FIRST,
    LAST,
    check_counts,
    cut_reference_output,
    find_average,
    find_axes,
    find_times,
    find_times_of_files,
)

BLOCK_BYTES = 4 << 20  # largest block, whatever the number of rows asked for; with its signals it fits a shared cache
STRUCTURE = ("SIMPLE", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK", "BUNIT", "INHERIT")
DAMAGE = (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, fits.VerifyError)


@dataclass(frozen=True)
class Ramp:
    """An open exposure.

    Attributes
    ----------
    path : Path
        Its file, or that of its first read.
    keywords : dict
        PRIMARY keywords (of the first read) without structure.
    times_s : ndarray, float64, (n_group, n_read)
        Time of each read since the reset of its group; of an averaged read, the mean of those it was made from.
    times_source : str
        Where they came from: TIMES (the extension), or the keyword ITIME, READTIME or EXPTIME.
    shape : tuple
        (n_group, n_read, ny, nx)
    usable : ndarray, bool, (n_group, n_read)
        False for reads that were dropped; their values are 0.
    n_average : int
        Reads averaged into each one.
    average_step_s : float
        Time between the averaged reads; 0 where there are none.
    subarray_map : ndarray of integers, (ny, nx), or None
        Number of the subarray that a pixel was read with, 0 for none; from the extension SUBARR_MAP.
    """

    path: Path
    keywords: dict
    times_s: np.ndarray
    times_source: str
    shape: tuple
    usable: np.ndarray
    n_average: int
    average_step_s: float
    subarray_map: np.ndarray | None
    pixels: SeparateReads | InterleavedReads = field(repr=False)

    def read_rows(self, start, stop):
        """Return the reads of rows start <= y < stop as a new array (n_group, n_read, stop - start, nx).

        Returns
        -------
        reads_dn : ndarray, uint16 or float32
            float32 where the file holds anything but unsigned 16-bit integers; blank values are NaN.
        """
        try:
            reads_dn = self.pixels.read(self.shape, start, stop)
        except DAMAGE as error:
            if is_of_machine(error):
                raise
            raise ReductionError(f"{self.path}: rows {start} to {stop} cannot be read ({error})") from error
        reads_dn[~self.usable] = 0  # whatever it holds must not look saturated
        return reads_dn

    def count_rows(self, block_rows, halo=0):
        """Return the rows of a block: at most `block_rows`, and with its halo no more than BLOCK_BYTES hold."""
        n_group, n_read, _, nx = self.shape
        row_bytes = n_group * n_read * nx * self.pixels.dtype.itemsize
        return max(1, min(block_rows, BLOCK_BYTES // row_bytes - 2 * halo))

    def blocks(self, block_rows, halo=0):
        """Yield (rows, padded, reads) from the first row to the last, the next block being read meanwhile.

        Parameters
        ----------
        block_rows : int
            Rows of a block; fewer where a block would be larger than BLOCK_BYTES.
        halo : int
            Rows around a block that come with it.

        Yields
        ------
        rows, padded : slice
            Rows of the block; the same with `halo` more on each side, as far as the detector goes.
        reads_dn : ndarray, (n_group, n_read, rows of `padded`, nx)
        """
        ny, step = self.shape[2], self.count_rows(block_rows, halo)
        rows = [slice(start, min(start + step, ny)) for start in range(0, ny, step)]
        padded = [slice(max(block.start - halo, 0), min(block.stop + halo, ny)) for block in rows]
        with ThreadPoolExecutor(max_workers=1) as reader:
            pending = reader.submit(self.read_rows, padded[0].start, padded[0].stop)
            for k, block in enumerate(rows):
                reads = pending.result()
                if k + 1 < len(rows):
                    pending = reader.submit(self.read_rows, padded[k + 1].start, padded[k + 1].stop)
                yield block, padded[k], reads


def read_keywords(paths):
    """Return the PRIMARY keywords of an exposure (of its first read), structure aside; cheap for every form of file.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        As for `open_ramp`.
    """
    first, paths = {}, _list_paths(paths)
    for path in paths:
        with _named(path):
            keywords = headers.read_keywords(path)
            if not first or find_place(keywords, path.name) < find_place(first, paths[0].name):
                first = keywords
    return {key: value for key, value in name_exposure(first).items() if _is_science(key)}


@contextmanager
def unchanged(paths, made):
    """Fail where Level 0 files change while the context reads them, as a transfer goes on.

    Whatever the context made of them, or said of them, is of no file that there is: `made` is removed.

    Parameters
    ----------
    paths : sequence of path-like
    made : path-like
        Product of the context.

    Raises
    ------
    MachineError
        In place of what the context may have raised.
    """
    before = _stamp(paths)
    try:
        yield
    finally:
        changed = [str(path) for path, then, now in zip(paths, before, _stamp(paths), strict=True) if then != now]
        if changed:
            Path(made).unlink(missing_ok=True)
            raise MachineError(
                f"{', '.join(changed)} changed meanwhile; when its transfer is over, give the command again"
            )


def _stamp(paths):
    """Return size and time of change of files, None for one that is not there."""
    facts = [path.stat() if path.exists() else None for path in map(Path, paths)]
    return [fact and (fact.st_size, fact.st_mtime_ns, fact.st_ino) for fact in facts]


def _list_paths(paths):
    """Return one path, or several, as a list of Path."""
    listed = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
    if not listed:
        raise ReductionError("no Level 0 file was given; name the file of the exposure, or the files of its reads")
    return listed


def _is_science(keyword):
    """Return False for keywords of the file's structure."""
    return keyword not in STRUCTURE and not keyword.startswith("NAXIS")


@contextmanager
def open_ramp(paths, corrections=(), *, dropped=(), size=None):
    """Open an exposure: a file with a ramp, or the files of its reads; plain, gzipped, or tile-compressed.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        One file, or one file per read in any order.
    corrections : sequence of {"set": {keyword: value}, ...}
        Corrections of the PRIMARY header (of every read), applied before anything is concluded from it.
    dropped : sequence of (group, read)
        Reads that are not to be used, counted from 1. The files of such reads may be missing.
    size : (ny, nx), optional
        Of the detector: columns of the reference output to the right of it are cut.

    Yields
    ------
    Ramp

    Raises
    ------
    ReductionError
        A file is damaged, axes do not make a ramp or cannot be told apart, times are missing or wrong; reads are
        missing, there twice, not complete, or differ in shape; a read that is to be dropped does not exist.
    """
    paths = _list_paths(paths)
    dropped = {tuple(place) for place in dropped}
    with ExitStack() as stack:
        found = None
        if len(paths) == 1:
            with _named(paths[0]):
                image = _open_image(paths[0], corrections, stack)
                found = None if image.is_read else _open_whole(image, stack)
        found = found or _open_reads(paths, corrections, dropped, stack)
        with _named(_describe(paths)):
            ramp = _make_ramp(paths[0], found, dropped, size)
        yield ramp


class _Image(NamedTuple):
    """The image of an open file that holds its reads, or the one it is."""

    path: Path
    plain: Path  # the file without gzip
    keywords: dict
    hdus: fits.HDUList
    hdu: fits.ImageHDU | fits.PrimaryHDU | fits.CompImageHDU

    @property
    def is_read(self):
        """Say whether the file holds one read."""
        return "READ_NO" in self.keywords and len(self.hdu.shape) == 2


class _Found(NamedTuple):
    """What the files of an exposure hold, before it is checked as a whole."""

    keywords: dict
    shape: tuple  # (n_group, n_read, ny, nx)
    times_s: np.ndarray
    times_source: str
    pixels: SeparateReads | InterleavedReads
    subarray_map: np.ndarray | None = None


@contextmanager
def _named(name):
    """Put the name of a file before what is wrong with it."""
    try:
        yield
    except ReductionError as error:
        raise ReductionError(f"{name}: {error}") from error
    except DAMAGE as error:
        if is_of_machine(error):
            raise
        raise ReductionError(f"{name} cannot be read ({error}); transfer it again") from error


def _describe(paths):
    """Return the files of an exposure in words."""
    return f"{paths[0]} and {len(paths) - 1} other files" if len(paths) > 1 else str(paths[0])


def _open_image(path, corrections, stack):
    """Return the image with the reads of a file; `stack` closes it."""
    plain = _decompress(path, stack)
    scan = headers.scan_headers(plain)
    keywords = name_exposure(scan["keywords"])
    for correction in corrections:
        keywords.update(correction["set"])
    hdus = stack.enter_context(fits.open(plain, memmap=False))
    images = [(hdu.name, hdu.shape) if hdu.is_image else ("", ()) for hdu in hdus]
    index = find_image(images, least_axes=2 if "READ_NO" in keywords else 3)
    if index is None:
        found = ", ".join(f"{name or 'PRIMARY'} {shape}" for name, shape in scan["images"]) or "no image at all"
        raise ReductionError(f"no extension DATA with the reads of a ramp; found {found}")
    return _Image(path, plain, keywords, hdus, hdus[index])


def _decompress(path, stack):
    """Return the path of the file without gzip: the file itself, or a temporary one that `stack` removes."""
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ramp-")))
    with gzip.open(path) as packed, (folder / "ramp.fits").open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 22)
    # A small file may unpack to any number of zeros behind its last HDU, in which astropy would look for another.
    os.truncate(folder / "ramp.fits", headers.find_hdus(folder / "ramp.fits", strict=False)[-1][-1])
    return folder / "ramp.fits"


def _open_temporary(stack):
    """Return a new temporary file without a name; `stack` closes it."""
    return stack.enter_context(tempfile.TemporaryFile(prefix="ramp-"))


def _open_whole(image, stack):
    """Return what a file with all reads of an exposure holds."""
    stored = image.hdus["TIMES"].data if "TIMES" in image.hdus else None
    shape, order = find_axes(image.hdu.shape, None if stored is None else stored.shape)
    times_s, source = find_times(stored, shape, image.keywords)
    if is_tiled(image.hdu):
        place = unpack_tiles(image.hdu, order, _open_temporary(stack))
    else:
        place = locate_image(stack.enter_context(image.plain.open("rb", buffering=0)), image.hdu)
    n_group, n_read, ny, nx = shape
    if order == LAST:
        pixels = InterleavedReads(place, nx)
    else:
        pixels = SeparateReads(tuple(place.skip(read * ny * nx) for read in range(n_group * n_read)), nx)
    subarray_map = image.hdus["SUBARR_MAP"].data if "SUBARR_MAP" in image.hdus else None
    return _Found(image.keywords, shape, times_s, source, pixels, subarray_map)


def _open_reads(paths, corrections, dropped, stack):
    """Return what files with one read each hold; none of them stays open."""
    unpacked = _open_temporary(stack)
    found, shapes, places = [], [], []
    for path in paths:
        with _named(path), ExitStack() as opened:
            image = _open_image(path, corrections, opened)
            if not image.is_read:
                expected = "expected one read (y, x) with READ_NO in each of several files"
                raise ReductionError(f"{image.hdu.name} has shape {image.hdu.shape}; {expected}")
            found.append((str(path), image.keywords))
            shapes.append((str(path), image.hdu.shape))
            places.append(_place_read(image, unpacked))
    with _named(_describe(paths)):
        n_group, n_read, order = order_reads(found, dropped)
        check_shapes(shapes)
        shape = (n_group, n_read, *shapes[0][1])
        in_order = {place: found[index][1] for place, index in order.items()}
        times_s, source = find_times_of_files(in_order, shape)
    planes = {place: places[index] for place, index in order.items()}
    wanted = ((group + 1, read + 1) for group, read in np.ndindex(n_group, n_read))
    pixels = SeparateReads(tuple(planes.get(place) for place in wanted), shape[3])
    return _Found(next(iter(in_order.values())), shape, times_s, source, pixels)


def _place_read(image, unpacked):
    """Return where the numbers of one read are: in its file, or unpacked at the end of a temporary one."""
    if is_tiled(image.hdu):
        return unpack_tiles(image.hdu, FIRST, unpacked)
    place = locate_image(image.plain, image.hdu)
    return place if image.plain == image.path else place.copy_to(unpacked, math.prod(image.hdu.shape))


def _make_ramp(path, found, dropped, size):
    """Return the exposure, checked."""
    check_counts(found.shape, found.keywords)
    shape = cut_reference_output(found.shape, size)
    usable = np.ones(shape[:2], bool)
    for group, read in sorted(dropped):
        if not (1 <= group <= shape[0] and 1 <= read <= shape[1]):
            there = f"there are {shape[0]} groups of {shape[1]} reads"
            raise ReductionError(f"read {read} of group {group} is to be dropped, but {there}; correct exposures.yaml")
        usable[group - 1, read - 1] = False
    average = find_average(found.keywords, found.times_s)
    keywords = {key: value for key, value in found.keywords.items() if _is_science(key)}
    subarray_map = None if found.subarray_map is None else found.subarray_map[:, : shape[3]]
    plain = path, keywords, found.times_s, found.times_source, shape, usable
    return Ramp(*plain, *average, subarray_map, found.pixels)
