"""Sky of cubes: blank spaxels without a bias, subtraction with errors."""

import numpy as np
import pytest

from drs.cubesky import Spectrum, find_blank, subtract_cube, subtract_spectrum, take_spectrum
from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image

SHAPE = (40, 9, 14)
SIGMA = 2.0


def make_cube(*, seed=1, scale=1.0, star=0.0):
    """Return a cube of sky lines and noise, with one bright spaxel, and its sky (n_wave)."""
    wave = np.arange(SHAPE[0])
    sky = 20 + 200 * np.exp(-0.5 * ((wave - 13) / 1.5) ** 2)
    rate = scale * sky[:, np.newaxis, np.newaxis] + np.random.default_rng(seed).normal(0, SIGMA, SHAPE)
    rate[:, 4, 5] += star
    error = np.full(SHAPE, SIGMA, np.float32)
    return Image(rate.astype(np.float32), error, np.zeros(SHAPE, np.uint32)), sky


def test_blank_spaxels_have_no_bias_from_their_own_noise():
    cube, sky = make_cube(star=500.0)
    blank = find_blank(cube, fraction=0.25)
    assert blank.sum(axis=(1, 2)).max() == pytest.approx(0.25 * 126, abs=2)
    assert not blank[:, 4, 5].any()
    spectrum = take_spectrum(cube, blank)
    pulls = (spectrum.rate - sky) / spectrum.error
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert abs(pulls.std() - 1) < 0.4
    faintest = cube.rate.mean(axis=0) <= np.quantile(cube.rate.mean(axis=0), 0.25)
    assert (cube.rate[:, faintest].mean() - sky.mean()) < -0.3  # what choosing by the same bins does


def test_flagged_samples_are_left_out():
    cube, sky = make_cube()
    cube.rate[7, ::2] = 1e6
    cube.dq[7, ::2] = Flag.DO_NOT_USE
    spectrum = take_spectrum(cube, np.ones(SHAPE, bool))
    assert abs(spectrum.rate[7] - sky[7]) < 5 * spectrum.error[7]


def test_a_sky_cube_is_subtracted_with_its_errors():
    (cube, _), (sky, _) = make_cube(seed=3), make_cube(seed=4)
    sky.dq[0, 0, 0] = Flag.DO_NOT_USE
    less = subtract_cube(cube, sky)
    pulls = (less.rate / less.error)[np.isfinite(less.rate)]
    assert pulls.size == cube.rate.size - 1
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)
    assert less.dq[0, 0, 0] & Flag.DO_NOT_USE


def test_a_spectrum_is_subtracted_from_every_spaxel():
    cube, sky = make_cube()
    spectrum = Spectrum(np.where(np.arange(40) == 5, np.nan, sky), np.full(40, 1.5))
    less = subtract_spectrum(cube, spectrum)
    assert np.isnan(less.rate[5]).all()
    np.testing.assert_allclose(less.error[6], np.hypot(SIGMA, 1.5))
    assert abs(np.nanmean(less.rate)) < 0.2


def test_a_cube_without_values_is_refused():
    cube, _ = make_cube()
    with pytest.raises(ReductionError, match="no spaxel of the cube has a value"):
        find_blank(cube._replace(rate=cube.rate * np.nan), fraction=0.2)
