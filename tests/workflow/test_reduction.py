"""A night from raw to Level 3 against its truth; what is run again when something changes."""

import json
import random
import shutil
import time

import faults_night
import numpy as np
import pytest
from astropy.io import fits
from runs import count_jobs, run_rules, run_snakemake, start_snakemake
from truth import DETECTORS, measure_apertures, measure_level1, measure_level2, measure_level3, measure_stars, read_rows

from drs import product
from drs.comparison import compare
from drs.references import read_json
from drs.verification import verify

pytestmark = pytest.mark.workflow
WITHOUT_SKY = ("level1", "calibrations")  # folders


@pytest.mark.parametrize("detector", DETECTORS)
def test_level1_agrees_with_truth_within_its_errors(night, detector):
    pulls = measure_level1(night, *detector)
    assert pulls.size > 15000
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("detector", DETECTORS)
def test_level2_blank_sky_agrees_with_truth_within_its_errors(night, detector):
    pulls = measure_level2(night, *detector)
    assert abs(pulls.mean()) < 0.01 + 4 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("detector", DETECTORS)
def test_level3_blank_sky_agrees_with_truth_within_its_errors_and_has_no_cosmic_rays(night, detector):
    pulls = measure_level3(night, *detector)
    assert pulls.size > 1500
    # noise of pixels that share light (1.4 of independent ones) and of the level of the sky, by 4000 pixels of an image
    assert abs(pulls.mean()) < 4 * np.hypot(1.4 / np.sqrt(pulls.size), 1.25 / np.sqrt(4000))
    assert pulls.std() == pytest.approx(1.0, abs=0.03)
    assert np.abs(pulls).max() < 6


@pytest.mark.parametrize("detector", DETECTORS)
def test_level3_errors_hold_for_apertures_with_the_stated_correlation(night, detector):
    pulls = measure_apertures(night, *detector)
    assert pulls.size > 20
    assert pulls.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * pulls.size))


@pytest.mark.parametrize("detector", DETECTORS)
def test_level3_stars_have_their_flux_and_place(night, detector):
    stars = measure_stars(night, *detector)
    bias = np.average([star.ratio for star in stars], weights=[star.error**-2 for star in stars]) - 1
    assert abs(bias) < 0.005
    for star in stars:
        assert abs(star.ratio - 1) < 0.005 + 4 * star.error
        assert star.offset_pix < 0.05


def test_every_planned_product_is_there_and_valid(night):
    folders = ("level1", "level2", "level2/masks", "level3", "calibrations")
    products = [path for folder in folders for path in (night / folder).iterdir() if path.is_file()]
    catalogues = {path.name for path in products if path.suffix == ".ecsv"}
    assert catalogues == {f"{path.name[:-10]}_CAT.ecsv" for path in (night / "level3").glob("*_LVL3.fits")}
    assert len(products) == 81
    for path in products:
        if path.name not in catalogues:
            assert path.name.endswith(".fits")
            assert product.read(path).refusal is None
    rows = read_rows(night)
    assert {f"{row['obs']}_LVL1_{row['exp']}.fits" for row in rows} == {
        path.name for path in (night / "level1").iterdir()
    }
    assert "2024B-P123-008_IRIS_IMG1_SCI_LVL1_0001-00.fits" in {path.name for path in (night / "level1").iterdir()}


def test_the_night_uses_its_own_calibrations_and_crds_says_so(night):
    manifest = json.loads((night / "references/2024B-P123-008_IRIS_IMG1_SCI_0001-00.json").read_text())
    sources = {kind: entry["source"] for kind, entry in manifest["references"].items()}
    assert (sources["dark"], sources["flat"], sources["gain"]) == ("night", "night", "context")
    assert manifest["context"]["name"] == "ligeriri_9002.pmap"
    liger = json.loads((night / "references/2024B-P045-021_Liger_IMG_SCI_0001-00.json").read_text())
    assert (liger["references"]["dark"]["source"], liger["references"]["flat"]["source"]) == ("night", "context")
    image = product.read(night / "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.fits")
    assert image.keywords["R_FLAT"] == manifest["references"]["flat"]["file"]
    assert (
        "iris_img1_sky"
        in fits.getdata(night / "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.fits", "PROVENANCE")["FILE"][-1]
    )


def test_the_plan_foretold_what_crds_chose(night):
    plan = json.loads((night / "plan/plan.json").read_text())["exposures"]
    assert len(plan) == 46
    for identity, entry in plan.items():
        chosen = json.loads((night / f"references/{identity}.json").read_text())["references"]
        foretold = {kind: reference["file"] for kind, reference in entry["references"].items()}
        assert foretold == {kind: reference["file"] for kind, reference in chosen.items()}, identity


def test_the_report_names_what_was_not_reduced(night):
    report = (night / "report.html").read_text()
    assert "truncated: its headers state" in report
    assert "DETECTOR is missing" in report
    assert "engineering exposure" in report
    assert str(night) not in report


def test_nothing_is_done_twice(night):
    run = run_snakemake(night, "--dry-run")
    assert "Nothing to be done" in run.stdout


def test_the_night_is_as_it_says_and_its_record_holds(night, tmp_path):
    deviations, n_files = verify(night, night / "crds_cache")
    assert [str(deviation) for deviation in deviations] == []
    assert n_files > 200
    record = read_json(night / "run.json")
    assert set(record["inputs"]) > {"config.yaml", "raw/TI.20240925.21600.00.fits"}
    assert f"sha256 of {len(record['inputs'])} inputs" in (night / "report.html").read_text()
    assert compare(night, night)[0] == {}


def test_raw_files_and_the_shared_cache_are_untouched(night, raw_night):
    for folder in ("raw", "crds_cache"):
        for path in (raw_night / folder).rglob("*"):
            if path.is_file():
                assert (night / path.relative_to(raw_night)).read_bytes() == path.read_bytes(), path


def test_an_added_exposure_makes_only_its_own_products(night, tmp_path):
    folder = tmp_path / "night"
    shutil.copytree(night, folder)
    with fits.open(folder / "raw/TI.20240925.21968.00.fits") as hdus:
        hdus[0].header["EXPNUM"] = 30
        hdus[0].header["EXPDTST"] = "2024-09-25T06:08:00.000"
        hdus.writeto(folder / "raw/new.fits")
    run = run_snakemake(folder)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (folder / "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0030-00.fits").exists()
    ran = run_rules(run.stdout)
    expected = {"fit_ramp": 1, "calibrate_image": 1, "combine_images": 1, "measure_quality": 3, "write_preview": 2}
    expected |= {"measure_sources": 1, "resolve_references": 1, "write_plan": 1, "write_report": 1, "check_night": 1}
    expected |= {"write_record": 1}
    assert ran == expected


def test_a_setting_runs_again_what_depends_on_it(night, tmp_path):
    folder = tmp_path / "night"
    shutil.copytree(night, folder)
    with (folder / "config.yaml").open("a") as stream:
        stream.write("combine_images:\n  clip_sigma: 6.5\n")
    jobs = count_jobs(run_snakemake(folder, "--dry-run").stdout)
    assert jobs.pop("all") == 1
    made_again = {"combine_images": 3, "measure_sources": 3, "measure_quality": 3, "write_preview": 3}
    assert jobs == made_again | {"write_record": 1, "write_report": 1, "check_night": 1}


def test_a_setting_that_does_not_exist_is_refused_by_name(small_night):
    with (small_night / "config.yaml").open("a") as stream:
        stream.write("combine_images:\n  clip_sigmas: 6.5\n")
    run = run_snakemake(small_night, "--dry-run")
    assert run.returncode != 0
    assert "clip_sigmas" in run.stdout


def test_products_do_not_depend_on_the_number_of_cores(night, small_night):
    name = "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.fits"
    with (small_night / "config.yaml").open("a") as stream:
        stream.write("calibrate_image:\n  sky: median\n")
    one = run_snakemake(small_night, name, cores=1)
    assert one.returncode == 0, one.stdout[-3000:]
    alike = [path.relative_to(small_night) for path in small_night.rglob("*.fits") if path.parent.name in WITHOUT_SKY]
    assert len(alike) > 10
    for path in alike:  # the night was made with two
        assert (small_night / path).read_bytes() == (night / path).read_bytes(), path
    image = (small_night / name).read_bytes()
    two = run_snakemake(small_night, name, "--forcerun", "calibrate_image", cores=2)
    assert two.returncode == 0, two.stdout[-3000:]
    assert (small_night / name).read_bytes() == image


def test_a_killed_run_goes_on_with_the_same_command_to_the_same_bytes(night, small_night):
    name = "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.fits"
    with start_snakemake(small_night, name) as run:
        while not list(small_night.glob("level1/*.fits")):
            assert run.poll() is None
            time.sleep(0.1)
        run.kill()
    assert not (small_night / name).exists()
    again = run_snakemake(small_night, name)
    assert again.returncode == 0, again.stdout[-3000:]
    for path in small_night.glob("level1/*_DARK_*.fits"):
        assert path.read_bytes() == (night / "level1" / path.name).read_bytes()
    assert not list(small_night.rglob(".*.part"))


def test_the_same_command_mends_what_faults_left(night, tmp_path):
    copied, rng = faults_night.Night(shutil.copytree(night, tmp_path / "night")), random.Random(3)
    copied.digests = copied.list_files()
    for name in ("level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.fits", "plan/plan.txt"):
        (copied.folder / name).unlink()
    for fault in ("kill_all",):
        faults_night.FAULTS[fault](copied, rng, typical_s=8.0)
    assert faults_night.check_recovery(copied, copied.digests) == []


def test_a_restored_reference_is_looked_at_again(small_night):
    name = "level1/2024B-P123-001_IRIS_IMG1_DARK_LVL1_0001-00.fits"
    (reference,) = (small_night / "crds_cache").rglob("iris_img1_gain_*.fits")
    content = reference.read_bytes()
    reference.write_bytes(content[:-2880])
    assert run_snakemake(small_night, name).returncode == 0
    assert reference.name in product.read(small_night / name).refusal
    reference.write_bytes(content)
    assert run_snakemake(small_night, name).returncode == 0
    assert product.read(small_night / name).refusal is None
