"""A model of Vega made like a star: velocity, kernel, scales of lines of no simple profile; what cannot be known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from drs.errors import ReductionError
from drs.starmodel import make_model, match_model
from drs.telluric import blackbody, hydrogen_lines

RESOLUTION = 4000.0
PER_UNIT = 60000  # points of the fine spectrum per unit of the logarithm
SIGMA = np.hypot(1 / (2.3548 * RESOLUTION), 60.0 / 299792.458)  # of instrument and rotation


def make_vega(wavelength_um, *, scale=1.0):
    """Return the photons of a star whose lines have a core and wings that fall exponentially."""
    lost = np.zeros(wavelength_um.size)
    for line in hydrogen_lines(wavelength_um[0], wavelength_um[-1]):
        depth, wing = np.interp(line, [1.4, 1.5, 1.75, 2.2], [0.3, 0.12, 0.3, 0.25]), 2.5e-3
        away = np.abs(wavelength_um - line)
        lost += scale * depth * (0.6 * np.exp(-away / wing) + 0.4 * np.exp(-0.5 * (away / 4e-4) ** 2))
    return blackbody(wavelength_um, 9550.0) * np.maximum(1 - lost, 0.05)


def make_air(wavelength_um, *, n_line=60):
    """Return a transmission with narrow lines, and a smooth response."""
    rng = np.random.default_rng(1)
    places, depths = rng.uniform(wavelength_um[0], wavelength_um[-1], n_line), rng.uniform(0.02, 1.4, n_line) ** 2
    away = (wavelength_um[:, np.newaxis] - places) / (wavelength_um[0] / RESOLUTION / 2.3548)
    span = (wavelength_um - wavelength_um[0]) / np.ptp(wavelength_um)
    return np.exp(-(depths * np.exp(-0.5 * away**2)).sum(axis=1)) * (0.7 + 0.3 * np.sin(np.pi * span))


def observe(start_um, stop_um, *, velocity, scale, light=1e5):
    """Return bins, flux, error, air and the fine wavelengths of a star that moves."""
    bins = np.arange(start_um, stop_um, start_um / RESOLUTION / 2)
    fine = np.exp(np.arange(np.log(start_um * 0.98), np.log(stop_um * 1.02), 1 / PER_UNIT))
    seen = gaussian_filter1d(make_vega(fine / (1 + velocity / 299792.458), scale=scale), SIGMA * PER_UNIT)
    edges = np.append(bins - (bins[1] - bins[0]) / 2, bins[-1] + (bins[1] - bins[0]) / 2)
    total = np.concatenate([[0], np.cumsum(np.diff(fine) * (seen[1:] + seen[:-1]) / 2)])
    air = make_air(bins)
    flux = light * np.diff(np.interp(edges, fine, total)) / np.diff(edges) * air
    error = np.sqrt(flux + 100)
    return bins, flux + error * np.random.default_rng(3).normal(size=bins.size), error, air, fine


def match(bins, flux, error, fine, **changes):
    """Return the model and its Match."""
    model = make_model(fine, make_vega(fine) / fine, bins, hydrogen_lines(1.0, 2.5), resolution=RESOLUTION)
    usable = np.isfinite(flux) & changes.get("usable", True)
    many = changes.get("unit", 1.0)
    model = model._replace(continuum=model.continuum * many)  # no unit of the model matters
    return model, match_model(model, flux, error, bins, usable, resolution=RESOLUTION)


@pytest.mark.parametrize(
    ("start_um", "stop_um", "velocity", "scale", "n_line"),
    [(1.20, 1.33, -35.0, 1.2, 1), (1.56, 1.76, 60.0, 0.85, 3), (2.05, 2.30, -35.0, 1.2, 1)],
)
def test_what_is_left_is_the_air(start_um, stop_um, velocity, scale, n_line):
    bins, flux, error, air, fine = observe(start_um, stop_um, velocity=velocity, scale=scale)
    _, found = match(bins, flux, error, fine, unit=1e18)
    ratio, clear = flux / found.photons / air, air > 0.2
    ratio /= np.median(ratio)
    assert np.std(ratio[clear]) < 0.006  # measured 0.0037 to 0.0041, of which noise is 0.0034; bar 0.01
    assert found.n_line >= n_line
    assert found.velocity_km_s == pytest.approx(velocity, abs=15)  # a fifth of a bin
    kernels = found.width_um, SIGMA * np.median(bins)
    assert np.sqrt(abs(kernels[0] ** 2 - kernels[1] ** 2)) < 2 * (bins[1] - bins[0])  # lines are 20 bins broad
    assert np.median(found.scales) == pytest.approx(scale, abs=0.12)
    assert found.photons.mean() == pytest.approx(1)


def test_a_model_as_it_is_where_its_lines_cannot_be_measured():
    bins, flux, error, _, fine = observe(2.05, 2.30, velocity=-35.0, scale=1.2)
    away = np.abs(bins - 2.1661) > 0.02
    _, found = match(bins, flux, error, fine, usable=away)
    assert (found.velocity_km_s, found.n_line) == (0.0, 0)
    np.testing.assert_array_equal(found.scales, 1.0)
    faint = observe(2.05, 2.30, velocity=-35.0, scale=1.2, light=20.0)
    assert match(*faint[:3], faint[4])[1].n_line == 0
    clear = observe(2.20, 2.30, velocity=0.0, scale=1.0)  # no line in it
    model, found = match(*clear[:3], clear[4])
    assert len(model.lines_um) == found.n_line == 0
    expected = blackbody(clear[0], 9550.0)
    np.testing.assert_allclose(found.photons, expected / expected.mean(), rtol=0.01)


def test_the_parts_of_a_model_are_the_model():
    fine = np.arange(1.55, 1.80, 2e-5)
    light = make_vega(fine)
    model = make_model(fine, light / fine, np.arange(1.6, 1.75, 2e-4), hydrogen_lines(1.0, 2.5), resolution=4000)
    together = model.continuum * (1 - model.losses.sum(axis=0))
    np.testing.assert_allclose(together, np.interp(np.exp(model.log_um), fine, light), rtol=1e-12)
    assert (np.abs(np.exp(model.log_um[model.losses.argmax(axis=1)]) - model.lines_um) < 2e-3).all()


def test_refused():
    bins, fine = np.arange(1.6, 1.75, 2e-4), np.arange(1.61, 1.8, 1e-4)
    with pytest.raises(ReductionError, match=r"known from 1\.61 to 1\.\d+ um, 1\.5936 to 1\.75\d+ are needed"):
        make_model(fine, np.ones(fine.size), bins, np.array([]), resolution=4000)
    fine = np.arange(1.5, 1.8, 1e-4)
    with pytest.raises(ReductionError, match="wavelengths without light"):
        make_model(fine, np.where(fine > 1.7, 0.0, 1.0), bins, np.array([]), resolution=4000)
