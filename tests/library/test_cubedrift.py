"""Drifts of cubes as products: by telemetry, fibre or source, and what their header says."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from cubefiles import FIELD, GRID_UM, write_cube
from spectra import KEYWORDS, REFERENCE

from drs import product
from drs.cubedrift import read_telemetry, state_drift
from drs.cubefield import take_drift
from drs.dispersion import evaluate_drift
from drs.simulation import scene
from drs.simulation.spectrograph import _move_field as move_field
from drs.wcs import build_cube_wcs

SHAPE = (48, 14, 17)
WAVE_UM = GRID_UM[0] + 2e-4 * np.arange(SHAPE[0])
ARGUMENTS = {"adc": "auto", "order": 2, "reason": "no fibre reference"}


def make_cube(tmp_path, drift=(0.0, 0.0), flux=3000.0, **keywords):
    """Return a cube of a star that moves by spaxels (y, x) from its first bin to the last."""
    geometry = {"size_x_pix": SHAPE[2], "size_y_pix": SHAPE[1], **FIELD}
    pointing = 150.0, 2.0, 0.0
    ra_deg, dec_deg = scene.pixel_to_sky(9.3, 7.2, pointing, geometry)
    star = {"ra_deg": ra_deg, "dec_deg": dec_deg, "flux_e_per_s": flux, "radius_pix": 0.0}
    psf = {"core_fwhm_pix": 1.6, "halo_fwhm_pix": 4.0, "core_fraction": 0.9}
    places = [move_field(geometry, [part * axis for axis in drift]) for part in np.linspace(-0.5, 0.5, SHAPE[0])]
    values = np.stack([scene.render_sources([star], pointing, place, psf) for place in places])
    path = write_cube(tmp_path / "cube.fits", 1, values, grid_um=WAVE_UM, **keywords)
    return product.read(path)


def make_fibre(drift=(0.3, -0.2)):
    """Return a FibreModel of a linear drift."""
    rows = np.outer(drift, np.linspace(-0.5, 0.5, SHAPE[0])).astype(np.float32)
    arrays = {
        "SCI": rows,
        "ERR": 0 * rows,
        "DQ": np.zeros(rows.shape, np.uint32),
        "WAVELENGTH": np.stack([WAVE_UM] * 2),
    }
    keywords = KEYWORDS | REFERENCE | {"DATAMODL": "FibreModel", "REFTYPE": "FIBRE"}
    return product.Product(keywords, arrays, {"SCI": "pix", "ERR": "pix", "WAVELENGTH": "um"})


def truth(*drift):
    """Return a linear drift (bin, 2)."""
    return np.outer(np.linspace(-0.5, 0.5, SHAPE[0]), drift)


def test_the_brightest_source_shows_the_drift(tmp_path):
    cube = state_drift(make_cube(tmp_path, (0.5, -0.8)), None, **ARGUMENTS)
    assert (cube.keywords["S_ADC"], cube.keywords["ADCFROM"]) == ("COMPLETE", "source")
    assert cube.keywords["ADCSIZE"] == pytest.approx(np.hypot(0.5, 0.8), abs=0.03)
    assert 0 < cube.keywords["ADCERR"] < 0.01
    np.testing.assert_allclose(take_drift(cube), truth(0.5, -0.8), atol=0.03)  # bar 0.05
    product.check(cube, name="cube")


def test_no_drift_is_none(tmp_path):
    cube = state_drift(make_cube(tmp_path), None, **ARGUMENTS)
    assert cube.keywords["S_ADC"] == "COMPLETE"
    assert cube.keywords["ADCSIZE"] == 0
    assert take_drift(cube) is None


@pytest.mark.parametrize("pa_deg", [0.0, 37.0, 180.0])
def test_telemetry_is_a_direction_on_the_sky(tmp_path, pa_deg):
    cube = make_cube(tmp_path, ADCRESID=800.0, ADCRESPA=30.0)
    pointing = {"ra_deg": 150.0, "dec_deg": 2.0, "pa_deg": pa_deg}
    cube = replace(cube, wcs=build_cube_wcs(pointing, FIELD, SHAPE[1:], WAVE_UM))
    drift = read_telemetry(cube)
    wcs = WCS(cube.wcs).celestial
    places = [wcs.pixel_to_world(*(np.array([8.0, 6.0]) + step[::-1])) for step in drift[[0, -1]]]
    reach_mas = 800.0 * (WAVE_UM[-1] - WAVE_UM[0])
    assert places[0].separation(places[1]).mas == pytest.approx(reach_mas, rel=1e-3)
    assert places[0].position_angle(SkyCoord(places[1])).deg == pytest.approx(30.0, abs=0.1)


def test_telemetry_and_fibre_add_up_and_come_first(tmp_path):
    made = make_cube(tmp_path, (0.5, -0.8), ADCRESID=90.0, ADCRESPA=0.0)
    cube = state_drift(made, make_fibre(), **ARGUMENTS)
    assert cube.keywords["ADCFROM"] == "telemetry, fibre"
    np.testing.assert_allclose(take_drift(cube), read_telemetry(made) + truth(0.3, -0.2), atol=1e-4)
    assert state_drift(made, None, **ARGUMENTS).keywords["ADCFROM"] == "telemetry"
    assert "ADCERR" not in cube.keywords


def test_the_fibre_is_what_is_left_where_no_source_is_bright(tmp_path):
    faint = make_cube(tmp_path, (0.5, -0.8), flux=1.0)
    cube = state_drift(faint, make_fibre(), **ARGUMENTS)
    assert cube.keywords["ADCFROM"] == "fibre"
    np.testing.assert_allclose(take_drift(cube), truth(0.3, -0.2), atol=1e-4)
    cube = state_drift(faint, None, **ARGUMENTS)
    expected = "SKIPPED: no ADCRESID, ADCRESPA in the header; no source is bright enough; no fibre reference"
    assert cube.keywords["S_ADC"] == expected
    assert take_drift(cube) is None


@pytest.mark.parametrize(
    ("options", "keywords", "reason"),
    [
        ({"adc": "none"}, {}, "by configuration"),
        ({}, {"IMTYPE": "SKY"}, "not for this kind of exposure"),
        ({"adc": "telemetry"}, {}, "no ADCRESID, ADCRESPA in the header"),
        ({"adc": "fibre"}, {}, "no fibre reference"),
    ],
)
def test_why_there_is_no_drift(tmp_path, options, keywords, reason):
    cube = state_drift(make_cube(tmp_path, (0.5, -0.8), **keywords), None, **ARGUMENTS | options)
    assert cube.keywords["S_ADC"] == f"SKIPPED: {reason}"


def test_coefficients_are_those_of_the_header(tmp_path):
    cube = state_drift(make_cube(tmp_path), make_fibre(), **ARGUMENTS | {"adc": "fibre", "order": 1})
    rows = [[cube.keywords[f"ADC{axis}{k}"] for k in range(2)] for axis in "YX"]
    np.testing.assert_allclose(evaluate_drift(rows, SHAPE[0]), truth(0.3, -0.2), atol=1e-5)
    assert "ADCY2" not in cube.keywords
