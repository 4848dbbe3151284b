"""Lines of the sky scaled by family: factors, what is left, lines of the object."""

import numpy as np
import pytest

from drs.airglow import LIMITS_UM, fit_scales, scale_of_bins, scale_sky, separate_lines
from drs.errors import ReductionError

WAVELENGTH_UM = np.arange(1.48, 1.80, 2.0e-4)
SIGMA_UM = 1.7e-4
NOISE = 0.3


def make_lines(seed=1, n_line=120):
    """Return places and fluxes of lines, of all families."""
    rng = np.random.default_rng(seed)
    return rng.uniform(WAVELENGTH_UM[0], WAVELENGTH_UM[-1], n_line), 10 ** rng.uniform(0.5, 3, n_line)


def render(lines, factors=None, *, continuum=5.0):
    """Return the spectrum of lines, those of each family scaled."""
    places, fluxes = lines
    family = np.searchsorted(LIMITS_UM, places)
    fluxes = fluxes * (1 if factors is None else np.asarray(factors)[family])
    profile = np.exp(-0.5 * ((WAVELENGTH_UM[:, np.newaxis] - places) / SIGMA_UM) ** 2)
    return profile @ fluxes + continuum * (1 + WAVELENGTH_UM - 1.6)


def make_pair(*, seed=2, galaxy=0.0):
    """Return the spectra of field and sky with noise, their errors, the true factors of bins, and the clean field."""
    rng, lines = np.random.default_rng(seed), make_lines()
    factors = rng.uniform(0.7, 1.3, len(LIMITS_UM) + 1)
    own, sky = render(lines, factors), render(lines)
    if galaxy:
        own = own + galaxy * np.exp(-0.5 * ((WAVELENGTH_UM - 1.6471) / 6e-4) ** 2) + 3
    error = np.full(own.size, NOISE)
    noisy = (spectrum + NOISE * rng.normal(size=spectrum.size) for spectrum in (own, sky))
    return (*noisy, error, factors[np.searchsorted(LIMITS_UM, WAVELENGTH_UM)], own, sky)


@pytest.mark.parametrize("galaxy", [0.0, 400.0])
def test_factors_and_what_is_left_of_the_lines(galaxy):
    field, sky, error, factors, own, clean = make_pair(galaxy=galaxy)
    scales = fit_scales(field, error, sky, error, WAVELENGTH_UM)
    np.testing.assert_allclose(scale_of_bins(scales, WAVELENGTH_UM), factors, rtol=0.005)
    lines, _ = separate_lines(sky, np.isfinite(sky))
    true_lines = (clean - 5 * (1 + WAVELENGTH_UM - 1.6)) * factors
    galaxy_light = own - true_lines - 5 * (1 + WAVELENGTH_UM - 1.6)
    left = field - scale_sky(sky, lines, scales, WAVELENGTH_UM) - galaxy_light
    plain = field - sky - galaxy_light
    bright = true_lines > 50
    rms = np.sqrt((true_lines[bright] ** 2).mean())
    noise2 = NOISE**2 * (1 + factors[bright] ** 2).mean()
    residual = np.sqrt(max((left[bright] ** 2).mean() - noise2, 0)) / rms
    assert residual < 0.01
    assert residual < np.sqrt((plain[bright] ** 2).mean()) / rms / 5


def test_errors_of_factors():
    pulls = []
    for seed in range(30):
        field, sky, error, factors, _, _ = make_pair(seed=seed)
        for scale in fit_scales(field, error, sky, error, WAVELENGTH_UM):
            inside = (scale.start_um <= WAVELENGTH_UM) & (scale.stop_um > WAVELENGTH_UM)
            pulls.append((scale.factor - factors[inside][0]) / scale.error)
    assert len(pulls) >= 120
    assert 0.7 < np.std(pulls) < 1.5


def test_lines_and_continuum():
    spectrum = render(make_lines())
    lines, continuum = separate_lines(spectrum, np.ones(spectrum.size, bool))
    np.testing.assert_allclose(continuum, 5 * (1 + WAVELENGTH_UM - 1.6), rtol=0.1)
    np.testing.assert_allclose(lines + continuum, spectrum, rtol=1e-6)
    usable = np.ones(spectrum.size, bool)
    usable[100:130] = False
    spectrum[100:130] = np.nan
    lines, continuum = separate_lines(spectrum, usable)
    np.testing.assert_array_equal(lines[100:130], 0)
    assert np.isfinite(continuum).all()
    np.testing.assert_array_equal(separate_lines(spectrum, np.zeros(spectrum.size, bool))[0], 0)


def test_families_with_too_few_lines_stay():
    wavelength = np.arange(1.60, 1.62, 2e-4)
    flat = np.ones(wavelength.size)
    (scale,) = fit_scales(5 * flat, flat, 4 * flat, flat, wavelength)
    assert (scale.factor, scale.n_bin) == (1.0, 0)
    np.testing.assert_array_equal(scale_of_bins([scale], wavelength), 1)


def test_cubes_are_scaled_as_spectra():
    field, sky, error, _, _, _ = make_pair()
    scales = fit_scales(field, error, sky, error, WAVELENGTH_UM)
    lines, _ = separate_lines(sky, np.isfinite(sky))
    cube, lines3 = (np.repeat(array, 6).reshape(-1, 2, 3) for array in (sky, lines))
    single = scale_sky(sky, lines, scales, WAVELENGTH_UM)
    np.testing.assert_array_equal(scale_sky(cube, lines3, scales, WAVELENGTH_UM)[:, 1, 2], single)


def test_refused():
    field, sky, error, _, _, _ = make_pair()
    with pytest.raises(ReductionError, match="no wavelength in common: take a sky of this configuration"):
        fit_scales(np.full_like(field, np.nan), error, sky, error, WAVELENGTH_UM)
