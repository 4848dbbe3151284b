"""Effective PSF of simulated stars against the one they were made with: profile, errors, fluxes, numbers."""

import numpy as np
import pytest
from stars import observe_stars, true_psf

from drs.epsf import choose_oversampling, cut_star, evaluate, find_coefficients, fit_epsf, smooth_error

SHAPE, RADIUS = (52, 59), 8.0


def make_stars(n, *, seed=1, radius=RADIUS, bad=0.003):
    """Return Stars of n exposures of one star at random places, and its true places and fluxes."""
    random, stars, truth = np.random.default_rng(seed), [], []
    for k in range(n):
        x, y, flux = *(np.array([29.0, 25.0]) + random.uniform(-2, 2, 2)), random.uniform(4000, 15000)
        image = observe_stars(SHAPE, [x], [y], [flux], seed=100 * seed + k, bad=bad)
        start = (x + random.normal(0, 0.02), y + random.normal(0, 0.02))
        how = {"level": 0.0, "radius_pix": radius, "flux": 1.01 * flux, "flux_error": 10.0}
        stars.append(cut_star(image, start, **how))
        truth.append((x, y, flux))
    return stars, np.array(truth)


@pytest.fixture(scope="module")
def fitted():
    """Return (Epsf, stars, truth) of twelve stars."""
    stars, truth = make_stars(12)
    return *fit_epsf(stars, radius_pix=RADIUS, oversampling=2), truth


def test_the_profile_is_right_to_half_a_percent_of_the_peak(fitted):
    psf, truth = fitted[0], true_psf(RADIUS, 2)
    scale = psf.values.sum() / truth.sum()  # light beyond the radius
    assert scale == pytest.approx(1, abs=0.004)
    assert np.abs(psf.values / scale - truth).max() < 0.005 * truth.max()
    near = np.isfinite(psf.error) & (truth > 1e-3 * truth.max())
    pulls = ((psf.values / scale - truth) / psf.error)[near]
    assert near.sum() > 200
    assert 0.7 < pulls.std() < 1.3


def test_places_and_fluxes_of_its_stars_are_true(fitted):
    _, stars, truth = fitted
    found = np.array([(*star.place, star.flux) for star in stars])
    shift = (found - truth)[:, :2]
    assert np.abs(shift.mean(axis=0)).max() < 0.005
    assert shift.std(axis=0).max() < 0.005
    assert (found[:, 2] / truth[:, 2]).mean() == pytest.approx(1, abs=0.002)
    assert (found[:, 2] / truth[:, 2]).std() < 0.003


def test_its_numbers_are_those_of_the_truth(fitted):
    psf, truth = fitted[0], true_psf(RADIUS, 2)
    assert (psf.oversampling, psf.n_star) == (2, 12)
    assert psf.peak == pytest.approx(truth.max(), rel=0.005)
    assert psf.area_pix == pytest.approx(4 / (truth**2).sum(), rel=0.01)
    assert psf.encircled[-1] == pytest.approx(1, abs=1e-6)
    assert psf.fwhm_pix == pytest.approx(2.76, abs=0.02)  # 2.6 and 6.0 with a pixel
    assert psf.chi_square == pytest.approx(1, abs=0.1)
    assert psf.residual < 0.005
    assert psf.total_error == pytest.approx(10 / np.sqrt((np.array([s.flux for s in fitted[1]]) ** 2).sum()), rel=1e-6)


def test_a_struck_pixel_is_left_out_and_stars_that_differ_are_seen(fitted):
    stars = make_stars(12)[0]
    struck = stars[3].light.copy()
    struck[stars[3].light.size // 2 + 4] += 3000.0
    psf, _ = fit_epsf([*stars[:3], stars[3]._replace(light=struck), *stars[4:]], radius_pix=RADIUS, oversampling=2)
    assert psf.n_clipped >= 1
    assert np.abs(psf.values - fitted[0].values).max() < 0.002 * psf.peak
    double = [s._replace(light=s.light + 0.5 * np.roll(s.light, 2)) for s in stars[:6]]
    differ, _ = fit_epsf([*double, *stars[6:]], radius_pix=RADIUS, oversampling=1)
    assert differ.residual > 0.03


def test_sampling_follows_the_places_within_pixels():
    random = np.random.default_rng(2)
    assert choose_oversampling(random.uniform(0, 50, (30, 2)), 3) == 3
    assert choose_oversampling(random.uniform(0, 50, (8, 2)), 3) == 2
    assert choose_oversampling(random.uniform(0, 50, (4, 2)), 3) == 1
    assert choose_oversampling(np.full((40, 2), 7.2), 3) == 1  # never dithered


def test_a_spline_goes_through_its_values():
    values = true_psf(6.0, 2)
    nodes = np.arange(-12, 13) / 2
    assert evaluate(find_coefficients(values), *np.meshgrid(nodes, nodes), 2)[3:-3, 3:-3] == pytest.approx(
        values[3:-3, 3:-3], abs=1e-9
    )


def test_errors_follow_the_model_and_not_a_pixels_own_noise():
    random = np.random.default_rng(4)
    model = np.concatenate([np.full(300, 6.0), np.linspace(10, 900, 40)])
    light = random.normal(model, np.sqrt(model / 70 + 0.05))
    error = np.sqrt(np.maximum(light, 0) / 70 + 0.05)
    smooth = smooth_error(light, error, model)
    assert smooth == pytest.approx(np.sqrt(model / 70 + 0.05), rel=0.05)
    assert abs(np.corrcoef(light[:300], smooth[:300])[0, 1]) < 0.2 or np.ptp(smooth[:300]) < 1e-9
    error[7] = 5.0
    assert smooth_error(light, error, model)[7] == 5.0
