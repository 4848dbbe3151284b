"""Catalogues of stars that an observer gives: places, and magnitudes in a filter."""

from typing import NamedTuple

import numpy as np

from drs.errors import ReductionError, is_of_machine

SYSTEMS = ("VEGA", "AB")
# names in the archive of Gaia stand beside ours
NAMES = {
    "ra_deg": ("ra_deg", "ra"),
    "dec_deg": ("dec_deg", "dec"),
    "mag": ("mag",),
    "mag_error": ("mag_error",),
    "pm_ra_mas_per_yr": ("pm_ra_mas_per_yr", "pmra"),
    "pm_dec_mas_per_yr": ("pm_dec_mas_per_yr", "pmdec"),
    "epoch_yr": ("epoch_yr", "ref_epoch"),
}
UNITS = {"ra_deg": "deg", "dec_deg": "deg", "pm_ra_mas_per_yr": "mas / yr", "pm_dec_mas_per_yr": "mas / yr"}
MAS_PER_DEG = 3.6e6


class Catalogue(NamedTuple):
    """Stars: `ra_deg`, `dec_deg` (ICRS), `mag`, `mag_error`, each (n,), NaN where unknown.

    `pm_ra_mas_per_yr` (that on the sky, with cos dec) and `pm_dec_mas_per_yr` are 0 where unknown; `epoch_yr`, the
    Julian year of the places, is NaN where these move none. `system` of the magnitudes: 'VEGA' or 'AB'.
    """

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    mag: np.ndarray
    mag_error: np.ndarray
    pm_ra_mas_per_yr: np.ndarray
    pm_dec_mas_per_yr: np.ndarray
    epoch_yr: np.ndarray
    system: str


def read_catalogue(path, *, filter_name=None):
    """Return the stars of a table (ECSV, CSV or FITS).

    Columns ra_deg and dec_deg; for photometry mag, and if known mag_error; for stars that move pm_ra_mas_per_yr,
    pm_dec_mas_per_yr and epoch_yr. Gaia's names (ra, dec, pmra, pmdec, ref_epoch) will do. Where there is a column
    `filter`, rows of other filters are left out. The system of the magnitudes is `system` in the table's metadata,
    VEGA if not said.

    Parameters
    ----------
    path : path-like
    filter_name : str, optional
        None takes all rows.
    """
    from astropy.table import Table  # slow to import; only with a catalogue

    try:
        table = Table.read(path)
        if "filter" in table.colnames and filter_name is not None:
            table = table[np.char.strip(np.asarray(table["filter"], dtype=str)) == filter_name]
        columns = {name: _read_column(table, name) for name in NAMES}
    except (OSError, ValueError, TypeError, KeyError) as error:
        if is_of_machine(error):
            raise
        raise ReductionError(f"{path} cannot be read as a table of stars ({error}); give ECSV, CSV or FITS") from error
    if missing := [name for name in ("ra_deg", "dec_deg") if not _find_name(table, name)]:
        raise ReductionError(f"{path} has no column {', '.join(missing)}: it has {', '.join(table.colnames)}")
    system = str(table.meta.get("system", "VEGA")).upper()
    if system not in SYSTEMS:
        raise ReductionError(f"{path}: magnitudes in system '{system}', expected one of {', '.join(SYSTEMS)}")
    placed = np.isfinite(columns["ra_deg"]) & np.isfinite(columns["dec_deg"])
    if not placed.any():
        where = f" in filter {filter_name}" if filter_name else ""
        raise ReductionError(f"{path} has no star with a place{where}; add one")
    stars = Catalogue(**{name: column[placed] for name, column in columns.items()}, system=system)
    return _check_motions(stars, path)


def _check_motions(stars, path):
    """Return stars whose unknown proper motions are 0; refuse motions without an epoch."""
    motions = [np.nan_to_num(motion) for motion in (stars.pm_ra_mas_per_yr, stars.pm_dec_mas_per_yr)]
    moves = (motions[0] != 0) | (motions[1] != 0)
    if not np.isfinite(stars.epoch_yr[moves]).all():
        raise ReductionError(f"{path} has proper motions without epoch; add a column epoch_yr (Julian years)")
    return stars._replace(pm_ra_mas_per_yr=motions[0], pm_dec_mas_per_yr=motions[1])


def move_to_date(stars, date):
    """Return stars at the places where their proper motions, linear, bring them by a date (ISO, UTC)."""
    from astropy.time import Time

    year = float(Time(date, scale="tt").jyear)  # UTC is not known far ahead; a minute does not matter
    years = np.where(np.isfinite(stars.epoch_yr), year - stars.epoch_yr, 0.0)
    dec = stars.dec_deg + stars.pm_dec_mas_per_yr * years / MAS_PER_DEG
    ra = stars.ra_deg + stars.pm_ra_mas_per_yr * years / MAS_PER_DEG / np.cos(np.deg2rad(stars.dec_deg))
    return stars._replace(ra_deg=ra % 360, dec_deg=dec, epoch_yr=np.full_like(stars.epoch_yr, year))


def _find_name(table, name):
    """Return the column of a table that has a quantity; None without one."""
    return next((column for column in NAMES[name] if column in table.colnames), None)


def _read_column(table, name):
    """Return a column as floats in our unit, NaN where it is masked or absent."""
    found = _find_name(table, name)
    if found is None:
        return np.full(len(table), np.nan)
    values = np.ma.filled(np.ma.asarray(table[found], dtype=np.float64), np.nan)
    unit = table[found].unit
    return values * unit.to(UNITS[name]) if unit is not None and name in UNITS else values
