"""A whole tiny night against its own truth."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from drs.dq import Flag
from drs.errors import ReductionError
from drs.simulation.night import EFFECTS, simulate_night

QUIET = ("photon_noise", "read_noise", "ktc", "cosmic_rays", "nonlinearity", "saturation")
FIELDS = ("iris_img1_008_science", "iris_img2_008_science", "liger_img_021_science")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return a tiny night with every effect."""
    folder = tmp_path_factory.mktemp("full")
    simulate_night(folder, "tiny", seed=5)
    return folder


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Return the same night without noise and distortion of the counts."""
    folder = tmp_path_factory.mktemp("quiet")
    simulate_night(folder, "tiny", seed=5, without=QUIET)
    return folder


def read_truth(folder, file):
    """Return (SCENE, sky level, HITS) of a raw file."""
    stem = file.removesuffix(".gz").removesuffix(".fits")
    with fits.open(folder / "truth" / f"{stem}_truth.fits") as hdus:
        return hdus["SCENE"].data.astype(float), hdus[0].header["SKYLEVEL"], np.array(hdus["HITS"].data)


def exposures(folder, field):
    """Return the rows of a field in the list of exposures."""
    table = Table.read(folder / "truth" / "exposures.ecsv")
    return table[table["field"] == field]


@pytest.mark.parametrize("field", FIELDS)
def test_catalogue_positions_and_fluxes_are_those_of_the_image(night, field):
    sources = Table.read(night / "truth" / f"{field}_sources.ecsv")
    positions = Table.read(night / "truth" / f"{field}_positions.ecsv")
    for row in exposures(night, field):
        image, sky, _ = read_truth(night, row["file"])
        image = image - sky
        assert image.sum() == pytest.approx(sources["flux_e_per_s"].sum(), rel=0.01)  # halos reach the edges
        y, x = np.mgrid[1 : image.shape[0] + 1, 1 : image.shape[1] + 1]
        here = positions[positions["file"] == row["file"]]
        assert len(here) == len(sources) == 8
        brightest = here[0]
        near = np.hypot(x - brightest["x_pix"], y - brightest["y_pix"]) < 6.0
        light = np.where(near, image, 0.0)
        # a window of 6 pixels about the true place; symmetric to the width of a pixel at its border
        assert (light * x).sum() / light.sum() == pytest.approx(brightest["x_pix"], abs=0.01)
        assert (light * y).sum() / light.sum() == pytest.approx(brightest["y_pix"], abs=0.01)


@pytest.mark.parametrize(("field", "detector"), [(FIELDS[0], "iris_img1"), (FIELDS[2], "liger_img")])
def test_reads_of_a_quiet_night_are_the_components(quiet, field, detector):
    with fits.open(quiet / "truth" / f"{detector}_detector.fits") as hdus:
        maps = {hdu.name: hdu.data.astype(float) for hdu in hdus[1:] if hdu.name != "BAD"}
        alive = (hdus["BAD"].data & int(Flag.DEAD)) == 0
    for row in exposures(quiet, field):
        if row["form"] == "truncated":
            continue
        scene, _, _ = read_truth(quiet, row["file"])
        rate = scene * maps["FLAT"] * alive + maps["DARK"]
        with fits.open(quiet / "raw" / row["file"]) as hdus:
            data, times_s = hdus["DATA"].data.astype(float), hdus["TIMES"].data
        data = data.transpose(2, 3, 0, 1) if detector == "liger_img" else data.reshape(*times_s.shape, *rate.shape)
        expected = maps["BIAS"] + times_s[:, :, None, None] * rate / maps["GAIN"]
        assert np.allclose(data, np.minimum(expected, 65535.0), rtol=0, atol=0.51)


def test_every_catalogued_effect_of_the_sky_is_in_the_truth(night):
    table = Table.read(night / "truth" / "exposures.ecsv")
    levels = table["sky_e_per_s"][(table["IMTYPE"] == "SCI") & (table["DETECTOR"] == "IMG1")]
    assert 0.003 < np.std(levels) / np.mean(levels) < 0.08
    both = [table["sky_e_per_s"][(table["IMTYPE"] == "SKY") & (table["DETECTOR"] == d)] for d in ("IMG1", "IMG2")]
    assert np.array_equal(*both)  # one sky above both detectors
    assert np.all(table["sky_e_per_s"][table["IMTYPE"] == "DARK"] == 0.0)


def test_the_brightest_star_saturates_late(night):
    row = exposures(night, FIELDS[0])[0]
    with fits.open(night / "truth" / "iris_img1_detector.fits") as hdus:
        threshold = hdus["THRESHOLD"].data
        good = (hdus["BAD"].data & int(Flag.HOT)) == 0
    with fits.open(night / "raw" / row["file"]) as hdus:
        saturated = (hdus["DATA"].data[0] >= threshold) & good
    assert not saturated[:3].any()
    assert saturated[-1].any()


def test_noise_off_leaves_scene_and_cosmic_rays_alone(night, tmp_path):
    simulate_night(tmp_path, "tiny", seed=5, without=("photon_noise", "read_noise", "flat", "defects"))
    rows = exposures(tmp_path, FIELDS[0])
    assert len(rows) == 5
    for row in rows:
        scene, sky, hits = read_truth(night, row["file"])
        other_scene, other_sky, other_hits = read_truth(tmp_path, row["file"])
        assert sky == other_sky
        assert np.array_equal(scene, other_scene)
        assert len(hits) > 0
        assert np.array_equal(hits, other_hits)


def test_dark_sky_without_sources_is_black(tmp_path):
    simulate_night(tmp_path, "tiny", seed=5, without=("sky", "stars", "galaxies"))
    for row in exposures(tmp_path, FIELDS[2]):
        assert not read_truth(tmp_path, row["file"])[0].any()
    assert len(Table.read(tmp_path / "truth" / f"{FIELDS[2]}_sources.ecsv")) == 0


@pytest.mark.parametrize("folder", ["raw", "crds_cache", "truth"])
def test_a_folder_that_holds_files_is_refused_and_kept(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "precious.fits").write_text("x")
    with pytest.raises(ReductionError, match="holds files already"):
        simulate_night(tmp_path, "tiny", seed=5)
    assert [path.name for path in tmp_path.rglob("*")] == [folder, "precious.fits"]


def test_what_a_killed_simulation_left_is_replaced(tmp_path):
    for folder in (".raw.part", "truth", "raw"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".raw.part" / "half.fits").write_text("x")
    (tmp_path / "truth" / "old.ecsv").write_text("x")
    assert simulate_night(tmp_path, "tiny", seed=5) == len(list((tmp_path / "raw").iterdir()))
    assert not (tmp_path / ".raw.part").exists()
    assert not (tmp_path / "truth" / "old.ecsv").exists()


def test_every_effect_has_a_meaning():
    assert all(EFFECTS.values())
    assert set(QUIET) <= set(EFFECTS)
