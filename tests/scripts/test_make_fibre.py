"""make_fibre: the drift of a fibre's image against the truth; what is refused."""

import numpy as np
import pytest
from cubefiles import render_stars, write_cube

from drs import product
from make_fibre import main

N_BIN = 40
WAVE_UM = 1.6330 + 2e-4 * np.arange(N_BIN)
OPTIONS = {"useafter": "2024-09-25T10:00:00", "minimum": 1, "order": 2, "radius_pix": 4, "maximum_rms_pix": 0.1}


def write_fibre(path, number, drift=(0.4, -0.6), *, jitter=0.0, flux=4000.0):
    """Write the cube of a fibre that moves by spaxels (y, x) from the first bin to the last."""
    random, shape = np.random.default_rng(number), (1, 15, 18)
    values = []
    for part in np.linspace(-0.5, 0.5, N_BIN):
        y, x = (at + part * moved + jitter * random.normal() for at, moved in zip((7.2, 8.6), drift, strict=True))
        values.append(render_stars(stars=[(y, x, flux)], shape=shape)[0])
    return write_cube(path, number, np.stack(values), grid_um=WAVE_UM, IMTYPE="FIBRE", OBJECT="WHITE")


@pytest.fixture
def make(run, tmp_path):
    """Return a function that runs the command: cubes, options -> (result, path)."""

    def make(cubes, **options):
        output = tmp_path / "iris_ifs_fibre_20240925t060100_0.0.1.fits"
        return run(main, cube=cubes, output=output, **OPTIONS | options), output

    return make


def test_the_drift_of_two_exposures(make, tmp_path):
    result, path = make([write_fibre(tmp_path / f"{k}.fits", k) for k in (1, 2)])
    assert result.exit_code == 0, result.output
    made = product.read(path, models="FibreModel")
    expected = np.outer((0.4, -0.6), np.linspace(-0.5, 0.5, N_BIN))
    np.testing.assert_allclose(made.arrays["SCI"], expected, atol=0.01)
    np.testing.assert_allclose(made.arrays["WAVELENGTH"][0], WAVE_UM)
    assert made.keywords["Q_FBSIZE"] == pytest.approx(np.hypot(0.4, 0.6), abs=0.02)
    assert 0 < made.keywords["Q_FBERR"] < 0.005
    assert made.keywords["Q_FBRMS"] < 0.02
    assert made.keywords["REFTYPE"] == "FIBRE"
    assert "NOISCORR" not in made.keywords


def test_what_is_no_fibre_is_refused(make, tmp_path):
    moving = write_fibre(tmp_path / "moving.fits", 1, jitter=0.8)
    result, path = make([moving])
    assert result.exit_code == 1
    assert "moving.fits: places of the fibre scatter by 0." in result.output
    assert "at most 0.1 allowed" in result.output
    dark = write_fibre(tmp_path / "dark.fits", 2, flux=0.0)
    result, path = make([dark], mark_refusal=True)
    assert result.exit_code == 0
    assert "dark.fits shows no star" in product.read(path, models="FibreModel").refusal
