"""Barycentric velocities."""

import numpy as np
import pytest

from drs.barycentre import find_barycentric_correction
from drs.errors import ReductionError

KECK = (19.8, -155.5)


def test_the_earth_moves_at_30_km_per_s_in_the_ecliptic():
    # at the June solstice the Earth is in Sagittarius and moves towards the point 90 degrees west of the Sun: Pisces
    towards, away, pole = (
        find_barycentric_correction(ra, dec, "2024-06-20T20:51:00", *KECK)
        for ra, dec in ((0.0, 0.0), (180.0, 0.0), (270.0, 66.56))
    )
    assert towards == pytest.approx(29.29, abs=0.7)
    assert away == pytest.approx(-29.29, abs=0.7)
    assert abs(pole) < 0.7


def test_the_rotation_of_the_earth_is_in_it():
    times = [f"2024-06-20T{hour:02d}:00:00" for hour in range(24)]
    velocity = [find_barycentric_correction(270.0, 0.0, time, *KECK) for time in times]
    residual = velocity - np.polyval(np.polyfit(range(24), velocity, 1), range(24))
    assert 0.7 < np.ptp(residual) / (2 * 0.4651 * np.cos(np.deg2rad(19.8))) < 1.1


def test_a_time_that_is_none_is_refused():
    with pytest.raises(ReductionError, match="the time 'soon' cannot be read"):
        find_barycentric_correction(0.0, 0.0, "soon", *KECK)
