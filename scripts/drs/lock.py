"""One run at a time in a night's directory, one writer in a CRDS cache, and no lock that outlives its process."""

import fcntl
import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)


def hold_night(night):
    """Hold a night for this process; return the open lock file, or None while another process holds it.

    The lock is the kernel's and ends with the process, however that ends. So whoever gets it knows that locks which
    Snakemake has left in the night belong to a run that was killed, and removes them: the same command goes on.

    Parameters
    ----------
    night : path-like
        The night's directory.
    """
    folder = Path(night) / ".snakemake"
    folder.mkdir(exist_ok=True)
    stream = (folder / "night.lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    shutil.rmtree(folder / "locks", ignore_errors=True)
    return stream


def hold_cache(cache):
    """Hold a CRDS cache for writing, after waiting for another process that holds it; return the open lock file.

    The lock is the kernel's and ends with the process or with closing the file.

    Parameters
    ----------
    cache : path-like
        Root of the cache, made when it does not exist.
    """
    Path(cache).mkdir(parents=True, exist_ok=True)
    stream = (Path(cache) / ".lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("another process writes to %s: waiting for its end", cache)
        fcntl.flock(stream, fcntl.LOCK_EX)
    return stream
