"""Flat: normalisation, division with errors, pixels without flat value."""

import numpy as np
import pytest
from images import SHAPE, make_image

from drs.dq import Flag
from drs.errors import ReductionError
from drs.flat import check_illumination, check_saturation, divide_flat, normalise_flat


def test_normalised_flat_has_median_one_and_flags_dead_pixels():
    rate = np.linspace(80, 120, 54).reshape(SHAPE)
    rate[2, 7] = 3.0
    rate[3, 1] = np.nan
    flat = normalise_flat(make_image(rate, 1.0), minimum_response=0.2)
    usable = ~flat.unusable
    assert np.argwhere(~usable).tolist() == [[2, 7], [3, 1]]
    assert np.median(flat.rate[usable]) == pytest.approx(1.0, abs=0.02)
    assert (flat.dq[2, 7], flat.rate[2, 7]) == (Flag.DO_NOT_USE | Flag.NO_FLAT_FIELD, 1.0)
    np.testing.assert_allclose(flat.rate[usable] / flat.rate[0, 0], (rate / rate[0, 0])[usable], rtol=1e-6)


def test_division_propagates_both_errors():
    image = make_image(100.0, 3.0)._replace(var_poisson=np.full(SHAPE, 8.0, np.float32))
    flat = make_image(0.8, 0.02, DO_NOT_USE=(1, 2))
    result = divide_flat(image, flat)
    assert result.rate[0, 0] == pytest.approx(125.0)
    assert result.error[0, 0] == pytest.approx(np.hypot(3.0 / 0.8, 125.0 * 0.02 / 0.8))
    assert result.var_poisson[0, 0] == pytest.approx(8.0 / 0.64)
    assert result.var_rnoise is None
    assert (result.rate[1, 2], result.error[1, 2]) == (100.0, 3.0)
    assert result.dq[1, 2] & Flag.NO_FLAT_FIELD


def test_error_of_the_division_agrees_with_a_monte_carlo():
    rng = np.random.default_rng(5)
    n = 200_000
    quotients = rng.normal(100, 3, n) / rng.normal(0.8, 0.02, n)
    result = divide_flat(make_image(100.0, 3.0), make_image(0.8, 0.02))
    assert quotients.std() == pytest.approx(result.error[0, 0], rel=0.01)


def test_a_lamp_that_was_off_is_refused():
    lamps = {"x.fits": make_image(0.1), "y.fits": make_image(50.0), "z.fits": make_image(0.3)}
    with pytest.raises(ReductionError, match=r"x\.fits 0\.1, z\.fits 0\.3; a flat needs 5\.0: was the lamp on"):
        check_illumination(lamps, minimum_signal_e_per_s=5.0)
    assert check_illumination({"y.fits": lamps["y.fits"]}, minimum_signal_e_per_s=5.0) == [50.0]


def test_saturated_flats_are_named():
    good, bad = make_image(100.0), make_image(100.0)
    bad.dq[:3] |= np.uint32(Flag.SATURATED)
    check_saturation({"a": good}, maximum_saturated_fraction=0.02)
    with pytest.raises(ReductionError, match=r"saturated pixels: b 50.0%; a flat may have 2.0%"):
        check_saturation({"a": good, "b": bad}, maximum_saturated_fraction=0.02)
