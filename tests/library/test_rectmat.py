"""Rectification matrices from simulated scans: profiles, throughput, outliers, what is refused."""

import numpy as np
import pytest
from spectra import WIDE as LAYOUT
from spectra import WIDE_SHAPE as SHAPE

from drs import rectmat
from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image
from drs.rectmat import (
    centre_windows,
    cut_windows,
    find_missing,
    fit_profiles,
    lit_lenslets,
    make_arrays,
    measure_throughput,
)
from drs.simulation.lenslets import make_profiles, place_traces, render_spectra

N_POSITION = 9
SIZE = LAYOUT.n_column, LAYOUT.n_row


def make_scan(*, level=400.0, seed=1, hits=40):
    """Return the frames of a scan (rate, error, dq), the true throughput and profiles, and the traces."""
    rng = np.random.default_rng(seed)
    traces, n = place_traces(LAYOUT, SHAPE), LAYOUT.ny * LAYOUT.nx
    throughput = rng.uniform(0.85, 1.15, (n, 1)) * (
        1 + 0.05 * np.linspace(-1, 1, LAYOUT.n_column) * rng.uniform(-1, 1, (n, 1))
    )
    throughput /= np.median(np.median(throughput, axis=1))
    lamp = level * (1 + 0.5 * np.sin(np.linspace(0, 3, LAYOUT.n_column)))
    profiles, frames = make_profiles(LAYOUT, traces), []
    for position in range(N_POSITION):
        lit = lit_lenslets((LAYOUT.ny, LAYOUT.nx), position, N_POSITION).ravel()
        frame = render_spectra(lamp * throughput * lit[:, np.newaxis], profiles, traces, SHAPE)
        variance = 0.3**2 + frame / 100
        rate = frame + rng.normal(size=SHAPE) * np.sqrt(variance)
        rate[rng.integers(0, SHAPE[0], hits), rng.integers(0, SHAPE[1], hits)] += 2000
        dq = np.where(rng.random(SHAPE) < 0.01, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
        rate[dq > 0] = 1e5
        frames.append((rate.astype(np.float32), np.sqrt(variance).astype(np.float32), dq))
    return frames, throughput, profiles, traces


def fit_scan(frames, traces, *, clip_sigma=6.0):
    """Return the profiles and spectra of all lenslets of a scan."""
    n = LAYOUT.ny * LAYOUT.nx
    profile, spectrum, error, chi2 = np.zeros((n, *SIZE)), np.zeros((n, SIZE[0])), np.zeros((n, SIZE[0])), np.zeros(n)
    rejected = 0
    for position, frame in enumerate(frames):
        lit = np.flatnonzero(lit_lenslets((LAYOUT.ny, LAYOUT.nx), position, N_POSITION))
        windows = cut_windows(*frame, traces.first_row[lit], traces.first_column[lit], SIZE)
        found = fit_profiles(windows, order=4, clip_sigma=clip_sigma)
        profile[lit], spectrum[lit], error[lit], chi2[lit] = found[:4]
        rejected += found.rejected.sum()
    return profile, spectrum, error, chi2, rejected


def whole(traces):
    """Return which lenslets are on the frame with all their trace."""
    rows = (traces.first_row >= 0) & (traces.first_row + SIZE[1] <= SHAPE[0])
    return rows & (traces.first_column >= 0) & (traces.first_column + SIZE[0] <= SHAPE[1])


def test_profiles_and_throughput_are_the_true_ones():
    frames, throughput, truth, traces = make_scan()
    profile, spectrum, error, chi2, rejected = fit_scan(frames, traces)
    inside = whole(traces)
    assert inside.sum() > 40
    expected = truth / truth.sum(axis=2, keepdims=True)
    assert np.abs(profile - expected)[inside].max() < 0.01  # of the light of a column
    assert rejected > 20
    assert abs(chi2[inside].mean() - 1) < 0.05
    ratio = measure_throughput(spectrum, error) / throughput
    assert np.std(ratio[inside]) < 0.005
    assert abs(np.median(ratio[inside]) - 1) < 0.01


def test_errors_of_the_spectra():
    frames, throughput, truth, traces = make_scan(hits=0)
    _, spectrum, error, _, _ = fit_scan(frames, traces)
    lamp = 400 * (1 + 0.5 * np.sin(np.linspace(0, 3, LAYOUT.n_column)))
    inside = lamp * throughput * truth.sum(axis=2)  # the window does not hold all of the wings
    pulls = ((spectrum - inside) / error)[whole(traces)]
    assert abs(pulls.std() - 1) < 0.05
    assert abs(pulls.mean()) < 0.1


def test_outliers_matter_if_they_stay():
    frames, _, truth, traces = make_scan()
    expected = truth / truth.sum(axis=2, keepdims=True)
    inside = whole(traces)
    clipped, kept = (np.abs(fit_scan(frames, traces, clip_sigma=s)[0] - expected)[inside].max() for s in (6.0, 1e9))
    assert kept > 5 * clipped


def test_windows_that_are_off_are_found():
    frames, _, _, traces = make_scan()
    lit = np.flatnonzero(lit_lenslets((LAYOUT.ny, LAYOUT.nx), 1, N_POSITION).ravel() & whole(traces))
    right = centre_windows(cut_windows(*frames[1], traces.first_row[lit], traces.first_column[lit], SIZE))
    off = centre_windows(cut_windows(*frames[1], traces.first_row[lit] - 2, traces.first_column[lit], SIZE))
    assert np.median(np.abs(right)) < 0.7
    np.testing.assert_allclose(np.median(off - right), 2, atol=0.3)
    dark = centre_windows(cut_windows(frames[1][0] * 0, *frames[1][1:], traces.first_row, traces.first_column, SIZE))
    np.testing.assert_array_equal(dark, 0)


def test_dark_lenslets_have_no_profile():
    frames, _, _, traces = make_scan(level=0.0, hits=0)
    profile, spectrum, error, _, _ = fit_scan(frames, traces)
    assert np.isnan(profile).any(axis=(1, 2)).mean() > 0.95
    with pytest.raises(ReductionError, match="no lenslet of the scan has light: was the lamp on"):
        measure_throughput(np.full_like(spectrum, np.nan), error)


def test_every_lenslet_is_lit_once():
    counts = sum(lit_lenslets((128, 112), position, 16).astype(int) for position in range(16))
    np.testing.assert_array_equal(counts, 1)
    assert lit_lenslets((128, 128), 7, 16)[0, 0]
    assert lit_lenslets((128, 128), 6, 16)[16, 0]


def test_refused():
    assert find_missing([3, 0, 2], 5) == [1, 4]
    with pytest.raises(ReductionError, match=r"there are no mask positions \[16\], expected 0 to 15"):
        find_missing([1, 16], 16)
    frames, _, _, traces = make_scan()
    windows = cut_windows(*frames[0], traces.first_row, traces.first_column, (5, 9))
    with pytest.raises(ReductionError, match="5 columns cannot be fitted to order 4"):
        fit_profiles(windows, order=4, clip_sigma=6)


def test_a_scan_gives_a_matrix_wherever_the_last_one_was():
    frames, throughput, truth, traces = make_scan()
    shape = (LAYOUT.ny, LAYOUT.nx)
    old = np.zeros((LAYOUT.n_row, LAYOUT.n_column, *shape), np.float32)
    offsets = np.stack([traces.first_row - 2, traces.first_column]).reshape(2, *shape)
    images = ((position, Image(*frame)) for position, frame in enumerate(frames))
    scan = rectmat.fit_scan(images, old, offsets, n_position=N_POSITION, profile_order=4, clip_sigma=6.0)
    inside = whole(traces)
    assert set(scan.first_row[inside] - traces.first_row[inside]) <= {0, 1}
    assert scan.lit[inside].all()
    arrays = make_arrays(scan, shape)
    assert arrays["RECTMAT"].shape == old.shape
    np.testing.assert_array_equal(arrays["OFFSETS"][1], offsets[1])
    light = arrays["RECTMAT"].sum(axis=0).reshape(LAYOUT.n_column, -1).T
    ratio = (light / throughput)[inside]
    assert np.std(ratio) < 0.006
    same = inside & (scan.first_row == traces.first_row)
    assert same.any()
    expected = truth / truth.sum(axis=2, keepdims=True)
    assert np.abs(scan.profile - expected)[same].max() < 0.01
    with pytest.raises(ReductionError, match="do not fit each other"):
        rectmat.fit_scan([], old[:, :, :-1], offsets, n_position=9, profile_order=4, clip_sigma=6.0)
