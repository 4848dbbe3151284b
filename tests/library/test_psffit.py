"""Fluxes by a PSF: without bias in single images and in mosaics, errors that hold, bad input."""

import numpy as np
import pytest
from stars import observe_stars, render_stars, true_psf

from drs.psffit import fit_fluxes

PSF = (true_psf(10.0, 2), 2)
SHAPE = (210, 232)


def place_stars(seed, shape=SHAPE):
    """Return x, y and flux of isolated stars."""
    random = np.random.default_rng(seed)
    y, x = (
        axis.ravel() + random.uniform(-3, 3, axis.size)
        for axis in np.mgrid[18 : shape[0] - 16 : 26, 18 : shape[1] - 16 : 26]
    )
    return x, y, 10 ** random.uniform(2.0, 4.2, x.size)


def fit(image, places, *, correlation=1.0, psf=PSF, sky_error=0.0):
    """Return the Fluxes of sources."""
    bad = image.unusable
    planes = (np.where(bad, 0.0, image.rate).astype(float), np.where(bad, 0.0, image.error).astype(float), bad)
    none = np.zeros(len(places[0]))
    return fit_fluxes(planes, places, (none, none + sky_error), psf=psf, fwhm_pix=2.8, noise_correlation=correlation)


def test_fluxes_of_single_images_have_no_bias_and_errors_that_hold():
    ratios, pulls = [], []
    for seed in range(4):
        x, y, flux = place_stars(seed)
        start = np.random.default_rng(seed).normal(0, 0.05, (2, x.size))
        found = fit(observe_stars(SHAPE, x, y, flux, seed=50 + seed, bad=0.002), (x + start[0], y + start[1]))
        ratios += list(found.flux / flux)
        pulls += list((found.flux - flux) / found.error)
        assert found.breadth == pytest.approx((0, 0), abs=0.03)
    check(np.array(ratios), np.array(pulls), chi_square=0.15)  # of 220 stars: +- 0.1


def check(ratios, pulls, *, chi_square):
    """Fluxes over true ones are 1 on average to 0.05 %, and their errors hold."""
    known = np.isfinite(pulls)
    assert known.sum() > 0.97 * pulls.size > 150
    weights = (pulls / (ratios - 1))[known] ** 2
    assert np.average(ratios[known], weights=weights) == pytest.approx(1, abs=5e-4)
    assert np.mean(pulls[known] ** 2) == pytest.approx(1, abs=chi_square)


def share_out(image, a, b):
    """Return an image whose pixels are shared out by area among those a rows and b columns off."""
    rows = (1 - a) * image[:-1] + a * image[1:]
    return (1 - b) * rows[:, :-1] + b * rows[:, 1:]


def test_a_mosaic_is_matched():
    """Sixteen dithers shared out by area: the PSF becomes broader, the noise correlated."""
    ratios, pulls = [], []
    for seed in range(3):
        x, y, flux = place_stars(seed)
        random = np.random.default_rng(seed)
        parts, sums = random.uniform(0, 1, (16, 2)), np.zeros((2, *SHAPE))
        for a, b in parts:
            image = np.pad(render_stars(SHAPE, x + b, y + a, flux), ((0, 1), (0, 1)))
            variance = (image + 6.0) / 70 + 0.05
            sums[0] += share_out(image + random.normal(0, np.sqrt(variance)), a, b) / 16
            squares = [[w**2 for w in (1 - part, part)] for part in (a, b)]
            for j in (0, 1):
                for i in (0, 1):
                    sums[1] += squares[0][j] * squares[1][i] * variance[j : j + SHAPE[0], i : i + SHAPE[1]] / 256
        image = observe_stars(SHAPE, [], [], [], seed=1)
        image = image._replace(rate=sums[0].astype("f4"), error=np.sqrt(sums[1]).astype("f4"))
        spread = (parts * (1 - parts)).mean(axis=0)
        found = fit(image, (x, y), correlation=np.prod(1 - 2 * spread) ** -0.5)
        assert found.breadth == pytest.approx(6 * spread[::-1], abs=0.05)  # 1 on average
        ratios += list(found.flux / flux)
        pulls += list((found.flux - flux) / found.error)
    check(np.array(ratios), np.array(pulls), chi_square=0.2)


def test_the_error_of_the_sky_is_in_that_of_the_flux():
    x, y, flux = place_stars(3)
    image = observe_stars(SHAPE, x, y, flux, seed=3)
    bare, more = fit(image, (x, y)), fit(image, (x, y), sky_error=0.05)
    added = np.sqrt(more.error**2 - bare.error**2) / 0.05
    faint = flux < 300
    assert np.median(added[faint]) == pytest.approx(25, rel=0.1)  # near the noise-equivalent area, 22
    assert (more.flux == bare.flux).all()


def test_a_source_without_pixels_or_light_has_no_flux():
    image = observe_stars((60, 70), [20.0], [30.0], [5000.0], seed=1)
    image.dq[25:36, 42:55] |= 1
    found = fit(image, (np.array([20.0, 48.0, 20.0]), np.array([30.0, 30.0, 50.0])))
    assert found.flux[0] == pytest.approx(5000, rel=0.02)
    assert np.isnan(found.flux[1])
    assert np.isnan(found.flux[2]) or found.flux[2] < 6 * found.error[2]
    assert fit(image, (np.empty(0), np.empty(0))).flux.size == 0
