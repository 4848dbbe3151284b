"""Another CRDS context: exactly what its changed references concern is made again, and nothing else.

The pixels of the large night are not reduced: in place of `python`, jobs find a command that makes the file which a
step would have made. CRDS, the manifests and Snakemake's decisions are the real ones.
"""

import os
import re
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from nights import keywords
from reference_cache import add_context, make_cache, write_reference
from runs import REPO, SNAKEMAKE, count_jobs, run_rules

from drs.references import reference_path

pytestmark = pytest.mark.workflow
FILTERS, N_EXPOSURES = ("Y", "J", "H"), 60
# Asking CRDS is real; any other step makes the files that its options name.
PYTHON = f"""#!/bin/sh
case "$1" in
*/resolve_references.py | */deliver_references.py | */list_failures.py) exec {sys.executable} "$@" ;;
esac
while [ $# -gt 0 ]; do
    case "$1" in --output | --table) echo "made with $$" >"$2" ;; esac
    shift
done
"""
CHANGED = {"make_object_mask": 1, "calibrate_image": 20, "combine_images": 1, "measure_sources": 1}
CHANGED |= {"measure_quality": 21, "write_preview": 21}
ASKED = {"resolve_references": 3, "deliver_references": 2}
ALWAYS = {"write_plan": 1, "write_record": 1, "write_report": 1, "check_night": 1}


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """Return the folder of a `python` that makes no pixels."""
    path = tmp_path_factory.mktemp("bin") / "python"
    path.write_text(PYTHON)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.parent


@pytest.fixture(scope="module")
def large_night(stub, tmp_path_factory):
    """Return a night of 60 exposures in three filters, made under the first context; tests copy it."""
    night = tmp_path_factory.mktemp("large") / "night"
    (night / "raw").mkdir(parents=True)
    data = fits.ImageHDU(np.zeros((1, 4, 6, 8), np.uint16), name="DATA")
    for k in range(N_EXPOSURES):
        primary = fits.PrimaryHDU()
        start = f"2024-09-25T{5 + k // 30:02d}:{2 * (k % 30):02d}:00.000"
        primary.header.update(keywords("SCI", 1 + k, start=start, FILTER=FILTERS[k % 3]))
        fits.HDUList([primary, data]).writeto(night / "raw" / f"{k:02d}.fits")
    cache = make_cache(night / "crds_cache")
    folder = reference_path(cache, "IRIS", "x").parent
    new = write_reference(folder, "flat", value=7, version="0.0.2", USEAFTER="2024-01-01T02:00:00", FILTER="J")
    add_context(cache, "0002", {"flat": {"iris_img1_flat_20240101t020000_0.0.1.fits": new.name}})
    add_context(cache, "0003", {"flat": {}})
    run = snakemake(night, stub, "0001", "--verbose")
    assert run.returncode == 0, run.stdout[-3000:]
    night.with_suffix(".txt").write_text(run.stdout)
    return night


def snakemake(night, stub, context, *options):
    """Run the workflow under a context with the stub as python."""
    (night / "config.yaml").write_text(f"crds: {{context: ligeriri_{context}.pmap}}\n")
    command = [SNAKEMAKE, *options, "-s", REPO / "Snakefile", "-d", night, "--cores", "2", "--sdm", "env-modules"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environment["PATH"] = f"{stub}:{environment['PATH']}"
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(list(map(str, command)), env=environment, cwd=night, check=False, **output)


@pytest.fixture
def night(large_night, tmp_path):
    """Return a copy of the large night."""
    return shutil.copytree(large_night, tmp_path / "night")


def read_level1(night):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (night / "level1").iterdir()}


def test_snakemake_looks_at_waiting_jobs_only_when_one_has_finished(large_night):
    text = large_night.with_suffix(".txt").read_text()
    assert 0 < text.count("Ready jobs: ") <= text.count("Finished jobid:") + 1


def test_after_references_a_dry_run_lists_what_another_context_changes(night, stub):
    before = {path: path.read_bytes() for path in night.glob("level?/*.fits")}
    run = snakemake(night, stub, "0002", "references")
    assert run_rules(run.stdout) == ASKED
    assert before == {path: path.read_bytes() for path in night.glob("level?/*.fits")}
    run = snakemake(night, stub, "0002", "--dry-run")
    jobs = count_jobs(run.stdout)
    assert jobs.pop("all") == 1
    assert jobs == CHANGED | ALWAYS
    numbers = sorted(int(text) for text in re.findall(r"output: level2/.*_LVL2_(\d+)-00.fits", run.stdout))
    assert numbers == [1 + k for k in range(N_EXPOSURES) if FILTERS[k % 3] == "J"]


def test_one_command_runs_again_the_same(night, stub):
    before = read_level1(night)
    run = snakemake(night, stub, "0002")
    assert run.returncode == 0, run.stdout[-3000:]
    assert run_rules(run.stdout) == CHANGED | ALWAYS | ASKED
    assert read_level1(night) == before
    assert "Nothing to be done" in snakemake(night, stub, "0002", "--dry-run").stdout


def test_a_context_that_changes_nothing_makes_no_product_again(night, stub):
    run = snakemake(night, stub, "0003")
    assert run.returncode == 0, run.stdout[-3000:]
    assert run_rules(run.stdout) == ALWAYS | ASKED


def test_resolving_again_without_a_change_runs_nothing(night, stub):
    (reference,) = night.glob("crds_cache/references/ligeriri/iris/iris_img1_gain_*")
    os.utime(reference, (1, 1))
    assert run_rules(snakemake(night, stub, "0001", "references").stdout) == {"resolve_references": 3}
    assert "Nothing to be done" in snakemake(night, stub, "0001", "--dry-run").stdout
