"""Drifts of the electronics against what they should have in common, and their sizes."""

from functools import partial

import numpy as np
import pytest

from drs.simulation.drift import average_reads, channel_of_columns, make_drift, make_pink_noise
from drs.simulation.streams import make_stream

SHAPE = (30, 40)
PHYSICS = {"common_drift_dn": 1.0, "channel_drift_dn": 0.3, "odd_even_dn": 1.0, "row_noise_dn": 1.5, "n_channel": 5}
TIMES_S = np.tile(np.arange(1.0, 2001.0) * 4.0, (2, 1))  # so many reads that statistics tell
STREAM = partial(make_stream, 1, "drift")


def make(shape=SHAPE, times_s=TIMES_S, without=(), **changes):
    return make_drift(times_s, shape, PHYSICS | changes, stream=STREAM, without=without)


def alone(name):
    """Return the physics with one drift only."""
    return {key: 0.0 for key in PHYSICS if key not in (name, "n_channel")}


def test_the_pedestal_walks_in_all_columns_alike():
    column = make(**alone("common_drift_dn")).column_dn
    assert column.shape == (2, 2000, 40)
    assert np.all(column == column[:, :, :1])
    steps = np.diff(column[:, :, 0], axis=1)
    assert steps.std() == pytest.approx(2.0, rel=0.05)  # 1 DN after 1 s is 2 DN after 4 s
    assert abs(np.corrcoef(steps[0, :-1], steps[0, 1:])[0, 1]) < 4 / np.sqrt(2000)
    assert abs(column[1, 0, 0] - column[0, -1, 0]) < 10.0  # a reset of the pixels is none of the electronics


def test_a_channel_walks_alone_in_its_band_of_columns():
    column = make(**alone("channel_drift_dn")).column_dn
    bands = column.reshape(2, 2000, 5, 8)
    assert np.all(bands == bands[..., :1])
    steps = np.diff(bands[..., 0], axis=1)
    assert steps.std() == pytest.approx(0.6, rel=0.05)
    correlation = np.corrcoef(steps.reshape(-1, 5).T) - np.eye(5)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(3998)


def test_odd_and_even_columns_of_a_channel_part():
    column = make(**alone("odd_even_dn")).column_dn
    bands = column.reshape(2, 2000, 5, 4, 2)
    assert np.all(bands[..., 0] == -bands[..., 1])
    assert np.all(bands == bands[..., :1, :])
    assert column.std() == pytest.approx(1.0, rel=0.05)


def test_row_noise_is_that_of_rows_and_nothing_else_is():
    drift = make(times_s=TIMES_S[:, :3])
    offsets = drift.offsets()
    assert offsets.shape == (2, 3, *SHAPE)
    without_columns = offsets - drift.column_dn[:, :, None, :]
    assert np.allclose(without_columns, without_columns[..., :1], rtol=0, atol=1e-12)
    assert np.allclose(without_columns[..., 0], drift.row_dn)
    part = drift.rows(slice(7, 12)).offsets()
    assert np.array_equal(part, offsets[:, :, 7:12])


def test_row_noise_has_its_rms_and_the_power_of_one_over_f():
    n = 1024
    noise = make((n, 40), TIMES_S[:1, :400]).row_dn[0]
    assert noise.shape == (400, n)
    assert np.mean(noise**2) == pytest.approx(1.5**2, rel=0.1)
    taper = np.hanning(n)
    power = np.mean(np.abs(np.fft.rfft((noise - noise.mean(axis=1, keepdims=True)) * taper, axis=1)) ** 2, axis=0)
    k = np.arange(4, n // 4)
    slope = np.polyfit(np.log(k), np.log(power[k]), 1, w=np.sqrt(1.0 / k))[0]
    assert slope == pytest.approx(-1.0, abs=0.05)
    reads = np.corrcoef(noise[:40]) - np.eye(40)
    assert abs(reads.mean()) < 0.05  # reads are independent


def test_pink_noise_does_not_close_in_a_circle():
    noise = make_pink_noise((4000, 64), np.random.default_rng(2))
    neighbours = np.mean(noise[:, 0] * noise[:, 1])
    assert neighbours > 0.6
    assert np.mean(noise[:, 0] * noise[:, -1]) < neighbours - 0.5


@pytest.mark.parametrize("effect", ["drift", "row_noise"])
def test_an_effect_that_is_off_leaves_the_other_alone(effect):
    both, one = make(), make(without=(effect,))
    off, on = ("column_dn", "row_dn") if effect == "drift" else ("row_dn", "column_dn")
    assert not getattr(one, off).any()
    assert np.array_equal(getattr(one, on), getattr(both, on))


def test_the_drift_of_averaged_reads_is_the_mean():
    drift = make(times_s=TIMES_S[:, :12])
    mean = drift.average(4)
    assert mean.column_dn.shape == (2, 3, 40)
    assert np.allclose(mean.row_dn[1, 2], drift.row_dn[1, 8:12].mean(axis=0))
    assert np.array_equal(average_reads(drift.row_dn, 1), drift.row_dn)


def test_channels_that_do_not_fit_are_refused():
    assert channel_of_columns(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="40 columns cannot be shared out to 3 channels"):
        make(n_channel=3)
