"""What the benchmark measures with: the bound, the known ramp, and versions that are ours."""

import re

import bench_bestrefs
import bench_ifs
import bench_mosaic
import extraction_methods
import known_ramps
import numpy as np
import peers
import pytest
from bench_ramp import REPO, predict_false
from hypothesis import given
from hypothesis import strategies as st


def bound_densely(rate, variance_e2, times_s, usable):
    """Return the bound of one ramp by inverting the covariance of its usable differences."""
    dt, n = np.diff(times_s), len(times_s) - 1
    covariance = np.diag(rate * dt + 2 * variance_e2) - variance_e2 * (np.eye(n, k=1) + np.eye(n, k=-1))
    covariance = covariance[np.ix_(usable, usable)]
    return 1 / (dt[usable] @ np.linalg.solve(covariance, dt[usable]))


@given(data=st.data(), rate=st.floats(0, 1e4), noise_e=st.floats(0.5, 50))
def test_the_bound_is_that_of_the_full_covariance(data, rate, noise_e):
    times_s = np.cumsum(data.draw(st.lists(st.floats(0.5, 20), min_size=2, max_size=8)))
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=len(times_s) - 1, max_size=len(times_s) - 1)))
    found = known_ramps.bound_variance(
        np.full((1, 2), rate), np.full((1, 2), noise_e**2), times_s, usable[:, None, None]
    )
    if not usable.any():
        assert np.isinf(found).all()
    else:
        np.testing.assert_allclose(found, bound_densely(rate, noise_e**2, times_s, usable), rtol=1e-9)


@pytest.fixture(scope="module")
def ramp():
    return known_ramps.make_ramp(12, 40)


def test_the_known_ramp_is_what_it_says(ramp):
    signal, saturated = peers.calibrate_with_numpy(ramp)
    live = ~saturated[-1]
    elapsed_s, hit_e = ramp.times_s[-1], ramp.hit_sigma * np.sqrt(2 * ramp.read_noise_e**2 + ramp.rate * 1.5)
    expected = ramp.rate * elapsed_s + hit_e
    pulls = (signal[-1] - expected)[live] / np.sqrt(ramp.rate * elapsed_s + ramp.read_noise_e**2)[live]
    assert abs(pulls.mean()) < 5 / np.sqrt(live.sum())
    assert abs(pulls.std() - 1) < 5 / np.sqrt(2 * live.sum())
    assert saturated.any()
    bright = live & (ramp.hit_sigma > 20)
    assert bright.any()
    assert (np.diff(signal, axis=0).argmax(axis=0) == ramp.hit)[bright].all()


def test_a_cut_or_loaded_ramp_is_the_same_ramp(ramp, tmp_path):
    known_ramps.save_ramp(tmp_path, ramp)
    for rows, loaded in ((40, known_ramps.load_ramp(tmp_path)), (7, known_ramps.load_ramp(tmp_path, 7))):
        for array, part in zip(loaded, known_ramps.cut_ramp(ramp, slice(0, rows)), strict=True):
            np.testing.assert_array_equal(array, part)


def test_jumps_are_scored_by_their_true_places(ramp):
    usable = known_ramps.find_usable(ramp)
    truth = np.arange(len(usable))[:, np.newaxis, np.newaxis] == ramp.hit
    shares, *false = known_ramps.score_jumps(ramp, truth)
    assert (shares, false) == ([1, 1, 1, 1], [0, 0])
    shares, *false = known_ramps.score_jumps(ramp, ~truth)
    assert (shares, false) == ([0, 0, 0, 0], [1, 1])


def test_a_perfect_rate_scores_as_such(ramp):
    scores = known_ramps.score_fit(ramp, ramp.rate, np.ones_like(ramp.rate))
    assert set(scores) == {"clean", "hit by a cosmic ray", "saturated on the way"}
    assert all(n > 0 and (bias, scatter, pull) == (0, 0, 0) for n, bias, scatter, pull in scores.values())


def test_false_positives_are_predicted_for_both_sides():
    assert predict_false(4.0) == pytest.approx(6.334e-5, rel=1e-3)


def test_every_method_of_ours_gives_a_rate_and_its_error(ramp):
    for method in ("likelihood", "ols"):
        rate, error, found = peers.ours(ramp, method=method, details=True)()
        assert np.isfinite(rate).mean() > 0.95
        assert np.isfinite(error).mean() > 0.95
        assert found.shape == (11, 40, 40)
        assert found.any()


def test_the_peers_run_with_our_versions():
    ours, theirs = (
        dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (REPO / name).read_text(), flags=re.M))
        for name in ("requirements.lock", "requirements-bench.lock")
    )
    assert "stcal" in theirs
    for name in ("astropy", "numba", "numpy", "scipy"):
        assert theirs[name] == ours[name]


def test_the_benchmark_of_crds_measures_every_part(tmp_path):
    times = bench_bestrefs.measure(8, tmp_path)
    assert list(times) == ["import crds", "ask and verify", "write", "write again"]
    assert len(list((tmp_path / "references").rglob("*.json"))) == 24


def test_spectra_are_better_than_those_of_iterations():
    scores = extraction_methods.score_methods()
    best = scores.pop("chi-square")
    assert best.crosstalk < 1e-6  # bar 0.003
    assert best.perturbed < 0.025  # bar 0.03; measured 0.018
    for other in scores.values():
        assert best.scatter < 0.94 * other.scatter  # measured 0.917
        assert best.crosstalk < other.crosstalk
        assert best.perturbed < 0.6 * other.perturbed  # measured 0.54


def test_the_benchmark_of_spectrographs_measures_every_part():
    times, n_sample = bench_ifs.reduce_slices(bench_ifs.simulate_slices(44))
    assert set(times) == {"rows", "columns", "sky", "rectification"}
    assert n_sample == 2 * 45 * 4096
    assert all(wall > 0 for wall, _ in times.values())


def test_the_mosaic_of_the_benchmark_holds_its_noise(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench_mosaic.py", "--images=8", "--size=160"])
    bench_mosaic.main()
    lines = capsys.readouterr().out.splitlines()
    assert "8 images used" in lines[1]
    assert float(lines[2].split()[-1]) == pytest.approx(1, abs=0.03)
