"""Resampling of spectra: flux kept, lines where they are, errors, gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from drs.dq import Flag
from drs.errors import ReductionError
from drs.wavegrid import choose_grid, find_edges, find_parts, find_shared_range, make_grid, resample_spectra

N_COLUMN = 80


def make_wavelengths(n=3, *, falls=False):
    """Return wavelengths (n, N_COLUMN) of about 0.2 nm a column, each spectrum with its own start and dispersion."""
    column = np.arange(N_COLUMN) - N_COLUMN / 2
    shift = np.linspace(-0.4, 0.7, n)[:, np.newaxis]
    wavelength = 1.6 + 2e-4 * (1 + 0.02 * shift) * (column + shift) + 1e-8 * column**2
    return wavelength[:, ::-1] if falls else wavelength


def make_spectra(wavelength, seed=1):
    flux = np.random.default_rng(seed).uniform(10, 20, wavelength.shape).astype(np.float32)
    return flux, np.full(wavelength.shape, 0.5, np.float32), np.zeros(wavelength.shape, np.uint32)


@pytest.mark.parametrize("falls", [False, True])
@given(step=st.floats(5e-5, 1e-3), offset=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_light_is_kept_and_comes_from_where_it_was(falls, step, offset):
    wavelength = make_wavelengths(falls=falls)
    flux, error, dq = make_spectra(wavelength)
    grid = make_grid(1.59 + offset * step, 1.61, step)
    found = resample_spectra(flux, error, dq, wavelength, grid)
    edges = find_edges(wavelength)
    for n in range(len(flux)):
        order = slice(None, None, -1 if falls else 1)
        light = np.concatenate([[0], np.cumsum(flux[n][order].astype(float))])
        inside = np.isfinite(found.flux[n])
        low, high = grid - step / 2, grid + step / 2
        whole = (low >= edges[n].min()) & (high <= edges[n].max())
        np.testing.assert_array_equal(inside[whole], True)
        expected = np.interp(high, edges[n][order], light) - np.interp(low, edges[n][order], light)
        np.testing.assert_allclose(found.flux[n][whole], expected[whole], rtol=1e-5, atol=1e-5)


def test_a_line_keeps_its_flux_and_its_place():
    wavelength, grid = make_wavelengths(40), make_grid(1.593, 1.607, 1.7e-4)
    edges = find_edges(wavelength)
    sigma = 3.4e-4
    light = np.diff(0.5 * (1 + erf((edges - 1.6003) / sigma / np.sqrt(2))), axis=1)
    found = resample_spectra(1000 * light.astype(np.float32), *make_spectra(wavelength)[1:], wavelength, grid)
    np.testing.assert_allclose(found.flux.sum(axis=1), 1000, rtol=1e-5)
    centre = (found.flux * grid).sum(axis=1) / found.flux.sum(axis=1)
    np.testing.assert_allclose(centre, 1.6003, atol=2e-6)  # 0.01 columns


def test_errors_and_their_correlation():
    wavelength, grid = make_wavelengths(2000), make_grid(1.593, 1.607, 1.5e-4)
    error, dq = np.full(wavelength.shape, 0.5, np.float32), np.zeros(wavelength.shape, np.uint32)
    noise = np.random.default_rng(3).normal(0, 0.5, wavelength.shape).astype(np.float32)
    found = resample_spectra(noise, error, dq, wavelength, grid)
    pulls = found.flux / found.error
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size / 2)
    wide = found.flux[:, 5:65].sum(axis=1) / np.sqrt((found.error[:, 5:65].astype(float) ** 2).sum(axis=1))
    assert found.correlation > 1.1
    np.testing.assert_allclose(wide.std(), found.correlation, rtol=0.06)  # 2 x 1 / sqrt(2 * 2000)


def test_gaps_are_scaled_or_left_out():
    wavelength = make_wavelengths(1)
    flux, error, dq = make_spectra(wavelength)
    flux[:] = 12
    grid = make_grid(1.594, 1.606, 8e-4)
    whole = resample_spectra(flux, error, dq, wavelength, grid)
    k = 7
    hole = np.flatnonzero(np.abs(wavelength[0] - grid[k]) < 1.2e-4)  # of about four columns
    dq[0, hole[0]] = Flag.DO_NOT_USE | Flag.HOT
    part = resample_spectra(flux, error, dq, wavelength, grid)
    np.testing.assert_allclose(part.flux, whole.flux, rtol=0.02)
    assert part.error[0, k] > 1.05 * whole.error[0, k]
    assert part.dq[0, k] == Flag.HOT | Flag.FLUX_ESTIMATED
    flux[0, np.abs(wavelength[0] - grid[k]) < 3e-4] = np.nan
    gone = resample_spectra(flux, error, dq, wavelength, grid)
    assert np.isnan(gone.flux[0, k])
    assert gone.dq[0, k] == Flag.DO_NOT_USE
    np.testing.assert_array_equal(np.delete(gone.dq[0], [k - 1, k, k + 1]), 0)


def test_a_spectrum_without_wavelengths_has_no_values():
    wavelength = make_wavelengths(3)
    wavelength[1, 4] = np.nan
    found = resample_spectra(*make_spectra(wavelength), wavelength, make_grid(1.595, 1.605, 2e-4))
    assert np.isnan(found.flux[1]).all()
    assert (found.dq[1] == Flag.DO_NOT_USE).all()
    assert np.isfinite(found.flux[[0, 2]]).all()


def test_refused():
    wavelength = make_wavelengths(2)
    spectra = make_spectra(wavelength)
    with pytest.raises(ReductionError, match=r"no bin of 0\.1 um between 1\.7 and 1\.6 um"):
        make_grid(1.7, 1.6, 0.1)
    mixed = wavelength.copy()
    mixed[1] = mixed[1, ::-1]
    with pytest.raises(ReductionError, match="wavelengths do not rise, nor fall, along every spectrum"):
        resample_spectra(*spectra, mixed, make_grid(1.595, 1.605, 2e-4))
    with pytest.raises(ValueError, match="wavelength"):
        resample_spectra(*spectra, wavelength[:, 1:], make_grid(1.595, 1.605, 2e-4))


@pytest.mark.parametrize("falls", [False, True])
def test_the_grid_that_all_spectra_share(falls):
    wavelength = make_wavelengths(falls=falls)
    wavelength[1, 3] = np.nan
    first, last, step = find_shared_range(wavelength)
    known = wavelength[[0, 2]]
    assert (first, last) == (known.min(axis=1).max(), known.max(axis=1).min())
    assert step == pytest.approx(2e-4, rel=0.02)
    grid = choose_grid(wavelength)
    assert (grid[0], grid[1] - grid[0]) == pytest.approx((first, step))
    assert last - step < grid[-1] <= last + 1e-9
    np.testing.assert_allclose(
        choose_grid(wavelength, start_um=1.6, stop_um=1.6011, step_um=5e-4), [1.6, 1.6005, 1.601]
    )


def test_spectra_that_share_nothing_are_refused():
    wavelength = np.array([[1.0, 1.1, 1.2], [1.3, 1.4, 1.5]])
    with pytest.raises(ReductionError, match=r"the last begins at 1\.3 um, one ends at 1\.2"):
        find_shared_range(wavelength)
    with pytest.raises(ReductionError, match="no spectrum has wavelengths"):
        find_shared_range(wavelength * np.nan)


@pytest.mark.parametrize("falls", [False, True])
def test_bins_are_parts_of_two_columns(falls):
    step = 2e-4
    wavelength = 1.6 + step * (np.arange(12) + np.array([0.0, 0.25, -0.4])[:, np.newaxis])
    grid = 1.6 + step * np.arange(2, 9)
    parts = find_parts(wavelength[:, ::-1] if falls else wavelength, grid)
    distance = np.abs(parts - np.array([[0.0], [0.75], [0.4]]))
    np.testing.assert_allclose(np.minimum(distance, 1 - distance), 0, atol=1e-6)
    flux = np.sin(np.arange(12.0)) + 2
    whole = resample_spectra(
        np.tile(flux, (3, 1)).astype(np.float32), np.ones((3, 12), np.float32), np.zeros((3, 12), np.uint32),
        wavelength, grid,
    )  # fmt: skip
    np.testing.assert_allclose(whole.flux[2], 0.6 * flux[2:9] + 0.4 * flux[3:10], rtol=1e-5)
    wavelength[1, 5] = np.nan
    assert np.isnan(find_parts(wavelength, grid)).sum() == 7
    assert np.isnan(find_parts(wavelength[:1], grid - 4 * step)).sum() == 2
