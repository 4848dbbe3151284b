"""A night of the lenslet spectrograph from raw to cubes against its truth."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from runs import REPO, run_rules, run_snakemake, simulate
from truth_ifs import (
    SCIENCE,
    compare_cubes,
    compare_profiles,
    measure_absorption,
    measure_combined,
    measure_drifts,
    measure_flux,
    measure_lines,
    measure_pulls,
    measure_sky_residual,
    read_facts,
)

from drs import product
from drs.schema import load_yaml
from drs.simulation import scene
from drs.standard import FLUX_UNIT

pytestmark = pytest.mark.workflow
GROUP = "2024B-P123_IRIS_IFS_J1958+1013_HN3_20240924"
SKY = "level2/2024B-P123-009_IRIS_IFS_SKY_LVL2_0003-00.fits"


@pytest.fixture(scope="module")
def ifs_night(tmp_path_factory):
    """Return a reduced night of preset ifs, and what the run said."""
    folder = simulate(tmp_path_factory.mktemp("ifs") / "night", "--preset=ifs")
    run = run_snakemake(folder)
    assert run.returncode == 0, run.stdout[-5000:]
    return folder, run.stdout


@pytest.fixture(scope="module")
def pairs(ifs_night):
    """Return the cubes with their truths."""
    return compare_cubes(ifs_night[0])


def test_every_product_is_made_once(ifs_night):
    folder, text = ifs_night
    ran = run_rules(text)
    expected = {"fit_ramp": 28, "make_dark": 1, "make_rectmat": 1, "make_telluric": 1, "extract_cube": 7}
    expected |= {"make_sensitivity": 1, "make_fibre": 1, "measure_quality": 41, "measure_spectra": 1}
    assert {rule: ran[rule] for rule in expected} == expected
    assert ran["combine_cubes"] == 1
    assert "combine_images" not in ran
    assert f"{GROUP}: 2 exposures" in (folder / "plan/plan.txt").read_text()
    assert "iris_ifs_rectmat" in (folder / "report.html").read_text()
    assert "Nothing to be done" in run_snakemake(folder, "--dry-run").stdout


def test_the_night_uses_its_own_matrix(ifs_night):
    manifest = json.loads((ifs_night[0] / f"references/{SCIENCE[0]}_0001-00.json").read_text())
    sources = {kind: manifest["references"][kind]["source"] for kind in ("dark", "rectmat", "wavesol")}
    assert sources == {"dark": "night", "rectmat": "night", "wavesol": "context"}
    plan = json.loads((ifs_night[0] / "plan/plan.json").read_text())["exposures"][f"{SCIENCE[0]}_0001-00"]
    assert plan["references"]["rectmat"]["file"] == manifest["references"]["rectmat"]["file"]


def test_profiles_are_the_true_ones_to_1_percent(ifs_night):
    made, truth = compare_profiles(ifs_night[0])
    assert np.sqrt(np.mean((made - truth) ** 2)) < 0.003 * truth.max(axis=0).mean()
    assert np.abs(made.sum(axis=0) / truth.sum(axis=0) - 1).max() < 0.01


def test_cubes_have_the_true_light_within_their_errors(pairs):
    bias, error = measure_flux(pairs)
    assert error < 0.001
    assert abs(bias) < 0.005
    pulls = measure_pulls(pairs)
    assert pulls.size > 8000
    assert pulls.std() == pytest.approx(1.0, abs=0.03)
    assert abs(pulls.mean()) < 0.15  # of the scale of the sky, which is common to all samples
    assert np.abs(pulls).max() < 6


def test_families_of_sky_lines_are_taken_out(ifs_night):
    residual, alike, plain = measure_sky_residual(ifs_night[0])
    assert residual < 0.01
    assert alike > 5 * residual  # of one factor for all lines
    assert plain > 5 * residual


def test_the_line_of_the_galaxy_has_its_flux_and_wavelength(pairs):
    for ratio, away_pix, part in measure_lines(pairs):
        assert ratio == pytest.approx(1.0, abs=0.01)  # in 1e-18 W/m2/um; measured 0.002, 0.008 with a noise of 0.004
        assert abs(away_pix) < 0.03
        assert part > 0.6  # the rest is beyond the field


def test_telluric_absorption_is_taken_out(ifs_night, pairs):
    correction, star = measure_absorption(ifs_night[0], pairs, read_facts())
    assert correction < 0.01
    assert star < 0.01
    for cube, _ in pairs:
        assert cube.keywords["S_TELLUR"] == "COMPLETE"
        assert cube.keywords["R_TELLUR"].startswith("iris_ifs_telluric_20240925t054500")


def test_cubes_and_spectra_are_in_flux_densities(ifs_night, pairs):
    for cube, _ in pairs:
        assert cube.keywords["S_FLUXCL"] == "COMPLETE"
        assert cube.units["SCI"] == FLUX_UNIT
        assert cube.keywords["R_PHOTOM"].startswith("iris_ifs_flux_20240925t055000")
        assert cube.keywords["PHOTFLAM"] == pytest.approx(3.0, rel=0.005)  # measured 0.001
        assert cube.keywords["PHOTFLME"] < 0.002
    combined = product.read(ifs_night[0] / f"level3/{GROUP}_LVL3.fits", models="IFUCubeModel")
    assert combined.units["SCI"] == combined.units["ERR"] == FLUX_UNIT
    velocities = [cube.keywords["BARYCORR"] for cube, _ in pairs]
    assert combined.keywords["BARYCORR"] == pytest.approx(np.mean(velocities), abs=1e-3)
    table = fits.getheader(ifs_night[0] / f"level3/{GROUP}_SPEC.fits", 1)
    assert table["TUNIT2"] == table["TUNIT3"] == FLUX_UNIT


def test_the_combined_cube_has_the_light_and_the_noise_of_its_cubes(ifs_night):
    ratio, pulls = measure_combined(ifs_night[0])
    assert ratio == pytest.approx(1.0, abs=0.005)
    assert pulls == pytest.approx(1.0, abs=0.1)


def test_the_drift_of_images_is_known_and_taken_out(ifs_night, pairs):
    fibre, cubes, left = measure_drifts(ifs_night[0])
    assert fibre < 0.01  # spaxels; measured 0.002
    assert cubes < 0.02  # measured 0.003, of a drift of 0.26
    assert left < 0.05  # measured 0.014
    assert {cube.keywords["ADCFROM"] for cube, _ in pairs} == {"source"}
    assert pairs[0][0].keywords["R_FIBRE"].startswith("iris_ifs_fibre_20240925t000000")


def test_spectra_of_star_and_galaxy(ifs_night):
    with fits.open(ifs_night[0] / f"level3/{GROUP}_SPEC.fits") as hdus:
        assert hdus[0].header["NSOURCE"] == len(hdus) - 1 >= 2
        star, galaxy = (hdu.data for hdu in hdus[1:3])
        assert star["FLUX"].mean() > 2 * np.median(galaxy["FLUX"])
        peak = galaxy["WAVELENGTH"][np.nanargmax(galaxy["FLUX"])]
        assert peak == pytest.approx(1.6370, abs=2e-4)
        assert np.nanmedian(star["FLUX"] / star["UNCERTAINTY"]) > 50
    assert (ifs_night[0] / f"quicklook/spectra/{GROUP}.png").read_bytes().startswith(b"\x89PNG")
    assert (ifs_night[0] / f"quicklook/maps/{GROUP}.png").read_bytes().startswith(b"\x89PNG")
    assert "line, 1.636" in (ifs_night[0] / f"logs/write_maps/{GROUP}.log").read_text()
    assert "Spectra: 1" in (ifs_night[0] / "report.html").read_text()


def test_the_star_is_where_the_coordinates_say(pairs):
    facts = load_yaml(REPO / "config/presets.yaml")["presets"]["ifs"]["lenslets"]
    field = load_yaml(REPO / "config/instruments/iris.yaml")["detectors"]["IFS"]["fields"]["LENSLET"]
    geometry = {"size_x_pix": 16, "size_y_pix": 8, "scale_arcsec": 0.009, **field}
    star = next(source for source in facts["sources"] if source["kind"] == "star")
    sky = scene.pixel_to_sky(star["x"], star["y"], (299.6125, 10.2236, 30.0), geometry)
    for cube, truth in pairs:
        x, y, _ = WCS(cube.wcs).wcs_world2pix([[*sky, 1.637e-6]], 0)[0]
        box = tuple(slice(max(round(place) - 2, 0), round(place) + 3) for place in (y, x))
        found, expected = (centre(values.mean(axis=0)[box]) for values in (cube.arrays["SCI"], truth))
        assert np.hypot(*np.subtract(found, expected)) < 0.02
        whole = all(2 <= place <= size - 3 for place, size in ((y, 8), (x, 16)))
        if whole:
            assert np.hypot(found[0] + box[0].start - y, found[1] + box[1].start - x) < 0.15  # the wings are cut


def centre(image):
    """Return the (y, x) centroid of an image."""
    y, x = np.indices(image.shape)
    return (image * y).sum() / image.sum(), (image * x).sum() / image.sum()


def test_the_header_of_a_cube(ifs_night):
    cube = product.read(ifs_night[0] / f"level2/{SCIENCE[0]}_LVL2_0001-00.fits", models="IFUCubeModel")
    assert cube.keywords["FRMSHIFT"] == pytest.approx(0.08, abs=4 * cube.keywords["FRMSHERR"])
    assert abs(cube.keywords["WAVSHIFT"]) < 0.03  # columns; the frame is moved along the rows alone
    assert cube.keywords["WAVNLINE"] == 4
    assert cube.keywords["SKYFROM"] == "sky cube"
    assert 1 <= cube.keywords["NOISCORR"] < 1.5
    assert cube.keywords["R_RECTMA"].startswith("iris_ifs_rectmat_20240924t230000")
    with fits.open(ifs_night[0] / f"level2/{SCIENCE[0]}_LVL2_0001-00.fits") as hdus:
        assert SKY.rpartition("/")[2] in set(hdus["PROVENANCE"].data["FILE"])


def test_a_setting_makes_cubes_again_and_their_sky(ifs_night):
    folder, _ = ifs_night
    config = (folder / "config.yaml").read_text()
    try:
        (folder / "config.yaml").write_text(config + "extract_cube: {sky: blank}\n")
        text = run_snakemake(folder, "--dry-run").stdout
    finally:
        (folder / "config.yaml").write_text(config)
    table = text.rpartition("Job stats:")[2].partition("total")[0]
    jobs = dict(line.split()[:2] for line in table.splitlines() if line.split() and line.split()[-1].isdigit())
    assert jobs["extract_cube"] == "2"
    assert "make_rectmat" not in jobs
