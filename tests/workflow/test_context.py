"""Another CRDS context: exactly what its changed references concern is made again, and nothing else.

The pixels of the large night are not reduced: in place of `python`, jobs find a command that makes the file which a
step would have made. CRDS, the manifests and Snakemake's decisions are the real ones.
"""

import os
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
CHANGED = {"calibrate_image": 20, "combine_images": 1, "measure_quality": 21, "write_preview": 21}
ALWAYS = {"write_plan": 1, "write_report": 1, "check_night": 1}


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """Return the folder of a `python` that makes no pixels."""
    path = tmp_path_factory.mktemp("bin") / "python"
    path.write_text(PYTHON)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.parent


@pytest.fixture(scope="module")
def large_night(stub, tmp_path_factory):
    """Return a night of 60 exposures in three filters, made under the first context; one test follows another."""
    night = tmp_path_factory.mktemp("large") / "night"
    (night / "raw").mkdir(parents=True)
    data = fits.ImageHDU(np.zeros((1, 4, 6, 8), np.uint16), name="DATA")
    for k in range(N_EXPOSURES):
        primary = fits.PrimaryHDU()
        start = f"2024-09-25T{5 + k // 30:02d}:{2 * (k % 30):02d}:00.000"
        primary.header.update(keywords("SCI", 1 + k, start=start, FILTER=FILTERS[k % 3], DETXSIZE=8, DETYSIZE=6))
        fits.HDUList([primary, data]).writeto(night / "raw" / f"{k:02d}.fits")
    cache = make_cache(night / "crds_cache")
    folder = reference_path(cache, "IRIS", "x").parent
    new = write_reference(folder, "flat", value=7, version="0.0.2", USEAFTER="2024-01-01T02:00:00", FILTER="J")
    add_context(cache, "0002", {"flat": {"iris_img1_flat_20240101t020000_0.0.1.fits": new.name}})
    add_context(cache, "0003", {"flat": {}})
    run = snakemake(night, stub, "0001")
    assert run.returncode == 0, run.stdout[-3000:]
    return night


def snakemake(night, stub, context, *options):
    """Run the workflow under a context with the stub as python."""
    (night / "config.yaml").write_text(f"crds: {{context: ligeriri_{context}.pmap}}\n")
    command = [SNAKEMAKE, *options, "-s", REPO / "Snakefile", "-d", night, "--cores", "2", "--sdm", "env-modules"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environment["PATH"] = f"{stub}:{environment['PATH']}"
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(list(map(str, command)), env=environment, cwd=night, check=False, **output)


def test_x(large_night, stub):
    import time

    t = time.time()
    run = snakemake(large_night, stub, "0001", "-n")
    assert "Nothing to be done" in run.stdout, run.stdout[-3000:]
    print(time.time() - t)
    t = time.time()
    run = snakemake(large_night, stub, "0002", "references")
    print(time.time() - t, run_rules(run.stdout))
    run = snakemake(large_night, stub, "0002", "-n")
    print(count_jobs(run.stdout))
    run = snakemake(large_night, stub, "0002")
    print(run_rules(run.stdout), run.stdout[-2000:])
    run = snakemake(large_night, stub, "0003")
    print(run_rules(run.stdout), run.stdout[-2000:])
