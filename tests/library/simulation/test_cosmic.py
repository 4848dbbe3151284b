"""Number, charge and place of cosmic rays."""

import numpy as np
import pytest

from drs.simulation.cosmic import make_hits

TIMES_S = np.array([[10.0, 20.0, 40.0], [10.0, 20.0, 40.0]])
SHAPE = (50, 90)


def hits(rate, seed=1):
    stream = np.random.default_rng(seed)
    return make_hits(TIMES_S, SHAPE, rate_per_cm2_s=rate, pixel_um=10.0, stream=stream)


def test_none_without_a_rate():
    assert len(hits(0.0)) == 0


def test_number_and_charge_follow_the_rate():
    # 50 x 90 pixels of 10 um are 0.0045 cm2; twice 40 s: 360 hits expected at 1000 per cm2 and s
    found = hits(1000.0)
    mean_charge_e = 1500.0 * np.exp(0.9**2 / 2)
    assert found["CHARGE_E"].sum() == pytest.approx(360 * mean_charge_e, rel=0.25)
    assert set(found["GROUP"]) == {0, 1}


def test_hits_lie_on_the_detector_and_cover_a_few_pixels():
    found = hits(1000.0)
    assert found["Y"].min() >= 0
    assert found["Y"].max() < 50
    assert found["X"].max() < 90
    assert found["X"].max() > 60  # both axes are covered
    assert 3.0 < len(found) / 360 < 10.0


def test_hits_are_spread_evenly_over_time():
    # the last interval is half of the ramp
    found = hits(1000.0)
    assert np.mean(found["READ"] == 2) == pytest.approx(0.5, abs=0.1)
    assert np.mean(found["READ"] == 0) == pytest.approx(0.25, abs=0.1)
