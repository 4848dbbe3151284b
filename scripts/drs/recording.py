"""Keywords written into the PRIMARY header of a FITS file: every other byte stays as it is."""

import gzip
from pathlib import Path

from astropy.io import fits

from drs.errors import ReductionError
from drs.files import write_atomically
from drs.headers import is_gzipped, scan_headers
from drs.schema import keyword_descriptions
from drs.serial import WORD, encode_sum, sum_words

PIECE_BYTES = 1 << 22


def write_keywords(source, target, keywords):
    """Write a file with changed PRIMARY keywords, atomically; return keyword -> (old value or None, new value).

    CHECKSUM of the PRIMARY HDU is renewed where the file has one. A gzipped file stays one.

    Parameters
    ----------
    source : Path
        FITS file of any form.
    target : Path
        File to write; `source` itself is replaced as a whole, and left untouched where nothing changes.
    keywords : dict
        keyword -> value.
    """
    scan_headers(source)
    with fits.open(source, memmap=False) as hdus:
        place, header = hdus[0].fileinfo(), hdus[0].header.copy()
        if len(hdus) > 1 and "ZSIMPLE" in hdus[1].header:
            raise ReductionError(f"{source}: its PRIMARY is compressed into an extension: unpack it (funpack) first")
    changes = {key: (header.get(key), value) for key, value in keywords.items() if header.get(key) != value}
    if not changes and target == source:
        return changes
    for key, (_, value) in changes.items():
        header[key] = (value, header.comments[key] if key in header else keyword_descriptions().get(key, ""))
    is_packed, mode = is_gzipped(source), source.stat().st_mode
    with gzip.open(source) if is_packed else source.open("rb") as stream:
        stream.seek(place["datLoc"])
        data = stream.read(place["datSpan"]) if "CHECKSUM" in header and place["datSpan"] else b""
        if changes and "CHECKSUM" in header:
            _renew_checksum(header, data)
        stream.seek(place["datLoc"])

        def write_to(out):
            if is_packed:
                with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as packed:
                    _write(packed, header, stream)
            else:
                _write(out, header, stream)

        write_atomically(target, write_to)
    target.chmod(mode)
    return changes


def _renew_checksum(header, data):
    """Set CHECKSUM for the changed cards (FITS standard 4.0, 4.4.2.7)."""
    header["CHECKSUM"] = "0" * 16
    header["CHECKSUM"] = encode_sum(~sum_words(header.tostring().encode("ascii"), sum_words(data)) & WORD)


def _write(out, header, stream):
    """Write a header and the rest of an open file."""
    out.write(header.tostring().encode("ascii"))
    while piece := stream.read(PIECE_BYTES):
        out.write(piece)


def find_target(source, folder):
    """Return where the changed copy of a file goes; itself without a folder."""
    if folder is None:
        return source.resolve()
    target = Path(folder) / source.name
    if target.exists() and target.samefile(source):
        raise ReductionError(f"{source} is in the folder of the copies: change it in place, or name another folder")
    return target
