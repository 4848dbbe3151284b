"""Run a command from a small process, and print what it took: `python tests/measure_command.py COMMAND...`.

Linux counts the memory of the process that starts a command as the command's own, so the benchmark cannot start it.
"""

import json
import os
import sys
import time


def main():
    """Print wall and CPU time in seconds and peak memory in bytes."""
    start = time.perf_counter()
    process = os.posix_spawn(sys.argv[1], sys.argv[1:], dict(os.environ))
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    sys.stdout.write(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
