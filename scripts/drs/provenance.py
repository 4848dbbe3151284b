"""What a file of products says about itself and its inputs: checksums of its HDUs, sha256, PROVENANCE."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from astropy.io import fits

from drs.errors import ReductionError
from drs.headers import find_hdus, scan_headers
from drs.product import sha256
from drs.serial import WORD, sum_words

PIECE_BYTES = 1 << 22  # a whole number of 32-bit words
DATASUM = re.compile(rb"DATASUM = ' *(\d{1,10}) *'")
READERS = 4  # files read at a time: hashing leaves the interpreter to the others


def examine(path):
    """Return (sha256, defects) of a FITS file, which is read once.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    sha256 : str
    defects : list of str
        What is wrong with its structure, CHECKSUM and DATASUM (FITS standard 4.0, 4.4.2.7), each in one line; [] for
        a file as it was written. Every changed byte shows: it changes the sum of its HDU.
    """
    try:
        places = find_hdus(path)
    except ReductionError as error:
        return sha256(path), [str(error)]
    digest, defects = hashlib.sha256(), []
    with Path(path).open("rb") as stream:
        for name, first, data, end in places:
            header = stream.read(data - first)
            digest.update(header)
            defects += _compare_sums(name, header, _sum_bytes(stream, end - data, digest))
    return digest.hexdigest(), defects


def examine_all(paths):
    """Return path -> result of `examine`, for many files."""
    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(paths, readers.map(examine, paths), strict=True))


def hash_all(paths):
    """Return path -> sha256 of many files."""
    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(paths, readers.map(sha256, paths), strict=True))


def _sum_bytes(stream, n_bytes, digest):
    """Return the ones' complement sum of the next bytes of a file, which go into a digest too."""
    total = 0
    while n_bytes and (piece := stream.read(min(n_bytes, PIECE_BYTES))):
        digest.update(piece)
        total, n_bytes = sum_words(piece, total), n_bytes - len(piece)
    return total


def _compare_sums(name, header, values):
    """Return what the sums of one HDU say: its data, or else its header, are not those that were written."""
    stated = DATASUM.search(header)
    if stated is None or b"CHECKSUM= '" not in header:
        return [f"{name} has no CHECKSUM and DATASUM"]
    if int(stated[1]) != values:
        return [f"DATASUM of {name} is {values}, its header says {int(stated[1])}"]
    is_whole = sum_words(header, values) == WORD
    return [] if is_whole else [f"the header of {name} does not agree with its CHECKSUM"]


def read_provenance(path):
    """Return (role, file name, sha256) of every input that a product names.

    Raises
    ------
    ReductionError
        The file cannot be read, or its table is not there: it is the last extension of every product.
    """
    scan_headers(path)
    try:
        with fits.open(path, memmap=False) as hdus:
            rows = hdus["PROVENANCE"].data
            return [tuple(str(row[column]) for column in ("ROLE", "FILE", "SHA256")) for row in rows]
    except Exception as error:  # astropy promises no closed set of exceptions for a damaged structure
        raise ReductionError(f"{path}: its table PROVENANCE cannot be read ({error})") from error
