"""The library modules of a rule as one small file that changes when one of them does."""

import hashlib
from pathlib import Path

from drs.files import write_text

FOLDER = "plan/code"


def digest_path(names):
    """Return the file that stands for modules: its name follows from theirs, wherever the library lies."""
    return f"{FOLDER}/{hashlib.sha256(' '.join(names).encode()).hexdigest()[:16]}.txt"


def write_digest(names, root):
    """Write name and sha256 of each module to `digest_path(names)`; equal content leaves the file untouched.

    A job of Snakemake with twenty modules for inputs costs it three times the time of one with a single file, and
    inputs with the path of the library would run everything again where that is moved.

    Parameters
    ----------
    names : sequence of str
        Modules below `root`, without `.py`.
    root : path-like
        Folder of the scripts.
    """
    lines = [f"{hashlib.sha256(Path(root, f'{name}.py').read_bytes()).hexdigest()}  {name}.py\n" for name in names]
    write_text(digest_path(names), "".join(lines))
