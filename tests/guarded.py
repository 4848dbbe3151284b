"""Run a function in a child that is watched: what it writes, starts, uses and says; it ends when it takes too long."""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import click

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate")
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "socket.connect")


class Outcome(NamedTuple):
    """How a guarded call ended: 'done' or 'refused' with a message, or one of the violations with what happened."""

    kind: str
    text: str
    took_s: float

    @property
    def is_violation(self):
        """True for everything that must not happen, whatever the input."""
        return self.kind not in ("done", "refused")


def run_guarded(function, places, *, limit_s=60.0, grow_mb=700):
    """Call a function in a forked child.

    Parameters
    ----------
    function : callable
        Without arguments; a ClickException is a refusal, any other exception a traceback.
    places : iterable of path-like
        Folders that may be written.
    limit_s : float
        After this the child is killed: 'hang'. Time in which the machine lets it wait for a processor does not count.
    grow_mb : float
        Memory that the child may take beyond what its parent has: else 'memory'.
    """
    reading, writing = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if not child:
        _run_child(function, [os.path.realpath(place) for place in places], writing, grow_mb)
    os.close(writing)
    told = _read_until(reading, lambda: begin + limit_s + _measure_waiting_s(child))
    if told is None:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    took_s = time.monotonic() - begin
    if told is None:
        return Outcome("hang", f"no end after {limit_s:g} s", took_s)
    if not told:
        return Outcome("crash", f"exit status {status}", took_s)
    return Outcome(*json.loads(told), took_s)


def _measure_waiting_s(pid):
    """Return how long a process was ready and had no processor."""
    with contextlib.suppress(OSError), Path(f"/proc/{pid}/schedstat").open() as stream:
        return int(stream.read().split()[1]) / 1e9
    return 0.0


def _read_until(pipe, find_end):
    """Return all that comes through a pipe; None where it is open at the end, which may move on."""
    parts = []
    while (left := find_end() - time.monotonic()) > 0:
        if select.select([pipe], [], [], min(left, 1.0))[0]:
            part = os.read(pipe, 1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
    return None


def _run_child(function, places, writing, grow_mb):
    """Call the function, tell how it ended, and end this process."""
    violations = []
    before = _resident_mb()
    grown = int((_virtual_mb() + 4 * grow_mb) * 1e6)  # libraries reserve more than they use
    resource.setrlimit(resource.RLIMIT_AS, (grown, grown))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")  # the test suite makes them errors
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, places, violations))
    try:
        told = _call(function)
    except MemoryError as error:
        told = "memory", repr(error)
    except BaseException:
        told = "traceback", traceback.format_exc()[-3000:]
    grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if violations:
        told = "escape", "; ".join(violations[:5])
    elif grew > grow_mb:
        told = "memory", f"{grew:.0f} MB more than at the start"
    with contextlib.suppress(OSError):
        os.write(writing, json.dumps(told).encode()[: 1 << 20])
    os._exit(0)


def _call(function):
    """Return how the call ended."""
    try:
        function()
    except (click.exceptions.Exit, SystemExit):
        return "done", ""
    except click.ClickException as error:
        text = error.format_message()
        if not text.strip() or "Traceback" in text:
            return "traceback", text
        if not text.replace("\n", "").isprintable():
            return "unprintable", repr(text)
        return "refused", text
    return "done", ""


def _watch(event, arguments, places, violations):
    """Note what a child may not do."""
    if event.startswith(STARTS):
        violations.append(f"{event} {arguments[:2]}")
    elif event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITING):
        path = arguments[0]
        if isinstance(path, (str, bytes)) and not _is_allowed(os.fsdecode(path), places):
            violations.append(f"{event} {path!r}")


def _is_allowed(path, places):
    """Say whether a path is in one of the places, or in a cache of compiled code."""
    path = os.path.realpath(path)
    return any(path.startswith(place) for place in places) or "__pycache__" in path or path == os.devnull


def _resident_mb():
    """Return the memory of this process in MB."""
    with open("/proc/self/statm") as stream:  # noqa: PTH123
        return int(stream.read().split()[1]) * resource.getpagesize() / 1e6


def _virtual_mb():
    """Return the address space of this process in MB."""
    with open("/proc/self/statm") as stream:  # noqa: PTH123
        return int(stream.read().split()[0]) * resource.getpagesize() / 1e6
