"""Cubes and spectra open in the programs of observers: units, errors, flags and axes are found, in either unit."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from cubefiles import GRID_UM, render_stars, write_cube

from drs import product
from drs.apertures import Spectrum
from drs.dq import Flag
from drs.spectrumtable import make_table, write_spectra
from drs.standard import FLUX_UNIT

UNITS = {"electron/s": u.electron / u.s, FLUX_UNIT: 1e-18 * u.W / u.m**2 / u.um}
DEAD, STRUCK = (3, 4, 5), (3, 4, 6)  # samples without a value, and with a flag


@pytest.fixture(params=UNITS)
def cube(request, tmp_path):
    """Return (path, Product, unit) of a cube with a sample without a value."""
    path = write_cube(tmp_path / "cube.fits", 1, render_stars())
    made = product.read(path)
    arrays = {name: plane.copy() for name, plane in made.arrays.items()}
    arrays["DQ"][DEAD], arrays["DQ"][STRUCK] = Flag.DO_NOT_USE, Flag.JUMP_DET
    arrays["SCI"][DEAD] = arrays["ERR"][DEAD] = np.nan
    made = replace(made, arrays=arrays, units=dict.fromkeys(("SCI", "ERR"), request.param))
    product.write(path, made)
    return path, made, UNITS[request.param]


def write_spectrum(path, cube):
    """Write the spectrum of a spaxel of a cube (Product)."""
    planes = (cube.arrays[name][:, 4, 5] for name in ("SCI", "ERR", "DQ"))
    table = make_table(1, GRID_UM, Spectrum(*planes), {"RA": (150.0, "deg")}, unit=cube.units["SCI"])
    write_spectra(path, {"INSTRUME": "IRIS", "NSOURCE": 1}, [table], [])
    return path


def test_a_cube_has_what_cubeviz_looks_for(cube):
    path, made, unit = cube  # rules of jdaviz's parser of cubes: names of extensions, unit, integer flags, coordinates
    # jdaviz 5.0.2 itself opened such cubes of flux densities, with errors and flags; it takes no rates (electron/s)
    with fits.open(path) as hdus:
        images = [hdu for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] == 3]
        kinds = ("flux", "sci"), ("ivar", "err", "var", "uncert"), ("mask", "dq")
        (flux,), (error,), (mask,) = ([hdu for hdu in images if hdu.name.lower() in names] for names in kinds)
        assert u.Unit(flux.header["BUNIT"]) == u.Unit(error.header["BUNIT"]) == unit
        assert ["DISPAXIS" in hdu.header for hdu in images] == [True, False, False]  # jdaviz 5: flux of three axes
        assert flux.header["DISPAXIS"] == 3
        assert mask.data.dtype.kind == "u"
        assert (mask.data[DEAD], mask.data[STRUCK]) == (Flag.DO_NOT_USE, Flag.JUMP_DET)
        for hdu in (flux, error, mask):
            assert (hdu.header["CTYPE3"], hdu.header["CUNIT3"]) == ("WAVE", "um")
            wcs = WCS(hdu.header)
            assert wcs.has_celestial
            assert wcs.has_spectral
            assert not any(key.startswith(("A_", "B_", "AP_", "BP_")) for key in hdu.header)  # SIP
        np.testing.assert_array_equal(flux.data, made.arrays["SCI"])


@pytest.mark.filterwarnings("default")
def test_specutils_reads_a_cube(cube):
    import specutils

    path, made, unit = cube
    # 2.4 knows ERR as an error, and not its power: uncertainty_type says it
    read = specutils.Spectrum.read(path, format="wcs1d-fits", uncertainty_type="std")
    assert read.flux.unit == unit
    assert read.uncertainty.unit == unit
    assert type(read.uncertainty).__name__ == "StdDevUncertainty"
    axis = read.spectral_axis.to_value(u.um)
    np.testing.assert_allclose(axis, GRID_UM, rtol=1e-9)
    values = [array if array.shape == made.arrays["SCI"].shape else np.moveaxis(array, -1, 0).swapaxes(1, 2)
              for array in (read.flux.value, read.uncertainty.array, read.mask)]  # fmt: skip
    for array, name in zip(values, ("SCI", "ERR", "DQ"), strict=True):
        np.testing.assert_array_equal(array, made.arrays[name])


@pytest.mark.filterwarnings("default")
def test_specutils_reads_a_spectrum(cube, tmp_path):
    import specutils

    _, made, unit = cube
    read = specutils.Spectrum.read(write_spectrum(tmp_path / "spec.fits", made), format="tabular-fits", hdu=1)
    assert read.flux.unit == read.uncertainty.unit == (u.ct / u.s if unit == UNITS["electron/s"] else unit)
    np.testing.assert_allclose(read.spectral_axis.to_value(u.um), GRID_UM)
    for array, name in ((read.flux.value, "SCI"), (read.uncertainty.array, "ERR")):
        np.testing.assert_array_equal(array, made.arrays[name][:, 4, 5])
    assert np.isnan(read.flux.value[DEAD[0]])


def test_a_table_has_columns_that_specutils_takes_for_axis_flux_and_error(cube, tmp_path):
    with fits.open(write_spectrum(tmp_path / "spec.fits", cube[1])) as hdus:
        units = {column.name: u.Unit(column.unit) for column in hdus[1].columns if column.unit}
    assert units["WAVELENGTH"].is_equivalent(u.AA)
    assert units["FLUX"] == units["UNCERTAINTY"]
    known = units["FLUX"].is_equivalent("Jy", u.spectral_density(1.6 * u.um)) or units["FLUX"] == u.ct / u.s
    assert known
    assert list(units) == ["WAVELENGTH", "FLUX", "UNCERTAINTY"]  # the first of its kind, and the next of its unit
