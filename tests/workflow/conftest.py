"""Nights that the workflow reduces: simulated once, reduced once for all tests of a file."""

import shutil

import pytest
from runs import run_snakemake, simulate


@pytest.fixture(scope="session")
def raw_night(tmp_path_factory):
    """Return a simulated night that nobody reduces; tests copy it."""
    return simulate(tmp_path_factory.mktemp("raw") / "night")


@pytest.fixture(scope="session")
def night(raw_night, tmp_path_factory):
    """Return the simulated night, reduced; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("reduced") / "night"
    shutil.copytree(raw_night, folder)
    run = run_snakemake(folder)
    assert run.returncode == 0, run.stdout[-5000:]
    return folder


@pytest.fixture
def small_night(raw_night, tmp_path):
    """Return a copy of the night with the darks, flats and two science exposures of one detector."""
    folder = tmp_path / "night"
    others = ("truth", "*.13.fits*", "*.13_r*", "HI.*", "TI.*.22*", "TI.*.05400*")
    shutil.copytree(raw_night, folder, ignore=shutil.ignore_patterns(*others))
    for path in sorted((folder / "raw").glob("TI.20240925.21*"))[2:]:
        path.unlink()
    return folder
