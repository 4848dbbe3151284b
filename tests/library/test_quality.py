"""Quality numbers on images whose background, flags and sources are known."""

import numpy as np
import pytest
from photutils.psf import CircularGaussianPRF

from drs.dq import Flag
from drs.quality import (
    find_unusable,
    measure_background,
    measure_flags,
    measure_quality,
    measure_sources,
    pixel_scale_arcsec,
)
from drs.wcs import build_wcs

SHAPE = (90, 140)  # ny, nx
SKY = 3.0
NOISE = 0.2
FWHM_PIX = 4.5
PLACES = ((20.3, 30.0), (60.0, 64.6), (110.8, 22.2), (100.5, 70.1))  # x, y
DETECTOR = {"scale_arcsec": 0.01, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 30.0}


@pytest.fixture
def sky():
    rng = np.random.default_rng(5)
    values = rng.normal(SKY, NOISE, SHAPE).astype(np.float32)
    return values, np.full(SHAPE, NOISE, np.float32), np.zeros(SHAPE, np.uint32)


def add_stars(values, places=PLACES, flux=300.0):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stars = sum(CircularGaussianPRF(x_0=x0, y_0=y0, fwhm=FWHM_PIX, flux=flux)(x, y) for x0, y0 in places)
    return (values + stars).astype(np.float32)


def test_background_of_five_numbers():
    values = np.array([[1.0, 2.0, 3.0], [4.0, 100.0, np.nan]], np.float32)
    error = np.array([[0.5, 0.25, 3.0], [4.0, 5.0, 6.0]], np.float32)
    background = measure_background(values, error, np.isnan(values))
    # In units of the errors the deviations are -4, -4, 0, 0.25, 19.4: median 0, absolute deviations' median 4.
    assert background == (3.0, pytest.approx(1.4826), 3.0, pytest.approx(4 * 1.4826), 5)


def test_noise_over_error_tells_errors_that_hold_from_those_that_do_not(sky):
    values, error, dq = sky
    good = measure_quality(values, error, dq)
    assert good["noise_over_error"] == pytest.approx(1.0, abs=0.03)
    assert good["median"] == pytest.approx(SKY, abs=0.01)
    assert good["n_background"] == values.size
    assert measure_quality(values, 2 * error, dq)["noise_over_error"] == pytest.approx(0.5, abs=0.02)


def test_errors_hold_in_a_mosaic_of_uneven_depth(sky):
    values, error, dq = sky
    rng = np.random.default_rng(4)
    error[:, :60] = 3 * NOISE
    values[:, :60] = rng.normal(SKY, 3 * NOISE, (SHAPE[0], 60))
    numbers = measure_quality(values, error, dq)
    assert numbers["noise"] / numbers["error"] > 1.2  # why the ratio is taken pixel by pixel
    assert numbers["noise_over_error"] == pytest.approx(1.0, abs=0.03)


def test_sources_do_not_raise_the_background(sky):
    values, error, dq = sky
    crowded = add_stars(values, [(x, y) for x in range(12, 130, 13) for y in range(10, 85, 13)], flux=1000.0)
    without = measure_quality(crowded, error, dq)
    with_sources = measure_quality(crowded, error, dq, source_threshold_sigma=5.0)
    assert abs(with_sources["median"] - SKY) < 0.5 * abs(without["median"] - SKY)
    assert with_sources["n_background"] < crowded.size


def test_sources_and_fwhm_are_the_true_ones(sky):
    values, error, dq = sky
    numbers = measure_quality(add_stars(values), error, dq, source_threshold_sigma=5.0)
    assert numbers["n_sources"] == len(PLACES)
    assert numbers["fwhm_pix"] == pytest.approx(FWHM_PIX, rel=0.03)


def test_sources_at_edges_and_with_bad_cores_count_but_have_no_width(sky):
    values, error, dq = sky
    values = add_stars(values, [(1.0, 40.0), (60.0, 64.0)], flux=800.0)
    dq[64, 60] = Flag.SATURATED | Flag.DO_NOT_USE
    values[64, 60] = np.nan
    numbers = measure_quality(values, error, dq, source_threshold_sigma=5.0)
    assert (numbers["n_sources"], numbers["fwhm_pix"]) == (2, None)


def test_no_source_is_not_the_same_as_not_sought(sky):
    assert measure_quality(*sky, source_threshold_sigma=5.0)["n_sources"] == 0
    assert measure_quality(*sky)["n_sources"] is None
    assert measure_sources(sky[0], np.zeros(SHAPE, bool), None, SKY).n_sources == 0


def test_a_noisy_corner_of_a_mosaic_holds_no_sources(sky):
    values, error, dq = sky
    rng = np.random.default_rng(9)
    error[:30, :40] = 10 * NOISE
    values[:30, :40] = rng.normal(SKY, 10 * NOISE, (30, 40))
    assert measure_quality(values, error, dq, source_threshold_sigma=5.0)["n_sources"] == 0


def test_nan_and_flags_are_left_out_and_counted(sky):
    values, error, dq = sky
    values[:9] = np.nan
    error[9:18] = np.inf
    dq[18:27] = Flag.DO_NOT_USE | Flag.HOT
    dq[27:36] = Flag.REFERENCE_PIXEL
    dq[36:45] = Flag.JUMP_DET
    values[18:36] = 1e6
    numbers = measure_quality(values, error, dq)
    assert numbers["usable_fraction"] == 0.6
    assert numbers["flags"] == {"DO_NOT_USE": 0.1, "HOT": 0.1, "REFERENCE_PIXEL": 0.1, "JUMP_DET": 0.1}
    assert numbers["percentiles"]["99"] < SKY + 5 * NOISE
    assert numbers["noise"] == pytest.approx(NOISE, rel=0.05)


def test_all_flagged_gives_no_numbers(sky):
    values, error, dq = sky
    numbers = measure_quality(values, error, dq | np.uint32(Flag.DO_NOT_USE), source_threshold_sigma=5.0)
    expected = {"usable_fraction": 0.0, "n_background": 0, "n_sources": 0, "percentiles": {}}
    assert {key: numbers[key] for key in expected} == expected
    assert [numbers[key] for key in ("median", "noise", "error", "noise_over_error", "fwhm_pix")] == [None] * 5


def test_errors_of_zero_have_no_ratio(sky):
    values, error, dq = sky
    assert measure_quality(values, 0 * error, dq)["noise_over_error"] is None


def test_percentiles_of_a_ramp():
    values = np.arange(101 * 2, dtype=np.float32).reshape(2, 101) / 2.01
    numbers = measure_quality(values, np.ones_like(values), np.zeros(values.shape, np.uint32))
    assert [round(level) for level in numbers["percentiles"].values()] == [1, 5, 25, 50, 75, 95, 99]


def test_highest_bit_is_counted():
    dq = np.array([[1 << 31, 0, 0], [0, 0, (1 << 31) | 1]], np.uint32)
    assert measure_flags(dq) == {"DO_NOT_USE": 1 / 6, "REFERENCE_PIXEL": 1 / 3}


def test_arguments_are_not_changed(sky):
    values, error, dq = sky
    values = add_stars(values)
    before = values.copy(), error.copy(), dq.copy()
    measure_quality(values, error, dq, source_threshold_sigma=5.0)
    for array, copy in zip((values, error, dq), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_shapes_must_agree(sky):
    values, error, dq = sky
    with pytest.raises(ValueError, match=r"one shape, got \(90, 140\), \(140, 90\)"):
        find_unusable(values, error.T, dq)


def test_pixel_scale_of_a_turned_detector():
    assert pixel_scale_arcsec(build_wcs(266.4, -29.0, 77.0, DETECTOR, SHAPE)) == pytest.approx(0.01)
    assert pixel_scale_arcsec({}) is None
