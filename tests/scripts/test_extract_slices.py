"""extract_slices: light, wavelengths, coordinates and sky of a slicer exposure; what is refused."""

import json

import numpy as np
import pytest
from arcs import LISTS
from astropy.wcs import WCS
from reference_cache import REPO
from slice_files import LAYOUT, SLICER, make_frame, write_rate, write_references

from drs import product
from drs.schema import load_yaml
from drs.simulation import slicers, spectrograph
from extract_slices import main

OPTIONS = {
    "sky_method": "none", "blank_fraction": 0.25, "fwhm_pix": 2.1, "measure_shift": "true", "shift_slice_step": 2,
    "maximum_shift_pix": 2.0, "telluric": "true", "flux": "true", "adc": "none", "adc_order": 2,
    "grid_start_um": 0.0, "grid_stop_um": 0.0, "grid_step_um": 0.0,
    "lines": LISTS / "oh.ecsv", "instrument": REPO / "config/instruments/iris.yaml",
}  # fmt: skip
OH = {"continuum_e_per_s": 6.0, "brightest_e_per_s": 500.0}
FIELD = {"centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
POINTING = (150.0, 2.0, 37.0)
LINE = {"wavelength_um": 1.6300, "fwhm_um": 1.2e-3, "e_per_s": 3000.0}
STAR = {"kind": "star", "x": 6.3, "y": 3.2, "radius_pix": 0.0, "continuum_e_per_s": 200.0, "lines": [LINE]}
PSF = {"core_fwhm_pix": 1.6, "halo_fwhm_pix": 4.0, "core_fraction": 0.9}


def make_star(**options):
    """Return the frame of a star with a line under the sky, and its sources' light."""
    geometry = slicers.find_geometry(LAYOUT, FIELD, 0.05)
    sources = spectrograph.make_sources([STAR], POINTING, geometry)
    fine = slicers.find_geometry(LAYOUT, FIELD, 0.05, slicers.FINE)
    images = slicers.take_images(SLICER, sources, POINTING, fine, PSF)
    tables = [slicers.tabulate(SLICER, STAR)]
    sky = slicers.tabulate(SLICER, OH, [LISTS / "oh.ecsv"])
    frame = slicers.render_light(SLICER, sky, images, tables, **options)
    return frame, slicers.make_truth(SLICER, images, tables)


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """Return (science, sky, truth, manifest, cache); science is 0.1 rows and 0.15 columns off."""
    folder = tmp_path_factory.mktemp("slices")
    frame, truth = make_star(shift_pix=(0.1, 0.15))
    science = write_rate(folder / "science.fits", frame, 1, "SCI")
    sky = write_rate(folder / "sky.fits", make_frame(OH, [LISTS / "oh.ecsv"], shift_pix=(0.0, 0.1)), 2, "SKY")
    return science, sky, truth, *write_references(folder, old=False)


@pytest.fixture
def extract(run, exposures, tmp_path):
    """Return a function that makes a cube of an exposure: (result, Product)."""

    def extract(rate, name="cube.fits", manifest=exposures[3], cache=exposures[4], **options):
        places = {"cache": cache, "night_cache": tmp_path / "none", "output": tmp_path / name}
        result = run(main, rate=rate, manifest=manifest, **places, **OPTIONS | options)
        return result, product.read(tmp_path / name) if result.exit_code == 0 else None

    return extract


def subtracted(extract, exposures, tmp_path):
    """Return the cube of the science exposure less its sky cube."""
    assert extract(exposures[1], "sky.fits")[0].exit_code == 0
    result, cube = extract(exposures[0], sky=tmp_path / "sky.fits", sky_method="cube")
    assert result.exit_code == 0, result.output
    return cube


def test_the_star_has_its_light_its_line_and_its_place(extract, exposures, tmp_path):
    cube = subtracted(extract, exposures, tmp_path)
    values, truth = cube.arrays["SCI"].astype(float), exposures[2]
    wave_um = cube.wcs["CRVAL3"] + cube.wcs["CDELT3"] * np.arange(len(values))
    near = np.abs(wave_um - LINE["wavelength_um"]) / cube.wcs["CDELT3"]
    spectrum = np.nansum(values, axis=(1, 2))
    line = spectrum[near < 5] - np.median(spectrum[(near >= 6) & (near < 14)])
    inside = truth.sum() / (200.0 * len(truth) + 3000.0)  # of the image, in the field
    assert line.sum() == pytest.approx(inside * 3000.0, rel=0.015)
    centre = (line * wave_um[near < 5]).sum() / line.sum()
    assert centre == pytest.approx(LINE["wavelength_um"], abs=0.05 * cube.wcs["CDELT3"])
    white = np.nanmean(values[near < 3], axis=0)
    x = np.arange(white.shape[1])
    sky = WCS(cube.wcs).wcs_pix2world([[STAR["x"] - 1, STAR["y"] - 1, 0]], 0)[0][:2]
    geometry = slicers.find_geometry(LAYOUT, FIELD, 0.05)
    expected = spectrograph.make_sources([STAR], POINTING, geometry)[0]
    np.testing.assert_allclose(sky, [expected["ra_deg"], expected["dec_deg"]], atol=0.01 * 0.05 / 3600)
    box = np.abs(x - (STAR["x"] - 1)) < 3.5
    assert (white * x * box).sum() / (white * box).sum() == pytest.approx(STAR["x"] - 1, abs=0.1)


def test_the_shift_of_the_frame_is_found_by_lines_of_the_sky(extract, exposures):
    for rate, rows, expected in zip(exposures[:2], (0.1, 0.0), (0.15, 0.1), strict=True):
        cube = extract(rate)[1]
        assert cube.keywords["FRMSHIFT"] == pytest.approx(rows, abs=0.06)  # lines are tilted
        assert cube.keywords["FRMSHERR"] < 0.03
        assert cube.keywords["WAVSHIFT"] == pytest.approx(expected, abs=0.03)
        assert cube.keywords["WAVSHERR"] < 0.01
    assert "WAVSHIFT" not in extract(exposures[0], measure_shift="false")[1].keywords


def test_slices_in_another_order_on_the_detector(extract, exposures, tmp_path):
    plain = extract(exposures[0], sky_method="blank")[1]
    facts = load_yaml(REPO / "config/instruments/iris.yaml")
    facts["detectors"]["IFS"]["fields"]["SLICER"]["slice_order"] = [2, 4, 1, 5, 3]  # rows of slices, from 1
    instrument = tmp_path / "iris.yaml"
    instrument.write_text(json.dumps(facts))
    cube = extract(exposures[0], instrument=instrument, sky_method="blank")[1]
    for name in ("SCI", "ERR", "DQ"):
        np.testing.assert_array_equal(cube.arrays[name][:, [1, 3, 0, 4, 2]], plain.arrays[name])
    facts["detectors"]["IFS"]["fields"]["SLICER"]["slice_order"] = [1, 2, 3]
    instrument.write_text(json.dumps(facts))
    result, _ = extract(exposures[0], instrument=instrument)
    assert result.exit_code == 1
    assert "slice_order of SLICER names 3 slices, 1 to 3, the traces have 5" in result.output


def test_errors_hold_where_the_sky_is_faint(extract, exposures, tmp_path):
    sky = extract(exposures[1])[1].arrays["SCI"]
    cube = subtracted(extract, exposures, tmp_path)
    values, error = cube.arrays["SCI"], cube.arrays["ERR"]
    faint = np.nanmedian(sky, axis=(1, 2)) < 12
    pulls = (values / error)[faint][:, :, 11:]  # the star is 5 spaxels away
    pulls = pulls[np.isfinite(pulls)]
    assert pulls.size > 300
    assert pulls.std() == pytest.approx(1.0, abs=0.08)
    assert 1.2 < cube.keywords["NOISCORR"] < 1.8


def test_the_header_says_what_was_done(extract, exposures, tmp_path):
    cube = subtracted(extract, exposures, tmp_path)
    keywords = cube.keywords
    assert keywords["DATAMODL"] == "IFUCubeModel"
    assert (keywords["SKYFROM"], keywords["AIRORVAC"]) == ("sky cube", "VACUUM")
    assert {keywords[key] for key in ("S_DARK", "S_FLAT", "S_EXTRAC", "S_WAVCAL", "S_WCS")} == {"COMPLETE"}
    assert cube.arrays["SCI"].shape[1:] == (LAYOUT.n_slice, LAYOUT.n_spaxel)


def test_without_lines_of_the_sky_the_wavelengths_stay(extract, tmp_path, caplog):
    flat = write_rate(tmp_path / "flat.fits", make_frame({"continuum_e_per_s": 20.0}), 5, "SCI")
    result, cube = extract(flat)
    assert result.exit_code == 0
    assert "wavelengths not checked" in caplog.text
    assert "slices stay where the traces are" in caplog.text
    assert not {"WAVSHIFT", "FRMSHIFT"} & set(cube.keywords)


def test_a_frame_that_is_far_off_its_wavelengths_is_refused(extract, tmp_path):
    far = write_rate(tmp_path / "far.fits", make_frame(OH, [LISTS / "oh.ecsv"], shift_pix=(0.0, 0.8)), 6, "SKY")
    result, _ = extract(far, maximum_shift_pix=0.5)
    assert result.exit_code == 1
    assert "columns off the wavelengths, at most 0.5 are allowed" in result.output
    result, cube = extract(far, maximum_shift_pix=0.5, mark_refusal=True)
    assert "the last good solution" in cube.refusal


def test_references_of_another_mode_are_refused(extract, exposures, tmp_path):
    (tmp_path / "other").mkdir()
    manifest, cache = write_references(tmp_path / "other", wavesol={"GRATING": "8000-H"})
    result, _ = extract(exposures[0], manifest=manifest, cache=cache)
    assert result.exit_code == 1
    assert "is of GRATING = 8000-H, the exposure of GRATING = 4000-H" in result.output
