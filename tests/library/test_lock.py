"""The lock of a night: held by one process, gone with it, and stale locks of a killed run removed."""

import subprocess
import sys
from pathlib import Path

from drs.lock import hold_night

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
