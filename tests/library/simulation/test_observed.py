"""Offsets of stars seen through the air: as the chain of ERFA has them that the reduction takes."""

import numpy as np
import pytest

from drs.refraction import Air, find_stretch
from drs.simulation import scene
from drs.simulation.observed import observe_offsets

SITE, MJD = {"latitude_deg": 19.8, "longitude_deg": -155.5}, 60578.25
AIR = {"pressure_hpa": 615.0, "temperature_c": 1.0, "humidity": 0.2, "wavelength_um": 1.6}
POINTINGS = [(30.0, 60.0, 0.0), (330.0, -20.0, 40.0), (299.6, 10.2, 75.0)]


@pytest.mark.parametrize("pointing", POINTINGS)
def test_a_field_is_seen_as_the_reduction_takes_it(pointing):
    random = np.random.default_rng(1)
    ra, dec = scene.instrument_to_sky(*random.uniform(-17, 17, (2, 30)), (*pointing[:2], 0.0))
    seen = np.stack(observe_offsets(ra, dec, pointing, mjd=MJD, site=SITE, air=AIR))
    true = np.stack(scene._project(ra, dec, pointing))
    found = find_stretch({"ra_deg": pointing[0], "dec_deg": pointing[1]}, MJD, SITE, Air(615.0, 1.0, 0.2, 1.6))
    back = found.matrix @ seen
    assert np.abs(back - true).max() < 0.004 * 0.01  # of a pixel of IRIS
    assert np.abs(seen - true).max() > 0.004 * 0.3


def test_without_air_only_aberration_is_left():
    ra, dec = scene.instrument_to_sky(10.0, -7.0, (*POINTINGS[2][:2], 0.0))
    seen = np.hypot(*observe_offsets(ra, dec, POINTINGS[2], mjd=MJD, site=SITE, air=AIR | {"pressure_hpa": 0.0}))
    assert 1e-6 < abs(seen / np.hypot(10, 7) - 1) < 1.1e-4


def test_the_pointing_is_seen_where_it_is():
    east, north = observe_offsets(*POINTINGS[0][:2], POINTINGS[0], mjd=MJD, site=SITE, air=AIR)
    assert (float(east), float(north)) == pytest.approx((0, 0), abs=1e-9)
