"""White light of cubes, throughput of matrices."""

import numpy as np
import pytest

from drs.dq import Flag
from drs.product import Product
from drs.whitelight import collapse_cube, find_middle, find_throughput, measure_noise, show_as_image

SHAPE = (12, 4, 7)


def make_cube():
    """Return rate, error and dq of a cube."""
    rng = np.random.default_rng(1)
    return rng.normal(5, 0.5, SHAPE).astype(np.float32), np.full(SHAPE, 0.5, np.float32), np.zeros(SHAPE, np.uint32)


def test_white_light_is_the_mean_of_usable_bins():
    rate, error, dq = make_cube()
    dq[:3, 1, 2], rate[:3, 1, 2] = Flag.DO_NOT_USE | Flag.HOT, 1e6
    dq[4, 0, 0] = Flag.JUMP_DET
    rate[:7, 3, 3] = np.nan
    white = collapse_cube(rate, error, dq, correlation=1.2)
    assert white.rate[1, 2] == pytest.approx(rate[3:, 1, 2].mean(), rel=1e-6)
    assert white.error[1, 2] == pytest.approx(1.2 * 0.5 / 3)
    assert white.dq[1, 2] == 0
    assert white.dq[0, 0] == Flag.JUMP_DET
    assert np.isnan(white.rate[3, 3])
    assert white.dq[3, 3] & Flag.DO_NOT_USE


def test_the_noise_of_a_cube_is_that_along_its_spectra():
    rng = np.random.default_rng(2)
    wave = np.arange(60)[:, np.newaxis, np.newaxis]
    rate = rng.normal(0, 0.5, (60, 9, 13)) + 0.3 * wave + 100 * (wave == 30) + rng.uniform(0, 50, (9, 13))
    error, dq = np.full(rate.shape, 0.5, np.float32), np.zeros(rate.shape, np.uint32)
    dq[:20, :4] = Flag.DO_NOT_USE
    assert measure_noise(rate.astype(np.float32), error, dq) == pytest.approx(1.0, abs=0.1)
    assert measure_noise(rate.astype(np.float32), error / 2, dq) == pytest.approx(2.0, abs=0.2)
    assert np.isnan(measure_noise(rate[:4], error[:4], dq[:4]))


def test_the_throughput_of_a_matrix():
    rectmat = np.full((5, 6, 3, 4), 0.2, np.float32)
    rectmat[:, :, 1, 2] = np.nan
    image = find_throughput(rectmat, 0.05)
    assert image.rate[0, 0] == pytest.approx(1.0)
    assert np.isnan(image.rate[1, 2])
    assert image.dq[1, 2] & Flag.DO_NOT_USE


def test_the_wavelengths_of_the_middle_column():
    wavelength = (1.6 + 1e-3 * np.arange(5)[:, np.newaxis, np.newaxis] + np.zeros((5, 3, 4))).astype(np.float32)
    wavelength[:, 1, 2] = np.nan
    image = find_middle(wavelength, np.full((3, 4), 0.1, np.float32))
    assert image.rate[0, 0] == pytest.approx(1.602)
    assert image.error[0, 0] == pytest.approx(1e-4, rel=1e-3)
    assert np.isnan(image.rate[1, 2])
    assert image.dq[1, 2] == Flag.DO_NOT_USE
    assert (image.dq > 0).sum() == 1
    assert (find_middle(wavelength[2]).error[0] == 0).all()
    shown = show_as_image(Product({"DATAMODL": "WavelengthModel"}, {"WAVESOL": wavelength}))
    assert {array.shape for array in shown.arrays.values()} == {(3, 4)}


def test_products_are_shown_as_images():
    cube = Product({"DATAMODL": "IFUCubeModel"}, dict(zip(("SCI", "ERR", "DQ"), make_cube(), strict=True)))
    cube.wcs.update({"WCSAXES": 3, "CTYPE1": "RA---TAN", "CTYPE3": "WAVE", "PC3_3": 1.0})
    shown = show_as_image(cube)
    assert {array.shape for array in shown.arrays.values()} == {SHAPE[1:]}
    assert shown.wcs == {"WCSAXES": 2, "CTYPE1": "RA---TAN"}
    assert show_as_image(shown.__class__({"DATAMODL": "ImagerModel"}, shown.arrays)).arrays is shown.arrays
    matrix = Product({"DATAMODL": "RectificationModel"}, {"RECTMAT": np.ones((5, 6, 3, 4), np.float32)})
    assert show_as_image(matrix).arrays["SCI"].shape == (3, 4)
