"""Running the workflow and the simulator as an observer does."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def start_snakemake(night, *options, cores=2, **how):
    """Start the workflow on a night as an observer does; its text comes in `stdout`; `how` is for Popen."""
    command = [SNAKEMAKE, "-s", REPO / "Snakefile", "-d", night, "--cores", str(cores), *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(list(map(str, command)), env=environment, cwd=night, **output, **how)


def run_snakemake(night, *options, cores=2, timeout=None):
    """Run the workflow to its end; return the finished process."""
    with start_snakemake(night, *options, cores=cores) as process:
        text, _ = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, text)


def simulate(night, *options):
    """Simulate a tiny night."""
    script = REPO / "scripts" / "simulate_night.py"
    subprocess.run([sys.executable, script, night, "--preset=tiny", "--seed=7", *options], check=True)
    return night


def count_jobs(text):
    """Return rule -> number of jobs of the last table of jobs in a run's output."""
    table = text.rpartition("Job stats:")[2].partition("total")[0]
    return {line.split()[0]: int(line.split()[1]) for line in table.splitlines() if line and line.split()[-1].isdigit()}


def run_rules(text):
    """Return the rules that ran, `all` apart, as a dict rule -> number."""
    words = [
        line.split()[1].rstrip(":")
        for line in text.splitlines()
        if line.startswith(("rule ", "localrule ", "localcheckpoint ", "checkpoint "))
    ]
    return {word: words.count(word) for word in words if word != "all"}
