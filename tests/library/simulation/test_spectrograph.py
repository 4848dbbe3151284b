"""The simulated lenslet spectrograph: light of sources and sky, matrices."""

import numpy as np
import pytest

from drs.simulation import spectrograph
from drs.simulation.night import load_facts
from drs.simulation.streams import make_stream

FACTS, INSTRUMENTS = load_facts()
LENSLETS = FACTS["presets"]["ifs"]["lenslets"]
SHAPE = (160, 256)
FIELD = INSTRUMENTS["IRIS"]["detectors"]["IFS"]["fields"]["LENSLET"]
BASE = (299.6125, 10.2236, 30.0)


@pytest.fixture(scope="module")
def made():
    return spectrograph.make_spectrograph(LENSLETS, SHAPE, make_stream(1, "throughput"))


def test_all_spectra_are_on_the_detector_within_its_border(made):
    layout, traces = made.layout, made.traces
    assert traces.first_column.min() >= 4
    assert (traces.first_column + layout.n_column).max() <= SHAPE[1] - 4
    assert traces.first_row.min() >= 4
    assert (traces.first_row + layout.n_row).max() <= SHAPE[0] - 4
    assert np.median(made.throughput) == pytest.approx(1.0)


def test_a_star_has_its_light_in_its_place(made):
    geometry = spectrograph.find_geometry(made.layout, FIELD, 0.009)
    sources = spectrograph.make_sources(LENSLETS["sources"], BASE, geometry, hidden=("galaxy",))
    light = spectrograph.light_of_sources(made, sources, BASE, geometry, LENSLETS["psf"])
    column = light[:, 24].reshape(made.layout.ny, made.layout.nx)
    (star,) = sources
    y, x = np.indices(column.shape) + 1
    assert (column * x).sum() / column.sum() == pytest.approx(star["x"], abs=0.1)
    assert (column * y).sum() / column.sum() == pytest.approx(star["y"], abs=0.1)
    assert column.sum() == pytest.approx(star["continuum_e_per_s"], rel=0.03)


def test_a_line_has_its_flux(made):
    line = {"wavelength_um": 1.6374, "fwhm_um": 5e-4, "e_per_s": 700.0}
    light = spectrograph.light_of_sky(made, {"continuum_e_per_s": 0.0, "lines": [line]})
    np.testing.assert_allclose(light.sum(axis=1), 700.0, rtol=1e-6)
    wavelength = (light * made.traces.wavelength_um).sum(axis=1) / 700.0
    np.testing.assert_allclose(wavelength, 1.6374, atol=2e-6)


def test_lines_of_the_sky_vary_by_family_and_its_continuum_does_not(made):
    facts = {"lamp": {"continuum_e_per_s": 7.0}, "families": {"sky": [0.5, 2.0]}}
    lines = [
        {"wavelength_um": w, "fwhm_um": 4e-4, "e_per_s": 100.0, "family": k} for k, w in enumerate((1.6350, 1.6390))
    ]
    facts["sky"] = {"continuum_e_per_s": 3.0, "lines": lines}
    science, sky = (spectrograph.light_of_field(made, facts, kind, 1.1)[40] for kind in ("science", "sky"))
    first = made.traces.wavelength_um[40] < 1.637
    continuum = spectrograph.light_of_sky(made, {"continuum_e_per_s": 3.0})[40]
    np.testing.assert_allclose((science - continuum)[first].sum(), 110.0, rtol=1e-4)
    np.testing.assert_allclose((sky - continuum)[first].sum(), 55.0, rtol=1e-4)
    np.testing.assert_allclose((sky - continuum)[~first].sum(), 220.0, rtol=1e-4)
    assert not spectrograph.light_of_field(made, facts, "dark", 0.0).any()
    assert spectrograph.light_of_field(made, facts, "lenslet-scan", 2.0)[40].mean() == pytest.approx(14.0, rel=0.01)


def test_the_air_absorbs_what_comes_from_beyond_it(made):
    light = np.full(made.traces.wavelength_um.shape, 10.0)
    line = {"wavelength_um": 1.6374, "fwhm_um": 5e-4, "depth": 0.4}
    through = spectrograph.absorb(made, {"absorption": [line]}, light)
    nearest = np.abs(made.traces.wavelength_um - 1.6374).argmin(axis=1)
    assert through[np.arange(128), nearest].min() == pytest.approx(6.0, abs=0.05)
    assert through[:, 0].min() == pytest.approx(10.0)
    np.testing.assert_array_equal(spectrograph.absorb(made, {}, light), light)


def test_what_falls_on_the_detector_is_the_light_times_the_throughput(made):
    light = spectrograph.light_of_sky(made, {"continuum_e_per_s": 10.0})
    frame = spectrograph.render_light(made, light, lit=np.arange(128) == 40)
    assert frame.sum() == pytest.approx(light[40].sum() * made.throughput[40], rel=0.002)
    rectmat, offsets, wavelength = spectrograph.make_truth(made)
    assert rectmat.shape == (11, 48, 8, 16)
    assert offsets.shape == (2, 8, 16)
    np.testing.assert_allclose(rectmat.sum(axis=0)[20].ravel(), made.throughput, rtol=0.002)
    np.testing.assert_allclose(wavelength[:, 2, 8], made.traces.wavelength_um[40], rtol=1e-7)


def test_an_old_matrix_is_off(made):
    (true, _), (old, _) = (spectrograph.make_rectmat(made, **off) for off in ({}, {"shift_pix": 0.4}))
    rows = np.arange(11)[:, np.newaxis, np.newaxis, np.newaxis]
    np.testing.assert_allclose(((old - true) * rows).sum(axis=0), 0.4, atol=0.03)
