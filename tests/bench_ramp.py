"""Speed and memory of Level 1: the library on reads in memory, and the whole command on a file.

Run by hand: `python tests/bench_ramp.py [n_read] [size_pix]`. A sample is one pixel of one read.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import conftest
import numpy as np
from ramps import make_times, write_ramp, write_references

from drs.detector import MODELS, build_maps
from drs.ramp import METHODS, fit_ramp
from drs.signal import calibrate_reads
from drs.variance import estimate_poisson_variance

ROWS = 64
OPTIONS = ["--jump-threshold-sigma=4.5", "--n-coadd=4", "--noise-box-pix=7", f"--block-rows={ROWS}"]


def make_block(n_read, size, *, rate=20.0, gain=2.0, saturated=0.02):
    """Return reads of some rows with saturated stars and cosmic rays."""
    rng, image = np.random.default_rng(1), (ROWS, size)
    flux = np.where(rng.random(image) < saturated, 90000 / n_read, rate)
    reads = np.empty((1, n_read, *image), np.uint16)
    signal, hit = np.zeros(image), rng.random(image) < 0.01
    start = rng.integers(1, n_read, image)
    for read in range(n_read):
        signal += rng.poisson(flux)
        level = signal + np.where(hit & (read >= start), 2000, 0) + rng.normal(0, 10, image)
        reads[0, read] = (level / gain + 1000).clip(0, 65535)
    return reads


def make_references(size):
    """Return arrays of all references of a detector."""
    ones = np.ones((size, size), np.float32)
    maps = {"dq": np.zeros(ones.shape, np.uint32), "saturation": 40000 * ones, "bias": 1000 * ones}
    coefficients = np.stack([0 * ones, ones, 1e-8 * ones, 0 * ones])
    return maps | {"nonlin": coefficients, "gain": 2 * ones, "readnoise": 10 * ones}


def measure(name, samples, call, turns=5):
    """Print the best rate of some calls, the first one (compilation) left out."""
    call()
    best = np.inf
    for _ in range(turns):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    print(f"{name:<44}{samples / 1e6 / best:10.0f} million samples/s")


def bench_library(n_read, size):
    """Measure the steps on one block."""
    reads, times_s = make_block(n_read, size), make_times(1, n_read)
    references = {name: array[..., :ROWS, :] for name, array in make_references(size).items()}
    maps = build_maps((ROWS, size), **{MODELS[kind][2]: array for kind, array in references.items()})
    signal, _ = calibrate_reads(reads, maps)
    measure("saturation, bias, non-linearity, gain", reads.size, lambda: calibrate_reads(reads, maps))
    for method in METHODS:
        for threshold in (None, 4.5):
            options = {"method": method, "n_coadd": 4, "jump_threshold_sigma": threshold}
            fit = fit_ramp(signal, times_s, maps.read_variance_e2, **options)
            name = f"{method}{'' if threshold is None else ' with jumps'}"
            measure(name, reads.size, lambda o=options: fit_ramp(signal, times_s, maps.read_variance_e2, **o))
    images = fit.rate, fit.photon_factor, fit.var_rnoise, fit.dq != 0
    measure("photon noise (samples of the ramp)", reads.size, lambda: estimate_poisson_variance(*images, box_pix=7))


def write_files(folder, n_read, size):
    """Write a ramp and its references."""
    write_references(folder, **make_references(size))
    reads = np.tile(make_block(n_read, size), (1, 1, size // ROWS, 1))
    write_ramp(Path(folder) / "ramp.fits", reads, make_times(1, n_read))


def bench_command(n_read, size):
    """Measure the whole command on a file, written by another process to keep its memory out of the figure."""
    with tempfile.TemporaryDirectory() as folder:
        writer = multiprocessing.get_context("spawn").Process(target=write_files, args=(folder, n_read, size))
        writer.start()
        writer.join()
        names = {
            "ramp": "ramp.fits",
            "manifest": "manifest.json",
            "cache": "",
            "night-cache": "",
            "output": "rate.fits",
        }
        files = [f"--{option}={Path(folder) / name}" for option, name in names.items()]
        script = conftest.REPO / "scripts" / "fit_ramp.py"
        command = [sys.executable, str(script), "--method=ols", *OPTIONS, *files]
        start = time.perf_counter()
        process = os.posix_spawn(command[0], command, dict(os.environ))
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - start
        if status:
            sys.exit("the command failed")
    millions, memory = n_read * size**2 / 1e6, usage.ru_maxrss / 1024
    print(f"{f'the command, {n_read} x {size} x {size}':<44}{millions / seconds:10.0f} million samples/s")
    print(f"{'its time':<44}{seconds:10.1f} s")
    print(f"{'its memory':<44}{memory:10.0f} MiB (the ramp has {2e6 * millions / 2**20:.0f} MiB)")


def main():
    """Print one table."""
    n_read, size = (int(text) for text in (*sys.argv[1:], *("32", "2048")[len(sys.argv) - 1 :]))
    bench_library(n_read, size)
    bench_command(n_read, size)


if __name__ == "__main__":
    main()
