"""Measure how long CRDS takes for a night: `python tests/bench_bestrefs.py`. Bar: 1000 exposures in 6 s after import.

One process asks for every type for every exposure, writes all manifests with their parts, and then once more without
a change.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import conftest  # noqa: F401, makes the library importable
from reference_cache import TYPES, make_cache, make_request

from crds_ligeriri import register
from drs import bestrefs, references

LEVELS = {"level1": ["dq", "saturation", "bias", "nonlin", "gain", "readnoise"], "level2": ["dark", "flat"]}


def make_requests(n_exposures):
    """Return the requests of a night of four detectors and filters."""
    return {
        f"exposure_{k:05d}": make_request(
            *TYPES,
            DETECTOR=f"IMG{1 + k % 4}",
            FILTER="ZYJH"[k // 4 % 4],
            EXPDTST=f"2024-09-24T{k // 60 % 24:02d}:{k % 60:02d}:00",
        )
        | {"levels": LEVELS}
        for k in range(n_exposures)
    }


def measure(n_exposures, folder):
    """Return what -> seconds."""
    cache, times = make_cache(Path(folder) / "crds"), {}
    requests, context = make_requests(n_exposures), references.find_context(cache, None, {})

    def timed(what, function, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        times[what] = time.perf_counter() - start
        return result

    timed("import crds", register)
    manifests = timed("ask and verify", bestrefs.resolve, requests, context, TYPES, cache)
    timed("write", references.write_manifests, manifests, Path(folder) / "references")
    timed("write again", references.write_manifests, manifests, Path(folder) / "references")
    return times


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exposures", type=int, default=1000)
    n_exposures = parser.parse_args().exposures
    with TemporaryDirectory() as folder:
        times = measure(n_exposures, folder)
    lines = [f"{what:<16} {seconds:7.2f} s" for what, seconds in times.items()]
    total = times["ask and verify"] + times["write"]
    sys.stdout.write("\n".join([*lines, f"{n_exposures} exposures to manifests: {total:.2f} s after import\n"]))


if __name__ == "__main__":
    main()
