"""Velocity of an observatory towards a target, as the centre of mass of the solar system sees it."""

from astropy import units
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from drs.errors import ReductionError


def find_barycentric_correction(ra_deg, dec_deg, time, latitude_deg, longitude_deg):
    """Return the velocity in km/s to add to measured velocities, for the centre of mass of the solar system.

    Wright & Eastman 2014 (PASP 126, 838), as in astropy, with its built-in ephemeris (Earth's place to 1e-6 of its
    velocity) and the rotation of the Earth as it was installed: nothing is fetched.

    Parameters
    ----------
    ra_deg, dec_deg : float
        ICRS.
    time : str
        Middle of the exposure, ISO, UTC.
    latitude_deg, longitude_deg : float
        Of the observatory; 0.1 deg matter by less than 1 m/s.
    """
    place = EarthLocation.from_geodetic(longitude_deg * units.deg, latitude_deg * units.deg)
    try:
        moment = Time(time, scale="utc")
    except ValueError as error:
        raise ReductionError(f"the time '{time}' cannot be read ({error}): correct it in exposures.yaml") from error
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        target = SkyCoord(ra_deg * units.deg, dec_deg * units.deg)
        velocity = target.radial_velocity_correction("barycentric", obstime=moment, location=place)
    return float(velocity.to_value(units.km / units.s))
