"""Spectra of standard stars that an observer gives: flux densities at wavelengths in vacuum."""

import warnings
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from drs.errors import ReductionError, is_of_machine

FLUX_UNIT = "10**-18 W m-2 um-1"  # about that of one electron per second in a bin of these instruments
UNIT = u.Unit(FLUX_UNIT, format="fits")
OF_CALSPEC = {"FLAM": u.Unit("erg s-1 cm-2 AA-1"), "FNU": u.Unit("erg s-1 cm-2 Hz-1"), "ANGSTROMS": u.AA}


class Standard(NamedTuple):
    """A star: `wavelength_um` rising, vacuum, and `flux` in FLUX_UNIT, float64 (point)."""

    wavelength_um: np.ndarray
    flux: np.ndarray


def read_standard(path):
    """Return the Standard of a table (ECSV, or FITS as CALSPEC's) with columns WAVELENGTH and FLUX and their units.

    Any unit of length, and any of flux density per wavelength or per frequency.

    Raises
    ------
    ReductionError
        No such table, columns without a unit or of another kind, wavelengths that do not rise.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)  # of those of CALSPEC
            table = Table.read(path)
        names = {name.upper(): name for name in table.colnames}
        columns = [_read_column(table[names[name]], path) for name in ("WAVELENGTH", "FLUX")]
        wavelength = columns[0].to(u.um)
        flux = columns[1].to(UNIT, equivalencies=u.spectral_density(wavelength))
    except (OSError, ValueError, TypeError, KeyError, u.UnitConversionError) as error:
        if is_of_machine(error):
            raise
        raise ReductionError(
            f"{path} cannot be read as a star's spectrum ({error}): give a table with columns WAVELENGTH and FLUX, with"
            " units (ECSV or FITS)"
        ) from error
    standard = Standard(np.asarray(wavelength.value, np.float64), np.asarray(flux.value, np.float64))
    rises = standard.wavelength_um.size > 1 and (np.diff(standard.wavelength_um) > 0).all()
    if not rises or not np.isfinite(standard.flux).all():
        raise ReductionError(f"{path}: wavelengths do not rise, or fluxes are missing: correct the table")
    return standard


def _read_column(column, path):
    """Return a column as a Quantity; CALSPEC writes units that no standard knows."""
    unit = OF_CALSPEC.get(str(column.unit).upper(), column.unit)
    if unit is None:
        raise ReductionError(f"{path}: column {column.name} has no unit: state it in the table")
    return u.Quantity(np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan), unit)


def average_bins(standard, wavelength_um):
    """Return the mean flux density (bin), float64, of a star in bins around these middles, evenly apart.

    Raises
    ------
    ReductionError
        A star that is not known over all bins.
    """
    step = wavelength_um[1] - wavelength_um[0]
    edges = np.append(wavelength_um - step / 2, wavelength_um[-1] + step / 2)
    first, last = standard.wavelength_um[[0, -1]]
    if edges[0] < first or edges[-1] > last:
        raise ReductionError(
            f"the standard star is known from {first:.5g} to {last:.5g} um, the cubes have {edges[0]:.5g} to"
            f" {edges[-1]:.5g}: give a spectrum that reaches farther"
        )
    points = np.union1d(standard.wavelength_um, edges)
    flux = np.interp(points, standard.wavelength_um, standard.flux)
    total = np.concatenate([[0.0], np.cumsum(np.diff(points) * (flux[1:] + flux[:-1]) / 2)])
    return np.diff(np.interp(edges, points, total)) / step
