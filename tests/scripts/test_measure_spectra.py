"""measure_spectra: sources found or given, light and errors, refused cubes, wrong options."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from cubefiles import GRID_UM, STARS, render_stars, write_cube

from drs import product
from measure_spectra import main

OPTIONS = {
    "source_threshold_sigma": 5,
    "lines": "yes",
    "aperture_pix": 4,
    "sky": "none",
    "ring_inner_pix": 5,
    "ring_outer_pix": 8,
}


@pytest.fixture
def cube(tmp_path):
    """Return the path of a cube of three stars."""
    return write_cube(tmp_path / "cube.fits", 1, render_stars(), NOISSPAT=1.2)


@pytest.fixture
def measure(run, tmp_path):
    """Return a function that runs the command: cube, options -> (result, path of the spectra, of the plot)."""

    def measure(cube, **options):
        output, preview = tmp_path / "spec.fits", tmp_path / "spec.png"
        return run(main, cube=cube, output=output, preview=preview, **OPTIONS | options), output, preview

    return measure


@pytest.mark.parametrize("sky", ["none", "ring"])
def test_spectra_of_all_stars(measure, cube, sky):
    result, output, preview = measure(cube, sky=sky)
    assert result.exit_code == 0, result.output
    with fits.open(output) as hdus:
        assert len(hdus) == 1 + len(STARS)
        assert hdus[0].header["NSOURCE"] == len(STARS)
        assert (hdus[0].header["CUBE"], hdus[0].header["INSTMODE"]) == ("cube.fits", "LENSLET")
        for hdu, (y, x, flux) in zip(hdus[1:], STARS, strict=True):  # the brightest first
            assert (hdu.header["Y_PIX"], hdu.header["X_PIX"]) == pytest.approx((y, x), abs=0.1)
            np.testing.assert_allclose(hdu.data["WAVELENGTH"], GRID_UM)
            pulls = (hdu.data["FLUX"] - flux) / hdu.data["UNCERTAINTY"]
            assert abs(pulls.mean()) < 1.5
            assert 0.4 < pulls.std() * 1.2 < 1.7  # NOISSPAT is there, and no correlation
            np.testing.assert_allclose(hdu.data["UNCERTAINTY"], 1.2 * 2 * np.sqrt(np.pi) * 4, rtol=0.2)
    assert preview.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("lines", "n_source"), [("yes", 2), ("no", 1)])
def test_a_galaxy_without_continuum_is_found_by_its_line(measure, tmp_path, lines, n_source):
    shape, bins = (40, 26, 31), np.arange(40)
    star, galaxy = (render_stars(stars=[(y, x, 1.0)], shape=shape) for y, x in ((9.3, 12.6), (18.2, 20.4)))
    line = 3000.0 * np.exp(-0.5 * ((bins - 22) / 1.3) ** 2) / (1.3 * np.sqrt(2 * np.pi))
    values = 2000.0 * star + galaxy * line[:, np.newaxis, np.newaxis] - galaxy * (line.mean() - 1.0)
    path = write_cube(tmp_path / "cube.fits", 1, values, grid_um=1.633 + 2e-4 * bins)
    result, output, _ = measure(path, lines=lines)
    assert result.exit_code == 0, result.output
    with fits.open(output) as hdus:
        assert len(hdus) == 1 + n_source
        if n_source > 1:
            assert (hdus[2].header["Y_PIX"], hdus[2].header["X_PIX"]) == pytest.approx((18.2, 20.4), abs=0.2)
            assert abs(np.argmax(hdus[2].data["FLUX"]) - 22) < 2


def test_places_that_are_given(measure, cube, tmp_path):
    _, output, _ = measure(cube)
    place = fits.getheader(output, 2)
    table = tmp_path / "places.ecsv"
    Table({"ra_deg": [place["RA"], 10.0], "dec_deg": [place["DEC"], 5.0]}).write(table, format="ascii.ecsv")
    result, output, _ = measure(cube, positions=table)
    assert result.exit_code == 0, result.output
    assert fits.getval(output, "NSOURCE") == 1
    assert fits.getdata(output, 1)["FLUX"].mean() == pytest.approx(STARS[1][2], rel=0.03)
    Table({"ra_deg": [10.0], "dec_deg": [5.0]}).write(table, format="ascii.ecsv", overwrite=True)
    result, _, _ = measure(cube, positions=table)
    assert result.exit_code == 1
    assert "none of the 1 places of places.ecsv lies in the cube" in result.output


def test_a_cube_without_sources_and_a_refused_one(measure, tmp_path):
    empty = write_cube(tmp_path / "empty.fits", 1, 0 * render_stars())
    result, output, preview = measure(empty)
    assert result.exit_code == 0, result.output
    assert fits.getval(output, "NSOURCE") == 0
    with product.mark_refusal(empty, product.read(empty), mark=True):
        raise product.ReductionError("no cube overlaps")
    result, output, preview = measure(empty)
    assert result.exit_code == 0, result.output
    assert list(fits.getheader(output)["HISTORY"]) == ["REFUSED: no cube overlaps"]
    assert preview.read_bytes().startswith(b"\x89PNG")


def test_a_ring_that_ends_before_it_begins_is_refused(measure, cube):
    result, _, _ = measure(cube, ring_inner_pix=9)
    assert result.exit_code == 1
    assert "the ring ends at 8.0 pix and begins at 9.0" in result.output
