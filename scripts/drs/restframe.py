"""Wavelengths of a combined cube, as observed or as seen from the centre of mass of the solar system.

The velocity of the observatory (`drs.barycentre`) differs little between the exposures of a night, so that one mean
of them moves the grid, which stays linear: nothing is resampled again.
"""

import numpy as np

from drs.errors import ReductionError

LIGHT_KM_S = 299792.458
MOST_OF_BIN = 0.1  # by which exposures may differ, else their mean would broaden lines


def average_velocity(velocities_km_s, times_s):
    """Return the mean of velocities, weighted by exposure time, and their range (largest less smallest), km/s.

    Parameters
    ----------
    velocities_km_s, times_s : list of float
        One or more.
    """
    mean = np.average(velocities_km_s, weights=times_s)
    return float(mean), float(np.ptp(velocities_km_s))


def move_wavelengths(wcs, velocity_km_s, range_km_s=0.0):
    """Return the WCS keywords of a cube with its wavelengths as seen from the barycentre.

    A wavelength times 1 + v / c, exact with the velocity of `drs.barycentre` (Wright & Eastman 2014, PASP 126, 838),
    and a linear grid stays linear; SPECSYS says it (Greisen et al. 2006, A&A 446, 747, section 7).

    Parameters
    ----------
    wcs : dict
        CRVAL3, CDELT3, CRPIX3, SPECSYS.
    velocity_km_s : float
        To add to measured velocities.
    range_km_s : float, optional
        Of the velocities that it is the mean of.

    Raises
    ------
    ReductionError
        Wavelengths that were moved before; velocities that differ by more than a tenth of a bin.
    """
    found = wcs.get("SPECSYS")
    if found != "TOPOCENT":
        raise ReductionError(f"wavelengths of SPECSYS {found!a}, expected TOPOCENT: take cubes as observed")
    bin_km_s = LIGHT_KM_S * abs(wcs["CDELT3"]) / wcs["CRVAL3"]
    if range_km_s > MOST_OF_BIN * bin_km_s:
        raise ReductionError(
            f"BARYCORR of the cubes differs by {range_km_s:.3g} km/s, more than a tenth of a bin ({bin_km_s:.3g} km/s):"
            " combine those of one night, or set combine_cubes: barycentric: false"
        )
    factor = 1 + velocity_km_s / LIGHT_KM_S
    return wcs | {"CRVAL3": wcs["CRVAL3"] * factor, "CDELT3": wcs["CDELT3"] * factor, "SPECSYS": "BARYCENT"}
