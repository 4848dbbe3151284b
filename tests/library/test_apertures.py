"""Spectra in apertures: light, errors, rings, spaxels without a value, edges of the cube."""

import numpy as np
import pytest
from cubefiles import render_stars

from drs.apertures import find_peaks, sum_spectra
from drs.dq import Flag

SHAPE = (40, 18, 23)
PLACE = (8.3, 11.6)
FLUX = 2000.0


def make_cube(*, seed=1, sigma=2.0, sky=0.0):
    """Return (rate, error, dq) of a star whose light rises along the spectrum."""
    rate = render_stars(stars=[(*PLACE, FLUX)], shape=SHAPE) * np.linspace(1, 2, SHAPE[0])[:, None, None] + sky
    noisy = rate + sigma * np.random.default_rng(seed).normal(size=SHAPE)
    return noisy.astype(np.float32), np.full(SHAPE, sigma, np.float32), np.zeros(SHAPE, np.uint32)


def pulls_of(spectrum, radius=5.0):
    """Return the pulls of a spectrum against the light inside the aperture."""
    assert radius >= 5  # which holds all of the star
    return (spectrum.flux - FLUX * np.linspace(1, 2, SHAPE[0])) / spectrum.error


def test_light_and_errors():
    pulls = [pulls_of(sum_spectra(*make_cube(seed=seed), [PLACE], radius_pix=5.0)[0]) for seed in range(20)]
    assert abs(np.mean(pulls)) < 4 / np.sqrt(np.size(pulls))
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(2 * np.size(pulls)))
    (spectrum,) = sum_spectra(*make_cube(), [PLACE], radius_pix=5.0, correlation=1.5)
    whole = 1.5 * 2.0 * np.sqrt(np.pi) * 5  # spaxels on the edge count by the square of their part
    assert 0.95 * whole < spectrum.error.mean() < whole
    assert (spectrum.dq == 0).all()


def test_the_sky_of_a_ring():
    pulls = []
    for seed in range(20):
        rate, error, dq = make_cube(seed=seed, sky=30.0)
        rate[:, 1, 12] += 5000.0  # a hit, or another star, in the ring
        (spectrum,) = sum_spectra(rate, error, dq, [PLACE], radius_pix=5.0, ring_pix=(6.5, 9.0))
        pulls.append(pulls_of(spectrum))
    assert abs(np.mean(pulls)) < 0.25  # the star's wings and the clipping
    assert np.std(pulls) == pytest.approx(1.0, abs=0.08)


def test_spaxels_without_a_value_are_made_up_for():
    rate, error, dq = make_cube()
    rate[7, 8, 12], dq[9, 8, 11], dq[11, 7, 11] = np.nan, Flag.DO_NOT_USE | Flag.HOT, Flag.JUMP_DET
    rate[9, 8, 11] = 1e7
    dq[20, 6:11, 9:15] = Flag.DO_NOT_USE
    (spectrum,) = sum_spectra(rate, error, dq, [PLACE], radius_pix=5.0)
    pulls = pulls_of(spectrum)
    assert (np.abs(pulls[[7, 9]]) < 5).all()
    assert (spectrum.dq[7], spectrum.dq[9]) == (Flag.FLUX_ESTIMATED, Flag.FLUX_ESTIMATED)
    assert spectrum.dq[11] == Flag.JUMP_DET
    assert spectrum.error[7] > 1.05 * spectrum.error[6]
    assert np.isnan(spectrum.flux[20])
    assert spectrum.dq[20] == Flag.DO_NOT_USE


def test_a_source_at_the_edge_and_one_outside():
    rate, error, dq = make_cube()
    edge, outside = sum_spectra(rate, error, dq, [(0.0, 0.0), (-30.0, -30.0)], radius_pix=3.0, ring_pix=(4.0, 6.0))
    assert np.isfinite(edge.flux).all()
    assert np.isnan(outside.flux).all()
    assert (outside.dq == Flag.DO_NOT_USE).all()


def test_peaks_of_a_field_that_sources_fill():
    stars = [(4.2, 5.6, 5000.0), (4.8, 13.3, 1500.0), (14.1, 18.7, 900.0)]
    image = render_stars(stars=stars, shape=(1, *SHAPE[1:]))[0]
    y, x = np.indices(image.shape)
    image = image + 40 * np.exp(-0.5 * ((y - 9) ** 2 + (x - 9) ** 2) / 6.0**2)  # a galaxy without a core
    error = np.full(image.shape, 1.0)
    image += np.random.default_rng(3).normal(size=image.shape)
    unusable = np.zeros(image.shape, bool)
    unusable[0, :] = True
    found = find_peaks(image, error, unusable, threshold_sigma=8.0, radius_pix=3.0)
    assert len(found) in (3, 4)  # and the galaxy's middle
    for (row, column, _), place in zip(stars, found, strict=False):
        assert place == pytest.approx((row, column), abs=0.35)
    noise = np.random.default_rng(4).normal(size=(60, 50))
    assert find_peaks(noise, np.ones((60, 50)), noise > 9, threshold_sigma=5.0, radius_pix=3.0) == []


def test_spaxels_of_great_noise_beside_others_without_any():
    error = np.zeros((9, 40), np.float32)
    error[:, :20] = 10.0 ** np.random.default_rng(0).uniform(-3, 4, (9, 20))
    rate = np.zeros(error.shape, np.float32)
    assert find_peaks(rate, error, rate != 0, threshold_sigma=5.0, radius_pix=3.0) == []
