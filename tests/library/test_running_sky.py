"""Sky from the other dithers: values and errors against truth, what stands in, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.running_sky import (
    Level,
    choose_neighbours,
    fit_surface,
    make_running_sky,
    match_level,
    measure_level,
    median_factors,
)

SHAPE = (60, 82)


def make_skies(n, level=40.0, noise=0.5, seed=4):
    """Return n frames of sky with a slope and a pattern of pixels, of levels that differ, and their truth."""
    random = np.random.default_rng(seed)
    pattern = 1 + 0.02 * np.linspace(-1, 1, SHAPE[1]) + 0.01 * random.standard_normal(SHAPE)
    skies = [level * scale * pattern for scale in 1 + 0.05 * random.standard_normal(n)]
    frames = [(sky + random.normal(0, noise, SHAPE)).astype(np.float32) for sky in skies]
    return frames, skies, np.full(SHAPE, noise**2, np.float32)


def test_the_sky_of_a_frame_and_its_errors():
    frames, skies, variance = make_skies(9)
    sky, sky_variance, is_filled = make_running_sky(frames[0], frames[1:], [variance] * 8, minimum=3)
    pulls = (sky - skies[0]) / np.sqrt(sky_variance)
    assert not is_filled.any()
    assert (sky - skies[0]).mean() == pytest.approx(0, abs=0.03)  # 0.5 / sqrt(60 * 82) is 0.007
    assert pulls.std() == pytest.approx(1.0, abs=0.03)


def test_what_is_masked_everywhere_gets_a_surface():
    frames, skies, variance = make_skies(6)
    for frame in frames:
        frame[20:40, 30:60] = np.nan
    frames[1][5, 5] = frames[2][5, 5] = frames[3][5, 5] = np.nan
    sky, sky_variance, is_filled = make_running_sky(frames[0], frames[1:], [variance] * 5, minimum=3)
    assert is_filled.sum() == 20 * 30 + 1
    hole = (sky - skies[0])[20:40, 30:60]
    assert hole.mean() == pytest.approx(0, abs=0.06)
    assert hole.std() == pytest.approx(np.sqrt(np.median(sky_variance[20:40, 30:60])), rel=0.08)


@given(st.integers(2, 9), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_median_is_that_of_numpy(n, seed):
    random = np.random.default_rng(seed)
    stack = random.normal(10, 1, (n, 7, 11)).astype(np.float32)
    stack[random.random(stack.shape) < 0.2] = np.nan
    from drs.running_sky import _median_kernel

    median, count = _median_kernel(stack)
    assert (count == np.isfinite(stack).sum(axis=0)).all()
    some = count > 0
    np.testing.assert_allclose(median[some], np.nanmedian(stack[:, some], axis=0), rtol=1e-6)
    assert np.isnan(median[~some]).all()


def test_the_variance_of_a_median_is_that_of_a_monte_carlo():
    factors = median_factors(21)
    assert (np.isinf(factors[0]), len(factors)) == (True, 22)
    random = np.random.default_rng(6)
    for n in (1, 2, 5, 8, 16, 17, 20):
        scatter = np.median(random.standard_normal((n, 200_000)), axis=0).var()
        assert factors[n] == pytest.approx(scatter, rel=0.015)


def test_neighbours_are_the_nearest_in_time_that_point_elsewhere():
    places = np.array([(0, 0), (1, 1), (9, 0), (0, 9), (9, 9), (0.5, 0)])
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert choose_neighbours(places, times, 0, n_frame=2, least_offset_pix=4) == [2, 3]
    assert choose_neighbours(places, times, 4, n_frame=9, least_offset_pix=4) == [3, 5, 2, 1, 0]
    assert choose_neighbours(places, times, 4, n_frame=9, least_offset_pix=50) == []


def test_levels():
    assert match_level(Level(20.0, 0.1), Level(10.0, 0.1)) == (2.0, 0.0)
    assert match_level(Level(0.02, 0.01), Level(0.01, 0.01)) == (1.0, pytest.approx(0.01))
    frame = np.full(SHAPE, 5.0, np.float32)
    frame[0, 0] = 1e4
    assert measure_level(frame).value == 5.0
    frame[:58] = np.nan
    with pytest.raises(ReductionError, match=r"frame 3: objects and flags leave 3.3% of the pixels"):
        measure_level(frame, name="frame 3")


def test_a_surface_follows_a_slope_and_few_blocks_give_their_median():
    y, x = np.indices(SHAPE)
    truth = 30 + 0.02 * x - 0.01 * y + 1e-4 * x * y
    sky = truth.astype(np.float32)
    sky[10:50, 20:70] = np.nan
    assert np.abs(fit_surface(sky) - truth).max() < 0.02
    sky[:50] = np.nan
    assert np.ptp(fit_surface(sky)) == 0
    with pytest.raises(ReductionError, match="no part of the sky is free"):
        fit_surface(np.full(SHAPE, np.nan, np.float32))


def test_too_few_dithers_are_refused():
    frames, _, variance = make_skies(3)
    with pytest.raises(ReductionError, match="2 exposures of other dithers, at least 3 needed"):
        make_running_sky(frames[0], frames[1:], [variance] * 2, minimum=3)
