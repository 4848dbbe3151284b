"""One file from a source into a cache: resumed, verified, and only then under its final name."""

import errno
import os
from contextlib import contextmanager

from drs.errors import ReductionError
from drs.references import sha1
from drs.source import DamagedError, UnreachableError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UnwritableError(ReductionError):
    """A cache into which nothing more can be written."""


@contextmanager
def writing(place):
    """Turn what the disk refuses within the context into UnwritableError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            advice = "free some space and give the same command again: it goes on from here"
        else:
            advice = "name a cache that you may write, or ask its keeper to fill it"
        raise UnwritableError(f"{place} cannot be written ({error.strerror}); {advice}") from error


def is_whole(path, expected):
    """Say whether a file exists with the size and sha1 that are expected."""
    return path.is_file() and path.stat().st_size == expected["size"] and sha1(path) == expected["sha1sum"]


def find_part(path):
    """Return the name under which a file is fetched; it stays after a cut, to be resumed."""
    return path.with_name(f".{path.name}.part")


def fetch(source, path, expected, *, examine=None, tell=None):
    """Fetch the file `path.name` of a source; the caller holds the cache (`drs.lock.hold_cache`).

    Parameters
    ----------
    source : Server or Mirror
    path : Path
        Final name; what is there stays until the new file is verified.
    expected : dict
        {"size": bytes, "sha1sum": hexadecimal}.
    examine : callable, optional
        Called with the verified file before it gets its final name; it refuses by an exception.
    tell : callable, optional
        Called with the number of bytes that are there so far.

    Raises
    ------
    UnreachableError
        The source did not deliver what it had stated, after all tries; what came is kept to be resumed.
    UnwritableError
        The cache cannot be written, or its disk is full.
    """
    part = find_part(path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    source.patience.persist(lambda: _bring(source, part, path, expected, tell or (lambda done: None)))
    try:
        if examine:
            examine(part)
    except ReductionError:
        part.unlink()
        raise
    with writing(path):
        part.replace(path)


def _bring(source, part, path, expected, tell):
    """Complete the file `part` from where it ends, and verify it; one of wrong bytes is removed."""
    size = expected["size"]
    with writing(part.parent):
        there = part.stat().st_size if part.exists() else 0
    resumed = 0 < there <= size
    try:
        if there != size or not resumed:
            with source.open(path.name, there if resumed else 0) as (read, start):
                resumed = start > 0
                _append(part, read, start, size, tell)
    except UnwritableError:
        with writing(part.parent):
            part.unlink(missing_ok=True)  # a full disk helps nobody
        raise
    length, found = part.stat().st_size, sha1(part)
    if (length, found) != (size, expected["sha1sum"]):
        part.unlink()
        text = f"{path.name} from {source.name} is damaged: sha1 {found}, expected {expected['sha1sum']}"
        raise (UnreachableError if resumed else DamagedError)(text)


def _append(part, read, start, size, tell):
    """Write what `read()` returns behind byte `start` of the file `part`, which ends with `size` bytes."""
    with writing(part):
        stream = part.open("r+b" if start else "wb")
    done = start
    with _closing(stream, part):
        with writing(part):
            stream.truncate(start)
            stream.seek(start)
        while done < size + 1 and (block := read()):
            done += len(block)
            if done > size:
                break
            with writing(part):
                stream.write(block)
            tell(done)
    if done < size:
        raise UnreachableError(f"{part.name[1:-5]} was cut after {done} of {size} bytes")
    if done > size:
        with writing(part):
            part.unlink()
        raise DamagedError(f"{part.name[1:-5]} is longer than the {size} bytes that were stated")


@contextmanager
def _closing(stream, part):
    """Bring a file to the disk at the end, also of a cut."""
    try:
        yield
    finally:
        with writing(part):
            try:
                stream.flush()
                os.fsync(stream.fileno())
            finally:
                stream.close()
