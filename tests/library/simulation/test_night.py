"""A whole tiny night against its own truth."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from drs.dq import Flag
from drs.errors import ReductionError
from drs.simulation import night as simulated
from drs.simulation.night import EFFECTS, OPTIONAL, load_facts, simulate_night

QUIET = ("photon_noise", "read_noise", "ktc", "cosmic_rays", "nonlinearity", "saturation", "drift", "row_noise")
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
        alive = (hdus["BAD"].data & int(Flag.DEAD) == 0) & (hdus["ACTIVE"].data == 1)
    for row in exposures(quiet, field):
        if row["form"] == "truncated":
            continue
        # a read that is a mean of reads has the error of their rounding, and that of its own
        error_dn = 1.01 if row["EXPNUM"] == 5 and detector == "liger_img" else 0.51
        scene, _, _ = read_truth(quiet, row["file"])
        rate = scene * maps["FLAT"] * alive + maps["DARK"]
        with fits.open(quiet / "raw" / row["file"]) as hdus:
            data, times_s = hdus["DATA"].data.astype(float), hdus["TIMES"].data
        data = data.transpose(2, 3, 0, 1) if detector == "liger_img" else data.reshape(*times_s.shape, *rate.shape)
        expected = maps["BIAS"] + times_s[:, :, None, None] * rate / maps["GAIN"]
        difference = data - np.minimum(expected, 65535.0)
        assert np.abs(difference).max() <= error_dn
        assert abs(difference.mean()) < 0.01  # rounded, not cut off


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
    assert all(OPTIONAL.values())
    assert set(QUIET) <= set(EFFECTS)
    assert not set(OPTIONAL) & set(EFFECTS)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Return a night with the optional effects, and the cosmic rays off."""
    folder = tmp_path_factory.mktemp("extended")
    simulate_night(folder, "tiny", seed=5, without=("cosmic_rays",), extra=OPTIONAL)
    return folder


def test_sources_keep_away_from_the_border(night):
    for name, preset in load_facts()[0]["presets"].items():
        for kind, field in preset["source_fields"].items():
            assert kind == "star-field" or field["margin_pix"] >= 4 + 6.5, name  # the reach of a star's light
    for field in FIELDS:
        positions = Table.read(night / "truth" / f"{field}_positions.ecsv")
        first = positions[positions["exposure"] == positions["exposure"].min()]
        assert min(first["x_pix"].min(), first["y_pix"].min()) > 4 + 6


def test_only_the_border_holds_no_charge(night):
    row = exposures(night, FIELDS[1])[0]
    _, _, hits = read_truth(night, row["file"])
    assert hits["Y"].min() >= 4
    assert hits["X"].max() < 88 - 4
    with fits.open(night / "raw" / row["file"]) as hdus:
        data = hdus["DATA"].data[0].astype(float)
    with fits.open(night / "truth" / "iris_img2_detector.fits") as hdus:
        active = hdus["ACTIVE"].data == 1
    with fits.open(night / "truth" / row["file"].replace(".fits", "_truth.fits")) as hdus:
        column, rows = hdus["DRIFT_COLUMN"].data[0], hdus["DRIFT_ROW"].data[0]
    assert column.shape == (8, 88)
    assert rows.shape == (8, 80)
    still = data - column[:, None, :] - rows[:, :, None]
    grown = still[-1] - still[0]
    assert np.abs(grown[~active]).max() < 6 * np.sqrt(2) * 0.8 * 9.0 * 1.4 / 3.04
    assert np.median(grown[active]) > 50.0
    # the noise of the border is as stated once the drifts are taken away, and larger before
    noise_dn = [np.sqrt(values[:, ~active].var(axis=0, ddof=1).mean()) for values in (still, data)]
    assert noise_dn[0] == pytest.approx(0.8 * 9.0 / 3.04 * np.sqrt(1.01), rel=0.03)  # it differs by 10 % among pixels
    assert noise_dn[1] > 1.3 * noise_dn[0]


def test_blocks_of_rows_do_not_change_a_number(extended, tmp_path, monkeypatch):
    monkeypatch.setattr(simulated, "ROWS_PER_BLOCK", 11)
    simulate_night(tmp_path, "tiny", seed=5, without=("cosmic_rays",), extra=OPTIONAL)
    for path in sorted((extended / "raw").iterdir()):
        assert path.read_bytes() == (tmp_path / "raw" / path.name).read_bytes()


def test_optional_effects_are_in_reads_headers_and_truth(night, extended):
    n_snowball = 0
    for row in exposures(extended, FIELDS[0]):
        if row["form"] in ("truncated", "no-detector"):
            continue
        with fits.open(extended / "truth" / f"{row['file'].split('.fits')[0]}_truth.fits") as hdus:
            snowballs, hits = hdus["SNOWBALLS"].data, hdus["HITS"].data
            n_snowball += len(snowballs)
            assert (len(hits) == 0) == (len(snowballs) == 0)
        with fits.open(extended / "raw" / row["file"]) as hdus:
            header, data = hdus[0].header, hdus["DATA"].data.reshape(8, 80, 96).astype(float)
        assert (header["ODGW1PS"], header["ODGW1ST"]) == ("41 33 12 10", "ON")
        grown = data[-1] - data[1]
        assert abs(np.median(grown[32:42, 40:52])) < 25.0  # drifts and reset noise
        assert np.median(grown[44:64, 40:52]) > 60.0
    assert n_snowball > 0
    dark = next((extended / "raw").glob("TI.20240925.01800.00*"))
    assert "ODGW1PS" not in fits.getheader(dark)
    assert "ODGW1PS" not in fits.getheader(night / "raw" / exposures(night, FIELDS[0])[0]["file"])


def test_interpixel_capacitance_shows_about_hot_pixels(night, tmp_path):
    """Hot pixels of a dark give 0.5 % to each neighbour; nothing else changes."""
    simulate_night(tmp_path, "tiny", seed=5, extra=("ipc",))
    with fits.open(night / "truth" / "iris_img1_detector.fits") as hdus:
        hot = (hdus["BAD"].data & int(Flag.HOT)) != 0
        dark = hdus["DARK"].data
    name = next((night / "raw").glob("TI.20240925.01800.00*")).name
    images = []
    for folder in (night, tmp_path):
        with fits.open(folder / "raw" / name) as hdus:
            images.append(hdus["DATA"].data[0, -1].astype(float) - hdus["DATA"].data[0, 0])
    y, x = np.nonzero(hot & (dark > 300.0))
    assert len(y) > 2
    gained = sum((images[1] - images[0])[y + dy, x + dx] for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    assert gained.mean() == pytest.approx(4 * 0.005 * images[0][y, x].mean(), rel=0.05)


def test_averaged_reads_have_less_noise(tmp_path):
    keep = ("read_noise",)
    simulate_night(tmp_path, "tiny", seed=5, without=[effect for effect in EFFECTS if effect not in keep])
    scatter = {}
    for row in exposures(tmp_path, FIELDS[2]):
        with fits.open(tmp_path / "raw" / row["file"]) as hdus:
            assert hdus[0].header["NFRAMES"] == (4 if row["EXPNUM"] == 5 else 1)
            scatter[row["EXPNUM"]] = hdus["DATA"].data[10:-10, 10:-10].astype(float).std()
    single_dn = 7.5 / 2.6
    assert scatter[1] == pytest.approx(single_dn * np.sqrt(1.01), rel=0.01)  # noise differs by 10 % among pixels
    assert scatter[5] == pytest.approx(np.sqrt(single_dn**2 * 1.01 / 4 + 1 / 12), rel=0.01)


def test_every_read_has_a_file_in_the_form_per_read(night):
    table = Table.read(night / "truth" / "exposures.ecsv")
    row = table[(table["form"] == "per-read") & (table["DETECTOR"] == "IMG2")][0]
    files = sorted((night / "raw").glob(f"{row['file'].split('_r')[0]}_r*"))
    assert len(files) == 8
    reads = [fits.getdata(file, "DATA") for file in files]
    assert {read.shape for read in reads} == {(80, 88)}
    _, sky, _ = read_truth(night, row["file"])
    assert sky == 0.0
    with fits.open(night / "truth" / "iris_img2_detector.fits") as hdus:
        hot = (hdus["BAD"].data & int(Flag.HOT)) != 0
    assert np.all(np.diff([read[hot].mean() for read in reads]) > 0)


def test_detectors_of_every_mode_see_light_and_have_references(tmp_path):
    assert simulate_night(tmp_path, "detectors", seed=5) == len(list((tmp_path / "raw").iterdir())) == 8
    table = Table.read(tmp_path / "truth" / "exposures.ecsv")
    for row in table:
        image, sky, _ = read_truth(tmp_path, row["file"])
        is_spectrograph = row["DETECTOR"] == "IFS"
        assert (image.max() > sky) == (row["IMTYPE"] == "SCI")
        if is_spectrograph and row["INSTRUME"] == "Liger" and row["IMTYPE"] == "SCI":
            across = image.mean(axis=1)
            assert np.sum((across[1:-1] > across[:-2]) & (across[1:-1] >= across[2:])) == 6
    for key in ("iris_img3", "iris_img4", "iris_ifs", "liger_ifs"):
        kinds = {path.name.split("_")[2] for path in (tmp_path / "crds_cache").rglob(f"{key}_*.fits")}
        assert {"bias", "dark", "dq", "gain", "nonlin", "readnoise", "saturation"} <= kinds
        assert (tmp_path / "truth" / f"{key}_detector.fits").exists()
    assert len(list((tmp_path / "crds_cache").rglob("iris_ifs_rectmat_*.fits"))) == 1
    (ifs,) = (tmp_path / "crds_cache").rglob("iris_ifs_gain_*.fits")
    assert "INSTMODE" not in fits.getheader(ifs)  # the same in both modes
