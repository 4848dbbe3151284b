"""Flux densities of cubes: scale, extinction, units, and why a cube has none."""

import numpy as np
import pytest
from cubefiles import GRID_UM, SHAPE, write_cube

from drs import product
from drs.cubeflux import calibrate_flux
from drs.standard import FLUX_UNIT


@pytest.fixture
def cube(tmp_path):
    """Return a cube of 100 e-/s, divided by telluric absorption, at airmass 1.5."""
    values = np.full(SHAPE, 100.0)
    path = write_cube(tmp_path / "cube.fits", 1, values, AIRMASS=1.5, S_TELLUR="COMPLETE")
    return product.read(path)


def make_reference(wavelength_um=GRID_UM, **changes):
    """Return a sensitivity of 2 to 3."""
    n = wavelength_um.size
    arrays = {"SCI": np.linspace(2, 3, n, dtype=np.float32)[np.newaxis], "ERR": np.zeros((1, n), np.float32)}
    keywords = {"DATAMODL": "PhotometryModel", "PHOTTEL": True, "PHOTAIR": 1.0, "PHOTFLAM": 2.5, "PHOTFLME": 0.004}
    arrays |= {"DQ": np.zeros((1, n), np.uint32), "WAVELENGTH": wavelength_um[np.newaxis]}
    return product.Product(keywords | changes, arrays)


def test_bins_get_their_flux_densities(cube):
    made = calibrate_flux(cube, make_reference(), wanted=True, reason="")
    scale = np.linspace(2, 3, SHAPE[0])[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(made.arrays["SCI"], cube.arrays["SCI"] * scale, rtol=1e-6)
    np.testing.assert_allclose(made.arrays["ERR"], cube.arrays["ERR"] * scale, rtol=1e-6)
    assert made.units["SCI"] == made.units["ERR"] == FLUX_UNIT
    assert (made.keywords["S_FLUXCL"], made.keywords["PHOTFLAM"]) == ("COMPLETE", 2.5)
    assert cube.units["SCI"] == "electron/s"


def test_light_is_brought_to_the_airmass_of_the_star(cube):
    made = calibrate_flux(cube, make_reference(PHOTEXT=0.1), wanted=True, reason="")
    plain = calibrate_flux(cube, make_reference(), wanted=True, reason="")
    np.testing.assert_allclose(made.arrays["SCI"] / plain.arrays["SCI"], 10 ** (0.4 * 0.1 * 0.5), rtol=1e-6)


def test_bins_beyond_the_reference_have_no_value(cube):
    made = calibrate_flux(cube, make_reference(GRID_UM[2:]), wanted=True, reason="")
    assert made.image.unusable[:2].all()
    assert not made.image.unusable[2:].any()


@pytest.mark.parametrize(
    ("reference", "wanted", "status"),
    [
        (None, True, "SKIPPED: no flux reference"),
        (make_reference(), False, "SKIPPED: by configuration"),
        (make_reference(PHOTTEL=False), True, "SKIPPED: its star is without telluric correction, this with"),
    ],
)
def test_a_cube_that_is_not_calibrated_says_why(cube, reference, wanted, status):
    made = calibrate_flux(cube, reference, wanted=wanted, reason="no flux reference")
    assert made.keywords["S_FLUXCL"] == status
    assert made.units["SCI"] == "electron/s"
    np.testing.assert_array_equal(made.arrays["SCI"], cube.arrays["SCI"])
