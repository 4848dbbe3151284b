"""Nights of calibrations, through rules and CRDS, against their truth: the detector's, those of optics and flux."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from runs import REPO, run_rules, run_snakemake, simulate

from drs import product
from drs.schema import load_yaml
from drs.simulation import scene

pytestmark = pytest.mark.workflow
FACTS = load_yaml(REPO / "config/presets.yaml")


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


def read_made(night, kind):
    """Return the calibration of a kind."""
    (path,) = (night / "calibrations").glob(f"iris_img1_{kind}_*.fits")
    made = product.read(path)
    assert made.refusal is None
    return made


def read_truth(night):
    """Return the maps of the detector, and where its pixels are good."""
    with fits.open(night / "truth/iris_img1_detector.fits") as hdus:
        maps = {hdu.name: hdu.data.astype(float) for hdu in hdus[1:]}
    return maps, (maps["BAD"] == 0) & (maps["ACTIVE"] > 0)


def correct(coefficients, x):
    """Return linear signals by a polynomial, (n, ny, nx) from the lowest order."""
    return sum(layer * x**k for k, layer in enumerate(coefficients))


def pull(made, truth, good):
    """Return the errors of a map over what it says they are."""
    used = good & (made.arrays["DQ"] == 0)
    return (made.arrays["SCI"] - truth)[used] / made.arrays["ERR"][used]


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
    maps, good = read_truth(detector_night[0])
    for kind, name, limit in (("gain", "GAIN", 0.01), ("readnoise", "READNOISE", 0.02)):
        ratio = (read_made(detector_night[0], kind).arrays["SCI"] / maps[name])[good]
        assert np.median(ratio) == pytest.approx(1, abs=limit)


def test_bias_saturation_and_linearity_are_true(detector_night):
    night, (maps, good) = detector_night[0], read_truth(detector_night[0])
    pulls = pull(read_made(night, "bias"), maps["BIAS"], good)
    level = (read_made(night, "bias").arrays["SCI"] - maps["BIAS"])[good]
    assert abs(np.median(level)) < 1.5  # DN, of resets that drift as a whole
    assert pulls.std() == pytest.approx(np.sqrt(5 / 3), abs=0.1)  # Student's t: the scatter of six resets is the error
    threshold = read_made(night, "saturation").arrays["SCI"]
    assert np.abs(threshold / maps["THRESHOLD"] - 1)[good].max() < 0.005
    made, truth = read_made(night, "nonlin"), maps["COEFFS"]
    used = good & (made.arrays["DQ"] == 0)
    for part in (0.3, 0.6, 0.9):
        x = part * (maps["THRESHOLD"] - maps["BIAS"])
        ratio = correct(made.arrays["COEFFS"], x) / correct(truth, x)
        assert np.median(ratio[used]) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("name", ["detector_night", "optics_night"])
def test_darks_are_true_within_their_errors(name, request):
    night, _ = request.getfixturevalue(name)
    maps, good = read_truth(night)
    pulls = pull(read_made(night, "dark"), maps["DARK"], good)
    assert pulls.size > 10000
    assert abs(np.median(pulls)) < 0.1
    assert pulls.std() == pytest.approx(1, abs=0.1)


def test_bad_pixels_are_found(detector_night):
    maps, _ = read_truth(detector_night[0])
    truth, made = maps["BAD"].astype(np.uint32), read_made(detector_night[0], "dq").arrays["DQ"]
    active = maps["ACTIVE"] > 0
    bad, found = (truth & 1 > 0) & active, (made & 1 > 0) & active
    assert found[bad].mean() >= 0.99
    assert (found & (truth == 0)).sum() <= 0.01 * active.sum()


def test_each_calibration_of_the_optics_is_made_and_used_by_the_next(optics_night):
    night, text = optics_night
    ran = run_rules(text)
    expected = {"make_dark": 1, "make_flat": 1, "make_distortion": 1, "make_photometry": 1, "calibrate_image": 3}
    assert {rule: ran[rule] for rule in expected} == expected
    sources = read_sources(night, "FLUX")
    assert {sources[kind] for kind in ("dark", "flat", "distortion")} == {"night"}


def test_the_flat_is_true_within_its_errors(optics_night):
    (maps, good), made = read_truth(optics_night[0]), read_made(optics_night[0], "flat")
    truth = maps["FLAT"] / np.median(maps["FLAT"][good])
    ratio = (made.arrays["SCI"] / truth)[good & (made.arrays["DQ"] == 0)]
    assert np.median(ratio) == pytest.approx(1, abs=0.001)
    pulls = pull(made, truth * np.median(ratio), good)
    assert pulls.std() == pytest.approx(1, abs=0.05)


def test_distortion_is_right_to_hundredths_of_a_pixel(optics_night):
    made = read_made(optics_night[0], "distortion").arrays
    ny, nx = made["DX"].shape
    y, x = np.mgrid[1 : ny + 1, 1 : nx + 1].astype(float)
    geometry = {"size_x_pix": nx, "size_y_pix": ny, "distortion": FACTS["distortion"]}
    ideal = scene.undistort(x, y, geometry)
    left = [made[name] - (true - own) for name, true, own in zip(("DX", "DY"), ideal, (x, y), strict=True)]
    assert np.sqrt(np.mean([np.var(part) for part in left])) < 0.02
    assert made["SCI"].max() > 1


def test_the_zero_point_is_right_to_1_percent(optics_night):
    keywords = read_made(optics_night[0], "flux").keywords
    assert keywords["PHOTZP"] == pytest.approx(FACTS["zero_point_mag"], abs=0.01)
    assert abs(keywords["PHOTZP"] - FACTS["zero_point_mag"]) < 4 * keywords["PHOTZPE"]


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
