"""compare_nights: what differs between two nights, and the exit status."""

import shutil

import pytest
from click.testing import CliRunner
from finished_night import OBS, make_finished_night

from compare_nights import main
from drs import product


@pytest.fixture
def nights(tmp_path):
    """Return two nights with the same bytes."""
    first = make_finished_night(tmp_path / "a")
    return first, shutil.copytree(first, tmp_path / "b")


def test_nights_with_the_same_bytes(nights):
    result = CliRunner().invoke(main, list(map(str, nights)))
    assert (result.exit_code, result.output) == (0, "3 products are the same, 0 differ\n")


def test_a_difference_is_told_below_its_product(nights):
    path = nights[1] / f"level1/{OBS}_LVL1_0001-00.fits"
    made = product.read(path)
    made.arrays["SCI"][2, 3] += 0.5
    product.write(path, made)
    result = CliRunner().invoke(main, list(map(str, nights)))
    assert result.exit_code == 1
    assert f"level1/{OBS}_LVL1_0001-00.fits\n" in result.output
    assert "\n  SCI: 1 of 35 values differ, max abs 0.5, max rel 0.333, max sigma 0.5\n" in result.output
    assert result.output.endswith("2 products are the same, 1 differ\n")


def test_a_folder_without_products_is_refused(nights, tmp_path):
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(main, [str(nights[0]), str(tmp_path / "empty")])
    assert result.exit_code == 1
    assert "empty holds no product of level1/, level2/, level3/ or calibrations/: give a night" in result.output
