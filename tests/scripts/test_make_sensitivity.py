"""make_sensitivity: the flux density of an electron per second against truth; what is refused."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from cubefiles import GRID_UM, SHAPE, render_stars, write_cube

from drs import product
from make_sensitivity import main

OPTIONS = {
    "useafter": "2024-09-25T10:00:00", "minimum": 1, "aperture_pix": 3, "total_pix": 6, "order": 2,
    "minimum_signal_to_noise": 30, "growth_tolerance": 0.01, "maximum_rms": 0.02, "extinction_mag": 0.05,
}  # fmt: skip
STAR = [(12.4, 15.7, 1.0)]
LIGHT = 20000.0 * (1 + 0.1 * np.linspace(-1, 1, SHAPE[0]))
SCALE = 2.5 + 0.3 * np.linspace(-1, 1, SHAPE[0])


@pytest.fixture
def standard(tmp_path):
    """Return the path of the spectrum of the star."""
    grid_um = np.linspace(1.63, 1.64, 501)
    at = 2 * (grid_um - GRID_UM[0]) / (GRID_UM[-1] - GRID_UM[0]) - 1
    flux = 20000.0 * (1 + 0.1 * at) * (2.5 + 0.3 * at) * u.Unit("1e-18 W m-2 um-1")
    Table({"WAVELENGTH": grid_um * u.um, "FLUX": flux}).write(tmp_path / "star.ecsv")
    return tmp_path / "star.ecsv"


def write_star(path, number, *, light=1.0, **keywords):
    """Write the cube of the star."""
    values = render_stars(stars=STAR) * (light * LIGHT)[:, np.newaxis, np.newaxis]
    stated = {"S_TELLUR": "COMPLETE", "IMTYPE": "FLUX", "OBJECT": "HD-2", "AIRMASS": 1.1 + 0.1 * number}
    return write_cube(path, number, values, **stated | keywords)


def test_the_sensitivity_is_the_true_one(run, tmp_path, standard):
    paths = [write_star(tmp_path / f"{k}.fits", k) for k in (1, 2)]
    result = run(main, cube=paths, standard=standard, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "out.fits", models="PhotometryModel")
    np.testing.assert_allclose(made.arrays["SCI"][0], SCALE, rtol=2e-3)  # measured 6e-4
    np.testing.assert_allclose(made.arrays["WAVELENGTH"][0], GRID_UM)
    keywords = made.keywords
    assert made.units["SCI"] == "10**-18 W m-2 um-1 s electron-1"
    assert (keywords["REFTYPE"], keywords["GRATING"], keywords["SCALE"]) == ("PHOTOM", "4000-H", 0.009)
    assert (keywords["PHOTTEL"], keywords["PHOTEXT"], keywords["PHOTAIR"]) == (True, 0.05, 1.25)
    assert keywords["PHOTFLAM"] == pytest.approx(2.5, rel=2e-3)
    assert keywords["PHOTFLME"] < 0.01
    assert 0.9 < keywords["Q_FXPART"] < 1
    assert keywords["Q_FXRMS"] < 0.005
    assert (keywords["OBJECT"], keywords["NCOMBINE"]) == ("HD-2", 2)


@pytest.mark.parametrize(
    ("light", "changes", "message"),
    [
        (0.0, {}, "2.fits shows no star"),
        (1.0, {"GRATING": "8000-H"}, "GRATING is 4000-H in 1.fits, 8000-H in 2.fits"),
        (1.0, {"S_TELLUR": "SKIPPED: no telluric reference"}, "S_TELLUR is COMPLETE in 1.fits"),
        (1.0, {"grid_um": GRID_UM + 1e-4}, "2.fits has another wavelength grid than the first"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, standard, light, changes, message):
    paths = [write_star(tmp_path / "1.fits", 1), write_star(tmp_path / "2.fits", 2, light=light, **changes)]
    result = run(main, cube=paths, standard=standard, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 1
    assert message in result.output
    result = run(main, cube=paths, standard=standard, output=tmp_path / "out.fits", mark_refusal=True, **OPTIONS)
    assert result.exit_code == 0
    assert message in product.read(tmp_path / "out.fits", models="PhotometryModel").refusal


def test_a_star_without_a_known_spectrum_is_refused(run, tmp_path):
    result = run(main, cube=[write_star(tmp_path / "1.fits", 1)], output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "no spectrum of standard star HD-2: name its table in make_sensitivity: standards" in result.output


def test_the_spectrum_of_another_star_is_refused(run, tmp_path):
    flux = 50000 * (1 + 0.3 * np.sin(40 * np.linspace(0, 1, 30))) * u.Unit("1e-18 W m-2 um-1")
    Table({"WAVELENGTH": np.linspace(1.63, 1.64, 30) * u.um, "FLUX": flux}).write(tmp_path / "other.ecsv")
    paths = [write_star(tmp_path / "1.fits", 1)]
    result = run(main, cube=paths, standard=tmp_path / "other.ecsv", output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "about the sensitivity, at most 2.00% allowed" in result.output
