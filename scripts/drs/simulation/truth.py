"""Truth files: what the simulator knows and the reduction must find."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from drs.files import write_atomically

SOURCE_COLUMNS = {  # column -> (unit, description)
    "source": ("", "number in this field"),
    "kind": ("", "star or galaxy"),
    "ra_deg": ("deg", "right ascension, ICRS"),
    "dec_deg": ("deg", "declination, ICRS"),
    "flux_e_per_s": ("electron / s", "total flux, before the flat"),
    "radius_pix": ("pix", "half-light radius along the major axis, 0 for a star"),
    "axis_ratio": ("", "minor over major axis"),
    "angle_deg": ("deg", "position angle of the major axis, east of north"),
}
POSITION_COLUMNS = {
    "file": ("", "name in raw/"),
    "exposure": ("", "EXPNUM"),
    "source": ("", "number in this field"),
    "x_pix": ("pix", "column, the centre of the first is 1"),
    "y_pix": ("pix", "row, the centre of the first is 1"),
}


def write_detector(path, detector, area):
    """Write the maps of a detector as image extensions.

    BAD holds flags, ACTIVE is 0 for reference pixels, AREA is that of the sky of a pixel over a perfect camera's.
    """
    maps = {
        "FLAT": (detector.flat, ""),
        "DARK": (detector.dark_e_per_s, "electron/s"),
        "BIAS": (detector.bias_dn, "DN"),
        "GAIN": (detector.gain_e_per_dn, "electron/DN"),
        "READNOISE": (detector.read_noise_e, "electron"),
        "WELL": (detector.well_dn, "DN"),
        "THRESHOLD": (detector.threshold_dn, "DN"),
        "COEFFS": (detector.coeffs, "DN"),
        "BAD": (detector.dq, ""),
        "ACTIVE": (detector.active.astype(np.uint8), ""),
        "AREA": (area, ""),
    }
    hdus = [fits.PrimaryHDU(), *(_image(name, *entry) for name, entry in maps.items())]
    write_atomically(path, fits.HDUList(hdus).writeto)


def write_exposure(path, scene_e_per_s, hits, snowballs, drift, keywords):
    """Write the truth of one exposure.

    Parameters
    ----------
    path : Path
    scene_e_per_s : ndarray, (ny, nx)
        Sky and sources on a detector of response 1, without dark.
    hits : structured array
        Charge of cosmic rays and snowballs (`drs.simulation.cosmic.HIT`).
    snowballs : structured array
        `drs.simulation.cosmic.SNOWBALL`.
    drift : drs.simulation.drift.Drift
    keywords : dict
        For PRIMARY, with SKYLEVEL.
    """
    cosmic = np.zeros(scene_e_per_s.shape, dtype=np.float32)
    np.add.at(cosmic, (hits["Y"], hits["X"]), hits["CHARGE_E"])
    primary = fits.PrimaryHDU()
    primary.header.update(keywords)
    hdus = [
        primary,
        _image("SCENE", scene_e_per_s.astype(np.float32), "electron/s"),
        _image("COSMIC", cosmic, "electron"),
        fits.BinTableHDU(hits, name="HITS"),
        fits.BinTableHDU(snowballs, name="SNOWBALLS"),
        _image("DRIFT_COLUMN", drift.column_dn.astype(np.float32), "DN"),
        _image("DRIFT_ROW", drift.row_dn.astype(np.float32), "DN"),
    ]
    write_atomically(path, fits.HDUList(hdus).writeto)


def write_cube(path, light, optics, keywords):
    """Write the truth of an exposure of a spectrograph.

    Parameters
    ----------
    path : Path
    light : ndarray, (column, ny, nx)
        Of the sources, without sky, that enters each spatial element, e-/s.
    optics : dict
        EXTNAME -> (array, unit): wavelengths and what says where the light falls, with the true throughput, at rest.
    keywords : dict
        For PRIMARY.
    """
    primary = fits.PrimaryHDU()
    primary.header.update(keywords)
    hdus = [primary, _image("LIGHT", light, "electron/s")]
    hdus += [_image(name, array, unit) for name, (array, unit) in optics.items()]
    write_atomically(path, fits.HDUList(hdus).writeto)


def _image(name, array, unit):
    """Return an image extension with BUNIT."""
    hdu = fits.ImageHDU(array, name=name)
    hdu.header["BUNIT"] = unit
    return hdu


def write_table(path, rows, columns):
    """Write rows (dicts) as ECSV with the unit and the meaning of each column."""
    table = Table({name: [row[name] for row in rows] for name in columns})
    for name, (unit, description) in columns.items():
        table[name].info.description = description
        if unit:
            table[name].unit = unit
    table.write(path, format="ascii.ecsv")


def write_standards(path, columns):
    """Write the standard stars of a night as an observer gives them: ra_deg, dec_deg, mag (AB)."""
    Table(columns, meta={"system": "AB"}).write(path, format="ascii.ecsv", overwrite=True)
