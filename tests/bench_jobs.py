"""Where the time of a real night of many small exposures goes: `python tests/bench_jobs.py [--exposures 200]`.

The tiny night's darks and flats, and its science exposures again and again as fields of four dithers, are reduced on
two cores from an empty folder. Printed: jobs, wall time, and per job the CPU time of Snakemake itself, of starting the
scripts (Python, imports, as `--help` takes), and of the rest: shells, kernels loaded, the reduction. `trivial` is
Snakemake with as many jobs of one `touch`, one file in and one out, in the same minute: the floor.
"""

import collections
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from astropy.io import fits

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

from runs import REPO, simulate

DARKS = ("TI.20240925.018*.00.fits", "TI.20240925.01984.00.fits", "TI.20240925.02076.00.fits")
FLATS = ("TI.20240924.8*.00.fits",)
DITHERS = ("21600", "21692", "21876", "21968")
TRIVIAL = """
rule all:
    input: expand("made/{i}", i=range(N))
rule make:
    input: "raw/{i}"
    output: "made/{i}"
    shell: "touch {output}"
"""
# Snakemake, and what it and its children took.
TIMED = (
    "import atexit, json, os, resource; from snakemake import cli\n"
    "who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)\n"
    "times = lambda: [sum(resource.getrusage(w)[:2]) for w in who]\n"
    "atexit.register(lambda: open(os.environ['TIMES'], 'w').write(json.dumps(times())))\n"
    "cli.main()"
)


def make_night(folder, n_exposures):
    """Make the night: the simulated one's darks and flats, then fields of its dithers under names of their own."""
    tiny = simulate(folder / "tiny")
    night = folder / "night"
    (night / "raw").mkdir(parents=True)
    for name in ("crds_cache", "config.yaml"):
        (tiny / name).rename(night / name)
    calibrations = {path for pattern in (*DARKS, *FLATS) for path in (tiny / "raw").glob(pattern)}
    for path in calibrations:
        path.rename(night / "raw" / path.name)
    for number in range(n_exposures - len(calibrations)):
        field, dither = divmod(number, len(DITHERS))
        with fits.open(tiny / f"raw/TI.20240925.{DITHERS[dither]}.00.fits") as hdus:
            second = number * 60
            start = f"2024-09-25T{6 + second // 3600:02d}:{second // 60 % 60:02d}:00.000"
            own = {"OBSNUM": f"F{field:03d}", "OBJECT": f"F{field:03d}", "EXPNUM": number + 1, "EXPDTST": start}
            hdus[0].header.update(own)
            hdus.writeto(night / f"raw/{number:05d}.fits")
    return night


def run_timed(folder, snakefile, cores):
    """Run Snakemake; return (wall s, its own CPU s, CPU s of its jobs, jobs)."""
    out = folder / "times.json"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environment["TIMES"] = str(out)
    start = time.perf_counter()
    options = ["-s", snakefile, "-d", folder, f"--cores={cores}", "--quiet=all"]
    run = subprocess.run([sys.executable, "-c", TIMED, *options], env=environment, capture_output=True, text=True)
    wall_s = time.perf_counter() - start
    if run.returncode:
        sys.exit((run.stdout + run.stderr)[-3000:])
    return wall_s, *json.loads(out.read_text())


def measure_start(script):
    """Return the CPU time in s of a script's start, the least of three."""
    command = [sys.executable, str(REPO / f"scripts/{script}.py"), "--help"]
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    times = []
    for _ in range(3):
        _, _, usage = os.wait4(os.posix_spawn(command[0], command, dict(os.environ), file_actions=silent), 0)
        times.append(usage.ru_utime + usage.ru_stime)
    return min(times)


def read_benchmarks(night):
    """Return rule -> wall times in s of its jobs."""
    times = collections.defaultdict(list)
    for path in (night / "benchmarks").rglob("*.tsv"):
        rule = path.relative_to(night / "benchmarks").parts[0]
        times[rule].append(float(path.read_text().splitlines()[1].split("\t")[0]))
    return times


@click.command()
@click.option("--exposures", default=200, show_default=True)
@click.option("--cores", default=2, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the night stays; default a temporary folder.")
def main(exposures, cores, folder):
    """Print the table."""
    with TemporaryDirectory() as temporary:
        folder = (folder or Path(temporary)).resolve()
        night = make_night(folder, exposures)
        wall_s, own_s, jobs_s = run_timed(night, REPO / "Snakefile", cores)
        times = read_benchmarks(night)
        n_jobs = sum(map(len, times.values()))
        starts_s = {rule: measure_start(rule) for rule in times}
        started_s = sum(starts_s[rule] * len(times[rule]) for rule in times)
        click.echo(f"{'rule':>18} {'jobs':>5} {'start, CPU s':>13} {'wall s, mean':>13}")
        for rule in sorted(times, key=lambda rule: -sum(times[rule])):
            mean_s = sum(times[rule]) / len(times[rule])
            click.echo(f"{rule:>18} {len(times[rule]):5d} {starts_s[rule]:13.2f} {mean_s:13.2f}")
        parts = {"Snakemake": own_s, "starts of scripts": started_s, "the rest of jobs": jobs_s - started_s}
        click.echo(f"{n_jobs} jobs in {wall_s:.0f} s on {cores} cores; CPU s, and per job in ms:")
        for what, spent_s in parts.items():
            click.echo(f"{what:>18} {spent_s:8.1f} {1000 * spent_s / n_jobs:8.1f}")
        trivial = folder / "trivial"
        (trivial / "raw").mkdir(parents=True)
        (trivial / "Snakefile").write_text(f"N = {n_jobs}\n{TRIVIAL}")
        for number in range(n_jobs):
            (trivial / "raw" / str(number)).touch()
        wall_s, own_s, jobs_s = run_timed(trivial, trivial / "Snakefile", cores)
        click.echo(f"trivial: {wall_s:.0f} s; per job {1000 * own_s / n_jobs:.1f} and {1000 * jobs_s / n_jobs:.1f} ms")


if __name__ == "__main__":
    main()
