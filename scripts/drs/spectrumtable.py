"""Tables of spectra in FITS, one extension per source, as `specutils` reads them (`Spectrum.read(file, hdu=k)`).

The first column with a unit of wavelength, the first with one of flux, and the next with the same unit are taken as
axis, flux and error. Electrons count as `ct`, which specutils knows as a unit of flux.
"""

import numpy as np
from astropy.io import fits

from drs.files import write_atomically
from drs.product import Product, make_primary
from drs.serial import write_hdu

UNITS = {"electron/s": "ct / s"}
COLUMNS = ("WAVELENGTH", "FLUX", "UNCERTAINTY", "DQ")


def make_table(number, wavelength_um, spectrum, facts, *, unit="electron/s"):
    """Return the extension of one source.

    Parameters
    ----------
    number : int
        From 1.
    wavelength_um : ndarray, float64, (bin)
    spectrum : drs.apertures.Spectrum
    facts : dict
        keyword -> (value, comment).
    unit : str, optional
        Of the cube.
    """
    values = wavelength_um, spectrum.flux.astype(np.float32), spectrum.error.astype(np.float32), spectrum.dq
    formats, units = ("D", "E", "E", "J"), ("um", *[UNITS.get(unit, unit)] * 2, None)
    columns = [
        fits.Column(name=name, format=form, unit=unit, array=array, bzero=1 << 31 if name == "DQ" else None)
        for name, form, unit, array in zip(COLUMNS, formats, units, values, strict=True)
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM", ver=number)
    for keyword, entry in facts.items():
        table.header[keyword] = entry
    return table


def describe_source(place, parameters):
    """Return the keywords of a source: keyword -> (value, comment).

    Parameters
    ----------
    place : dict
        RA, DEC, X_PIX, Y_PIX.
    parameters : dict
        aperture_pix, sky, ring_inner_pix, ring_outer_pix: settings of the step measure_spectra.
    """
    ring = f"{parameters['ring_inner_pix']:g} {parameters['ring_outer_pix']:g}" if parameters["sky"] == "ring" else ""
    return {
        "RA": (place["RA"], "[deg] of the source"),
        "DEC": (place["DEC"], "[deg] of the source"),
        "X_PIX": (place["X_PIX"], "[spaxel] of the source, from 0"),
        "Y_PIX": (place["Y_PIX"], "[spaxel] of the source, from 0"),
        "APERPIX": (parameters["aperture_pix"], "[spaxel] radius of the aperture"),
        "SKYRING": (ring, "[spaxel] radii of the ring of the sky"),
    }


def write_spectra(path, keywords, tables, history):
    """Write a file of spectra: header, HISTORY and the extensions of `make_table`; it holds no time of writing."""
    primary = make_primary(Product(keywords, {}, history=tuple(history)))
    write_atomically(path, lambda stream: [write_hdu(stream, hdu) for hdu in (primary, *tables)])
