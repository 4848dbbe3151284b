"""Dark: subtraction with errors, hot pixels."""

import numpy as np
import pytest
from images import SHAPE, make_image

from drs.dark import flag_hot, forget_dark, subtract_dark
from drs.dq import Flag
from drs.image import Image


def test_values_errors_and_flags():
    dark = make_image(0.5, 1.5, HOT=(2, 7), DO_NOT_USE=(1, 3))
    result = subtract_dark(make_image(10.0, 2.0, SATURATED=(2, 7)), dark)
    assert result.rate[0, 0] == pytest.approx(9.5)
    assert result.error[0, 0] == pytest.approx(2.5)
    assert result.var_dark[0, 0] == pytest.approx(2.25)
    assert result.dq[2, 7] == Flag.HOT | Flag.SATURATED
    assert np.isnan(result.rate[1, 3])
    assert result.dq[1, 3] == Flag.DO_NOT_USE | Flag.UNRELIABLE_DARK
    assert (result.rate.dtype, result.dq.dtype) == (np.float32, np.uint32)


def test_arguments_are_untouched_and_shapes_checked():
    image, dark = make_image(), make_image(1.0)
    subtract_dark(image, dark)
    assert (image.rate == 10).all()
    assert (dark.rate == 1).all()
    with pytest.raises(ValueError, match="the dark has shape"):
        subtract_dark(image, make_image(shape=SHAPE[::-1]))


def test_hot_pixels_stand_out_from_the_detector():
    rng = np.random.default_rng(3)
    rate = rng.normal(0.1, 0.01, (40, 50))
    rate[7, 31] = 0.1 + 30 * 0.0142
    rate[8, 32] = 0.1 + 5 * 0.0142
    dark = flag_hot(make_image(rate, 0.01, shape=(40, 50), DO_NOT_USE=(0, 0)), hot_threshold_sigma=15)
    assert np.argwhere(dark.dq & Flag.HOT).tolist() == [[7, 31]]


def test_the_error_of_a_dark_that_cancels_is_forgotten():
    rate, flags = np.ones((3, 4), np.float32), np.zeros((3, 4), np.uint32)
    image = Image(rate, 0.3 * rate, flags)
    less = subtract_dark(image, Image(rate, 0.4 * rate, flags))
    np.testing.assert_allclose(less.error, 0.5, rtol=1e-6)
    forgotten = forget_dark(less)
    np.testing.assert_allclose(forgotten.error, 0.3, rtol=1e-6)
    assert forgotten.var_dark is None
    assert forget_dark(image) is image
