"""Catalogues of stars that an observer gives: places, and magnitudes in a filter."""

from typing import NamedTuple

import numpy as np
from astropy.table import Table

from drs.errors import ReductionError

SYSTEMS = ("VEGA", "AB")
DEFAULT_ERROR_MAG = 0.0


class Catalogue(NamedTuple):
    """Stars: `ra_deg`, `dec_deg` (ICRS, at the epoch of the exposures), `mag`, `mag_error` (NaN where unknown).

    `system` of the magnitudes: 'VEGA' or 'AB'.
    """

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    mag: np.ndarray
    mag_error: np.ndarray
    system: str


def read_catalogue(path, *, filter_name):
    """Return the stars of a table (ECSV, CSV or FITS).

    Columns ra_deg and dec_deg; for photometry mag, and if known mag_error. Where there is a column `filter`, rows of
    other filters are left out. The system of the magnitudes is `system` in the table's metadata, VEGA if not said.

    Parameters
    ----------
    path : path-like
    filter_name : str
    """
    try:
        table = Table.read(path)
        if "filter" in table.colnames:
            table = table[np.char.strip(np.asarray(table["filter"], dtype=str)) == filter_name]
        columns = [_read_column(table, name) for name in ("ra_deg", "dec_deg", "mag", "mag_error")]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReductionError(f"{path} cannot be read as a table of stars ({error}); give ECSV, CSV or FITS") from error
    if missing := [name for name in ("ra_deg", "dec_deg") if name not in table.colnames]:
        raise ReductionError(f"{path} has no column {', '.join(missing)}: it has {', '.join(table.colnames)}")
    system = str(table.meta.get("system", "VEGA")).upper()
    if system not in SYSTEMS:
        raise ReductionError(f"{path}: magnitudes in system '{system}', expected one of {', '.join(SYSTEMS)}")
    placed = np.isfinite(columns[0]) & np.isfinite(columns[1])
    if not placed.any():
        raise ReductionError(f"{path} has no star with a place in filter {filter_name}; add one")
    return Catalogue(*(column[placed] for column in columns), system)


def _read_column(table, name):
    """Return a column as floats, NaN where it is masked or absent."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    return np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan)
