"""One run at a time in a night's directory, and no lock that outlives its run."""

import fcntl
import shutil
from pathlib import Path


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
