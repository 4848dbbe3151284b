"""Kill a filler of a cache at random moments and look at the cache after each: KILLS SEED SERVED CACHE OPTION...

Prints the numbers of kills, and of those that left a cut file. Ends with an assertion where the cache
holds a file that the served cache does not have in just these bytes, or a context that is not whole.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "scripts"))

import sync_references
from drs.filling import CONTEXTS
from drs.holding import Holding


def start(options):
    """Start a filler in a process of its own, without importing everything again."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            sync_references.main(options, standalone_mode=False)
            status = 0
        finally:
            os._exit(status)
    return pid


def check(cache, served):
    """Look at every file of a cache; say whether its rules are complete."""
    for path in cache.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and "config" not in path.parts:
            assert path.read_bytes() == (served / path.relative_to(cache)).read_bytes(), path
    pmaps = [path.name for path in (cache / "mappings").rglob("*.pmap") if path.name[0] != "."]
    if not (cache / "config" / "ligeriri" / "server_config").exists():
        return False
    held = Holding(cache)
    names = pmaps + [held.read_config()[key] for key in CONTEXTS]
    return all(held.list_mappings(name) for name in names)


def main(kills, seed, served, cache, *options):
    """Kill, look, and go on from what is there or, now and then, from nothing."""
    random.seed(int(seed))
    served, cache, options = Path(served), Path(cache), [f"--cache={cache}", *options]
    began = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(start(options), 0)[1]) == 0
    longest_s, killed, cut = time.monotonic() - began, 0, 0
    shutil.rmtree(cache)
    while killed < int(kills):
        pid = start(options)
        time.sleep(random.uniform(0, 0.8 * longest_s))
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        if cache.exists():
            check(cache, served)
            cut += any(path.stat().st_size for path in cache.rglob(".*.part"))
            files = [path for path in (cache / "references").rglob("*.fits") if path.name[0] != "."]
            if random.random() < 0.3 or len(files) == len(list((served / "references").rglob("*.fits"))):
                shutil.rmtree(cache)
            elif files and random.random() < 0.5:
                random.choice(files).unlink()
    assert os.waitstatus_to_exitcode(os.waitpid(start(options), 0)[1]) == 0
    assert check(cache, served)
    sys.stdout.write(f"{killed} kills, {cut} in the midst of a file\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
