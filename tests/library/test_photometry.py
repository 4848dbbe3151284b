"""Stars of known flux: places, growth, zero point to a hundredth with an error that holds, and what is refused."""

import numpy as np
import pytest

from drs.errors import ReductionError
from drs.image import Image
from drs.photometry import (
    check_growth,
    find_star,
    flux_density_jy,
    list_radii,
    measure_growth,
    solve_zero_point,
)
from drs.simulation import scene

SHAPE = (90, 110)
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
PLACE = (51.3, 43.8)
ZERO_MAG = 25.0
RADII = list_radii(15.0)


def make_image(flux=5000.0, noise=0.6, seed=1, place=PLACE, sky=0.3):
    """Return an image of a star with photon noise of 80 s and a residual sky."""
    random = np.random.default_rng(seed)
    stamp, window = scene.render(SHAPE, place[0] + 1, place[1] + 1, scene.psf_components(PSF))
    light = np.zeros(SHAPE)
    light[window] = flux * stamp
    error = np.sqrt(light / 80 + noise**2)
    rate = (light + sky + random.normal(0, error)).astype(np.float32)
    return Image(rate, error.astype(np.float32), np.zeros(SHAPE, np.uint32))


def measure(images, fluxes, **changes):
    """Return the zero point of stars."""
    growths = [measure_growth(image, PLACE, radii=RADII) for image in images]
    mags = ZERO_MAG - 2.5 * np.log10(fluxes)
    how = {"radii": RADII, "aperture_pix": 5.0, "extinction_mag": 0.1} | changes
    airmass = how.pop("airmass", np.ones(len(images)))
    return solve_zero_point(growths, mags, np.full(len(images), np.nan), airmass, **how)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (4.0, -3.0)])
def test_a_star_is_found_near_its_place(offset):
    image = make_image()
    found = find_star(image.rate, image.unusable, np.add(PLACE, offset), search_pix=8)
    assert found == pytest.approx(PLACE, abs=0.02)
    assert find_star(image.rate, np.ones(SHAPE, bool), PLACE, search_pix=8) is None
    assert find_star(image.rate, image.unusable, (300.0, 20.0), search_pix=8) is None


def test_growth_is_that_of_the_light():
    growth = measure_growth(make_image(noise=0.01), PLACE, radii=RADII)
    sigma = np.array([2.6, 6.0])[:, None] / scene.FWHM_PER_SIGMA
    blurred = sigma**2 + 1 / 6  # by the pixel that took the light, and by that which is cut by the aperture
    expected = np.array([0.8, 0.2]) @ (1 - np.exp(-(RADII**2) / (2 * blurred)))
    np.testing.assert_allclose(growth.flux / 5000.0, expected, atol=0.006)  # photon noise is 0.0016 of the light
    image = make_image()
    for y, x in ((48, 55), (33, 51), (44, 62)):
        image.dq[y, x], image.rate[y, x] = 1, np.nan
    assert measure_growth(image, PLACE, radii=RADII).flux[-1] == pytest.approx(5000.0, rel=0.01)
    image.dq[45, 52] = 1
    assert measure_growth(image, PLACE, radii=RADII) is None
    assert measure_growth(image, (5.0, 40.0), radii=RADII) is None


def test_the_zero_point_and_its_error_over_many_sets():
    fluxes = np.array([800.0, 2000.0, 5000.0])
    results = []
    for seed in range(60):
        images = [make_image(flux, seed=3 * seed + k) for k, flux in enumerate(fluxes)]
        results.append(measure(images, fluxes))
    values = np.array([result.value for result in results])
    errors = np.array([result.error for result in results])
    assert np.abs(values - ZERO_MAG).max() < 0.01
    assert values.mean() == pytest.approx(ZERO_MAG, abs=0.002)
    pulls = (values - ZERO_MAG) / errors
    assert 0.6 < pulls.std() < 1.15  # the error widens with the scatter, so it is never too small
    sigma = np.array([2.6, 6.0]) / scene.FWHM_PER_SIGMA
    part = np.array([0.8, 0.2]) @ (1 - np.exp(-(5.0**2) / (2 * (sigma**2 + 1 / 12))))
    assert results[0].correction_mag == pytest.approx(2.5 * np.log10(part), abs=0.01)


def test_extinction_between_the_stars_is_taken_out_and_outliers_are_clipped():
    fluxes = np.full(5, 3000.0)
    airmass = np.array([1.0, 1.2, 1.4, 1.6, 1.8])
    images = [make_image(3000.0 * 10 ** (-0.04 * (x - 1.4)), seed=k) for k, x in enumerate(airmass)]
    point = measure(images, fluxes, airmass=airmass)
    assert point.value == pytest.approx(ZERO_MAG, abs=0.005)
    fluxes[2] = 6000.0
    clipped = measure(images, fluxes, airmass=airmass)
    assert clipped.value == pytest.approx(ZERO_MAG, abs=0.005)
    assert clipped.used.tolist() == [True, True, False, True, True]


def test_a_curve_that_still_rises_is_refused():
    radii = list_radii(4.0)
    images = [make_image(50_000.0, seed=k) for k in range(3)]
    growths = [measure_growth(image, PLACE, radii=radii) for image in images]
    ones = np.ones(3)
    point = solve_zero_point(growths, ones, ones * 0, ones, radii=radii, aperture_pix=3.0, extinction_mag=0.0)
    with pytest.raises(ReductionError, match="curve of growth rises by"):
        check_growth(point, tolerance=0.005)
    check_growth(measure(images, np.full(3, 50_000.0)), tolerance=0.005)


def test_flux_density():
    assert flux_density_jy(8.9) == pytest.approx(1.0, rel=1e-3)
