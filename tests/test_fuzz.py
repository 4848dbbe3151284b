"""Hostile input, some seeded mutations of each kind: nothing happens that must not (fuzz_night.py does thousands)."""

import subprocess
import sys
from pathlib import Path

MUTATIONS = 30


def test_no_mutation_does_harm():
    """In a process of its own: children of one that has run threads of OpenMP are ended by it."""
    tool = Path(__file__).with_name("fuzz_night.py")
    command = [sys.executable, tool, f"--mutations={MUTATIONS}", "--snakemake=0", "--seed=1"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert run.returncode == 0, run.stdout
    told = [line.split(maxsplit=1) for line in run.stdout.splitlines() if line.startswith("  ")]
    assert sum(int(count) for count, what in told if what != "VIOLATIONS") == MUTATIONS
