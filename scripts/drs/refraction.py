"""How the air and the Earth's motion shrink a field: refraction and aberration as linear terms of a WCS."""

import csv
import warnings
from typing import NamedTuple

import erfa
import numpy as np

from drs.errors import ReductionError

WAVELENGTH_UM = 1.6  # where no filter says another one
FARTHEST_DEG = 75.0  # beyond, A tan z + B tan^3 z no longer holds
STEP_RAD = 1e-4
MJD_ZERO = 2400000.5


class Air(NamedTuple):
    """Air at the telescope: `pressure_hpa`, `temperature_c`, relative `humidity` from 0 to 1, which hardly matters.

    `wavelength_um` is that of the light: the constant of refraction changes by 1 % between 0.8 and 2.4 um.
    """

    pressure_hpa: float
    temperature_c: float
    humidity: float = 0.2
    wavelength_um: float = WAVELENGTH_UM


def find_wavelength(path, name):
    """Return the central wavelength, um, of a filter in a table (config/instruments/filters.csv); 1.6 where unknown."""
    if path is None:
        return WAVELENGTH_UM
    with path.open(newline="") as stream:
        rows = csv.DictReader(line for line in stream if not line.startswith("#"))
        return next((float(row["wave_centre_um"]) for row in rows if row["filter"] == name), WAVELENGTH_UM)


class Stretch(NamedTuple):
    """What observed offsets (east, north) become on the sky: `matrix` (2, 2), symmetric, 1 without an effect.

    `vertical`, `horizontal`: by which part the field looks smaller along the vertical and across it;
    `zenith_deg`: distance from the zenith; `parallactic_deg`: direction of the zenith, east of north.
    """

    matrix: np.ndarray
    vertical: float
    horizontal: float
    zenith_deg: float
    parallactic_deg: float


def find_stretch(pointing, mjd, site, air):
    """Return the Stretch of a field: the symmetric part of the map from the sky to what is observed (erfa.atco13).

    The map holds refraction and aberration; its rotation is left out, as the position angle of a header has it.

    Parameters
    ----------
    pointing : dict
        `ra_deg`, `dec_deg` (ICRS).
    mjd : float
        Of the middle of the exposure, UTC.
    site : dict
        `latitude_deg`, `longitude_deg`.
    air : Air

    Raises
    ------
    ReductionError
        The pointing is farther than 75 deg from the zenith, so its place, its time or the site is wrong.
    """
    ra, dec = np.deg2rad(pointing["ra_deg"]), np.deg2rad(pointing["dec_deg"])
    # the middle, then east, west, north, south of it
    east, north = STEP_RAD * np.array([[0, 1, -1, 0, 0], [0, 0, 0, 1, -1]])
    azimuth, zenith = _observe(*erfa.tpsts(east, north, ra, dec), mjd, site, air)
    if not np.rad2deg(zenith[0]) < FARTHEST_DEG:
        raise ReductionError(
            f"the pointing is {np.rad2deg(zenith[0]):.1f} deg from the zenith, at most {FARTHEST_DEG:g} expected: "
            "correct RA, DEC or EXPMJDMD in exposures.yaml"
        )
    # observed offsets on their own tangent plane, +x with azimuth, +y to the zenith
    x, y = np.stack(erfa.tpxes(azimuth, np.pi / 2 - zenith, azimuth[0], np.pi / 2 - zenith[0])[:2])
    forward = np.array([[x[1] - x[2], x[3] - x[4]], [y[1] - y[2], y[3] - y[4]]]) / (2 * STEP_RAD)
    left, values, right = np.linalg.svd(forward)
    matrix = right.T @ np.diag(1 / values) @ right
    up = (left @ right).T @ [0.0, 1.0]  # on the sky
    across = np.array([up[1], -up[0]])
    return Stretch(
        matrix,
        float(up @ matrix @ up - 1),
        float(across @ matrix @ across - 1),
        float(np.rad2deg(zenith[0])),
        float(np.rad2deg(np.arctan2(*up))),
    )


def _observe(ra, dec, mjd, site, air):
    """Return observed azimuth and zenith distance in radians of places (ICRS, radians)."""
    place = np.deg2rad(site["longitude_deg"]), np.deg2rad(site["latitude_deg"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", erfa.ErfaWarning)  # years ahead: leap seconds are not known, nor do they matter
        seen = erfa.atco13(ra, dec, 0, 0, 0, 0, MJD_ZERO, mjd, 0, *place, 0, 0, 0, *air)
    return seen[0], seen[1]


def stretch_wcs(wcs, stretch):
    """Return WCS keywords whose offsets from the reference point are stretched to those on the sky."""
    scale = np.diag([wcs["CDELT1"], wcs["CDELT2"]])
    pc = np.array([[wcs["PC1_1"], wcs["PC1_2"]], [wcs["PC2_1"], wcs["PC2_2"]]])
    pc = np.linalg.inv(scale) @ stretch.matrix @ scale @ pc
    return wcs | {f"PC{i}_{j}": float(pc[i - 1, j - 1]) for i in (1, 2) for j in (1, 2)}
