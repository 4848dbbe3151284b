"""Headers of Level 0 files, and whether a file is whole: no pixel is read.

A FITS file is a chain of header and data blocks of 2880 bytes whose sizes the headers state, so a truncated
file, a missing END card or bytes behind the last block show without reading data (FITS standard 4.0, 3.1-3.5).
"""

import gzip
import math
from pathlib import Path

from drs.errors import ReductionError

BLOCK = 2880
MAX_HEADER_BLOCKS = 400  # 14400 cards; more is not a header but a file without END
SUFFIXES = (".fits", ".fits.gz", ".fits.fz")


def scan_headers(path):
    """Return what the headers of a FITS file say.

    Parameters
    ----------
    path : path-like
        A `.fits`, `.fits.gz` or `.fits.fz` file.

    Returns
    -------
    scan : dict
        `keywords` of the PRIMARY header; `images`: (EXTNAME, shape in numpy order) of every image; `notes`:
        remarks on a file that is whole but not clean.

    Raises
    ------
    ReductionError
        Not FITS, no END card, unreadable cards, or truncated; the text says where.
    """
    path = Path(path)
    try:
        with _open(path) as stream:
            return _scan(stream, _size(path))
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ReductionError(f"cannot be read to its end ({reason}): transfer the file again") from error


def _open(path):
    """Return the file opened for reading bytes, decompressed when it is gzipped."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _size(path):
    """Return the size of a plain file; None where only reading to the end tells."""
    return None if path.suffix == ".gz" else path.stat().st_size


def _scan(stream, size):
    """Walk the blocks of an open file."""
    keywords, images, notes, position = None, [], [], 0
    while True:
        header, position = _read_header(stream, position, first=keywords is None)
        if header is None:
            break
        if isinstance(header, str):
            notes.append(header)
            break
        if keywords is None:
            keywords = _plain_keywords(header)
        if shape := _image_shape(header):
            images.append((str(header.get("EXTNAME", "")).strip(), shape))
        position = _skip_data(stream, position, _data_size(header), size)
    return {"keywords": keywords, "images": images, "notes": notes}


def _read_header(stream, position, *, first):
    """Return the next header and the position behind it; None at the end; a text for trailing junk."""
    from astropy.io import fits

    text = b""
    for _ in range(MAX_HEADER_BLOCKS):
        block = stream.read(BLOCK)
        if not text and not first and not block.startswith(b"XTENSION"):
            junk = block.strip(b"\0 ")
            return (f"bytes behind the last HDU at offset {position} are ignored" if junk else None), position
        if first and not text and not block.startswith(b"SIMPLE  ="):
            found = "it is empty" if not block else f"it starts with {block[:9]!r}"
            raise ReductionError(f"not a FITS file: {found}, expected 'SIMPLE  ='")
        if len(block) < BLOCK:
            raise ReductionError(f"truncated in a header at byte {position + len(block)}: transfer the file again")
        text, position = text + block, position + BLOCK
        if any(block[k : k + 8] == b"END     " for k in range(0, BLOCK, 80)):
            try:
                return fits.Header.fromstring(text.decode("ascii")), position
            except (ValueError, UnicodeDecodeError) as error:
                raise ReductionError(f"a header holds what is not FITS ({error})") from error
    raise ReductionError("a header without END card: the file is corrupt, transfer it again")


def _plain_keywords(header):
    """Return the cards of a header as a dict of plain values; a card that cannot be parsed is refused."""
    from astropy.io import fits

    keywords = {}
    for card in header.cards:
        if card.keyword in ("", "COMMENT", "HISTORY", "END"):
            continue
        try:
            value = card.value
        except fits.VerifyError as error:
            raise ReductionError(f"card {card.keyword} cannot be read: correct it in exposures.yaml") from error
        if isinstance(value, str | int | float | bool) and not _is_nan(value):
            keywords[card.keyword] = value
    return keywords


def _is_nan(value):
    """Say whether a header value is a float without meaning."""
    return isinstance(value, float) and not math.isfinite(value)


def _axes(header, prefix="NAXIS"):
    """Return the lengths NAXIS1... of an HDU in FITS order."""
    return [int(header[f"{prefix}{k}"]) for k in range(1, int(header.get(prefix, 0)) + 1)]


def _image_shape(header):
    """Return the shape (numpy order) of an image HDU, tile-compressed ones included; () for others."""
    if header.get("ZIMAGE"):
        return tuple(reversed(_axes(header, "ZNAXIS")))
    if header.get("XTENSION", "IMAGE").strip() != "IMAGE":
        return ()
    return tuple(reversed(_axes(header)))


def _data_size(header):
    """Return the bytes of data behind a header, padding included (FITS standard 4.0, eq. 1 and 2)."""
    axes = _axes(header)
    if not axes:
        return 0
    elements = math.prod(axes) if axes[0] or not header.get("GROUPS") else math.prod(axes[1:])
    size = abs(int(header["BITPIX"])) // 8 * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + elements)
    return -(-size // BLOCK) * BLOCK


def _skip_data(stream, position, n_bytes, size):
    """Move behind the data of an HDU; refuse a file that ends before."""
    end = position + n_bytes
    if size is not None:
        found = min(size, end)
        stream.seek(end)
    else:
        found, missing = position, n_bytes
        while missing and (chunk := stream.read(min(missing, 1 << 22))):
            found, missing = found + len(chunk), missing - len(chunk)
    if found < end:
        raise ReductionError(f"truncated: its headers state at least {end} bytes, {found} are there: transfer it again")
    return end
