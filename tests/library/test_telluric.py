"""Telluric correction from a simulated A0V star: transmission, colours, lines of hydrogen, errors."""

import numpy as np
import pytest

from drs.errors import ReductionError
from drs.telluric import Star as TrueStar
from drs.telluric import (
    absorb,
    average_spectra,
    blackbody,
    correct_telluric,
    divide_star,
    hydrogen_lines,
    match_columns,
    measure_telluric,
)

RESOLUTION = 4000.0
TEMPERATURE_K = 9550.0


def make_grid(start=1.49, stop=1.79):
    return np.arange(start, stop, 2.0e-4)


def make_air(wavelength, *, seed=1, n_line=90):
    """Return a transmission with narrow lines, 0.05 to 1, and a smooth response of 0.7 to 1."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(wavelength[0], wavelength[-1], n_line)
    depths = rng.uniform(0.02, 1.5, n_line) ** 2
    away = (wavelength[:, np.newaxis] - places) / (wavelength[0] / RESOLUTION / 2.3548)
    span = (wavelength - wavelength[0]) / np.ptp(wavelength)
    return np.exp(-(depths * np.exp(-0.5 * away**2)).sum(axis=1)) * (0.7 + 0.3 * np.sin(np.pi * span))


def make_star(wavelength, *, velocity=-35.0, width=1.1e-3):
    """Return the photons of a star without air, and its lines."""
    lines = hydrogen_lines(wavelength[0] - 0.02, wavelength[-1] + 0.02)
    depths = np.interp(lines, [1.5, 1.75], [0.12, 0.3])  # shallower towards the limit of the series
    star = TrueStar(velocity, width, lines, depths)
    return 1e5 * blackbody(wavelength, TEMPERATURE_K) * absorb(wavelength, star), star


def observe(wavelength, *, seed=2, **changes):
    star, lines = make_star(wavelength, **changes)
    air = make_air(wavelength)
    error = np.sqrt(star * air + 100.0)
    return star * air + error * np.random.default_rng(seed).normal(size=error.size), error, air, lines


def test_lines_of_hydrogen_are_where_they_are():
    lines = hydrogen_lines(1.28, 2.17)
    for known in (1.28216, 1.87561, 1.68111, 2.16612):  # Paschen beta, Paschen alpha, Brackett 11, Brackett gamma
        assert np.abs(lines - known).min() < 5e-5


@pytest.mark.parametrize("velocity", [-35.0, 60.0])
def test_the_transmission_is_the_true_one(velocity):
    wavelength = make_grid()
    flux, error, air, lines = observe(wavelength, velocity=velocity)
    found = measure_telluric(flux, error, wavelength, temperature_k=TEMPERATURE_K, resolution=RESOLUTION)
    ratio = found.correction / air
    ratio /= np.median(ratio)
    clear = air > 0.2
    assert np.std(ratio[clear]) < 0.01
    near = np.zeros(wavelength.size, bool)
    for line in lines.lines_um:
        near |= np.abs(wavelength - line) < 2 * lines.width_um
    assert np.abs(np.median(ratio[clear & near]) - 1) < 0.01
    assert abs(found.star.velocity_km_s - velocity) < 25  # a tenth of a line's width
    assert abs(found.star.width_um / lines.width_um - 1) < 0.2


def test_an_object_gets_its_spectrum_back():
    wavelength = make_grid()
    flux, error, air, _ = observe(wavelength)
    found = measure_telluric(flux, error, wavelength, temperature_k=TEMPERATURE_K, resolution=RESOLUTION)
    truth = 5000 * (1 + 0.5 * (wavelength - 1.6) / 0.15)
    cube = np.repeat((truth * air)[:, np.newaxis], 6, axis=1).reshape(-1, 2, 3).astype(np.float32)
    sigma = np.sqrt(cube).astype(np.float32)
    corrected, errors, deep = correct_telluric(cube, sigma, found.correction, found.error)
    ratio = corrected[:, 1, 2] / truth
    clear = ~deep
    assert clear.mean() > 0.6
    assert np.std(ratio[clear] / np.median(ratio[clear])) < 0.01
    assert np.isnan(corrected[deep]).all()
    assert (errors[clear] > (sigma / cube * corrected)[clear] * 0.99).all()


def test_spectra_of_one_star_are_averaged():
    rng, truth = np.random.default_rng(1), np.linspace(900, 1100, 50)
    sigmas, found = (5.0, 8.0), []
    for _ in range(100):
        fluxes = [
            level * (truth + sigma * rng.normal(size=50)) for level, sigma in zip((1.0, 0.6), sigmas, strict=True)
        ]
        fluxes[0][7] = np.nan
        flux, error = average_spectra(fluxes, [np.full(50, 5.0), np.full(50, 0.6 * 8)])
        found.append((flux / np.median(flux / truth) - truth) / error)
    assert np.std(found) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(found)) < 0.1
    with pytest.raises(ReductionError, match="a spectrum of the telluric star has no light"):
        average_spectra([truth, -truth], [truth, truth])


def test_a_star_without_lines_loses_none():
    wavelength = make_grid(2.05, 2.15)
    air = make_air(wavelength)
    flux = 1e5 * blackbody(wavelength, TEMPERATURE_K) * air
    found = measure_telluric(flux, np.sqrt(flux), wavelength, temperature_k=TEMPERATURE_K, resolution=RESOLUTION)
    assert found.star.lines_um.size == 0
    np.testing.assert_allclose(found.correction / air, np.median(found.correction / air), rtol=1e-6)


@pytest.mark.parametrize(("place", "stop"), [(1.6123, 1.685), (1.6130, 1.6807)])  # three lines covered, and two
@pytest.mark.parametrize("seed", range(3))
def test_a_line_of_the_air_beside_one_of_hydrogen_is_no_star(seed, place, stop):
    wavelength = np.arange(1.59, stop, 6e-4)
    air = 1 - 0.3 * np.exp(-0.5 * ((wavelength - 1.6530) / 6.8e-4) ** 2)
    air *= 1 - 0.15 * np.exp(-0.5 * ((wavelength - place) / 1.1e-3) ** 2)  # Brackett 13 is at 1.6114
    light = 2e4 * blackbody(wavelength, TEMPERATURE_K) * air
    error = np.sqrt(light / 12)
    flux = light + error * np.random.default_rng(seed).normal(size=error.size)
    resolution = 1.6374 / (2 * 6e-4)
    found = measure_telluric(flux, error, wavelength, temperature_k=TEMPERATURE_K, resolution=resolution)
    assert not found.star.depths.any()
    ratio = found.correction / air
    assert np.std(ratio / np.median(ratio)) < 0.005


def test_a_star_that_is_known_leaves_the_air():
    wavelength = make_grid(2.05, 2.15)
    photons, air = 1 + wavelength**3, make_air(wavelength)
    error = np.full(air.size, 0.01)
    error[7] = np.nan
    found = divide_star(photons * air, error, 3 * photons, TrueStar(0.0, 1e-3, np.array([]), np.array([])))
    scale = np.percentile(np.delete(air, 7), 95)
    np.testing.assert_allclose(np.delete(found.correction, 7), np.delete(air, 7) / scale, rtol=1e-12)
    np.testing.assert_allclose(np.delete(found.error * photons, 7), 0.01 / scale, rtol=1e-12)
    assert np.isnan(found.correction[7])
    assert np.isnan(found.error[7])


def test_gaps_and_no_light():
    wavelength = make_grid()
    flux, error, _, _ = observe(wavelength)
    flux[100:120] = np.nan
    found = measure_telluric(flux, error, wavelength, temperature_k=TEMPERATURE_K, resolution=RESOLUTION)
    assert np.isnan(found.correction[100:120]).all()
    assert np.isfinite(found.correction[200:]).all()
    with pytest.raises(ReductionError, match="the telluric star has no light"):
        measure_telluric(-flux, error, wavelength, temperature_k=TEMPERATURE_K, resolution=RESOLUTION)


def test_a_correction_is_that_of_the_columns_of_each_spectrum():
    bins, parts = np.arange(40.0), np.tile(np.array([0.0, 0.3, 0.5, 0.9]), (40, 1))

    def see(f):
        first, second = (1 - 0.4 * np.exp(-0.5 * ((bins - f + k - 18.3) / 0.96) ** 2) for k in (0, 1))
        return (1 - f) * first + f * second

    seen, star = np.stack([see(f) for f in parts[0]], axis=1), np.array([0.0, 0.7, 0.3, 0.0])
    correction = seen @ star
    made = match_columns(correction, parts, star)
    assert np.abs(correction[:, np.newaxis] / seen - 1).max() > 0.06
    assert np.abs(made / seen - 1).max() < 0.012  # measured 0.0103; a line of 2.3 columns, 40 % deep
    gap = np.where(bins == 5, np.nan, correction)
    assert np.flatnonzero(np.isnan(match_columns(gap, parts, star)[:, 1])).tolist() == [5]
    beyond = parts.copy()
    beyond[:3, 1], beyond[-2:, 3] = np.nan, np.nan
    partly = match_columns(correction, beyond, star)
    assert np.isfinite(partly).all()
    np.testing.assert_allclose(partly[8:-8], made[8:-8], atol=1e-5)
    unknown = match_columns(correction, np.full(parts.shape, np.nan), star)
    np.testing.assert_array_equal(unknown, np.repeat(correction[:, np.newaxis], 4, axis=1))
    few = np.where(bins < 5, correction, np.nan)
    np.testing.assert_array_equal(match_columns(few, parts, star)[:, 0], few)
