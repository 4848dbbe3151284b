"""Sensitivity of a spectrograph: the curve of growth in small fields, the polynomial through the bins, errors."""

import numpy as np
import pytest
from cubefiles import render_stars

from drs.errors import ReductionError
from drs.sensitivity import Growth, check_growth, fit_curve, measure_growth

SHAPE = (1, 9, 17)
RADII = {"aperture_pix": 3.0, "total_pix": 6.0}


def render(y, x, shape=SHAPE, flux=5000.0, halo=0.1):
    """Return the image of a star with a halo, its flux in all."""
    core = render_stars(stars=[(y, x, flux * (1 - halo))], shape=shape)[0]
    rows, columns = np.indices(shape[1:])
    wide = np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / 1.7**2)
    return core + flux * halo * wide / (2 * np.pi * 1.7**2)


@pytest.mark.parametrize(("y", "x"), [(3.9, 8.2), (2.8, 7.6), (4.4, 12.3)])
def test_light_off_the_field_is_made_up_for(y, x):
    image = render(y, x)
    growth = measure_growth(image, np.ones(image.shape), np.zeros(image.shape, bool), (y, x), **RADII)
    inside = render(30.4 + y % 1, 30.7 + x % 1, (1, 61, 61))
    rows, columns = np.indices((61, 61))
    near = np.hypot(rows - 30.4 - y % 1, columns - 30.7 - x % 1)
    held = inside[near < 2.5].sum() / 5000, inside[near < 3.5].sum() / 5000
    assert held[0] < growth.part < held[1]
    from photutils.aperture import CircularAperture

    aperture = CircularAperture((x, y), 3.0).to_mask(method="exact").to_image(image.shape)
    light = (aperture * image).sum()
    assert light / growth.part == pytest.approx(5000.0, rel=0.004)  # measured 0.1 %; 1.2 % without what is off it
    assert growth.rise < 0.005
    check_growth(growth, tolerance=0.01)


def test_what_the_sky_left_does_not_count():
    image, bad = render(4.2, 8.1), np.zeros(SHAPE[1:], bool)
    plain = measure_growth(image, np.ones(image.shape), bad, (4.2, 8.1), **RADII)
    found = measure_growth(image + 5, np.ones(image.shape), bad, (4.2, 8.1), **RADII)  # 11 % of the light
    assert found.part == pytest.approx(plain.part, rel=1e-3)
    assert found.level == pytest.approx(5.0 + plain.level)
    assert found.error > plain.error - 1e-9
    small = np.s_[:, 4:13]  # too little is beyond
    assert measure_growth(image[small], np.ones(image[small].shape), bad[small], (4.2, 4.1), **RADII).level == 0


def test_spaxels_without_a_value_do_not_count():
    image, bad = render(4.2, 8.1), np.zeros(SHAPE[1:], bool)
    bad[6, 10] = bad[1, 6] = True
    whole = measure_growth(image, np.ones(image.shape), np.zeros(bad.shape, bool), (4.2, 8.1), **RADII)
    image[bad] = np.nan
    found = measure_growth(image, np.ones(image.shape), bad, (4.2, 8.1), **RADII)
    assert found.part == pytest.approx(whole.part, rel=2e-3)
    bad[4, 8] = True
    with pytest.raises(ReductionError, match="at the edge of the field, or on bad spaxels"):
        measure_growth(image, np.ones(image.shape), bad, (4.2, 8.1), **RADII)


def test_the_error_of_the_part_is_that_of_what_is_outside():
    random, parts = np.random.default_rng(2), []
    image, nothing = render(10.2, 10.1, (1, 21, 23)), np.zeros((21, 23), bool)
    for _ in range(300):
        noisy = image + 4 * random.normal(size=image.shape)
        parts.append(measure_growth(noisy, np.full(image.shape, 4.0), nothing, (10.2, 10.1), **RADII))
    expected = np.mean([growth.error for growth in parts])
    assert np.std([growth.part for growth in parts]) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        (Growth(0.9, 0.03, 0.0, 0.001), "rises by 3.00% over its last tenth, at most 1.00% allowed"),
        (Growth(0.9, 0.0, 0.2, 0.001), "20.0% of the standard star's light is off the field"),
    ],
)
def test_stars_that_do_not_show_all_their_light_are_refused(growth, message):
    with pytest.raises(ReductionError, match=message):
        check_growth(growth, tolerance=0.01)


def test_a_star_without_light_is_refused():
    with pytest.raises(ReductionError, match="has no light"):
        measure_growth(np.zeros((9, 9)), np.ones((9, 9)), np.zeros((9, 9), bool), (4, 4), **RADII)


def test_the_curve_and_its_errors_are_the_true_ones():
    at, random, pulls = np.linspace(-1, 1, 83), np.random.default_rng(5), []
    truth, expected = 3.0 + 0.4 * at - 0.2 * at**3, 200.0 + 30 * at
    error = np.full(at.size, 0.8)
    for _ in range(200):
        flux = expected / truth + error * random.normal(size=at.size)
        curve = fit_curve(expected, flux, error, order=3)
        pulls.append((curve.value - truth) / curve.error)
    assert abs(np.mean(pulls)) < 0.12
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert curve.rms == pytest.approx(0.8 / 66, rel=0.3)


def test_bins_that_stand_out_are_left_out():
    at, random = np.linspace(-1, 1, 60), np.random.default_rng(6)
    expected, error = np.full(60, 90.0), np.full(60, 0.2)
    flux = 30.0 + error * random.normal(size=60)
    flux[[7, 8, 30]] *= 0.7  # absorption that is left
    flux[40] = np.nan
    curve = fit_curve(expected, flux, error, order=2)
    assert curve.n_rejected >= 3
    np.testing.assert_allclose(curve.value, 3.0, rtol=5e-3)
    assert at.size == curve.value.size


def test_too_few_bins_are_refused():
    flux = np.where(np.arange(30) < 7, 30.0, np.nan)
    with pytest.raises(ReductionError, match="7 bins of the standard star can be used, at least 8 needed"):
        fit_curve(np.full(30, 90.0), flux, np.ones(30), order=3)
