"""Where the files of a night are."""

from finished_night import MASTER, OBS, make_finished_night

from drs.nightfiles import is_spectra, list_compared, list_fits, list_made, list_manifests, list_products
from drs.plan import Plan
from drs.references import read_json

RATES = [f"level1/{OBS}_LVL1_{number:04d}-00.fits" for number in (1, 2)]


def test_all_that_a_plan_tells_is_in_a_finished_night(tmp_path):
    night = make_finished_night(tmp_path)
    plan = Plan(read_json(night / "plan/night.json"), None)
    assert list_products(plan) == [*RATES, f"calibrations/{MASTER}.fits"]
    assert all((night / path).is_file() for path in list_made(plan))
    assert len(list_manifests(night, plan)) == 4
    assert list_compared(night) == [f"calibrations/{MASTER}.fits", *RATES]


def test_hidden_files_are_no_products(tmp_path):
    (tmp_path / "level3").mkdir()
    for name in (".a.fits", "b_SPEC.fits", "c_CAT.ecsv"):
        (tmp_path / "level3" / name).touch()
    assert [path.name for path in list_fits(tmp_path)] == ["b_SPEC.fits"]
    assert is_spectra(list_fits(tmp_path)[0])
    assert list_compared(tmp_path) == ["level3/b_SPEC.fits", "level3/c_CAT.ecsv"]
