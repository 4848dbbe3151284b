"""Locks of a night and of a cache: held by one process, gone with it; stale ones of a killed run are removed."""

import subprocess
import sys
import threading
from pathlib import Path

from drs.lock import hold_cache, hold_night

HOLD = (
    "import sys, time; sys.path.insert(0, sys.argv[1]); from drs.lock import hold_night; held = hold_night(sys.argv[2])"
)


def start_holder(folder):
    """Start a process that holds a night until it is killed."""
    code = f"{HOLD}; sys.stdout.write('held'); sys.stdout.flush(); time.sleep(60)"
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    process = subprocess.Popen([sys.executable, "-c", code, scripts, folder], stdout=subprocess.PIPE)
    assert process.stdout.read(4) == b"held"
    return process


def test_a_lock_ends_with_its_process_and_stale_locks_are_removed(tmp_path):
    process = start_holder(tmp_path)
    stale = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    stale.parent.mkdir()
    stale.write_text("")
    assert hold_night(tmp_path) is None
    assert stale.exists()
    process.kill()
    process.wait()
    process.stdout.close()
    with hold_night(tmp_path):
        assert not stale.exists()


def test_a_cache_has_one_writer_and_the_next_waits(tmp_path, caplog):
    caplog.set_level("INFO")
    held = hold_cache(tmp_path / "new" / "cache")
    streams = []
    waiting = threading.Thread(target=lambda: streams.append(hold_cache(tmp_path / "new" / "cache")))
    waiting.start()
    waiting.join(0.1)
    assert not streams
    held.close()
    waiting.join(5)
    streams.pop().close()
    assert "another process writes to" in caplog.text
