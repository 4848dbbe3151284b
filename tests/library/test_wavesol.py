"""Wavelengths without a hand: shifts and stretches, wrong lamps, outliers, checks on airglow."""

import numpy as np
import pytest
from arcs import FWHM_PIX, LISTS, render_lines

from drs.dq import Flag
from drs.errors import ReductionError
from drs.lines import find_lines, merge_list, read_lists
from drs.wavesol import check_wavelengths, solve_wavelengths

NY, NX = 4, 7  # of lenslets
MIDDLE_UM, STEP_UM = 1.63, 2.1e-4


def make_wavelengths(n_column=900, *, shift_pix=0.0, stretch=0.0, bend_pix=0.0, falls=False):
    """Return the guess and the true wavelengths (spectrum, column), and the places of the spectra."""
    j, i = (axis.ravel() for axis in np.indices((NY, NX)))
    x = np.arange(n_column) - (n_column - 1) / 2
    u = 2 * x / n_column
    guess = MIDDLE_UM + STEP_UM * (x + 2e-6 * x**2) + STEP_UM * 3 * j[:, np.newaxis]
    away = shift_pix + stretch * x + bend_pix * (u**3 + 0.8 * u**2)
    truth = guess + STEP_UM * (away + (0.4 * j - 0.02 * i**2)[:, np.newaxis])
    if falls:
        guess, truth = guess[:, ::-1], truth[:, ::-1]
    return guess, truth, np.stack([i, j], axis=1)


def make_arc(truth, lamps="argon", *, seed=1, width=2.1):
    """Return spectra of lamps and their list."""
    listed = read_lists([LISTS / f"{lamp}.ecsv" for lamp in lamps.split("+")], truth.min(), truth.max())
    spectra = render_lines(truth, listed[0], np.maximum(3e4 * listed[1] ** 0.5, 100), seed=seed)
    return spectra, merge_list(*listed, width * STEP_UM)


def solve(lamp="argon", *, n_column=900, listed=None, spectra=None, **options):
    """Return the solution and its errors, columns."""
    guess, truth, place = make_wavelengths(n_column, **options)
    own, known = make_arc(truth, lamp)
    lines = find_lines(*(spectra or own), fwhm_pix=FWHM_PIX)
    solution = solve_wavelengths(lines, listed or known, guess, place)
    return solution, (solution.wavelength_um - truth) / np.gradient(truth, axis=1)


@pytest.mark.parametrize("lamp", ["argon", "krypton", "krypton+xenon"])
@pytest.mark.parametrize(("shift_pix", "stretch"), [(0, 0), (9.3, -0.009), (-8.7, 0.0095)])
def test_wavelengths_are_found_from_any_guess(lamp, shift_pix, stretch):
    solution, away = solve(lamp, n_column=1400, shift_pix=shift_pix, stretch=stretch, bend_pix=1.0)
    assert away.std() < 0.012  # measured 0.004
    assert np.abs(away).max() < 0.1
    assert solution.rms_all_pix < 0.015
    assert solution.matched > 0.9
    assert abs(solution.shift_pix - shift_pix) < 2.5
    assert (solution.n_line >= 4).all()
    assert np.nanmax(solution.rms_pix) < 0.03


def test_narrow_bands_and_falling_wavelengths():
    for falls in (False, True):
        _, away = solve("argon", n_column=400, shift_pix=7.0, stretch=0.006, falls=falls)
        assert away.std() < 0.012  # measured 0.006


@pytest.mark.parametrize("n_column", [400, 1400])
@pytest.mark.parametrize(("lamp", "wrong"), [("argon", "krypton"), ("krypton", "xenon"), ("xenon", "argon")])
def test_a_wrong_lamp_is_refused(lamp, wrong, n_column):
    _, truth, _ = make_wavelengths(n_column)
    listed = merge_list(*read_lists([LISTS / f"{wrong}.ecsv"], truth.min(), truth.max()), FWHM_PIX * STEP_UM)
    with pytest.raises(ReductionError, match=r"check (the )?lamp"):
        solve(lamp, n_column=n_column, listed=listed)


def test_two_lamps_at_once_and_lines_that_no_list_has():
    _, truth, _ = make_wavelengths(1400, shift_pix=3.0)
    (one, error, dq), listed = make_arc(truth)
    other, _ = make_arc(truth, "xenon", seed=2)
    both = one + other[0], np.hypot(error, other[1]), dq
    solution, away = solve(n_column=1400, shift_pix=3.0, spectra=both, listed=listed)
    assert away.std() < 0.015
    assert 0.6 < solution.matched < 0.95
    assert solution.n_rejected.sum() > 0


def test_saturated_lines_and_dead_spectra_are_left_out():
    _, truth, _ = make_wavelengths()
    (flux, error, dq), _ = make_arc(truth)
    rng = np.random.default_rng(4)
    strong = flux > np.nanpercentile(flux, 99.8)
    flux[strong], dq[strong] = np.nanpercentile(flux, 99.8), Flag.SATURATED
    flux[5] = np.nan
    hits = rng.random(flux.shape) < 0.003
    flux[hits] += 500
    solution, away = solve(spectra=(flux, error, dq))
    assert find_lines(flux, error, dq, fwhm_pix=FWHM_PIX).n_saturated.sum() > NY * NX
    assert away.std() < 0.015
    assert solution.n_line[5] == 0
    assert np.isnan(solution.rms_pix[5])
    assert np.abs(away[5]).max() < 0.15  # by the fit to all


def test_a_slice_that_is_off_gets_its_own_fit():
    guess, truth, _ = make_wavelengths()
    slices, position = np.repeat(np.arange(NY), NX), np.tile(np.arange(NX), NY)
    truth = truth + STEP_UM * np.array([0, 0.3, -0.4, 0.2])[slices][:, np.newaxis]
    spectra, listed = make_arc(truth)
    lines = find_lines(*spectra, fwhm_pix=FWHM_PIX)
    solution = solve_wavelengths(lines, listed, guess, np.stack([slices, position], axis=1), group=slices)
    assert ((solution.wavelength_um - truth) / STEP_UM).std() < 0.02
    assert ((solution.global_um - truth) / STEP_UM).std() > 0.1


@pytest.mark.parametrize("offset_pix", [0.0, 0.21, -0.4])
def test_airglow_tells_an_offset(offset_pix):
    _, truth, _ = make_wavelengths(1400)
    listed = read_lists([LISTS / "oh.ecsv"], truth.min(), truth.max())
    sky = render_lines(truth - offset_pix * STEP_UM, listed[0], 2e4 * listed[1])
    lines = find_lines(*sky, fwhm_pix=FWHM_PIX)
    merged = merge_list(*listed, FWHM_PIX * STEP_UM)
    check = check_wavelengths(lines, merged, truth)
    assert check.offset_pix == pytest.approx(offset_pix, abs=0.02)
    assert abs(check.offset_pix - offset_pix) < 4 * check.error_pix
    assert check.error_pix < 0.01
    assert check.n_line > 15
    if offset_pix:
        with pytest.raises(ReductionError, match=r"columns off the wavelengths, at most 0\.05 are allowed"):
            check_wavelengths(lines, merged, truth, limit_pix=0.05)
    else:
        check_wavelengths(lines, merged, truth, limit_pix=0.05)


def test_too_few_lines_are_refused():
    guess, truth, place = make_wavelengths()
    spectra, listed = make_arc(truth)
    none = find_lines(*(np.zeros_like(array) for array in spectra), fwhm_pix=FWHM_PIX)
    with pytest.raises(ReductionError, match="too few to match"):
        solve_wavelengths(none, listed, guess, place)
    with pytest.raises(ReductionError, match="0 lines to check the wavelengths by"):
        check_wavelengths(none, listed, truth)
    lines = find_lines(*spectra, fwhm_pix=FWHM_PIX)
    with pytest.raises(ReductionError, match=r"check (the )?lamp"):
        solve_wavelengths(lines, listed, guess + 0.3, place)
    with pytest.raises(ReductionError, match=r"of 5 wavelengths .* too few for"):
        solve("xenon", n_column=1400)
