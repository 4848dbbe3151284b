"""Frames moved by parts of a pixel: lines where they belong, noise, bad pixels, the way back."""

import numpy as np
import pytest
from scipy.special import ndtr

from drs.dq import Flag
from drs.shifting import find_weights, shift_frame

SHAPE = (23, 61)
FWHM_PIX = 2.1


def render(rows=0.0, columns=0.0):
    """Return lines that are tilted, of different brightness along the rows, integrated over pixels."""
    y = np.arange(SHAPE[0])[:, np.newaxis] - rows
    edges = np.arange(SHAPE[1] + 1) - 0.5 - columns
    frame = np.zeros(SHAPE)
    for place, flux in ((18.3, 500.0), (40.7, 200.0)):
        frame += flux * np.diff(ndtr((edges - place - 0.1 * y) * 2.3548 / FWHM_PIX), axis=1)
    return (frame * (1 + 0.2 * np.sin(y / 4.0))).astype(np.float32)


def move(frame, rows, columns, error=None, dq=None):
    """Return the moved frame, its error and flags."""
    error = np.ones(SHAPE, np.float32) if error is None else error
    return shift_frame(frame, error, np.zeros(SHAPE, np.uint32) if dq is None else dq, rows, columns)


@pytest.mark.parametrize(("rows", "columns"), [(0.03, 0.05), (-0.3, 0.45), (0.0, -1.7), (2.0, 3.0), (0.0, 0.0)])
def test_lines_are_where_they_belong(rows, columns):
    moved, truth = move(render(), rows, columns)[0], render(rows, columns)
    inside = slice(8, -8), slice(8, -8)
    small = abs(rows) < 0.1 and abs(columns) < 0.1
    most = 0.5 if small else 3.0  # of a peak of 250; measured 0.32, 2.1
    np.testing.assert_allclose(moved[inside], truth[inside], atol=most)
    assert moved[inside].sum() == pytest.approx(truth[inside].sum(), rel=1e-3)


def test_a_frame_that_is_not_moved_stays():
    frame, dq = render(), np.zeros(SHAPE, np.uint32)
    dq[4, 7] = Flag.JUMP_DET
    moved = move(frame, 0.0, 0.0, dq=dq)
    np.testing.assert_allclose(moved[0], frame, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved[1], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(moved[2], dq)


def test_the_noise_is_that_of_many_frames():
    random = np.random.default_rng(4)
    error = np.broadcast_to(1 + 0.5 * (np.arange(SHAPE[1]) % 2), SHAPE).astype(np.float32)
    frames = [move((error * random.normal(size=SHAPE)).astype(np.float32), 0.2, 0.3, error) for _ in range(400)]
    scatter = np.std([frame[0] for frame in frames], axis=0)[6:-6, 8:-8]
    assert (scatter / frames[0][1][6:-6, 8:-8]).mean() == pytest.approx(1.0, abs=0.01)


def test_bad_pixels_spoil_only_where_they_count():
    frame, dq = render(), np.zeros(SHAPE, np.uint32)
    frame[10, 25], dq[12, 44] = np.nan, Flag.DO_NOT_USE
    frame[12, 44] = 1e6
    values, error, flags = move(frame, 0.0, 0.05, dq=dq)
    bad = flags & np.uint32(Flag.DO_NOT_USE) != 0
    assert {tuple(place) for place in np.argwhere(bad)} == {(10, 25), (12, 44)}
    assert np.isnan(values[bad]).all()
    assert np.isnan(error[bad]).all()
    clean = move(render(), 0.0, 0.05)[0]
    np.testing.assert_allclose(values[~bad], clean[~bad], atol=3.0)
    half = move(frame, 0.0, 0.5, dq=dq)[2]
    assert {tuple(place) for place in np.argwhere(half & 1)} >= {(10, 25), (10, 26), (12, 44), (12, 45)}


def test_nothing_that_is_given_is_changed():
    frame, error, dq = render(), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint32)
    kept = frame.copy()
    shift_frame(frame, error, dq, 0.4, -0.2)
    np.testing.assert_array_equal(frame, kept)


def test_weights_have_a_sum_of_1_and_turn_with_the_sign():
    for part in (0.0, 0.05, 0.5, -0.5):
        assert find_weights(part).sum() == pytest.approx(1.0)
        np.testing.assert_allclose(find_weights(part), find_weights(-part)[::-1])
