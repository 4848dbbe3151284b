"""Mosaics: the grid, conservation of flux, errors, and places of stars."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drs.errors import ReductionError
from drs.image import Image
from drs.mosaic import noise_correlation, plan_grid, resample, resample_flags, steepness
from drs.wcs import build_wcs

SHAPE = (40, 50)
DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 1.0, "centre_y_arcsec": 2.0, "rotation_deg": 0.0}


def header(north_pix=0.0, pa_deg=30.0):
    """Return a WCS shifted to the north by pixels."""
    return build_wcs(10.0, 20.0 + north_pix * 0.004 / 3600, pa_deg, DETECTOR, SHAPE)


def make(rate, error=2.0):
    """Return an image without flags."""
    return Image(rate.astype(np.float32), np.full(SHAPE, error, np.float32), np.zeros(SHAPE, np.uint32))


def test_the_grid_of_one_image_is_the_image():
    grid, shape = plan_grid([header()], [SHAPE])
    assert shape == SHAPE
    assert grid["CRPIX1"] == header()["CRPIX1"]
    rate = np.random.default_rng(1).normal(5, 1, SHAPE)
    value, variance, coverage = resample(make(rate), header(), grid, shape)
    np.testing.assert_allclose(value, rate, rtol=1e-5)
    np.testing.assert_allclose(variance, 4.0, rtol=1e-5)
    np.testing.assert_allclose(coverage, 1.0, rtol=1e-5)


def test_the_grid_holds_all_images():
    headers = [header(), header(7.3, 30.0), header(-3.2, 30.0)]
    grid, shape = plan_grid(headers, [SHAPE] * 3)
    for wcs in headers:
        _, _, coverage = resample(make(np.ones(SHAPE)), wcs, grid, shape)
        assert coverage.sum() == pytest.approx(SHAPE[0] * SHAPE[1], rel=1e-6)


def test_pointings_of_two_fields_are_refused():
    with pytest.raises(ReductionError, match="not one field"):
        plan_grid([header(), header(4000)], [SHAPE] * 2)


def test_flux_is_conserved_and_a_star_keeps_its_place():
    y, x = np.indices(SHAPE)
    star = 1000 / (2 * np.pi * 4) * np.exp(-((y - 18.3) ** 2 + (x - 25.8) ** 2) / 8)
    grid, shape = plan_grid([header(), header(2.71)], [SHAPE] * 2)
    value, _, coverage = resample(make(star), header(2.71), grid, shape)
    flux = np.nansum(value * coverage)
    assert flux == pytest.approx(star.sum(), rel=1e-5)
    out_y, out_x = np.indices(shape)
    place = WCS(grid).wcs_world2pix(*WCS(header(2.71)).wcs_pix2world(25.8, 18.3, 0), 0)
    measured = [np.nansum(axis * value * coverage) / flux for axis in (out_x, out_y)]
    assert measured == pytest.approx([float(p) for p in place], abs=0.01)


def test_the_error_of_resampled_pixels_holds():
    rng = np.random.default_rng(4)
    grid, shape = plan_grid([header(), header(2.71)], [SHAPE] * 2)
    values = []
    for _ in range(400):
        value, variance, coverage = resample(make(rng.normal(0, 2, SHAPE)), header(2.71), grid, shape)
        values.append(value)
    ratio = np.var(values, axis=0)[coverage > 0.05] / variance[coverage > 0.05]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)


def test_bad_pixels_leave_no_trace():
    rate = np.ones(SHAPE)
    rate[11, 17] = 1e9
    image = make(rate)
    image.dq[11, 17] = 1
    grid, shape = plan_grid([header(), header(2.71)], [SHAPE] * 2)
    value, _, coverage = resample(image, header(2.71), grid, shape)
    np.testing.assert_allclose(value[coverage > 0], 1.0, rtol=1e-5)
    assert np.isnan(value[coverage == 0]).all()


def test_steepness_is_the_largest_step_to_a_neighbour():
    values = np.zeros((3, 5, 7), np.float32)
    values[:, 2, 3] = 10
    values[0, 4, 6] = 99
    covered = np.ones(values.shape, bool)
    covered[:, 0, 0] = False
    steep = steepness(values, covered)
    assert steep[2, 3] == steep[2, 2] == steep[1, 3] == 10
    assert steep[4, 6] == 0
    assert np.isfinite(steep).all()


def test_flags_come_from_the_nearest_pixel():
    dq = np.zeros(SHAPE, np.uint32)
    dq[11, 17] = 2
    assert np.argwhere(resample_flags(dq, header(), header(), SHAPE)).tolist() == [[11, 17]]
    grid, shape = plan_grid([header(), header(2.71)], [SHAPE] * 2)
    flags = resample_flags(dq, header(2.71), grid, shape)
    place = WCS(grid).wcs_world2pix(*WCS(header(2.71)).wcs_pix2world(17, 11, 0), 0)
    ((y, x),) = np.argwhere(flags)
    assert (x, y) == pytest.approx([float(p) for p in place], abs=0.5)


def test_noise_of_apertures_is_that_of_pixels_times_the_correlation():
    rng = np.random.default_rng(6)
    grid, shape = plan_grid([header(), header(2.71)], [SHAPE] * 2)
    sums = []
    for _ in range(300):
        value, variance, coverage = resample(make(rng.normal(0, 2, SHAPE)), header(2.71), grid, shape)
        inner = (slice(8, 34), slice(8, 42))
        sums.append(value[inner].sum())
    factor = noise_correlation([np.full(9, 2.0)], [variance[coverage > 0.99]], [100.0])
    expected = factor * np.sqrt(variance[inner].sum())
    assert factor > 1.2
    assert np.std(sums) == pytest.approx(expected, rel=0.15)


def test_images_on_the_grid_have_independent_noise():
    assert noise_correlation([np.full(9, 2.0)] * 2, [np.full(9, 4.0)] * 2, [1.0, 3.0]) == 1.0
