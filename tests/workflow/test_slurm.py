"""The same night on a real Slurm of two nodes: the same bytes, and more memory for a job that ran out of it."""

import os
import re
import shutil
import subprocess

import pytest
from runs import REPO, SNAKEMAKE, run_snakemake

pytestmark = pytest.mark.workflow
EXPECTED_SKIP = 77
PROFILE = f"--profile={REPO}/config/profiles/slurm"
# Without accounting squeue tells the states; asked every second, as the jobs are short.
QUICK = ("--slurm-status-command=squeue", "--slurm-init-seconds-before-status-checks=1", "--latency-wait=5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start a Slurm of two nodes with a core each; return its folder."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [REPO / "tests/slurm/start", folder, "2", "1"], capture_output=True, text=True, check=False
    )
    if started.returncode == EXPECTED_SKIP:
        pytest.skip(started.stderr)
    assert started.returncode == 0, started.stderr
    yield folder
    subprocess.run([REPO / "tests/slurm/stop", folder], check=True)
    assert not list(folder.glob("run/*.pid"))


@pytest.fixture
def two_exposures(raw_night, tmp_path):
    """Return a night of two exposures of one field."""
    night = tmp_path / "slurm_night"
    shutil.copytree(raw_night, night, ignore=shutil.ignore_patterns("truth", "raw"))
    (night / "raw").mkdir()
    for second in ("21600", "21692"):
        shutil.copy(raw_night / f"raw/TI.20240925.{second}.00.fits", night / "raw")
    return night


def read_products(night):
    """Return name -> bytes of a night's products."""
    return {path.name: path.read_bytes() for path in night.glob("level[12]/*.fits")}


def list_jobs():
    """Return the jobs that Slurm knows as dicts of what `scontrol` shows."""
    text = subprocess.run(["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True).stdout
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]


def test_a_night_on_slurm_has_the_same_bytes_and_a_job_without_memory_gets_more(two_exposures, cluster, tmp_path):
    local = tmp_path / "local_night"
    shutil.copytree(two_exposures, local)
    assert run_snakemake(local, "level2").returncode == 0
    short = "fit_ramp:mem_mb=80 if attempt == 1 else 900"  # less than Snakemake itself takes
    run = run_snakemake(two_exposures, "level2", PROFILE, *QUICK, f"--set-resources={short}")
    assert run.returncode == 0, run.stdout[-5000:]
    assert len(read_products(local)) == 4
    assert read_products(two_exposures) == read_products(local)
    jobs = list_jobs()
    asked = sorted((job["MinMemoryNode"], job["JobState"]) for job in jobs if "fit_ramp" in job["Comment"])
    assert asked == [("80M", "FAILED")] * 2 + [("900M", "COMPLETED")] * 2
    killed = [path.read_text() for path in two_exposures.glob(".snakemake/slurm_logs/rule_fit_ramp/*/*.log")]
    assert len(killed) == 2  # Slurm's text is kept for jobs that failed, and the run says where
    assert all("exceeded memory limit" in text for text in killed)
    assert run.stdout.count(".snakemake/slurm_logs/rule_fit_ramp/") >= 4
    assert {job["NodeList"] for job in jobs} == {"n1", "n2"}
    assert len(jobs) == 6  # CRDS is asked where Snakemake runs


def test_a_night_is_one_job_of_slurm(two_exposures, cluster, tmp_path):
    sbatch = ["sbatch", "--wait", "--parsable", "--cpus-per-task=1", "--mem=2000", f"--output={tmp_path}/text"]
    command = [*sbatch, REPO / "config/profiles/slurm/night.sh", REPO, two_exposures, "references"]
    environment = os.environ | {"PATH": f"{SNAKEMAKE.parent}:{os.environ['PATH']}"}
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    text = (tmp_path / "text").read_text()
    assert run.returncode == 0, text
    assert "Provided cores: 1" in text
    assert re.search(r"Provided resources: mem_mb=.*2000", text)
    assert (two_exposures / "references/science.json").exists()
    (job,) = [job for job in list_jobs() if job["JobId"] == run.stdout.strip()]
    assert (job["JobState"], job["Requeue"]) == ("COMPLETED", "1")
