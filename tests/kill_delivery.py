"""Kill deliveries at any point: `python tests/kill_delivery.py [--kills 200] [--seed 1]`.

Each round delivers two references into a copy of a cache in a process of its own, which is ended by SIGKILL: just
before one of its changes of the cache, or at a random time, or at a random time after the first file was written.
Whatever the moment, the cache must be whole: every rule file loads with its checksum, every context has its rules,
no reference under its final name is other than it should be, those of the operational context are all there. The same
delivery, given again, must then end with the same bytes as one that was never disturbed.
"""

import collections
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

from reference_cache import ALL_TYPES, list_bytes, make_cache, make_reference, mute  # noqa: E402

from crds_ligeriri import session  # noqa: E402
from drs import ingest, product  # noqa: E402
from drs.derivation import load_context  # noqa: E402
from drs.errors import ReductionError  # noqa: E402
from drs.references import mapping_path, read_server_config, reference_path, sha1  # noqa: E402

SIDE = 1024  # pixels of the delivered references: large enough to be killed within a copy
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "open")
WRITING = os.O_WRONLY | os.O_RDWR


def write_references(folder):
    """Write a dark and a flat of a new filter; return their paths."""
    paths = []
    for kind in ("dark", "flat"):
        small = make_reference(kind, FILTER="K")
        large = {name: np.ones((SIDE, SIDE), array.dtype) for name, array in small.arrays.items()}
        paths.append(folder / f"iris_img1_{kind}_20240924t000000_0.0.1.fits")
        product.write(paths[-1], product.Product(small.keywords, large, small.units))
    return paths


def start_delivery(paths, cache, *, at_change=0):
    """Deliver in a child process; return (its id, pipe with one byte per change of the cache).

    With `at_change` the child kills itself just before the change of that number, counted from 1.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event in CHANGES and str(arguments[0]).startswith(str(cache)):
            if event == "open" and not (arguments[2] or 0) & WRITING:
                return
            count += 1
            os.write(writing, b"J" if ingest.JOURNAL in str(arguments[0]) else b".")
            if count == at_change:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        mute()
        sys.addaudithook(watch)
        ingest.ingest(paths, ALL_TYPES, cache)
        status = 0
    finally:
        os._exit(status)


def finish(child, reading):
    """Wait for a delivery; return (its exit status or minus its signal, the changes it made)."""
    with os.fdopen(reading, "rb") as pipe:
        changes = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), changes


def kill_one(paths, cache, rng, undisturbed):
    """Deliver and kill; return how, and the exit status."""
    duration_s, publishing_s, first, changes = undisturbed
    way = rng.choice(("any change", "change of the cache", "time", "publishing"))
    if "change" in way:
        number = rng.randint(1 if way == "any change" else first, changes)
        return f"before change {number} of {changes}", finish(*start_delivery(paths, cache, at_change=number))[0]
    child, reading = start_delivery(paths, cache)
    delay_s = rng.uniform(0, duration_s if way == "time" else publishing_s)
    if way == "publishing":
        while (byte := os.read(reading, 1)) not in (b"J", b""):
            pass
        delay_s = delay_s if byte else 0
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    return f"{way} {delay_s * 1e3:.1f} ms", finish(child, reading)[0]


def examine(cache, digests, contexts):
    """Return what is wrong with a cache, in words, and the context that is operational."""
    wrong = []
    operational = read_server_config(cache)["operational_context"]
    wrong += [f"context {operational}"] if operational not in contexts else []
    rules = sorted(mapping_path(cache, "").glob("[!.]*.?map"))
    with session(cache) as crds:
        for path in rules:
            try:
                crds.core.rmap.load_mapping(str(path))
            except Exception as error:
                wrong.append(f"{path.name}: {error}")
    for path in rules:
        if path.suffix == ".pmap":
            wrong += find_broken(path.name, cache)
    for path in reference_path(cache, "", "").glob("*/[!.]*"):
        if sha1(path) != digests.get(path.name):
            wrong.append(f"{path.name} is corrupt")
    present = {path.name for path in reference_path(cache, "", "").glob("*/[!.]*")}
    if not wrong:
        wrong += [f"{name} is missing" for name in load_context(operational, cache)["references"] - present]
    return wrong, operational


def find_broken(context, cache):
    """Return what is wrong with a context: [] or one text."""
    try:
        load_context(context, cache)
    except ReductionError as error:
        return [str(error)]
    return []


def list_final(cache):
    """Return relative path -> bytes of all of a cache but the file of its lock."""
    return {name: content for name, content in list_bytes(cache).items() if name != ".lock"}


def time_delivery(paths, cache):
    """Deliver undisturbed; return (seconds in all, seconds from the journal on, its change, number of changes)."""
    begin = time.monotonic()
    child, reading = start_delivery(paths, cache)
    published, first, changes = begin, 1, 0
    while byte := os.read(reading, 1):
        changes += 1
        if byte == b"J" and first == 1:
            published, first = time.monotonic(), changes
    status, _ = finish(child, reading)
    if status:
        raise click.ClickException("the undisturbed delivery fails")
    return time.monotonic() - begin, time.monotonic() - published, first, changes


@click.command()
@click.option("--kills", default=200, show_default=True, help="Deliveries to kill.")
@click.option("--seed", default=1, show_default=True, help="Of the first; each has the next one.")
def main(kills, seed):
    """Kill deliveries and examine the cache after each; exit status 1 where one is not whole."""
    mute()
    told = collections.Counter()
    with TemporaryDirectory(prefix="kill_delivery_") as folder:
        folder = Path(folder)
        start = make_cache(folder / "start")
        paths = write_references(folder)
        final = shutil.copytree(start, folder / "final")
        undisturbed = time_delivery(paths, final)
        digests = {path.name: sha1(path) for path in reference_path(final, "", "").glob("*/*")}
        wanted = list_final(final)
        for number in range(seed, seed + kills):
            cache = shutil.copytree(start, folder / "cache")
            how, status = kill_one(paths, cache, random.Random(number), undisturbed)
            wrong, operational = examine(cache, digests, ("ligeriri_0001.pmap", "ligeriri_0002.pmap"))
            told[f"killed {status == -signal.SIGKILL}, {operational}"] += 1
            told["left a half delivery"] += (cache / ingest.WORK).exists()
            status, _ = finish(*start_delivery(paths, cache))
            wrong += [f"the same delivery ends with {status}"] if status else []
            wrong += [] if list_final(cache) == wanted else ["the same delivery gives other bytes"]
            if wrong:
                told["NOT WHOLE"] += 1
                click.echo(f"seed {number}, {how}: {'; '.join(wrong)}")
            shutil.rmtree(cache)
    duration_s, publishing_s, first, changes = undisturbed
    click.echo(f"{kills} kills of a delivery of {duration_s:.2f} s and {changes} changes of the cache,")
    click.echo(f"the last {publishing_s:.2f} s and {changes - first} of them under final names")
    for what, count in sorted(told.items()):
        click.echo(f"  {count:4d} {what}")
    sys.exit(bool(told["NOT WHOLE"]))


if __name__ == "__main__":
    main()
