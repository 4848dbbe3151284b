"""Files that are whole or not there: written beside their place, synced, and renamed."""

import json
import marshal
import os
from functools import cache
from pathlib import Path


def write_atomically(path, write_to):
    """Call `write_to(stream)` on a new file beside `path`, sync it, and rename it to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _list_parts(path.parent):
        is_own = left.startswith(f".{path.name}.")
        if is_own and not Path("/proc", left.split(".")[-2]).exists():  # its writer was killed
            path.with_name(left).unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            write_to(stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:  # on a full disk what is half written takes the room of what comes next
        part.unlink(missing_ok=True)
        raise


@cache
def _list_parts(folder):
    """Return the parts of files in a folder when this process first wrote there: a list at every write takes N^2."""
    return [entry.name for entry in os.scandir(folder) if entry.name.startswith(".") and entry.name.endswith(".part")]


def write_json(path, document):
    """Write `document` as JSON with sorted keys; equal content leaves the file untouched."""
    write_text(path, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path, text):
    """Write text; equal content leaves the file untouched."""
    path, content = Path(path), text.encode()
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, lambda stream: stream.write(content))


def write_night(path, night):
    """Write a night's plan as Python reads it back five times faster than JSON: each job on a cluster pays for it.

    An equal one is left untouched; its bytes do not tell, as marshal notes what else refers to a value.
    """
    try:
        is_there = read_night(path) == night
    except (OSError, EOFError, ValueError, TypeError):
        is_there = False
    if not is_there:
        write_atomically(path, lambda stream: stream.write(marshal.dumps(night)))


def read_night(path):
    """Return a night's plan that `write_night` has written."""
    return marshal.loads(Path(path).read_bytes())
