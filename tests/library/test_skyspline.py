"""Sky by a spline: lines that spectra sample in different parts, errors, hits, sources, too few samples."""

import numpy as np
import pytest

from drs.dq import Flag
from drs.errors import ReductionError
from drs.skyspline import model_sky

STEP_UM = 2e-4
N_SPECTRUM, N_COLUMN = 40, 61


def make_spectra(*, seed=1, sigma=1.0, n_spectrum=N_SPECTRUM):
    """Return (flux, error, dq, wavelength) of a sky with two lines, and the sky without noise."""
    rng = np.random.default_rng(seed)
    parts = rng.uniform(0, 1, (n_spectrum, 1))
    wavelength = 1.6 + STEP_UM * (np.arange(N_COLUMN) + parts)
    sky = 20.0 + 3000 * (wavelength - 1.6)
    for place, light in ((1.6034, 500.0), (1.6071, 200.0)):
        sky = sky + light * np.exp(-0.5 * ((wavelength - place) / 1.8e-4) ** 2)
    flux = sky + sigma * rng.normal(size=sky.shape)
    error = np.full(sky.shape, sigma, np.float32)
    return (flux.astype(np.float32), error, np.zeros(sky.shape, np.uint32), wavelength), sky


def test_every_spectrum_gets_the_sky_of_its_own_columns():
    pulls = []
    for seed in range(10):
        spectra, sky = make_spectra(seed=seed)
        blank = np.zeros(sky.shape, bool)
        blank[:20] = True
        spectra[0][5, 30] += 1e4  # a hit
        spectra[0][25] += 300.0  # a source, which is not blank
        spectra[2][6, 20], spectra[0][6, 20] = Flag.DO_NOT_USE, np.nan
        model, error = model_sky(*spectra, blank)
        inside = np.isfinite(model)
        assert inside.mean() > 0.95
        assert np.abs(model - sky)[inside].max() < 8  # 1.6 % of a line, at the steepest
        pulls.append(((model - sky) / error)[inside][::7])
    pulls = np.concatenate(pulls)
    assert abs(pulls.mean()) < 0.15
    assert pulls.std() == pytest.approx(1.0, abs=0.25)


def test_a_median_on_one_grid_leaves_ten_times_more():
    spectra, sky = make_spectra(sigma=0.01)
    model, _ = model_sky(*spectra, np.ones(sky.shape, bool))
    nearest = np.median(sky, axis=0)  # each column at the same count: parts of a column apart
    inside = np.isfinite(model)
    assert np.abs(model - sky)[inside].max() < 0.1 * np.abs(nearest - sky)[inside].max()


def test_few_spectra_have_wider_knots():
    spectra, sky = make_spectra(n_spectrum=3)
    model, error = model_sky(*spectra, np.ones(sky.shape, bool))
    assert np.isfinite(error[np.isfinite(model)]).all()


def test_too_few_samples_are_refused():
    spectra, sky = make_spectra()
    blank = np.zeros(sky.shape, bool)
    blank[0, :10] = True
    with pytest.raises(ReductionError, match="10 blank samples, too few to see the sky by"):
        model_sky(*spectra, blank)
