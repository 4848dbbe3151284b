"""Spectra of lenslets: truth, noise, cross-talk, bad pixels, shifts."""

import numpy as np
import pytest
from spectra import WIDE as LAYOUT
from spectra import WIDE_SHAPE as SHAPE

from drs.dq import Flag
from drs.errors import ReductionError
from drs.lenslet import (
    Matrix,
    extract_spectra,
    make_matrix,
    measure_shift,
    model_frame,
    shift_matrix,
)
from drs.simulation.lenslets import make_profiles, place_traces, render_spectra

NOISE_E = 0.3


def make_truth(*, seed=1, shift_pix=0.0, fwhm_factor=1.0):
    """Return light (lenslet, column), its frame, and the true matrix at rest."""
    rng = np.random.default_rng(seed)
    traces = place_traces(LAYOUT, SHAPE)
    throughput = rng.uniform(0.9, 1.1, LAYOUT.ny * LAYOUT.nx)
    light = rng.uniform(20, 200, (throughput.size, 1)) * np.ones(LAYOUT.n_column)
    light += 1500 * np.exp(-0.5 * ((np.arange(LAYOUT.n_column) - 30) / 1.2) ** 2) * rng.random((throughput.size, 1))
    profiles = make_profiles(LAYOUT, traces, throughput=throughput)
    moved = make_profiles(
        LAYOUT, place_traces(LAYOUT, SHAPE, shift_pix=shift_pix), throughput=throughput, fwhm_factor=fwhm_factor
    )
    frame = render_spectra(light, moved, traces, SHAPE)
    return light, frame, Matrix(profiles.astype(np.float32), traces.first_row, traces.first_column)


def add_noise(frame, *, seed=2):
    """Return rate, error and dq of a frame with the noise of 100 s."""
    variance = NOISE_E**2 + np.maximum(frame, 0) / 100
    rate = frame + np.random.default_rng(seed).normal(size=frame.shape) * np.sqrt(variance)
    return rate.astype(np.float32), np.sqrt(variance).astype(np.float32), np.zeros(frame.shape, np.uint32)


def on_frame(matrix):
    """Return where a sample's whole profile is on the frame."""
    columns = matrix.first_column[:, np.newaxis] + np.arange(matrix.profile.shape[1])
    rows = matrix.first_row[:, np.newaxis]
    return (columns >= 0) & (columns < SHAPE[1]) & (rows >= 0) & (rows + matrix.profile.shape[2] <= SHAPE[0])


def test_spectra_overlap_in_this_layout():
    _, _, matrix = make_truth()
    covered = model_frame(np.ones(matrix.profile.shape[:2]), matrix, SHAPE)
    single = model_frame(np.eye(len(matrix.profile))[20][:, np.newaxis] * np.ones(LAYOUT.n_column), matrix, SHAPE)
    lit = single > 0.05
    assert np.mean(covered[lit] > 1.2 * single[lit]) > 0.3  # of the pixels of a spectrum have light of its neighbours


def test_a_frame_without_noise_gives_its_light():
    light, frame, matrix = make_truth()
    error = np.full(SHAPE, NOISE_E, np.float32)
    spectra = extract_spectra(frame.astype(np.float32), error, np.zeros(SHAPE, np.uint32), matrix)
    whole = on_frame(matrix)
    assert whole.mean() > 0.9
    np.testing.assert_allclose(spectra.flux[whole], light[whole], rtol=2e-4)
    assert np.isnan(spectra.flux[~np.isfinite(spectra.error)]).all()
    np.testing.assert_allclose(model_frame(light, matrix, SHAPE), frame, rtol=1e-5, atol=1e-4)


def test_errors_are_those_of_the_noise():
    light, frame, matrix = make_truth()
    whole, pulls = on_frame(matrix), []
    for seed in range(12):
        spectra = extract_spectra(*add_noise(frame, seed=seed), matrix)
        pulls.append(((spectra.flux - light) / spectra.error)[whole])
    pulls = np.concatenate(pulls)
    n = pulls.size
    assert abs(pulls.mean()) < 4 / np.sqrt(n)
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * n)


def test_errors_are_the_diagonal_of_the_inverse():
    _, frame, matrix = make_truth()
    rate, error, dq = add_noise(frame)
    spectra, x = extract_spectra(rate, error, dq, matrix), 100
    columns = x - matrix.first_column
    members = np.flatnonzero((columns >= 0) & (columns < LAYOUT.n_column))
    design = np.zeros((SHAPE[0], members.size))
    for n, lenslet in enumerate(members):
        rows = matrix.first_row[lenslet] + np.arange(LAYOUT.n_row)
        inside = (rows >= 0) & (rows < SHAPE[0])
        design[rows[inside], n] = matrix.profile[lenslet, columns[lenslet]][inside]
    weighted = design / error[:, x, np.newaxis].astype(float)
    covariance = np.linalg.inv(weighted.T @ weighted)
    flux = covariance @ weighted.T @ (rate[:, x] / error[:, x].astype(float))
    where = members, columns[members]
    np.testing.assert_allclose(spectra.error[where], np.sqrt(np.diag(covariance)), rtol=1e-5)
    np.testing.assert_allclose(spectra.flux[where], flux, rtol=1e-4, atol=1e-3)


def crosstalk(matrix, profiles, **options):
    """Return the light found in neighbours of the one lenslet that is lit, over its own: the largest of any column."""
    light = np.zeros(matrix.profile.shape[:2])
    light[25] = 1000.0
    frame = render_spectra(light, profiles, place_traces(LAYOUT, SHAPE), SHAPE).astype(np.float32)
    flux = extract_spectra(
        frame, np.full(SHAPE, NOISE_E, np.float32), np.zeros(SHAPE, np.uint32), matrix, **options
    ).flux
    return np.nanmax(np.abs(np.delete(np.where(on_frame(matrix), flux, 0), 25, axis=0))) / 1000


def test_crosstalk():
    traces = place_traces(LAYOUT, SHAPE)
    exact, wide = (make_profiles(LAYOUT, traces, fwhm_factor=factor) for factor in (1.0, 1.1))
    matrix = Matrix(exact.astype(np.float32), traces.first_row, traces.first_column)
    assert crosstalk(matrix, exact) < 1e-5
    assert 0.01 < crosstalk(matrix, wide) < 0.03
    assert crosstalk(matrix, exact, iterations=1) > 0.1
    assert crosstalk(matrix, exact, iterations=3) > 1e-3


def test_iterations_go_to_the_solution():
    _, frame, matrix = make_truth()
    images = add_noise(frame)
    solved = extract_spectra(*images, matrix)
    near, far = (extract_spectra(*images, matrix, iterations=turns) for turns in (200, 1))
    whole = on_frame(matrix)
    np.testing.assert_allclose(near.flux[whole], solved.flux[whole], atol=1e-3)
    assert np.abs(far.flux - solved.flux)[whole].max() > 1
    np.testing.assert_array_equal(near.error, solved.error)


def test_nonnegative_is_the_best_of_those_that_are_not_negative():
    light, _, matrix = make_truth()
    light[::2] = 0
    images = add_noise(render_spectra(light, matrix.profile.astype(float), place_traces(LAYOUT, SHAPE), SHAPE))
    plain, bounded = (extract_spectra(*images, matrix, nonnegative=flag).flux for flag in (False, True))
    whole = on_frame(matrix)
    assert (plain[whole] < 0).sum() > 100
    assert (bounded[whole] >= 0).all()

    def chi2(flux):
        return np.sum(((images[0] - model_frame(flux, matrix, SHAPE)) / images[1]) ** 2)

    assert chi2(plain) < chi2(bounded) < chi2(np.maximum(plain, 0))


def test_bad_pixels_are_left_out_and_their_flags_go_on():
    light, frame, matrix = make_truth()
    rate, error, dq = add_noise(frame)
    lenslet, k = 25, 40
    x, rows = matrix.first_column[lenslet] + k, matrix.first_row[lenslet] + np.arange(LAYOUT.n_row)
    core = rows[np.argmax(matrix.profile[lenslet, k])]
    dq[core, x] = Flag.DO_NOT_USE | Flag.HOT
    rate[core, x] = 1e6
    dq[rows, x - 5] |= np.uint32(Flag.DO_NOT_USE)
    rate[rows, x - 5] = np.nan
    dq[core, x + 3] |= np.uint32(Flag.JUMP_DET)
    spectra = extract_spectra(rate, error, dq, matrix)
    clean = extract_spectra(*add_noise(frame), matrix)
    assert abs(spectra.flux[lenslet, k] - light[lenslet, k]) < 5 * spectra.error[lenslet, k]
    assert spectra.error[lenslet, k] > 1.3 * clean.error[lenslet, k]
    assert spectra.dq[lenslet, k] == Flag.HOT
    assert np.isnan(spectra.flux[lenslet, k - 5])
    assert np.isnan(spectra.error[lenslet, k - 5])
    assert spectra.dq[lenslet, k - 5] & Flag.DO_NOT_USE
    assert spectra.dq[lenslet, k + 3] == Flag.JUMP_DET
    far = np.abs(np.arange(LAYOUT.n_column) + matrix.first_column[:, np.newaxis] - x) > 5
    np.testing.assert_array_equal(spectra.flux[far], clean.flux[far])


@pytest.mark.parametrize("shift_pix", [0.0, 0.13, -0.3])
def test_a_shift_is_measured_and_taken_out(shift_pix):
    light, frame, matrix = make_truth(shift_pix=shift_pix)
    images = add_noise(frame)
    found, sigma = measure_shift(*images, matrix)
    assert sigma < 0.002
    assert abs(found - shift_pix) < 0.005
    whole = on_frame(matrix)
    spectra = extract_spectra(*images, shift_matrix(matrix, found))
    pulls = ((spectra.flux - light) / spectra.error)[whole]
    assert abs(pulls.mean()) < 0.1
    assert pulls.std() < 1.15  # profiles of 1.9 pixels are not known between pixels to the noise of 400 sigma
    if shift_pix:
        unmoved = extract_spectra(*images, matrix)
        assert np.std(((unmoved.flux - light) / unmoved.error)[whole]) > 1.5 * pulls.std()


def test_shifted_profiles_keep_their_light():
    _, _, matrix = make_truth()
    np.testing.assert_array_equal(shift_matrix(matrix, 0.0).profile, matrix.profile)
    moved = shift_matrix(matrix, 0.4)
    np.testing.assert_allclose(moved.profile.sum(axis=2), matrix.profile.sum(axis=2), rtol=1e-5)
    rows = np.arange(LAYOUT.n_row)
    middle = (moved.profile @ rows - matrix.profile @ rows) / matrix.profile.sum(axis=2)
    np.testing.assert_allclose(middle, 0.4, atol=0.05)


def test_the_file_of_a_matrix():
    _, _, matrix = make_truth()
    rectmat = matrix.profile.transpose(2, 1, 0).reshape(LAYOUT.n_row, LAYOUT.n_column, LAYOUT.ny, LAYOUT.nx)
    offsets = np.stack([matrix.first_row, matrix.first_column]).reshape(2, LAYOUT.ny, LAYOUT.nx)
    for found, expected in zip(make_matrix(rectmat, offsets), matrix, strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ReductionError, match=r"\(9, 61, 6, 9\) and offsets \(2, 9, 6\) do not fit"):
        make_matrix(rectmat, offsets.transpose(0, 2, 1))
    with pytest.raises(ReductionError, match=r"light of -1, expected 0 or more"):
        make_matrix(np.where(rectmat == rectmat.max(), -1, rectmat), offsets)


def test_refused():
    _, frame, matrix = make_truth()
    images = add_noise(frame)
    with pytest.raises(ValueError, match="do not fit each other"):
        extract_spectra(images[0], images[1][1:], images[2], matrix)
    with pytest.raises(ReductionError, match="no trace of the rectification matrix is on the frame"):
        extract_spectra(*images, matrix._replace(first_row=matrix.first_row + 500))
    with pytest.raises(ReductionError, match=r"a shift of 1\.5 rows"):
        shift_matrix(matrix, 1.5)
    with pytest.raises(ReductionError, match="no light to measure the shift"):
        measure_shift(np.full(SHAPE, np.nan, np.float32), images[1], images[2], matrix)


@pytest.mark.parametrize("step", [3, 16])
def test_a_shift_is_measured_on_some_columns(step):
    _, frame, matrix = make_truth(shift_pix=0.13)
    images = add_noise(frame)
    found, sigma = measure_shift(*images, matrix, column_step=step)
    assert 0.7 < sigma / measure_shift(*images, matrix)[1] / np.sqrt(step) < 1.5
    assert abs(found - 0.13) < 0.005 + 4 * sigma
