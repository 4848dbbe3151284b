"""Headers of Level 0 files, and whether a file is whole: no pixel is read.

A FITS file is a chain of header and data blocks of 2880 bytes whose sizes the headers state, so a truncated
file, a missing END card or bytes behind the last block show without reading data (FITS standard 4.0, 3.1-3.5).
"""

import gzip
import math
import re
import warnings
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from drs.errors import ReductionError, is_of_machine

BLOCK = 2880
MAX_HEADER_BLOCKS = 400  # 14400 cards; more is not a header but a file without END
BITPIX = (8, 16, 32, 64, -32, -64)
SUFFIXES = (".fits", ".fits.gz", ".fits.fz")
PACKING = re.compile(  # keywords of the table that holds the tiles
    r"XTENSION|BITPIX|NAXIS\d*|[PG]COUNT|TFIELDS|(TTYPE|TFORM|TUNIT|TDIM|TNULL|TSCAL|TZERO|TDISP|FZALG)\d+|EXTNAME|"
    r"Z(IMAGE|SIMPLE|BITPIX|NAXIS\d*|TILE\d+|CMPTYPE|(NAME|VAL)\d+|MASKCMP|QUANTIZ|DITHER0|BLANK|EXTEND|HECKSUM|DATASUM)|"
    r"CHECKSUM|DATASUM|INHERIT|FZ[A-Z]+"
)


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
        Not FITS, no END card, unreadable cards, structure that makes no sense, damaged or truncated; the text says
        where. Nothing else is raised, whatever the file holds.
    OSError
        The file vanished, or the disk fails.
    """
    path = Path(path)
    with _explain(), _open(path) as stream, warnings.catch_warnings(action="ignore"):
        return _scan(stream, _size(path))


def find_hdus(path, *, strict=True):
    """Return (EXTNAME or 'PRIMARY', first byte, first byte of its data, byte behind its padding) of every HDU.

    Parameters
    ----------
    path : path-like
        A file that is not compressed as a whole.
    strict : bool, optional
        False takes no notice of bytes behind the last HDU.

    Raises
    ------
    ReductionError
        As `scan_headers`; bytes behind the last HDU are refused too where `strict`.
    """
    path, places, position = Path(path), [], 0
    with _explain(), path.open("rb") as stream, warnings.catch_warnings(action="ignore"):
        while True:
            header, behind = _read_header(stream, position, first=not places)
            if isinstance(header, str) and strict:
                raise ReductionError(header.removesuffix(" are ignored") + ": transfer the file again")
            if header is None or isinstance(header, str):
                return places
            end = _skip_data(stream, behind, _data_size(header), _size(path))
            places.append((str(_value(header, "EXTNAME", "PRIMARY")).strip(), position, behind, end))
            position = end


@contextmanager
def _explain():
    """Turn whatever the headers of a file make reading raise into a ReductionError; the machine's errors stay."""
    try:
        yield
    except ReductionError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        if is_of_machine(error):
            raise
        raise ReductionError(f"cannot be read to its end ({error}): transfer the file again") from error
    except Exception as error:  # astropy promises no closed set of exceptions for nonsense in a header
        raise ReductionError(f"its headers make no sense ({error!r}): transfer the file again") from error


def read_keywords(path):
    """Return the PRIMARY keywords of a file of any form as plain values, without looking at the rest.

    Raises
    ------
    ReductionError
        As `scan_headers`, but what stands behind the headers may be damaged.
    """
    path = Path(path)
    try:
        with _open(path) as stream, warnings.catch_warnings(action="ignore"):
            header, position = _read_header(stream, 0, first=True)
            keywords = _plain_keywords(header)
            if not _data_size(header):
                following = _read_header(stream, position, first=False)[0]
                keywords |= _keywords_of_packed_primary(following)
            return keywords
    except ReductionError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        if is_of_machine(error):
            raise
        raise ReductionError(f"its header cannot be read ({error}): check the file or transfer it again") from error
    except Exception as error:  # as in scan_headers
        raise ReductionError(f"its header makes no sense ({error!r}): transfer the file again") from error


def parse_utc(text):
    """Return ISO text as a moment in UTC; text without a time zone is UTC."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _open(path):
    """Return the file opened for reading bytes, decompressed when it is gzipped."""
    return gzip.open(path) if is_gzipped(path) else path.open("rb")


def _size(path):
    """Return the size of a plain file; None where only reading to the end tells."""
    return None if is_gzipped(path) else path.stat().st_size


def is_gzipped(path):
    """Say whether a file is gzipped, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


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
        else:
            keywords |= _keywords_of_packed_primary(header)
        if shape := _image_shape(header):
            images.append((str(_value(header, "EXTNAME", "")).strip(), shape))
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
                raise ReductionError(f"a header holds what is not FITS ({error}): transfer the file again") from error
    raise ReductionError("a header without END card: the file is corrupt, transfer it again")


def _plain_keywords(header):
    """Return the cards of a header as a dict of plain values; a card that cannot be parsed is refused."""
    keywords = {}
    for card in header.cards:
        if card.keyword in ("", "COMMENT", "HISTORY", "END"):
            continue
        value = _card_value(card)
        if value is not None and not _is_nan(value):
            keywords[card.keyword] = value
    return keywords


def _keywords_of_packed_primary(header):
    """Return the keywords of a PRIMARY that is tile-compressed (ZSIMPLE; FITS standard 4.0, 10.1.2), {} for others."""
    if not hasattr(header, "cards") or "ZSIMPLE" not in header:
        return {}
    return {key: value for key, value in _plain_keywords(header).items() if not PACKING.fullmatch(key)}


def _card_value(card):
    """Return the value of a card; None without one of a plain type."""
    from astropy.io import fits

    try:
        value = card.value
    except (fits.VerifyError, ValueError) as error:
        advice = "transfer the file again, or mend its header"
        raise ReductionError(f"card {card.keyword!r} cannot be read: {advice}") from error
    return value if isinstance(value, str | int | float | bool) else None


def _is_nan(value):
    """Say whether a header value is a float without meaning."""
    return isinstance(value, float) and not math.isfinite(value)


def _value(header, keyword, default=None):
    """Return the plain value of a keyword, `default` where it is absent or has none."""
    value = _card_value(header.cards[keyword]) if keyword in header else None
    return default if value is None else value


def _count(header, keyword, default=None):
    """Return a keyword of the file's structure that is a whole number of at least 0."""
    value = _value(header, keyword, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        found = "missing" if value is None else repr(value)
        raise ReductionError(f"{keyword} is {found}, expected a whole number from 0 on: transfer the file again")
    return value


def _axes(header, prefix="NAXIS"):
    """Return the lengths NAXIS1... of an HDU in FITS order."""
    n_axis = _count(header, prefix, 0)
    if n_axis > 999:
        raise ReductionError(f"{prefix} is {n_axis}, expected at most 999: transfer the file again")
    return [_count(header, f"{prefix}{k}") for k in range(1, n_axis + 1)]


def _image_shape(header):
    """Return the shape (numpy order) of an image HDU, tile-compressed ones included; () for others."""
    if _value(header, "ZIMAGE"):
        return tuple(reversed(_axes(header, "ZNAXIS")))
    if str(_value(header, "XTENSION", "IMAGE")).strip() != "IMAGE":
        return ()
    return tuple(reversed(_axes(header)))


def _data_size(header):
    """Return the bytes of data behind a header, padding included (FITS standard 4.0, eq. 1 and 2)."""
    axes = _axes(header)
    if not axes:
        return 0
    bitpix = _value(header, "BITPIX")
    if not isinstance(bitpix, int) or bitpix not in BITPIX:
        found, known = "missing" if bitpix is None else repr(bitpix), ", ".join(map(str, BITPIX))
        raise ReductionError(f"BITPIX is {found}, expected one of {known}: transfer the file again")
    elements = math.prod(axes) if axes[0] or not _value(header, "GROUPS") else math.prod(axes[1:])
    size = abs(bitpix) // 8 * _count(header, "GCOUNT", 1) * (_count(header, "PCOUNT", 0) + elements)
    return -(-size // BLOCK) * BLOCK


def _skip_data(stream, position, n_bytes, size):
    """Move behind the data of an HDU; refuse a file that ends before."""
    end = position + n_bytes
    if size is not None:
        found = min(size, end)
        stream.seek(found)
    else:
        found, missing = position, n_bytes
        while missing and (chunk := stream.read(min(missing, 1 << 22))):
            found, missing = found + len(chunk), missing - len(chunk)
    if found < end:
        raise ReductionError(f"truncated: its headers state at least {end} bytes, {found} are there: transfer it again")
    return end
