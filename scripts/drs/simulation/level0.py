"""Level 0 files as the observatories deliver them: PRIMARY keywords, TIMES, and DATA in one of their forms.

DATA is written block by block into preallocated files, so that a ramp larger than the memory can be made.
"""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

BLOCK = 2880
MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
SIGN_BIT = np.uint16(0x8000)  # uint16 in FITS is int16 with BZERO = 32768: the same bits with this one flipped
ORDERS = {
    "reads_first": (0, 1, 2, 3),  # (n_group, n_read, ny, nx)
    "pixels_first": (2, 3, 0, 1),  # (ny, nx, n_group, n_read)
}


def write_level0(path, keywords, times_s, blocks, *, shape, order="reads_first", form=""):
    """Write one exposure.

    Parameters
    ----------
    path : Path
        Name without the `.gz` that form 'gzip' adds.
    keywords : list of (keyword, value, comment)
    times_s : ndarray, float64, (n_group, n_read)
        Seconds since reset.
    blocks : iterable of (slice, ndarray)
        Rows, and their reads: uint16, (n_group, n_read, rows, nx).
    shape : (ny, nx)
    order : {'reads_first', 'pixels_first'}
        Axes of DATA.
    form : {'', '3-d', 'gzip', 'truncated', 'per-read'}
        'per-read' is one file for every read, its place in the ramp and its times as keywords, without TIMES.

    Returns
    -------
    Path
        The file written; of form 'per-read', that of the first read.
    """
    if form == "per-read":
        return _write_reads(path, keywords, times_s, blocks, shape)
    axes = (*times_s.shape, *shape) if form != "3-d" else (times_s.shape[1], *shape)
    if form == "3-d" and (times_s.shape[0] != 1 or order != "reads_first"):
        raise ValueError("the 3-d form holds one group with the reads first")
    turn = ORDERS[order]
    stored = axes if form == "3-d" else tuple(axes[k] for k in turn)
    offset, size = _write_headers(path, keywords, times_s, stored)
    data = np.memmap(path, dtype=">u2", mode="r+", offset=offset, shape=stored)
    natural = data[None] if form == "3-d" else data.transpose(np.argsort(turn))
    for rows, reads in blocks:
        natural[:, :, rows, :] = reads ^ SIGN_BIT
    data.flush()
    del data, natural
    if form == "truncated":
        with path.open("r+b") as stream:
            stream.truncate(offset + size // 2)
    return _compress(path) if form == "gzip" else path


def _write_reads(path, keywords, times_s, blocks, shape):
    """Write one file per read, named after the exposure, read and ramp; return the path of the first."""
    files = {}
    for group, read in np.ndindex(times_s.shape):
        file = path.with_name(f"{path.stem}_r{read + 1:03d}_g{group + 1:03d}.fits")
        own = _read_keywords(keywords, times_s, group, read)
        others = [entry for entry in keywords if entry[0] not in {key for key, _, _ in own}]
        files[group, read] = file, _write_headers(file, [*others, *own], None, shape)[0]
    for rows, reads in blocks:
        for (group, read), (file, offset) in files.items():
            data = np.memmap(file, dtype=">u2", mode="r+", offset=offset, shape=shape)
            data[rows] = reads[group, read] ^ SIGN_BIT
            data.flush()
    return files[0, 0][0]


def _read_keywords(keywords, times_s, group, read):
    """Return the keywords of one read: its place in the exposure, and its time in both ways in use."""
    known = {key: value for key, value, _ in keywords}
    cards = [
        ("RAMP_NO", group + 1, "ramp of the exposure, from 1"),
        ("READ_NO", read + 1, "read of the ramp, from 1"),
        ("NUMRAMPS", times_s.shape[0], "ramps of the exposure"),
        ("NUMREADS", times_s.shape[1], "reads of a ramp"),
        ("COMPLETE", True, "the read was finished"),
        ("ITIME", float(times_s[group, read]), "[s] from the end of the reset to the read"),
    ]
    if "EXPNUM" in known:
        cards.append(("EXP_NO", known["EXPNUM"], "exposure number"))
    if "EXPDTST" in known:
        since_zero = datetime.fromisoformat(known["EXPDTST"]).replace(tzinfo=UTC) - MJD_ZERO
        reset = since_zero // timedelta(microseconds=1) + round(float(times_s[:group, -1].sum()) * 1e6)
        cards.append(("RST_TIME", reset, "[us] end of the reset, since MJD 0"))
        cards.append(("READTIME", reset + round(float(times_s[group, read]) * 1e6), "[us] the read, since MJD 0"))
    return cards


def _write_headers(path, keywords, times_s, stored):
    """Write PRIMARY, TIMES (if any) and the header of DATA; return offset and length of the data, zeros so far."""
    primary = fits.PrimaryHDU()
    primary.header.extend(_card(*entry) for entry in keywords)
    hdus = [primary]
    if times_s is not None:
        hdus.append(fits.ImageHDU(times_s, name="TIMES"))
        hdus[1].header["BUNIT"] = ("s", "time since the reset of the group")
    fits.HDUList(hdus).writeto(path)
    header = fits.Header(
        [
            ("XTENSION", "IMAGE", "image extension"),
            ("BITPIX", 16),
            ("NAXIS", len(stored)),
            *((f"NAXIS{k + 1}", n) for k, n in enumerate(reversed(stored))),
            ("PCOUNT", 0),
            ("GCOUNT", 1),
            ("BZERO", 32768, "the values are unsigned"),
            ("BSCALE", 1),
            ("EXTNAME", "DATA"),
            ("BUNIT", "DN", "unit of the values"),
        ]
    )
    size = int(np.prod(stored)) * 2
    with path.open("ab") as stream:
        stream.write(header.tostring().encode("ascii"))
        offset = stream.tell()
        stream.truncate(offset + -(-size // BLOCK) * BLOCK)
    return offset, size


def _card(keyword, value, comment):
    """Return a header card, its comment cut to what fits into 80 characters."""
    room = 80 - max(len(str(fits.Card(keyword, value)).rstrip()), 30) - len(" / ")  # a comment starts at column 34
    return fits.Card(keyword, value, comment[: max(room, 0)])


def _compress(path):
    """Replace a file by its gzipped form, without the time and the name in it; return the new path."""
    packed = Path(f"{path}.gz")
    with packed.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
        stream.write(path.read_bytes())
    path.unlink()
    return packed
