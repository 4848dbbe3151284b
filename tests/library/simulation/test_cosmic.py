"""Number, charge and place of cosmic rays."""

import numpy as np
import pytest

from drs.simulation.cosmic import HALO_SCALE, make_hits, make_snowballs

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


SNOWBALLS = {"per_cm2_s": 1000.0, "radius_pix": [5.0, 9.0], "halo_e": [500.0, 3000.0], "core_e": 4e5}


def make_some(seed=1, **changes):
    stream = np.random.default_rng(seed)
    return make_snowballs(TIMES_S, SHAPE, facts=SNOWBALLS | changes, pixel_um=10.0, stream=stream)


def test_snowballs_come_at_their_rate_and_sizes():
    snowballs, hits = make_some()
    assert len(snowballs) == pytest.approx(360, abs=4 * np.sqrt(360))
    assert 5.0 <= snowballs["RADIUS_PIX"].min() < 5.2
    assert 8.8 < snowballs["RADIUS_PIX"].max() <= 9.0
    assert set(snowballs["GROUP"]) == set(hits["GROUP"]) == {0, 1}
    assert np.mean(snowballs["READ"] == 2) == pytest.approx(0.5, abs=0.1)
    assert hits["X"].max() == 89
    assert hits["Y"].max() == 49


def test_a_snowball_is_a_disc_of_saturating_charge_with_a_halo():
    snowballs, hits = make_some(seed=4, per_cm2_s=3.0)
    (snowball,) = snowballs
    radius, y, x = (float(snowball[name]) for name in ("RADIUS_PIX", "Y", "X"))
    assert 3 * radius < y < 50 - 3 * radius  # the seed puts it inside
    assert 3 * radius < x < 90 - 3 * radius
    core = hits["CHARGE_E"] == np.float32(4e5)
    assert core.sum() == pytest.approx(np.pi * radius**2, abs=2 * np.sqrt(radius) + 2)  # Gauss's circle problem
    distance = np.hypot(hits["Y"] - y, hits["X"] - x)
    assert distance[core].max() <= radius < distance[~core].min()
    expected = snowball["HALO_E"] * np.exp(-(distance[~core] / radius - 1.0) / HALO_SCALE)
    assert np.allclose(hits["CHARGE_E"][~core], expected, rtol=1e-4)
    assert 100.0 < hits["CHARGE_E"][~core].max() < 3000.0
    assert hits["CHARGE_E"].min() >= 5.0
    assert set(hits["READ"]) == {snowball["READ"]}


def test_no_snowballs_without_a_rate():
    snowballs, hits = make_some(per_cm2_s=0.0)
    assert len(snowballs) == len(hits) == 0
    assert hits.dtype.names == ("GROUP", "READ", "Y", "X", "CHARGE_E")
