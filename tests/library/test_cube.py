"""Sky of cubes as products: which sky is taken, and what the header says."""

from dataclasses import replace

import numpy as np
import pytest

from drs.cube import divide_telluric, subtract_sky
from drs.dq import Flag
from drs.errors import ReductionError
from drs.product import Product
from drs.wavegrid import resample_spectra

SHAPE = (24, 4, 5)
WCS = {"CRVAL3": 1.6, "CDELT3": 2e-4, "CRPIX3": 1.0}


def make_cube(scale=1.0, imtype="SCI", seed=1):
    """Return a cube of a sky line and noise."""
    line = scale * (10 + 300 * np.exp(-0.5 * ((np.arange(SHAPE[0]) - 9) / 1.5) ** 2))
    rate = line[:, np.newaxis, np.newaxis] + np.random.default_rng(seed).normal(0, 1, SHAPE)
    arrays = {"SCI": rate.astype(np.float32), "ERR": np.ones(SHAPE, np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
    return Product({"DATAMODL": "IFUCubeModel", "IMTYPE": imtype}, arrays, {"SCI": "electron/s"}, WCS)


def test_a_sky_cube_is_scaled():
    less = subtract_sky(make_cube(1.2), make_cube(seed=2), sky_method="cube", blank_fraction=0.5)
    left = less.arrays["SCI"].mean(axis=(1, 2))
    np.testing.assert_allclose(left, 2.0, atol=1.5)  # the continuum, of which there is 20 % more
    assert left.mean() == pytest.approx(2.0, abs=0.3)
    (line,) = less.history
    assert line.startswith("sky: lines of 1.5543 to 1.6356 um times ")
    factor, error = (float(line.split()[place].rstrip(",")) for place in (8, 10))
    assert factor == pytest.approx(1.2, abs=4 * error)
    assert less.keywords["SKYFROM"] == "sky cube"
    assert less.keywords["S_SKYSUB"] == "COMPLETE"


def test_a_refused_sky_gives_way_to_blank_spaxels():
    refused = make_cube()
    refused = replace(refused, keywords=refused.keywords | {"DATAQUAL": "BAD"}, history=("REFUSED: cloud",))
    less = subtract_sky(make_cube(), refused, sky_method="cube", blank_fraction=0.5)
    assert less.keywords["SKYFROM"] == "blank spaxels"


@pytest.mark.parametrize(("imtype", "reason"), [("SKY", "sky exposure"), ("SCI", "by configuration")])
def test_no_sky_is_said(imtype, reason):
    kept = subtract_sky(make_cube(imtype=imtype), None, sky_method="none", blank_fraction=0.5)
    assert kept.keywords["S_SKYSUB"] == f"SKIPPED: {reason}"


def test_a_sky_of_other_wavelengths_is_refused():
    other = replace(make_cube(), wcs=WCS | {"CRVAL3": 1.6001})
    with pytest.raises(ReductionError, match="another wavelength grid or field"):
        subtract_sky(make_cube(), other, sky_method="cube", blank_fraction=0.5)


def make_air(step=1.0):
    """Return a TelluricModel of a line, deep in its middle, with bins of `step` of the cube's."""
    wave = np.arange(-2, 24, step)
    through = 1 - 0.9 * np.exp(-0.5 * ((wave - 12) / 2) ** 2)
    rows = {"SCI": through, "ERR": np.full(wave.size, 0.01), "WAVELENGTH": 1.6 + 2e-4 * wave}
    return Product({"DATAMODL": "TelluricModel", "AIRMASS": 1.2}, {name: row[np.newaxis] for name, row in rows.items()})


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_telluric_absorption_is_divided_out(step):
    air = make_air(step)
    through = np.interp(1.6 + 2e-4 * np.arange(24), air.arrays["WAVELENGTH"][0], air.arrays["SCI"][0])
    cube = make_cube(0.0)
    cube.arrays["SCI"][:] = (100 * through)[:, np.newaxis, np.newaxis]
    made = divide_telluric(cube, air, wanted=True, reason="")
    clear = through > 0.2
    assert 0 < (~clear).sum() < 5
    np.testing.assert_allclose(made.arrays["SCI"][clear], 100, rtol=1e-5)
    expected = np.hypot(1 / through, 100 * 0.01 / through)[clear]
    np.testing.assert_allclose(made.arrays["ERR"][clear][:, 0, 0], expected, rtol=1e-4)
    assert np.isnan(made.arrays["SCI"][~clear]).all()
    assert (made.arrays["DQ"][~clear] == Flag.TELLURIC | Flag.DO_NOT_USE).all()
    assert made.keywords["S_TELLUR"] == "COMPLETE"


def test_deep_lines_are_taken_out_of_spaxels_that_sample_them_otherwise():
    rng, step, n_spaxel = np.random.default_rng(5), 2e-4, SHAPE[1] * SHAPE[2]
    wavelength = 1.6 + step * (np.arange(-2, 26) + rng.uniform(-0.5, 0.5, (n_spaxel, 1)))
    through = 1 - 0.3 * np.exp(-0.5 * ((wavelength - 1.6023) / (0.96 * step)) ** 2)  # a line of 2.25 columns
    ones, dq, grid_um = np.ones(through.shape, np.float32), np.zeros(through.shape, np.uint32), find_grid()
    bins = resample_spectra((1000 * through).astype(np.float32), ones, dq, wavelength, grid_um)
    arrays = {name: plane.T.reshape(SHAPE).copy() for name, plane in zip(("SCI", "ERR", "DQ"), bins, strict=False)}
    cube = Product({"DATAMODL": "IFUCubeModel", "IMTYPE": "SCI"}, arrays, {"SCI": "electron/s"}, WCS)
    star = np.zeros(SHAPE[1:])
    star[1, 1:4], star[2, 2] = (0.15, 0.5, 0.15), 0.2
    seen = (arrays["SCI"] * star).sum(axis=(1, 2)) / 1000
    rows = {"SCI": seen, "ERR": np.full(seen.size, 1e-4), "WAVELENGTH": grid_um}
    air = Product({"DATAMODL": "TelluricModel"}, {name: row[np.newaxis] for name, row in rows.items()})
    known = replace(air, arrays=air.arrays | {"PROFILE": star.astype(np.float32)})
    native, away = (None, None, None, wavelength), []
    for reference in (air, known):
        made = divide_telluric(cube, reference, wanted=True, reason="", native=native)
        away.append(np.abs(made.arrays["SCI"] / 1000 - 1).max())
    assert away[0] > 0.02
    assert away[1] < 0.006


def find_grid():
    """Return the middles of the bins of the cubes."""
    return WCS["CRVAL3"] + WCS["CDELT3"] * np.arange(SHAPE[0])


def test_a_cube_without_a_telluric_star_says_why():
    kept = divide_telluric(make_cube(), None, wanted=True, reason="no telluric reference")
    assert kept.keywords["S_TELLUR"] == "SKIPPED: no telluric reference"
    kept = divide_telluric(make_cube(), make_air(), wanted=False, reason="")
    assert kept.keywords["S_TELLUR"] == "SKIPPED: by configuration"


def test_blank_spaxels_that_sample_a_line_in_other_parts():
    rng, step = np.random.default_rng(7), 2e-4
    wavelength = 1.6 + step * (np.arange(-1, 25) + rng.uniform(-0.5, 0.5, (20, 1)))
    line = 10 + 300 * np.exp(-0.5 * ((wavelength - 1.6018) / (1.5 * step)) ** 2)
    error, dq = np.ones(line.shape, np.float32), np.zeros(line.shape, np.uint32)
    flux = (line + rng.normal(size=line.shape)).astype(np.float32)
    grid_um = 1.6 + step * np.arange(SHAPE[0])
    bins = resample_spectra(flux, error, dq, wavelength, grid_um)
    arrays = {name: plane.T.reshape(SHAPE).copy() for name, plane in zip(("SCI", "ERR", "DQ"), bins, strict=False)}
    cube = Product({"DATAMODL": "IFUCubeModel", "IMTYPE": "SCI"}, arrays, {"SCI": "electron/s"}, WCS)
    native, left = (flux, error, dq, wavelength), []
    for spectra in (native, None):
        less = subtract_sky(cube, None, sky_method="blank", blank_fraction=0.5, native=spectra)
        left.append(np.nanstd(less.arrays["SCI"][7:12]))
        assert less.keywords["SKYFROM"] == "blank spaxels"
    assert left[0] < 1.3  # noise
    assert left[1] > 3 * left[0]  # the median mixes the parts
