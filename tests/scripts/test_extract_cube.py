"""extract_cube: light, errors, sky, coordinates and what programs that show cubes want; what is refused."""

import json

import numpy as np
import pytest
from arcs import LISTS
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from reference_cache import REPO
from spectra import LAYOUT, SKY, make_light, make_spectrograph, write_rate, write_references

from drs import product
from drs.simulation.spectrograph import render_light
from drs.wavegrid import resample_spectra
from extract_cube import main

INSTRUMENT = REPO / "config/instruments/iris.yaml"
OPTIONS = {
    "telluric": "yes", "flux": "yes", "adc": "auto", "adc_order": 2, "sky_method": "none",
    "blank_fraction": 0.25, "method": "chi-square", "n_iterations": 10, "nonnegative": "no",
    "lines": LISTS / "oh.ecsv", "fwhm_pix": 2.1, "shift_lenslet_step": 1, "maximum_shift_pix": 2.0,
    "measure_shift": "yes", "shift_column_step": 4, "grid_start_um": 0.0, "grid_stop_um": 0.0, "grid_step_um": 0.0,
}  # fmt: skip
STAR = 20  # lenslet with light of its own
STAR_E_PER_S = 300.0


def make_truth():
    """Return the light (lenslet, column) of the star."""
    light = np.zeros((LAYOUT.ny * LAYOUT.nx, LAYOUT.n_column))
    light[STAR] = STAR_E_PER_S
    return light


@pytest.fixture
def extract(run, tmp_path):
    """Return a function that extracts the cube of a rate: path, options -> (result, path of the cube)."""

    def extract(rate, manifest, cache, **options):
        output = rate.with_name(f"cube_{rate.name}")
        places = {"cache": cache, "night_cache": tmp_path / "none", "instrument": INSTRUMENT, "output": output}
        return run(main, rate=rate, manifest=manifest, **places, **(OPTIONS | options)), output

    return extract


@pytest.fixture
def exposures(tmp_path):
    """Return ((science, sky), (manifest, cache)): lines of the sky are 10 % fainter than in the science exposure."""
    spectrograph = make_spectrograph()
    sky = make_light(spectrograph)
    fainter = make_light(
        spectrograph, SKY | {"lines": [line | {"e_per_s": 0.9 * line["e_per_s"]} for line in SKY["lines"]]}
    )
    frame = render_light(spectrograph, sky + make_truth(), flexure_pix=0.1)
    science = write_rate(tmp_path / "sci.fits", frame, 1, "SCI")
    other = write_rate(tmp_path / "sky.fits", render_light(spectrograph, fainter), 2, "SKY")
    return (science, other), write_references(tmp_path, spectrograph)


def resample(cube, light):
    """Return light (lenslet, column) on the grid of a cube."""
    grid_um = cube.wcs["CRVAL3"] + cube.wcs["CDELT3"] * np.arange(len(cube.arrays["SCI"]))
    wavelength = make_spectrograph().traces.wavelength_um
    ones = np.ones(light.shape, np.float32)
    bins = resample_spectra(light.astype(np.float32), ones, np.zeros(light.shape, np.uint32), wavelength, grid_um)
    return bins.flux.T.reshape(cube.arrays["SCI"].shape)


def test_light_errors_and_shift(extract, exposures):
    (science, _), references = exposures
    result, path = extract(science, *references)
    assert result.exit_code == 0, result.output
    cube = product.read(path, models="IFUCubeModel", unit="electron/s")
    truth = resample(cube, make_light(make_spectrograph()) + make_truth())
    pulls = (cube.arrays["SCI"] - truth) / cube.arrays["ERR"]
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)
    assert cube.arrays["SCI"].sum() == pytest.approx(truth.sum(), rel=0.003)
    assert cube.keywords["FRMSHIFT"] == pytest.approx(0.1, abs=4 * cube.keywords["FRMSHERR"])
    assert cube.keywords["S_SKYSUB"] == "SKIPPED: by configuration"
    assert cube.keywords["AIRORVAC"] == "VACUUM"
    assert cube.keywords["S_TELLUR"] == "SKIPPED: not for this kind of exposure"
    assert abs(cube.keywords["BARYCORR"]) < 31


def test_a_sky_cube_is_scaled_and_taken_out(extract, exposures):
    (science, other), references = exposures
    result, sky = extract(other, *references)
    assert result.exit_code == 0, result.output
    result, path = extract(science, *references, sky=sky, sky_method="cube", blank_fraction=0.9)
    assert result.exit_code == 0, result.output
    cube = product.read(path)
    pulls = (cube.arrays["SCI"] - resample(cube, make_truth())) / cube.arrays["ERR"]
    assert abs(pulls.mean()) < 0.1  # the scale is known to 0.2 %
    assert pulls.std() == pytest.approx(1, abs=0.08)
    assert cube.keywords["SKYFROM"] == "sky cube"
    factors = next(json.loads(value) for step, name, value in cube.parameters if (step, name) == ("sky", "factors"))
    assert factors[1] == pytest.approx(1 / 0.9, rel=0.01)
    assert any(line.startswith("sky: lines of 1.6356 to 1.7253 um times 1.1") for line in cube.history)


def test_blank_spaxels_give_the_sky_where_there_is_no_sky_cube(extract, exposures):
    (science, _), references = exposures
    result, path = extract(science, *references, sky_method="blank")
    assert result.exit_code == 0, result.output
    cube = product.read(path)
    star = cube.arrays["SCI"].reshape(len(cube.arrays["SCI"]), -1)[:, STAR]
    assert star.mean() == pytest.approx(STAR_E_PER_S, rel=0.01)
    others = np.delete(cube.arrays["SCI"].reshape(len(star), -1), STAR, axis=1)
    assert abs(others.mean()) < 0.02 * SKY["continuum_e_per_s"] + 1
    assert cube.keywords["SKYFROM"] == "blank spaxels"
    errors = np.delete(cube.arrays["ERR"].reshape(len(star), -1), STAR, axis=1)
    assert (others / errors).std() == pytest.approx(1.0, abs=0.1)  # 1.8 with a median of spaxels on one grid


@pytest.mark.parametrize("options", [{"method": "iterations", "n_iterations": 50}, {"nonnegative": "yes"}])
def test_other_solutions_are_near(extract, exposures, options):
    (science, _), references = exposures
    plain, other = (
        product.read(extract(science, *references, **chosen)[1]).arrays["SCI"].copy() for chosen in ({}, options)
    )
    np.testing.assert_allclose(other, plain, atol=0.5)


@pytest.fixture
def checked(tmp_path):
    """Return (list of lines, rate with them, wavelengths moved by so many columns -> references)."""
    places = [1.6359, 1.6372, 1.6386]
    table = Table({"wavelength_um": places, "intensity": [3.0, 2.0, 4.0]}, meta={"medium": "vacuum"})
    table.write(tmp_path / "lines.ecsv", format="ascii.ecsv")
    spectrograph = make_spectrograph()
    seen = [{"wavelength_um": place, "fwhm_um": 4e-4, "e_per_s": 500.0} for place in places]
    frame = render_light(spectrograph, make_light(spectrograph, SKY | {"lines": seen}))
    rate = write_rate(tmp_path / "checked.fits", frame, 4, "SKY")

    def write(columns):
        traces = spectrograph.traces
        moved = traces._replace(wavelength_um=traces.wavelength_um + columns * LAYOUT.dispersion_um)
        (tmp_path / f"{columns}").mkdir()
        return write_references(tmp_path / f"{columns}", spectrograph._replace(traces=moved))

    return tmp_path / "lines.ecsv", rate, write


@pytest.mark.parametrize("columns", [0.0, 0.3, -0.6])
def test_lines_of_the_sky_check_the_wavelengths(extract, checked, columns):
    lines, rate, write = checked
    references = write(columns)
    result, path = extract(rate, *references, lines=lines)
    assert result.exit_code == 0, result.output
    cube = product.read(path)
    assert cube.keywords["WAVNLINE"] == 3
    assert cube.keywords["WAVSHIFT"] == pytest.approx(columns, abs=0.02)  # bar 0.05
    assert cube.keywords["WAVSHERR"] < 0.02
    wave_um = cube.wcs["CRVAL3"] + cube.wcs["CDELT3"] * np.arange(len(cube.arrays["SCI"]))
    spectrum, near = cube.arrays["SCI"].mean(axis=(1, 2)), np.abs(wave_um - 1.6372) < 6.5e-4
    centre = np.average(wave_um[near], weights=spectrum[near] - spectrum[near].min())
    assert centre == pytest.approx(1.6372, abs=0.05 * LAYOUT.dispersion_um)
    _, path = extract(rate, *references, lines=lines, measure_shift="no")
    assert "WAVSHIFT" not in product.read(path).keywords


def test_wavelengths_that_lines_of_the_sky_refute_are_refused(extract, checked):
    lines, rate, write = checked
    result, _ = extract(rate, *write(0.9), lines=lines, maximum_shift_pix=0.5)
    assert result.exit_code == 1
    assert "lines of the sky are +0.899" in result.output
    assert "at most 0.5 are allowed" in result.output


def test_a_grid_of_ones_own(extract, exposures):
    (science, _), references = exposures
    _, path = extract(science, *references, grid_start_um=1.636, grid_stop_um=1.6385, grid_step_um=5e-4)
    cube = product.read(path)
    assert len(cube.arrays["SCI"]) == 6
    assert (cube.wcs["CRVAL3"], cube.wcs["CDELT3"]) == pytest.approx((1.636, 5e-4))


def test_programs_that_show_cubes_find_what_they_want(extract, exposures):
    (science, _), references = exposures
    _, path = extract(science, *references)
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus[1:4]] == ["SCI", "ERR", "DQ"]
        for hdu in hdus[1:4]:
            header = hdu.header
            assert (header["NAXIS1"], header["NAXIS2"]) == (LAYOUT.nx, LAYOUT.ny)
            assert (header["CTYPE3"], header["CUNIT3"]) == ("WAVE", "um")
            wcs = WCS(header)
            assert wcs.naxis == 3
            assert wcs.has_celestial
            assert wcs.has_spectral
            assert wcs.world_axis_physical_types == ["pos.eq.ra", "pos.eq.dec", "em.wl"]
            ra, dec, wave_m = wcs.wcs_pix2world([[(LAYOUT.nx - 1) / 2, (LAYOUT.ny - 1) / 2, 0]], 0)[0]
            assert (ra, dec) == pytest.approx((150.0, 2.0), abs=1e-9)
            assert wave_m == pytest.approx(1e-6 * header["CRVAL3"])
        assert hdus["SCI"].header["BUNIT"] == hdus["ERR"].header["BUNIT"] == "electron/s"
        assert hdus["DQ"].data.dtype.kind == "u"
        assert not any(key.startswith(("A_", "B_")) for key in hdus["SCI"].header)


@pytest.mark.parametrize(
    ("rate", "changes", "message"),
    [
        ({"SCALE": 0.01}, {}, "SCALE 0.01 is none of LENSLET, which has 0.004, 0.009 arcsec"),
        ({"INSTMODE": "IMG"}, {}, "INSTMODE 'IMG' of IFS has no field on the sky; known are LENSLET, SLICER"),
        ({}, {"rectmat": {"INSTMODE": "SLICER"}}, "is of INSTMODE = SLICER, the exposure of INSTMODE = LENSLET"),
        ({}, {"wavesol": {"SCALE": 0.004}}, "is of SCALE = 0.004, the exposure of SCALE = 0.009"),
        ({}, {"rectmat": {"INSTERA": "0.0.2"}}, "is of INSTERA = 0.0.2, the exposure of INSTERA = 0.0.1"),
        ({"GRATING": "8000-H"}, {}, "is of GRATING = 4000-H, the exposure of GRATING = 8000-H"),
        ({"PA": None}, {}, "no PA in the header"),
    ],
)
def test_what_does_not_fit_is_refused(extract, tmp_path, rate, changes, message):
    spectrograph = make_spectrograph()
    frame = render_light(spectrograph, make_light(spectrograph))
    science = write_rate(tmp_path / "sci.fits", frame, 1, "SCI", **rate)
    references = write_references(tmp_path, spectrograph, **changes)
    result, path = extract(science, *references)
    assert result.exit_code == 1
    assert message in result.output
    result, path = extract(science, *references, mark_refusal=True)
    assert result.exit_code == 0
    assert message in product.read(path, models="IFUCubeModel").refusal
