"""Level 1 measured: speed, memory and accuracy, side by side with the codes that others use.

Run by hand: `make bench`, or `python tests/bench_ramp.py --help`. A sample is one pixel of one read. Every code runs
in a process of its own; the turns of all codes alternate, and the table has medians. Compilation and loading of
libraries are left out: each process runs a few rows first. Memory is the peak of a process above what it holds after
these rows, over the size of the ramp (uint16), the ramp itself included.
"""

import argparse
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO / "scripts")]

import known_ramps
import numpy as np
import peers
from ramps import write_ramp, write_references

from drs.chain import make_chain
from drs.ramp import METHODS, Search, fit_ramp
from drs.variance import estimate_poisson_variance

RATES = (0.01, 0.1, 1, 10, 100, 1000, 2000)  # e-/s
SHORT_AND_LONG = ((2, 10), (3, 10), (5, 10), (10, 10), (100, 0.1), (100, 100))  # reads, e-/s
N_PIX_Y_X = (512, 768)
WARM = 8  # turns of a process, of which the first also takes new memory: a peer's turn is thirty times as long


class Code(NamedTuple):
    """A line of the table: a code of `peers.CODES`, and how to run it."""

    label: str
    name: str
    python: Path = Path(sys.executable)
    threads: int = os.cpu_count()
    turns: int = 1
    rows: int | None = None
    source: Path | None = None


def parse_arguments():
    """Return what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    installed = REPO / ".venv-bench" / "bin" / "python"
    parser.add_argument("--peers-python", type=Path, default=installed, help="interpreter that has stcal")
    parser.add_argument("--fitramp", type=Path, help="checkout of t-brandt/fitramp")
    parser.add_argument("--reference-implementation", type=Path, help="checkout of oirlab/liger_iris_pipeline")
    parser.add_argument("--reads", type=int, default=40)
    parser.add_argument("--size", type=int, default=1024, help="of the ramp that all codes see, pixels")
    parser.add_argument("--rows", type=int, default=256, help="that slow codes see")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each code, in turn; a turn of a peer each")
    parser.add_argument("--large", type=int, nargs=2, default=(32, 2048), help="reads and pixels, for ours alone")
    parser.add_argument("--command", type=int, nargs="*", default=(1024, 2048, 4096), help="pixels, of 32 reads")
    return parser.parse_args()


def list_codes(arguments):
    """Return the lines of the table."""
    python = arguments.peers_python
    return [
        Code("limit: memory read once (numpy max)", "limit", threads=1, turns=5),
        Code("ours, likelihood", "likelihood", turns=WARM),
        Code("ours, likelihood, 1 thread", "likelihood", threads=1, turns=WARM),
        Code("ours, ols", "ols", turns=WARM),
        Code("stcal saturation + linearity + jump + OLS_C", "stcal_chain", python),
        Code("stcal LIKELY (fit and jumps only)", "stcal_likely", python, rows=arguments.rows),
        Code("fitramp (fit and jumps only)", "fitramp", python, rows=arguments.rows, source=arguments.fitramp),
        Code(
            "reference implementation (no jumps, no flags)",
            "reference_implementation",
            source=arguments.reference_implementation,
        ),
    ]


def print_table(title, header, rows):
    """Print a title and a table; the first column is text."""
    cells = [header, *([cell if isinstance(cell, str) else f"{cell:.4g}" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n")
    for row in cells:
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join((row[0].ljust(widths[0]), *rest)))


def run_code(code, folder, **options):
    """Run a code in a process of its own; return its report, or the reason why it did not run."""
    if code.name in ("fitramp", "reference_implementation") and code.source is None:
        return f"no checkout given (--{code.name.replace('_', '-')})"
    if not code.python.exists():
        return f"no interpreter {code.python} (`make bench` makes it)"
    options |= {name: getattr(code, name) for name in ("rows", "source") if getattr(code, name) is not None}
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [code.python, REPO / "tests" / "peers.py", code.name, folder, *words]
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(code.threads), "OMP_NUM_THREADS": str(code.threads)}
    run = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
    return json.loads(run.stdout) if run.returncode == 0 else run.stderr.strip().splitlines()[-1]


def measure_codes(codes, folder, rounds):
    """Return code -> report of all its turns, the codes in turn; those that do not run are said and left out."""
    reports = {}
    for code in codes:
        report = run_code(code, folder, turns=1, results=folder / f"{code.name}.npz")
        if isinstance(report, str):
            print(f"skipped: {code.label}: {report}")
        else:
            reports[code] = {"walls": [], "cpus": [], "memory": []}
    for _ in range(rounds):
        for code, whole in reports.items():
            report = run_code(code, folder, turns=code.turns)
            for name, values in whole.items():
                values.extend(report[name] if isinstance(report[name], list) else [report[name]])
    return reports


def print_speed(title, reports, shape):
    """Print the table of times and memory."""
    ours = next(code for code in reports if code.label == "ours, likelihood")
    limit = next(code for code in reports if code.name == "limit")
    samples = {code: shape[0] * (code.rows or shape[1]) * shape[2] for code in reports}
    walls = {code: np.median(report["walls"]) for code, report in reports.items()}
    cpus = {code: np.median(report["cpus"]) for code, report in reports.items()}
    rates = {code: samples[code] / 1e6 / walls[code] for code in reports}
    rows = []
    for code, report in reports.items():
        counts = str(code.rows or shape[1]), str(len(report["walls"]))
        costs = walls[code], cpus[code], max(report["memory"]) / (2 * samples[code])
        per_cpu = cpus[code] / samples[code] * samples[ours] / cpus[ours]
        rows.append((code.label, *counts, *costs, rates[code], rates[ours] / rates[code], per_cpu))
        rows[-1] += (100 * rates[code] / rates[limit],)
    header = ["code", "rows", "turns", "wall s", "CPU s", "memory", "Msamples/s"]
    header += ["likelihood x", "x by CPU", "% of limit"]
    print_table(title, header, rows)


def print_accuracy(reports, folder):
    """Print how the rates of every code agree with the truth."""
    rows = []
    for code in reports:
        if code.name == "limit" or "1 thread" in code.label:
            continue
        ramp, result = known_ramps.load_ramp(folder, code.rows), np.load(folder / f"{code.name}.npz")
        for kind, scores in known_ramps.score_fit(ramp, result["rate"], result["error"]).items():
            rows.append((code.label, kind, str(scores[0]), *scores[1:]))
    title = "Rates of this ramp: bias in sigma of the bound, scatter over the Cramer-Rao bound of each pixel's usable\n"
    title += "reads (without a difference hit by a cosmic ray), width of the pulls"
    print_table(title, ("code", "ramps", "pixels", "bias", "scatter", "pull"), rows)


def predict_false(threshold_sigma):
    """Return the share of normal deviates beyond a threshold at either side."""
    return math.erfc(threshold_sigma / math.sqrt(2))


def find_threshold(ramp, wanted, low=2.5, high=6.0):
    """Return the threshold of our search with a share of false positives, and its scores."""
    for _ in range(9):
        middle = (low + high) / 2
        _, _, found = peers.ours(ramp, method="likelihood", threshold=middle, details=True)()
        scores = known_ramps.score_jumps(ramp, found)
        low, high = (middle, high) if scores[1] > wanted else (low, middle)
    return middle, scores


def print_jumps(reports, folder):
    """Print completeness and false positives of every search, and ours at the false positives of each other."""
    rows, ramp = [], known_ramps.load_ramp(folder)
    thresholds = {"likelihood": peers.read_settings()["jump_threshold_sigma"], "stcal_chain": 4.0}
    for code in reports:
        found = np.load(folder / f"{code.name}.npz")["found"]
        if found.size == 0 or code.name == "ols" or "1 thread" in code.label:
            continue
        scores = known_ramps.score_jumps(known_ramps.load_ramp(folder, code.rows), found)
        lines = [(code.label, thresholds.get(code.name, 4.5), scores)]
        if code.name != "likelihood":
            lines.append(("  ours at as many false positives", *find_threshold(ramp, scores[1])))
        for label, threshold, (shares, *false) in lines:
            rows.append((label, threshold, *(100 * share for share in shares), predict_false(threshold), *false))
    bins = [f"{low}-{high}" if np.isfinite(high) else f">{low}" for low, high in known_ramps.BINS]
    title = "Jumps: % found by size in sigma of a two-point difference; false positives per difference: of a normal\n"
    title += "deviate with this threshold, on ramps without saturation, on ramps that saturate on the way"
    header = ("search", "threshold", *bins, "predicted", "false", "false, saturated")
    print_table(title, header, rows)


def make_signal(rng, rate, n_read):
    """Return the signals of a detector of one rate in e-, (1, n_read, ny, nx), without cosmic rays."""
    signal = np.empty((1, n_read, *N_PIX_Y_X), np.float32)
    total = np.zeros(N_PIX_Y_X)
    for k in range(n_read):
        total += rng.poisson(rate * known_ramps.STEP_S, N_PIX_Y_X)
        signal[0, k] = total + known_ramps.READ_NOISE_E * rng.standard_normal(N_PIX_Y_X, "f4")
    return signal


def score_method(signal, chain, rate, method):
    """Return bias, scatter and pull width of a method on ramps of one rate, and the standard error of the last."""
    settings = peers.read_settings()
    noise2 = np.full(N_PIX_Y_X, known_ramps.READ_NOISE_E**2, np.float32)
    search = Search(settings["jump_threshold_sigma"])
    fit = fit_ramp(signal, chain, noise2, method=method, n_coadd=settings["n_coadd"], search=search)
    unusable = fit.dq & 1 != 0
    photons = estimate_poisson_variance(
        fit.rate, fit.photon_factor, fit.var_rnoise, unusable, box_pix=settings["noise_box_pix"]
    )
    error, usable = np.sqrt(photons + fit.var_rnoise), np.ones((signal.shape[1] - 1, *N_PIX_Y_X), bool)
    truth = np.full(N_PIX_Y_X, rate)
    bound = known_ramps.bound_variance(truth, noise2.astype("f8"), chain.times, usable)
    _, bias, scatter, pull = known_ramps.score_rate(fit.rate, error, truth, bound, ~unusable)
    pulls = (fit.rate - truth)[~unusable] / error[~unusable]
    kurtosis = ((pulls - pulls.mean()) ** 4).mean() / pulls.var() ** 2
    return bias, scatter, pull, pull * math.sqrt((kurtosis - 1) / (4 * pulls.size))


def print_methods(n_read):
    """Print the accuracy of every method of this library at every rate and at some numbers of reads."""
    rng, rows = np.random.default_rng(2), []
    for reads, rate in (*((n_read, rate) for rate in RATES), *SHORT_AND_LONG):
        signal = make_signal(rng, rate, reads)
        chain = make_chain(known_ramps.STEP_S * (1.0 + np.arange(reads))[np.newaxis])
        for method in METHODS:
            rows.append((method, str(reads), rate, *score_method(signal, chain, rate, method)))
    n_pix = math.prod(N_PIX_Y_X)
    title = (
        f"Methods, {n_pix} ramps each without cosmic rays, jumps searched for: bias in sigma of the Cramer-Rao bound\n"
    )
    title += (
        f"(standard error {n_pix**-0.5:.4f}), scatter over the bound (standard error {(2 * n_pix) ** -0.5:.4f} of it)"
    )
    print_table(title, ("method", "reads", "e-/s", "bias", "scatter", "pull", "its error"), rows)


def write_files(folder, n_read, size, *, period=512):
    """Write a ramp, the same square over and over, and its references."""
    ramp = known_ramps.make_ramp(n_read, min(size, period))
    maps = {"saturation": ramp.saturation_dn, "bias": ramp.bias_dn, "nonlin": ramp.nonlin_coefficients}
    maps |= {"gain": ramp.gain_e_per_dn, "readnoise": ramp.read_noise_e, "dq": np.zeros(ramp.rate.shape, np.uint32)}
    copies = max(size // period, 1)
    tiled = {name: np.tile(array, (1,) * (array.ndim - 2) + (copies, copies)) for name, array in maps.items()}
    write_references(folder, **tiled)
    write_ramp(Path(folder) / "ramp.fits", np.tile(ramp.reads, (1, 1, copies, copies)), ramp.times_s[np.newaxis])


def run_command(folder):
    """Run the whole command; return wall and CPU time in seconds and its peak memory in bytes.

    The known ramp has no border: reference pixels are left out.
    """
    names = {"ramp": "ramp.fits", "manifest": "manifest.json", "cache": "", "night-cache": "", "output": "rate.fits"}
    settings = {**peers.read_settings(), "method": "likelihood", "border_pix": "0", "n_channel": 1}
    given = {key.replace("_", "-"): value for key, value in settings.items() if value not in (None, False, [])}
    words = [f"--{option}" if value is True else f"--{option}={value}" for option, value in given.items()]
    words += [f"--{option}={folder / name}" for option, name in names.items()]
    command = [sys.executable, REPO / "tests" / "measure_command.py", sys.executable, REPO / "scripts" / "fit_ramp.py"]
    run = subprocess.run([*map(str, command), *words], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)


def print_command(sizes, *, n_read=32, turns=3):
    """Print time and memory of the command on files; another process writes them, to keep its memory out."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            writer = multiprocessing.get_context("spawn").Process(target=write_files, args=(folder, n_read, size))
            writer.start()
            writer.join()
            runs = np.array([run_command(Path(folder)) for _ in range(turns + 1)])[1:]  # the first one may compile
        wall, cpu, memory = np.median(runs, axis=0)
        samples = n_read * size**2
        sizes_mib = np.array([2 * samples, memory, 0.15 * 2 * samples + 300e6]) / 2**20
        rows.append((f"{n_read} x {size} x {size}", wall, cpu, samples / 1e6 / wall, *sizes_mib))
    header = ("the command", "wall s", "CPU s", "Msamples/s", "ramp MiB", "peak MiB", "15 % + 300 MB")
    print_table(f"The whole job: start, read, reduce, write, checksum; medians of {turns}", header, rows)


def bench_peers(arguments, folder):
    """Measure all codes on one ramp."""
    known_ramps.save_ramp(folder, known_ramps.make_ramp(arguments.reads, arguments.size))
    reports = measure_codes(list_codes(arguments), folder, arguments.rounds)
    shape = arguments.reads, arguments.size, arguments.size
    title = f"All codes on one ramp, {shape[0]} x {shape[1]} x {shape[2]}; ours with {os.cpu_count()} threads"
    print_speed(title, reports, shape)
    print_accuracy(reports, folder)
    print_jumps(reports, folder)


def bench_large(arguments, folder):
    """Measure this library on a large ramp."""
    n_read, size = arguments.large
    known_ramps.save_ramp(folder, known_ramps.make_ramp(n_read, size))
    reports = measure_codes(list_codes(arguments)[:4], folder, arguments.rounds)
    print_speed(f"This library, {n_read} x {size} x {size}", reports, (n_read, size, size))


def main():
    """Print all tables."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        bench_peers(arguments, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        bench_large(arguments, Path(folder))
    print_methods(arguments.reads)
    print_command(arguments.command)


if __name__ == "__main__":
    main()
