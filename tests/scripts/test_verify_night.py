"""verify_night: one line per deviation and exit status 1; a clean night says so."""

import shutil

import pytest
from click.testing import CliRunner
from finished_night import OBS

from drs.files import write_json
from drs.references import read_json
from verify_night import main


@pytest.fixture
def night(finished, tmp_path):
    """Return a copy of it."""
    return shutil.copytree(finished, tmp_path / "night")


def test_a_clean_night_says_so_and_the_cache_is_that_of_the_record(night):
    result = CliRunner().invoke(main, [str(night)])
    assert (result.exit_code, result.output) == (0, "9 files are as they were made\n")
    (night / "crds_cache").rename(night / "elsewhere")
    assert (
        "the CRDS cache of the night, is not there: say with --cache" in CliRunner().invoke(main, [str(night)]).output
    )
    assert CliRunner().invoke(main, [str(night), f"--cache={night / 'elsewhere'}"]).exit_code == 0


def test_each_deviation_is_a_line(night):
    (night / f"level1/{OBS}_LVL1_0001-00.fits").unlink()
    (night / "plan/.x.1.part").touch()
    result = CliRunner().invoke(main, [str(night)])
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert lines[-1] == f"Error: {len(lines) - 1} deviations in 9 files"
    assert any(line.startswith("plan/.x.1.part: temporary: expected no such file") for line in lines)


def test_a_night_without_record_asks_for_the_cache(night):
    record = read_json(night / "run.json")
    write_json(night / "run.json", {key: value for key, value in record.items() if key != "config"})
    result = CliRunner().invoke(main, [str(night)])
    assert result.exit_code == 1
    assert "run.json names no CRDS cache: say with --cache where it is" in result.output
