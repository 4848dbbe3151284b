"""Lines of the sky scaled by family: factors, what is left, lines of the object."""

import numpy as np
import pytest

from drs.airglow import LIMITS_UM, find_continuum, fit_scales, scale_of_bins, scale_sky
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
    true_lines = (clean - 5 * (1 + WAVELENGTH_UM - 1.6)) * factors
    galaxy_light = own - true_lines - 5 * (1 + WAVELENGTH_UM - 1.6)
    left = field - scale_sky(sky, error, find_continuum(sky, error), scales, WAVELENGTH_UM)[0] - galaxy_light
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


@pytest.mark.parametrize("n_line", [120, 400])
def test_continuum_below_dense_lines_that_another_sky_scales(n_line):
    """Of a continuum that held wings of lines, the scaled sky would leave a part of these."""
    lines, level = make_lines(n_line=n_line), 5 * (1 + WAVELENGTH_UM - 1.6)
    sky, own = render(lines), render(lines, np.full(len(LIMITS_UM) + 1, 1.3))
    error = np.full(sky.size, 0.02)
    np.testing.assert_allclose(find_continuum(sky, error), level, rtol=0.02)
    scales = fit_scales(own, error, sky, error, WAVELENGTH_UM)
    left = own - scale_sky(sky, error, find_continuum(sky, error), scales, WAVELENGTH_UM)[0]
    assert abs(np.median(left)) < 0.02


def test_faint_lines_stay():
    wavelength = np.arange(1.60, 1.62, 2e-4)
    flat = np.ones(wavelength.size)
    (scale,) = fit_scales(5 * flat, flat, 4 * flat, flat, wavelength)
    assert (scale.factor, scale.n_sample, scale.n_rejected) == (1.0, wavelength.size, 0)
    np.testing.assert_array_equal(scale_of_bins([scale], wavelength), 1)


def make_cubes(factors, *, seed=3, noise=NOISE):
    """Return field and sky (bin, y, x), their errors and the lines of the field: spaxels see lines in other parts."""
    rng, (places, fluxes) = np.random.default_rng(seed), make_lines()
    moved = rng.uniform(-1e-4, 1e-4, (3, 5))
    spectra = np.stack([render((places + one, fluxes), scale) for scale in (factors, None) for one in moved.ravel()])
    field, sky = spectra.reshape(2, *moved.shape, -1).transpose(0, 3, 1, 2)
    lines = field - 5 * (1 + WAVELENGTH_UM - 1.6)[:, np.newaxis, np.newaxis]
    error = np.full(field.shape, noise)
    field, sky = (cube + noise * rng.normal(size=cube.shape) for cube in (field, sky))
    return field, sky, error, lines


def test_spaxels_that_sample_lines_in_other_parts():
    factors = np.random.default_rng(5).uniform(0.7, 1.3, len(LIMITS_UM) + 1)
    field, sky, error, lines = make_cubes(factors)
    hit, faint = field.copy(), np.arange(15.0).reshape(3, 5)  # light of sources that the blank spaxels have
    hit[200, 1, 1] += 5000
    scales = fit_scales(hit + faint, error, sky, error, WAVELENGTH_UM)
    np.testing.assert_allclose(
        scale_of_bins(scales, WAVELENGTH_UM), factors[np.searchsorted(LIMITS_UM, WAVELENGTH_UM)], rtol=0.001
    )
    left, one = (
        measure_residual(field - scale_sky(sky, error, find_continuum(sky, error), chosen, WAVELENGTH_UM)[0], lines)
        for chosen in (scales, fit_scales(field, error, sky, error, WAVELENGTH_UM, limits_um=(0.0, 9.0)))
    )
    assert left < 0.01
    assert one > 10 * left  # of one factor for all families


def measure_residual(rest, lines):
    """Return the rms of the mean of spaxels, where lines are bright, over that of the lines."""
    rest, lines = rest.mean(axis=(1, 2)), lines.mean(axis=(1, 2))
    bright = lines > 50
    return np.sqrt((rest[bright] ** 2).mean() / (lines[bright] ** 2).mean())


def test_faint_lines_have_no_bias_from_the_noise_of_the_sky():
    found = []
    for seed in range(20):
        field, sky, error, _ = make_cubes(None, seed=seed, noise=60.0)
        found += [s.factor for s in fit_scales(field, error, sky, error, WAVELENGTH_UM) if np.isfinite(s.error)]
    assert len(found) > 40
    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / np.sqrt(len(found)))
    assert 0.01 < np.std(found) < 0.1


def test_errors_are_scaled_and_cubes_as_their_spectra():
    field, sky, error, _, _, _ = make_pair()
    scales, level = fit_scales(field, error, sky, error, WAVELENGTH_UM), find_continuum(sky, error)
    cube, noise = (np.repeat(array, 6).reshape(-1, 2, 3) for array in (sky, error))
    scaled = scale_sky(cube, noise, level, scales, WAVELENGTH_UM)
    for own, alone in zip(scaled, scale_sky(sky, error, level, scales, WAVELENGTH_UM), strict=True):
        np.testing.assert_array_equal(own[:, 1, 2], alone)
    np.testing.assert_allclose(scaled[1][:, 0, 0], error * scale_of_bins(scales, WAVELENGTH_UM), rtol=1e-6)


def test_refused():
    field, sky, error, _, _, _ = make_pair()
    with pytest.raises(ReductionError, match="no wavelength in common: take a sky of this configuration"):
        fit_scales(np.full_like(field, np.nan), error, sky, error, WAVELENGTH_UM)
    with pytest.raises(
        ReductionError, match=r"sky lines of 1\.\d+ to 1\.\d+ um are \d+\.?\d* times those of the sky cube"
    ):
        fit_scales(10 * field, error, sky, error, WAVELENGTH_UM)
