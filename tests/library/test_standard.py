"""Spectra of standard stars: units, means of bins, tables that cannot be used."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from drs.errors import ReductionError
from drs.standard import Standard, average_bins, read_standard

WAVELENGTH_UM = np.linspace(1.5, 1.7, 41)
FLUX = 100 + 500 * (WAVELENGTH_UM - 1.6)
PER_WAVELENGTH = FLUX * u.Unit("1e-18 W m-2 um-1")


def write(path, wavelength=WAVELENGTH_UM * u.um, flux=PER_WAVELENGTH, **options):
    """Write a table; return its path."""
    Table({"WAVELENGTH": wavelength, "FLUX": flux}).write(path, **options)
    return path


def test_any_unit_of_flux_density_will_do(tmp_path):
    jansky = PER_WAVELENGTH.to(u.Jy, equivalencies=u.spectral_density(WAVELENGTH_UM * u.um))
    paths = [write(tmp_path / "a.ecsv"), write(tmp_path / "b.ecsv", WAVELENGTH_UM * 1000 * u.nm, jansky)]
    for path in paths:
        star = read_standard(path)
        np.testing.assert_allclose(star.wavelength_um, WAVELENGTH_UM)
        np.testing.assert_allclose(star.flux, FLUX)


def test_the_tables_of_calspec_are_read(tmp_path):
    table = Table({"WAVELENGTH": WAVELENGTH_UM * 1e4, "FLUX": FLUX * 1e-18 / 10.0})  # 1 W/m2/um is 0.1 erg/s/cm2/A
    table.write(tmp_path / "star.fits")
    with fits.open(tmp_path / "star.fits", mode="update") as hdus:
        hdus[1].header["TUNIT1"], hdus[1].header["TUNIT2"] = "ANGSTROMS", "FLAM"
    star = read_standard(tmp_path / "star.fits")
    np.testing.assert_allclose(star.flux, FLUX)
    np.testing.assert_allclose(star.wavelength_um, WAVELENGTH_UM)


@pytest.mark.parametrize("step_um", [5e-4, 0.012])  # finer and coarser than the table
def test_bins_have_the_mean_of_the_star(step_um):
    grid_um = np.arange(1.55, 1.65, step_um)
    found = average_bins(Standard(WAVELENGTH_UM, FLUX), grid_um)
    np.testing.assert_allclose(found, 100 + 500 * (grid_um - 1.6), rtol=1e-12)


def test_a_star_that_is_not_known_over_the_bins_is_refused():
    with pytest.raises(ReductionError, match=r"known from 1.5 to 1.7 um, the cubes have 1.5495 to 1.7505"):
        average_bins(Standard(WAVELENGTH_UM, FLUX), np.arange(1.55, 1.7502, 1e-3))


@pytest.mark.parametrize(
    ("wavelength", "flux", "message"),
    [
        (WAVELENGTH_UM * u.um, FLUX * u.s, "cannot be read as a star's spectrum"),
        (WAVELENGTH_UM * u.um, FLUX, "column FLUX has no unit"),
        (WAVELENGTH_UM[::-1] * u.um, FLUX * u.Jy, "wavelengths do not rise"),
        (WAVELENGTH_UM * u.um, np.full(41, np.nan) * u.Jy, "fluxes are missing"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, wavelength, flux, message):
    with pytest.raises(ReductionError, match=message):
        read_standard(write(tmp_path / "bad.ecsv", wavelength, flux))


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "star.ecsv").write_text("nothing")
    with pytest.raises(ReductionError, match=r"star\.ecsv cannot be read as a star's spectrum"):
        read_standard(tmp_path / "star.ecsv")
