"""Level 0 files as the observatories deliver them: PRIMARY keywords, TIMES, and DATA in one of their forms.

DATA is written block by block into a preallocated file, so that a ramp larger than the memory can be made.
"""

import gzip
from pathlib import Path

import numpy as np
from astropy.io import fits

BLOCK = 2880
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
    form : {'', '3-d', 'gzip', 'truncated'}

    Returns
    -------
    Path
        The file written.
    """
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


def _write_headers(path, keywords, times_s, stored):
    """Write PRIMARY, TIMES and the header of DATA; return offset and length of the data, zeros so far."""
    primary = fits.PrimaryHDU()
    primary.header.extend(_card(*entry) for entry in keywords)
    times = fits.ImageHDU(times_s, name="TIMES")
    times.header["BUNIT"] = ("s", "time since the reset of the group")
    fits.HDUList([primary, times]).writeto(path)
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
    room = 80 - len(str(fits.Card(keyword, value)).rstrip()) - len(" / ")
    return fits.Card(keyword, value, comment[: max(room, 0)])


def _compress(path):
    """Replace a file by its gzipped form, without the time and the name in it; return the new path."""
    packed = Path(f"{path}.gz")
    with packed.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
        stream.write(path.read_bytes())
    path.unlink()
    return packed
