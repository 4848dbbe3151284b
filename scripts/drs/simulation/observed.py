"""Where stars are seen through the air from a moving Earth: refraction and aberration of a field.

Directions are taken step by step, as vectors: aberration (first order in v/c), the Earth's rotation, refraction along
the vertical by A tan z + B tan^3 z of the observed zenith distance z. The reduction takes another way (drs.refraction).
"""

import erfa
import numpy as np

from drs.simulation.scene import ARCSEC

MJD_ZERO = 2400000.5
TT_LESS_UTC_D = 69.184 / 86400  # a second more or less does not matter
AU_PER_DAY_TO_C = 1 / 173.144632674
N_STEP = 6
STEP_DEG = 1e-4


def observe_offsets(ra_deg, dec_deg, pointing, *, mjd, site, air):
    """Return offsets (east, north) in arcsec, gnomonic, at which stars are seen from where the pointing is seen.

    The field as a whole is not turned: an instrument's position angle is that of the field that it sees.

    Parameters
    ----------
    ra_deg, dec_deg : float or ndarray
        ICRS.
    pointing : (ra_deg, dec_deg, pa_deg)
    mjd : float
        UTC.
    site : dict
        `latitude_deg`, `longitude_deg`.
    air : dict
        `pressure_hpa`, `temperature_c`, `humidity`, `wavelength_um`.
    """
    axis = _see(np.array(pointing[0]), np.array(pointing[1]), mjd, site, air)
    offsets = np.stack(_project(_see(ra_deg, dec_deg, mjd, site, air), axis))
    turn = _find_turn(pointing, axis, mjd, site, air)
    east, north = np.tensordot(turn, offsets, axes=1) / ARCSEC
    return east, north


def _see(ra_deg, dec_deg, mjd, site, air):
    """Return observed directions, (3, ...): east, north and up of the site."""
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    direction = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec) + 0 * ra])
    velocity = erfa.epv00(MJD_ZERO, mjd + TT_LESS_UTC_D)[1]["v"] * AU_PER_DAY_TO_C
    direction = direction + np.multiply.outer(velocity, np.ones(direction.shape[1:]))
    turned = erfa.c2t06a(MJD_ZERO, mjd + TT_LESS_UTC_D, MJD_ZERO, mjd, 0.0, 0.0)
    longitude, latitude = np.deg2rad(site["longitude_deg"]), np.deg2rad(site["latitude_deg"])
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    local = np.tensordot(np.stack([east, np.cross(up, east), up]) @ turned, direction, axes=1)
    return _refract(local / np.linalg.norm(local, axis=0), air)


def _refract(local, air):
    """Return directions (east, north, up) raised by the refraction."""
    names = ("pressure_hpa", "temperature_c", "humidity", "wavelength_um")
    a, b = erfa.refco(*(air[name] for name in names))
    true = np.arccos(local[2])
    zenith = true
    for _ in range(N_STEP):
        zenith = true - (a * np.tan(zenith) + b * np.tan(zenith) ** 3)
    level = np.hypot(local[0], local[1])
    return np.stack([np.sin(zenith) * local[0] / level, np.sin(zenith) * local[1] / level, np.cos(zenith)])


def _project(seen, axis):
    """Return gnomonic offsets, radians, of directions from an axis: with azimuth, and to the zenith."""
    across = np.array([axis[1], -axis[0], 0.0]) / np.hypot(axis[0], axis[1])
    along = np.cross(across, axis)
    distance = np.tensordot(axis, seen, axes=1)
    return np.tensordot(across, seen, axes=1) / distance, np.tensordot(along, seen, axes=1) / distance


def _find_turn(pointing, axis, mjd, site, air):
    """Return the matrix that turns observed offsets to east and north: the rotation in their map from the sky's."""
    ra, dec = pointing[:2]
    east = STEP_DEG / np.cos(np.deg2rad(dec))
    places = np.array([[ra + east, dec], [ra - east, dec], [ra, dec + STEP_DEG], [ra, dec - STEP_DEG]]).T
    x, y = _project(_see(*places, mjd, site, air), axis)
    left, _, right = np.linalg.svd(np.array([[x[0] - x[1], x[2] - x[3]], [y[0] - y[1], y[2] - y[3]]]))
    return (left @ right).T
