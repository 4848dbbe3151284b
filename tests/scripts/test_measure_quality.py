"""measure_quality on products written by drs.product."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from drs import product
from drs.dq import Flag
from drs.errors import ReductionError
from drs.wcs import build_wcs
from measure_quality import main

SHAPE = (60, 84)
KEYWORDS = {
    "TELESCOP": "Keck I", "INSTRUME": "Liger", "DETECTOR": "IMG", "IMTYPE": "SCI", "SEMID": "2024B", "PROGNUM": "P123",
    "OBSNUM": "008", "EXPDTST": "2024-09-24T05:00:00.000", "EXPTIME": 60.0, "FILTER": "H", "DATALVL": 2,
    "DATAMODL": "ImagerModel", "DATAQUAL": "GOOD", "CRDS_CTX": "ligeriri_0003.pmap", "R_DARK": "dark.fits",
    "S_DARK": "COMPLETE",
}  # fmt: skip
UNITS = {"SCI": "electron/s", "ERR": "electron/s"}
DETECTOR = {"scale_arcsec": 0.02, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


def make_image(**keywords):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 50 * np.exp(-((x - 50) ** 2 + (y - 20) ** 2) / (2 * 2.0**2))
    arrays = {
        "SCI": (rng.normal(0, 0.2, SHAPE) + star).astype(np.float32),
        "ERR": np.full(SHAPE, 0.2, np.float32),
        "DQ": np.zeros(SHAPE, np.uint32),
    }
    arrays["DQ"][:3] = Flag.DO_NOT_USE | Flag.HOT
    wcs = build_wcs(150.0, 2.0, 30.0, DETECTOR, SHAPE)
    return product.Product({**KEYWORDS, **keywords}, arrays, UNITS, wcs)


def run(tmp_path, name="image.fits"):
    output = tmp_path / "quality" / "image.json"
    options = ["--product", str(tmp_path / name), "--source-threshold-sigma", "5", "--output", str(output)]
    return CliRunner().invoke(main, options), output


def test_level_2_image(tmp_path):
    product.write(tmp_path / "image.fits", make_image())
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    quality = json.loads(output.read_text())
    numbers = quality["measured"]
    assert (quality["product"], quality["model"], quality["level"]) == ("image.fits", "ImagerModel", 2)
    assert (quality["refused"], quality["unit"], quality["shape"]) == (None, "electron/s", [60, 84])
    assert quality["steps"] == {"S_DARK": "COMPLETE"}
    assert quality["references"] == {"R_DARK": "dark.fits"}
    assert quality["context"] == "ligeriri_0003.pmap"
    assert numbers["noise_over_error"] == pytest.approx(1, abs=0.05)
    assert numbers["flags"] == {"DO_NOT_USE": 0.05, "HOT": 0.05}
    assert numbers["n_sources"] == 1
    assert numbers["fwhm_arcsec"] == pytest.approx(2.3548 * 2.0 * 0.02, rel=0.03)


def test_same_product_same_bytes(tmp_path):
    product.write(tmp_path / "image.fits", make_image())
    first = run(tmp_path)[1].read_bytes()
    assert run(tmp_path)[1].read_bytes() == first


@pytest.mark.parametrize(
    ("keywords", "sought"), [({"DATALVL": 1}, False), ({"DATALVL": 3}, True), ({"DATAMODL": "SkyModel"}, False)]
)
def test_sources_are_sought_in_level_2_and_3_only(tmp_path, keywords, sought):
    product.write(tmp_path / "image.fits", make_image(**keywords))
    numbers = json.loads(run(tmp_path)[1].read_text())["measured"]
    assert (numbers["n_sources"] is not None) == sought


def test_a_rate_of_spectra_has_noise_and_flags_but_no_scale(tmp_path):
    image = make_image(DATALVL=1, DATAMODL="IFUImageModel", DETECTOR="IFS", INSTMODE="SLICER", SCALE=0.15)
    arrays = {**image.arrays, "CHISQ": np.ones(SHAPE, np.float32)}
    product.write(tmp_path / "image.fits", product.Product(image.keywords, arrays, {**UNITS, "CHISQ": ""}))
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    numbers = json.loads(output.read_text())["measured"]
    assert numbers["noise_over_error"] == pytest.approx(1, abs=0.05)
    assert numbers["flags"] == {"DO_NOT_USE": 0.05, "HOT": 0.05}
    assert (numbers["scale_arcsec"], numbers["n_sources"]) == (None, None)


def test_refused_product_gives_its_reason_and_no_numbers(tmp_path):
    with product.mark_refusal(tmp_path / "image.fits", make_image(), mark=True):
        raise ReductionError("no dark reference")
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    quality = json.loads(output.read_text())
    assert (quality["refused"], quality["data_quality"], quality["measured"]) == ("no dark reference", "BAD", None)


def test_a_map_of_flags_is_measured_by_them_and_gives_its_own_numbers(tmp_path):
    reference = {
        "TELESCOP": "Keck I", "INSTRUME": "Liger", "DETECTOR": "IMG", "INSTERA": "0.0.1", "DATAMODL": "DQModel",
        "REFTYPE": "DQ", "USEAFTER": "2024-01-01T00:00:00", "PEDIGREE": "SIMULATION", "AUTHOR": "a", "DESCRIP": "b",
        "Q_HOT": 0.25,
    }  # fmt: skip
    product.write(tmp_path / "image.fits", product.Product(reference, {"DQ": np.zeros(SHAPE, np.uint32)}))
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    numbers = json.loads(output.read_text())
    assert numbers["measured"]["flags"] == {}
    assert numbers["numbers"] == {"Q_HOT": 0.25}


def test_a_file_that_is_no_product_is_refused(tmp_path):
    (tmp_path / "image.fits").write_text("SIMPLE")
    result, _ = run(tmp_path)
    assert result.exit_code == 1
    assert "cannot be read as a product" in result.output


def test_a_cube_is_measured_by_its_white_light_and_a_matrix_by_its_throughput(tmp_path):
    rng = np.random.default_rng(1)
    values = rng.normal(3, 0.5, (30, 16, 20)).astype(np.float32)
    arrays = {"SCI": values, "ERR": np.full(values.shape, 0.5, np.float32), "DQ": np.zeros(values.shape, np.uint32)}
    exposure = {"IMTYPE": "SCI", "EXPDTST": "2024-09-25T06:00:00.000", "DATALVL": 2}
    exposure |= {"DATAMODL": "IFUCubeModel"}
    facts = {"FRMSHIFT": 0.08, "NOISCORR": 1.0, "SKYFROM": "sky cube", "PHOTFLME": 0.002, "BARYCORR": -21.98}
    product.write(tmp_path / "cube.fits", product.Product(KEYWORDS | exposure | facts, arrays, UNITS))
    document = measure(tmp_path, "cube")
    assert document["shape"] == [30, 16, 20]
    assert document["measured"]["median"] == pytest.approx(3, abs=0.05)
    assert document["measured"]["noise_over_error"] == pytest.approx(1, abs=0.15)
    assert document["measured"]["spectra"] == facts
    reference = {
        "INSTERA": "0.0.1",
        "REFTYPE": "RECTMAT",
        "USEAFTER": "2024-09-24T22:00:00",
        "PEDIGREE": "DUMMY",
        "AUTHOR": "t",
    }
    reference |= {"DESCRIP": "t", "DATAMODL": "RectificationModel", "RMCHISQ": 1.02, "RMNDARK": 0, "RMSCATT": 0.05}
    arrays = {"RECTMAT": np.full((5, 7, 3, 4), 0.2, np.float32), "OFFSETS": np.zeros((2, 3, 4), np.int32)}
    product.write(tmp_path / "rectmat.fits", product.Product(KEYWORDS | reference, arrays))
    document = measure(tmp_path, "rectmat")
    assert document["measured"]["median"] == pytest.approx(1)
    assert document["measured"]["spectra"] == {"RMCHISQ": 1.02, "RMNDARK": 0, "RMSCATT": 0.05}


def measure(folder, name):
    """Return the quality of a product of a name."""
    options = [f"--product={folder / name}.fits", "--source-threshold-sigma=5", f"--output={folder / name}.json"]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    return json.loads((folder / f"{name}.json").read_text())
