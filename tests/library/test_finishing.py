"""The beginning and the end of cubes: references named, coordinates, air, what they were made of."""

from pathlib import Path

import numpy as np
import pytest
from reference_cache import REPO
from spectra import KEYWORDS, REFERENCE, write_manifest

from drs import product
from drs.errors import ReductionError
from drs.finishing import cancels_dark, finish_cube, list_inputs, open_rate, read_sky
from drs.schema import load_yaml
from drs.spectralrefs import find_field

GRID_UM = 1.636 + 2e-4 * np.arange(9)
SHAPE = (9, 5, 7)
INSTRUMENT = load_yaml(REPO / "config/instruments/iris.yaml")
PARAMETERS = {"sky_method": "none", "blank_fraction": 0.25, "telluric": True, "flux": True}
PARAMETERS |= {"adc": "auto", "adc_order": 2}
UNITS = {"SCI": "electron/s", "ERR": "electron/s"}


def make_cube():
    """Return a cube of 10 e-/s without coordinates."""
    arrays = {"SCI": np.full(SHAPE, 10, np.float32), "ERR": np.ones(SHAPE, np.float32)}
    keywords = KEYWORDS | {"DATAMODL": "IFUCubeModel", "DATALVL": 2, "IMTYPE": "SCI", "EXPDTST": "2024-09-25T06:00:00"}
    return product.Product(keywords, arrays | {"DQ": np.zeros(SHAPE, np.uint32)}, UNITS)


@pytest.fixture
def references(tmp_path):
    """Return (manifest, caches) with a telluric reference that lets half of the light through."""
    place = tmp_path / "cache" / "references" / "ligeriri" / "iris"
    place.mkdir(parents=True)
    air = {"SCI": np.full((1, 9), 0.5, np.float32), "ERR": np.zeros((1, 9), np.float32)}
    air |= {"DQ": np.zeros((1, 9), np.uint32), "WAVELENGTH": GRID_UM[np.newaxis]}
    left_out = ("RA", "DEC", "PA", "DATALVL")
    keywords = {key: value for key, value in KEYWORDS.items() if key not in left_out} | REFERENCE
    keywords |= {"DATAMODL": "TelluricModel", "REFTYPE": "TELLURIC"}
    path = place / "iris_ifs_telluric_20240101t000000_0.0.1.fits"
    product.write(path, product.Product(keywords, air, {"SCI": "", "ERR": "", "WAVELENGTH": "um"}))
    return write_manifest(tmp_path, {"telluric": path}), [tmp_path / "none", tmp_path / "cache"]


def finish(references, cube=None, sky=None, **changes):
    """Return what `finish_cube` makes."""
    field = find_field(INSTRUMENT, KEYWORDS)
    how = {"references": references, "sky": sky, "parameters": PARAMETERS | changes}
    return finish_cube(cube or make_cube(), GRID_UM, INSTRUMENT, field, **how)


def test_a_cube_gets_coordinates_and_loses_the_air(references):
    cube, paths = finish(references)
    assert [path.name for path in paths] == ["iris_ifs_telluric_20240101t000000_0.0.1.fits"]
    np.testing.assert_allclose(cube.arrays["SCI"], 20.0)
    np.testing.assert_allclose(cube.arrays["ERR"], 2.0)
    assert (cube.wcs["CRVAL3"], cube.wcs["CTYPE1"]) == (pytest.approx(1.636), "RA---TAN")
    expected = "SKIPPED: no ADCRESID, ADCRESPA in the header; no source is bright enough; not for this kind of exposure"
    assert cube.keywords["S_ADC"] == expected
    status = {key: cube.keywords[key] for key in ("S_WCS", "S_SKYSUB", "S_TELLUR")}
    assert status == {"S_WCS": "COMPLETE", "S_SKYSUB": "SKIPPED: by configuration", "S_TELLUR": "COMPLETE"}


def test_what_is_not_wanted_is_not_done(references):
    cube, paths = finish(references, telluric=False)
    assert paths == []
    np.testing.assert_allclose(cube.arrays["SCI"], 10.0)
    assert cube.keywords["S_TELLUR"] == "SKIPPED: by configuration"


def test_a_cube_without_pointing_is_refused(references):
    cube = make_cube()
    del cube.keywords["PA"]
    with pytest.raises(ReductionError, match="no PA in the header"):
        finish(references, cube)


@pytest.mark.parametrize("key", ["SCALE", "GRATING", "FILTER", "INSTMODE", "INSTERA"])
def test_a_sky_of_another_configuration_is_refused(references, key):
    sky = make_cube()
    sky.keywords[key] = 0.004 if key == "SCALE" else "other"
    with pytest.raises(ReductionError, match=f"the sky cube is of {key} = .*, the exposure of {key} = .*: give one of"):
        finish(references, sky=sky, sky_method="cube")


def test_a_rate_names_its_references(references, tmp_path):
    arrays = {"SCI": np.zeros((6, 8), np.float32), "ERR": np.ones((6, 8), np.float32)}
    keywords = KEYWORDS | {"IMTYPE": "SCI", "EXPNUM": 1, "EXPDTST": "2024-09-25T06:00:00"}
    rate = product.Product(keywords, arrays | {"DQ": np.zeros((6, 8), np.uint32)}, UNITS)
    product.write(tmp_path / "rate.fits", rate)
    opened = open_rate(tmp_path / "rate.fits", references[0])
    assert (opened.model, opened.keywords["DATALVL"]) == ("IFUCubeModel", 2)
    assert opened.keywords["R_TELLUR"] == "iris_ifs_telluric_20240101t000000_0.0.1.fits"


def test_inputs_have_a_sky_where_there_is_one():
    rate, sky = Path("rate.fits"), Path("sky.fits")
    assert list_inputs(rate, [], None) == {"rate": rate, "reference": []}
    assert list_inputs(rate, [], sky)["sky"] == sky


def test_the_dark_of_a_sky_cancels_where_it_is_the_same():
    science, sky = make_cube(), make_cube()
    science.keywords["R_DARK"] = sky.keywords["R_DARK"] = "a.fits"
    assert cancels_dark(science, sky)
    assert not cancels_dark(science, None)
    sky.keywords.update({"R_DARK": "b.fits", "IMTYPE": "SKY"})
    assert not cancels_dark(science, sky)
    assert cancels_dark(sky, None)


def test_no_sky_is_none(tmp_path):
    assert read_sky(None) is None
    product.write(tmp_path / "sky.fits", make_cube())
    assert read_sky(tmp_path / "sky.fits").model == "IFUCubeModel"
