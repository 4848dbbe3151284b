"""Wavelengths as seen from the barycentre: a line at rest there, means of velocities, what is refused."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time

from drs.barycentre import find_barycentric_correction
from drs.errors import ReductionError
from drs.restframe import average_velocity, move_wavelengths

WCS = {"CRVAL3": 1.6, "CDELT3": 2e-4, "CRPIX3": 1.0, "SPECSYS": "TOPOCENT", "CTYPE3": "WAVE"}
KECK = 19.8, -155.5


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("time", ["2024-03-20T10:00:00", "2024-09-25T06:00:00"])
def test_a_line_at_rest_in_the_barycentre_has_its_wavelength(time):
    ra, dec = 299.6, 10.2
    moment, place = Time(time), EarthLocation.from_geodetic(KECK[1] * u.deg, KECK[0] * u.deg)
    # the motion of the observatory towards the target, from its place half a minute before and after
    track = [place.get_gcrs_posvel(moment + dt * u.s)[0].xyz + barycentre(moment + dt * u.s) for dt in (-30, 30)]
    target = SkyCoord(ra * u.deg, dec * u.deg).cartesian.xyz.value
    towards = float(((track[1] - track[0]) / (60 * u.s)).to_value(u.km / u.s) @ target)
    observed = 1.6004 * (1 - towards / 299792.458)
    moved = move_wavelengths(WCS | {"CRVAL3": observed}, find_barycentric_correction(ra, dec, time, *KECK))
    assert moved["CRVAL3"] == pytest.approx(1.6004, rel=2e-8)  # 6 m/s: terms of v^2 / c^2
    assert moved["CDELT3"] / WCS["CDELT3"] == pytest.approx(1.6004 / observed, rel=2e-8)
    assert abs(towards) > 5
    assert moved["SPECSYS"] == "BARYCENT"
    assert WCS["SPECSYS"] == "TOPOCENT"


def barycentre(moment):
    """Return the place of the Earth from the barycentre."""
    from astropy.coordinates import get_body_barycentric

    return get_body_barycentric("earth", moment).xyz


def test_velocities_are_averaged_by_time():
    mean, spread = average_velocity([10.0, 10.6, 9.8], [100.0, 200.0, 100.0])
    assert (mean, spread) == pytest.approx((10.25, 0.8))
    assert average_velocity([-3.0], [70.0]) == (-3.0, 0.0)


def test_what_would_broaden_lines_or_move_them_twice_is_refused():
    with pytest.raises(ReductionError, match=r"differs by 4 km/s, more than a tenth of a bin \(37.5 km/s\)"):
        move_wavelengths(WCS, 10.0, 4.0)
    move_wavelengths(WCS, 10.0, 3.7)
    once = move_wavelengths(WCS, 10.0)
    with pytest.raises(ReductionError, match="SPECSYS 'BARYCENT', expected TOPOCENT"):
        move_wavelengths(once, 10.0)
    assert np.isclose(once["CRVAL3"], 1.6 * (1 + 10 / 299792.458), rtol=1e-14)
