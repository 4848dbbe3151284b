"""Tables of spectra: what specutils looks for, and the same bytes."""

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable

from drs.apertures import Spectrum
from drs.spectrumtable import make_table, write_spectra

WAVE_UM = np.linspace(1.6, 1.7, 11)


def write(path):
    """Write two sources; return the first."""
    spectra = [Spectrum(np.arange(11.0) + k, np.full(11, 2.0), np.full(11, 3 << 30, np.uint32)) for k in (0, 5)]
    tables = [make_table(n, WAVE_UM, one, {"RA": (150.0 + n, "deg")}) for n, one in enumerate(spectra, 1)]
    write_spectra(path, {"INSTRUME": "IRIS", "NSOURCE": 2}, tables, ["left out: x"])
    return spectra[0]


def test_columns_have_the_units_that_specutils_knows(tmp_path):
    spectrum = write(tmp_path / "a.fits")
    table = QTable.read(tmp_path / "a.fits", hdu=1)
    axis = [
        name for name in table.colnames if getattr(table[name], "unit", None) and table[name].unit.is_equivalent(u.AA)
    ]
    fluxes = [name for name in table.colnames if getattr(table[name], "unit", None) == u.Unit("ct/s")]
    assert (axis, fluxes) == (["WAVELENGTH"], ["FLUX", "UNCERTAINTY"])  # the first of each, and the next of its unit
    np.testing.assert_array_equal(table["WAVELENGTH"].to_value("um"), WAVE_UM)
    np.testing.assert_array_equal(table["FLUX"].value, spectrum.flux)
    assert (table["UNCERTAINTY"].value > 0).all()
    np.testing.assert_array_equal(table["DQ"], spectrum.dq)
    assert table.meta["RA"] == 151.0


def test_one_extension_per_source_and_the_same_bytes(tmp_path):
    write(tmp_path / "a.fits")
    write(tmp_path / "b.fits")
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:]] == [("SPECTRUM", 1), ("SPECTRUM", 2)]
        assert hdus[0].header["NSOURCE"] == 2
        assert list(hdus[0].header["HISTORY"]) == ["left out: x"]
