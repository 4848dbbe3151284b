"""Nights of calibrations, through rules and CRDS, against their truth: the detector's, those of optics and flux."""

import json

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS
from runs import run_rules, run_snakemake, simulate
from truth import format_table
from truth_calibrations import (
    measure_bad_pixels,
    measure_bias,
    measure_dark,
    measure_distortion,
    measure_flat,
    measure_linearity,
    measure_psf,
    measure_psf_fluxes,
    measure_ratio,
    measure_saturation,
    measure_zero_point,
    read_made,
)

from drs import product

pytestmark = pytest.mark.workflow


def reduce(folder, *options, settings=""):
    """Return (night, what the run said) of a simulated night whose calibrations were made."""
    simulate(folder, *options)
    with (folder / "config.yaml").open("a") as stream:
        stream.write(settings)
    run = run_snakemake(folder, "calibrations")
    assert run.returncode == 0, run.stdout[-5000:]
    return folder, run.stdout


@pytest.fixture(scope="module")
def detector_night(tmp_path_factory):
    """Return a night of preset calibrations."""
    return reduce(tmp_path_factory.mktemp("detector") / "night", "--preset=calibrations")


@pytest.fixture(scope="module")
def optics_night(tmp_path_factory):
    """Return a night of preset optics, whose standard stars also tie its coordinates."""
    options = "--preset=optics", "--with=distortion"
    settings = "calibrate_image: {astrometry_catalogue: standards.ecsv}\n"
    return reduce(tmp_path_factory.mktemp("optics") / "night", *options, settings=settings)


def read_sources(night, kind):
    """Return type -> source of the references of the exposures of a kind, all of which agree."""
    found = [json.loads(path.read_text())["references"] for path in (night / "references").glob(f"*_{kind}_*.json")]
    sources = [{name: entry["source"] for name, entry in references.items()} for references in found]
    assert sources
    assert all(other == sources[0] for other in sources)
    return sources[0]


def test_each_calibration_of_the_detector_is_made_and_used_by_the_next(detector_night):
    night, text = detector_night
    ran = run_rules(text)
    steps = ("bias", "saturation", "nonlin", "gain", "readnoise", "dq", "dark")
    assert {step: ran[f"make_{step}"] for step in steps} == dict.fromkeys(steps, 1)
    sources = read_sources(night, "DARK")
    assert {sources[kind] for kind in ("bias", "saturation", "nonlin", "gain", "readnoise")} == {"night"}


def test_gain_is_right_to_1_and_read_noise_to_2_percent(detector_night):
    assert abs(measure_ratio(detector_night[0], "gain", "GAIN")) < 0.01
    assert abs(measure_ratio(detector_night[0], "readnoise", "READNOISE")) < 0.02


def test_bias_saturation_and_linearity_are_true(detector_night):
    level_dn, width = measure_bias(detector_night[0])
    assert abs(level_dn) < 1.5  # of resets that drift as a whole
    assert width == pytest.approx(np.sqrt(5 / 3), abs=0.1)  # Student's t: the scatter of six resets is the error
    assert measure_saturation(detector_night[0]) < 0.005
    assert max(map(abs, measure_linearity(detector_night[0]))) < 0.001


@pytest.mark.parametrize("name", ["detector_night", "optics_night"])
def test_darks_are_true_within_their_errors(name, request):
    pulls = measure_dark(request.getfixturevalue(name)[0])
    assert pulls.size > 10000
    assert abs(np.median(pulls)) < 0.1
    assert pulls.std() == pytest.approx(1, abs=0.1)


def test_bad_pixels_are_found(detector_night):
    found, false = measure_bad_pixels(detector_night[0])
    assert found >= 0.99
    assert false <= 0.01


def test_each_calibration_of_the_optics_is_made_and_used_by_the_next(optics_night):
    night, text = optics_night
    ran = run_rules(text)
    expected = {"make_dark": 1, "make_flat": 1, "make_distortion": 1, "make_photometry": 1, "make_psf": 1}
    expected["make_field_distortion"] = 1
    expected["calibrate_image"] = 6
    assert {rule: ran[rule] for rule in expected} == expected
    sources = read_sources(night, "FLUX")
    assert {sources[kind] for kind in ("dark", "flat", "distortion")} == {"night"}


def test_the_flat_is_true_within_its_errors(optics_night):
    level, width = measure_flat(optics_night[0])
    assert abs(level) < 0.001
    assert width == pytest.approx(1, abs=0.05)


def test_distortion_is_right_to_hundredths_of_a_pixel(optics_night):
    assert measure_distortion(optics_night[0]) < 0.02
    assert measure_distortion(optics_night[0], which=-1) < 0.02  # of stars, of another filter
    assert read_made(optics_night[0], "distortion").arrays["SCI"].max() > 1


def test_the_zero_point_is_right_to_1_percent(optics_night):
    error_mag, sigma = measure_zero_point(optics_night[0])
    assert abs(error_mag) < 0.01
    assert abs(sigma) < 4


def test_the_psf_is_right_to_1_percent_of_its_peak(optics_night):
    error, width = measure_psf(optics_night[0])
    assert error < 0.01
    assert width == pytest.approx(1, abs=0.4)  # neighbouring samples are not independent
    ratios, pulls = measure_psf_fluxes(optics_night[0])
    assert ratios.size >= 4
    assert abs(np.median(ratios)) < 0.002
    assert np.abs(pulls).max() < 4


def test_the_figures_are_printed(detector_night, optics_night):
    assert "gain: median over truth - 1 +0." in format_table(detector_night[0])
    assert "distortion: 0.0" in format_table(optics_night[0])


def test_images_are_tied_to_their_stars(optics_night):
    night = optics_night[0]
    stars = Table.read(night / "standards.ecsv")
    images = [product.read(path) for path in sorted((night / "level2").glob("*_FLUX_*.fits"))]
    assert len(images) == 3
    for image in images:
        assert image.keywords["S_ASTROM"] == "COMPLETE"
        assert image.keywords["ASTRNST"] == len(stars) == 3
        assert image.keywords["ASTRRMS"] < 0.05 * 4.0  # mas in a pixel
        x, y = WCS(image.wcs).all_world2pix(stars["ra_deg"], stars["dec_deg"], 0)
        for i, j in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
            assert np.nanmax(image.arrays["SCI"][j - 1 : j + 2, i - 1 : i + 2]) > 100  # e-/s


def test_an_edited_setting_of_a_flat_reaches_the_zero_point_in_one_run(optics_night):
    """Two answers of CRDS lie between them: each is waited for, and only what it changes is made again."""
    night = optics_night[0]
    with (night / "config.yaml").open("a") as stream:
        stream.write("make_flat: {clip_sigma: 4.5}\n")
    ran = run_rules(run_snakemake(night, "calibrations", "references").stdout)
    made = {"make_flat": 1, "calibrate_image": 6, "make_photometry": 1, "make_psf": 1, "deliver_references": 2}
    assert {rule: ran[rule] for rule in made} == made
    assert not {"fit_ramp", "make_dark", "make_distortion", "make_field_distortion"} & ran.keys()
    assert "Nothing to be done" in run_snakemake(night, "calibrations", "references").stdout
