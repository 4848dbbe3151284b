"""How the workflow grows with the night: `python tests/bench_night.py [--sizes 100,1000,5000] [--folder FOLDER]`.

Nights of raw files that are headers alone (their pixels are holes of the file system). Printed for each size: wall
time, CPU time and peak memory of

  fresh      `snakemake -n` of the night before anything is made
  trivial    Snakemake's own: `-n` of the same jobs, fresh: rules, wildcards, inputs and outputs, so every edge, are
             ours; inputs come from a dictionary, by one function per rule, and no rule has anything else (parameters,
             resources, log, benchmark, conda, checkpoint)
  job        what a job on a cluster node pays before its script starts: the Snakefile, read again for one product
  no change  `snakemake -n` when all is made: empty files that Snakemake takes for its own (--touch)
  one more   the same after one more exposure arrived

and the exponent of each time's growth. CPU time is what to compare on a machine that others use too.
"""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import click
from astropy.io import fits

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

from runs import SNAKEMAKE, count_jobs, simulate

from drs.plan import Plan

REPO = HERE.parent
DITHERS = 9  # exposures of a field
SPACING_S = 10  # between starts: 5000 exposures in a night
# Writes what each job of a plan has to a file, before they are counted.
LIST_JOBS = """
import json, os
from snakemake import cli, dag
def stats(self, count=dag.DAG.stats):
    jobs = [(job.rule.name, job.wildcards_dict, list(map(str, job.input))) for job in self.jobs]
    outputs = {job.rule.name: list(map(str, job.rule.output)) for job in self.jobs}
    with open(os.environ["JOBS"], "w") as stream:
        json.dump([jobs, outputs, [str(path) for job in self.jobs for path in job.output]], stream)
    return count(self)
dag.DAG.stats = stats
cli.main()
"""
# --touch rests a tenth of a second at each job.
TOUCH = "from snakemake import cli; from snakemake.executors import touch; touch.Executor.SLEEPING_TIME = 0; cli.main()"


def write_header(path, keywords):
    """Write a Level 0 file whose 8 reads of 96 x 80 pixels are a hole."""
    primary = fits.PrimaryHDU()
    primary.header.update(keywords)
    data = fits.Header([("XTENSION", "IMAGE"), ("BITPIX", 16), ("NAXIS", 4), ("NAXIS1", 96), ("NAXIS2", 80)])
    data.extend([("NAXIS3", 8), ("NAXIS4", 1), ("PCOUNT", 0), ("GCOUNT", 1), ("EXTNAME", "DATA"), ("BZERO", 32768)])
    with path.open("wb") as stream:
        stream.write(primary.header.tostring().encode())
        stream.write(data.tostring().encode())
        stream.truncate(math.ceil((stream.tell() + 96 * 80 * 8 * 2) / 2880) * 2880)


def make_keywords(number, imtype="SCI"):
    """Return the keywords of an exposure: darks, then flats, then fields of dithers."""
    second = number * SPACING_S
    start = f"2024-09-25T{4 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000"
    field = number // DITHERS if imtype == "SCI" else 0
    common = {"INSTRUME": "IRIS", "INSTERA": "0.0.1", "INSTMODE": "IMG", "DETECTOR": "IMG1", "READMODE": "DEFAULT"}
    common |= {"PUPIL": "CLEAR", "SUBARRAY": "FULL", "SUBARRID": 0, "DETXSIZE": 96, "DETYSIZE": 80, "NCHAN": 4}
    common |= {"FILTER": "OPAQUE" if imtype == "DARK" else "Y", "IMTYPE": imtype, "SEMID": "2024B", "PROGNUM": "P123"}
    common |= {"OBSNUM": f"{imtype[0]}{field:04d}", "EXPNUM": number + 1, "OBJECT": f"F{field:04d}", "EXPDTST": start}
    common |= {"EXPTIME": 7.0, "NREADS": 8, "NGROUPS": 1, "RA": 299.6 + field / 60, "DEC": 10.2, "PA": 0.0}
    return common | {"AIRMASS": 1.1, "DITHNO": number % DITHERS + 1}


def make_night(folder, size, cache):
    """Make the raw files of a night of a size: 1 % darks and flats each (5 at least), the rest fields of dithers."""
    (folder / "raw").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"crds: {{cache: {cache}}}\n")
    n_each = max(5, size // 100)
    for number in range(size):
        imtype = "DARK" if number < n_each else "FLAT" if number < 2 * n_each else "SCI"
        write_header(folder / "raw" / f"{number:05d}.fits", make_keywords(number, imtype))


def pretend_made(folder):
    """Make an empty file of every product of a night, and let Snakemake take them for its own."""
    plan = Plan(json.loads((folder / "plan" / "night.json").read_text()), None)
    levels = ("level1", "level2", "level3", "calibrations", "quality", "quicklook")
    made = [*plan.products(*levels), *plan.catalogs(), "plan/plan.txt", "plan/plan.json", "report.html"]
    made += [f"references/{kind}{stage}.json" for stage in plan.stages for kind in ("", "contexts/")]
    made += [f"references/level{level}/{identity}.json" for identity in plan.exposures for level in (1, 2)]
    made += [f"level2/masks/{group}_MASK.fits" for group in plan.night["groups"]] + ["quality/outcome.txt"]
    for name in made:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")
    options = ["-s", REPO / "Snakefile", "-d", folder, "--touch", "--cores=1", "--quiet=all"]
    subprocess.run([sys.executable, "-c", TOUCH, *options], check=True, capture_output=True)


def run_measured(folder, *options, snakefile=REPO / "Snakefile"):
    """Run Snakemake in a folder; return (wall s, CPU s, peak MB of its largest process, its text)."""
    command = list(map(str, [SNAKEMAKE, "-s", snakefile, "-d", folder, *options]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    with TemporaryFile() as text:
        actions = [(os.POSIX_SPAWN_DUP2, text.fileno(), stream) for stream in (1, 2)]
        start = time.perf_counter()
        process = os.posix_spawn(command[0], command, environment, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        wall_s = time.perf_counter() - start
        text.seek(0)
        content = text.read().decode()
    if os.waitstatus_to_exitcode(status):
        sys.exit(content[-3000:])
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, content


def measure_job(folder):
    """Measure what a job on a cluster node pays before its script starts: one product that is not made again."""
    node = ("--mode=remote", "--nolock", "--cores=1", "--quiet=all", "--allowed-rules=write_plan")
    return run_measured(folder, "plan/plan.txt", *node)


def list_jobs(night):
    """Return (rule, wildcards, inputs) of every job of a plan, rule -> outputs with wildcards, and all outputs."""
    listed = night / "jobs.json"
    options = ["-s", REPO / "Snakefile", "-d", night, "-n", "--quiet=rules", "--cores=1"]
    command = list(map(str, [sys.executable, "-c", LIST_JOBS, *options]))
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"JOBS": str(listed)})
    return json.loads(listed.read_text())


def write_trivial(folder, jobs, outputs, made):
    """Write a workflow of the same jobs with the same files, and nothing else; return its Snakefile."""
    made, inputs = set(made), {}
    for rule, wildcards, paths in jobs:
        inputs[" ".join([rule, *(wildcards[name] for name in sorted(wildcards))])] = paths
        for path in set(paths) - made:
            if not path.startswith("/"):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch()
    (folder / "inputs.json").write_text(json.dumps(inputs))
    rules = {rule: sorted(wildcards) for rule, wildcards, _ in jobs}
    text = "import json\nINPUTS = json.load(open('inputs.json'))\n"
    for rule in sorted(rules, key=lambda rule: rule != "all"):
        key = " ".join([rule, *(f"{{wildcards.{name}}}" for name in rules[rule])])
        text += f"rule {rule}:\n    input: lambda wildcards: INPUTS[f'{key}']\n"
        if outputs[rule]:
            text += f"    output: {', '.join(map(repr, outputs[rule]))}\n    shell: 'touch {{output}}'\n"
    (folder / "Snakefile").write_text(text)
    return folder / "Snakefile"


def compare_plans(night, folder):
    """Return (wall s, CPU s, peak MB, jobs) of a night's plan, and of the same jobs, trivial; of two turns the shorter.

    Turns go one after the other: what else the machine does slows both.
    """
    folder.mkdir()
    trivial, turns = write_trivial(folder, *list_jobs(night)), []
    for _ in range(2):
        turns.append([measure_plan(night), measure_plan(folder, trivial)])
    return [min((turn[k] for turn in turns), key=lambda measured: measured[1]) for k in (0, 1)]


def measure_night(folder, size, cache, *, is_made):
    """Yield (what, wall s, CPU s, peak MB, jobs) of one size."""
    night = folder / f"night_{size}"
    make_night(night, size, cache)
    run_measured(night, "plan", "--cores=1", "--quiet=all")  # headers are read once
    fresh, trivial = compare_plans(night, folder / f"trivial_{size}")
    yield "fresh", *fresh
    yield "trivial", *trivial
    yield "job", *measure_job(night)[:3], 1
    if is_made:
        pretend_made(night)
        yield "no change", *measure_plan(night)
        write_header(night / "raw" / "more.fits", make_keywords(size))
        yield "one more", *measure_plan(night)


def measure_plan(night, snakefile=REPO / "Snakefile"):
    """Measure `snakemake -n`; return (wall s, CPU s, peak MB, jobs)."""
    *measured, text = run_measured(night, "-n", "--quiet=rules", "--cores=1", snakefile=snakefile)
    return *measured, sum(count_jobs(text).values())


def find_exponent(first, last, sizes):
    """Return the exponent of the growth of a time between two sizes."""
    return math.log(last / first) / math.log(sizes[-1] / sizes[0])


@click.command()
@click.option("--sizes", default="100,1000,5000", show_default=True, help="Exposures of the nights.")
@click.option("--made", default=1000, show_default=True, help="Largest night that is taken for made: 0.2 s a product.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the nights stay; default a temporary folder.")
def main(sizes, made, folder):
    """Print the table."""
    sizes = [int(size) for size in sizes.split(",")]
    with TemporaryDirectory() as temporary:
        folder = (folder or Path(temporary)).resolve()
        folder.mkdir(exist_ok=True)
        cache = simulate(folder / "tiny") / "crds_cache"
        click.echo(f"{'':>10} {'exposures':>9} {'jobs':>7} {'wall s':>8} {'CPU s':>8} {'MB':>6}  exponent (CPU)")
        first_s, latest_s = {}, {}
        for size in sizes:
            for name, wall_s, cpu_s, memory_mb, n_jobs in measure_night(folder, size, cache, is_made=size <= made):
                first_s.setdefault(name, cpu_s)
                latest_s[name] = cpu_s
                growth = f"{find_exponent(first_s[name], cpu_s, [sizes[0], size]):.2f}" if size > sizes[0] else ""
                click.echo(f"{name:>10} {size:9d} {n_jobs:7d} {wall_s:8.1f} {cpu_s:8.1f} {memory_mb:6.0f}  {growth}")
                if name == "trivial":
                    click.echo(
                        f"{'':>10} fresh takes {latest_s['fresh'] / cpu_s:.2f} x as long as the same jobs, trivial"
                    )


if __name__ == "__main__":
    main()
