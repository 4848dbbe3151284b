"""The simulated slicer on the sky: light of lamps, lines, sources; old references."""

import numpy as np
import pytest
from reference_cache import REPO

from drs.lines import read_lists
from drs.schema import load_yaml
from drs.simulation import scene, slicers, spectrograph
from drs.simulation.slices import place_edges
from drs.simulation.streams import make_stream

FACTS = load_yaml(REPO / "config/presets.yaml")["presets"]["slicer"]["slices"]
FIELD = load_yaml(REPO / "config/instruments/iris.yaml")["detectors"]["IFS"]["fields"]["SLICER"]
SHAPE = (128, 160)
BASE = (150.0, 2.0, 37.0)


@pytest.fixture(scope="module")
def made():
    """Return the slicer of the preset."""
    return slicers.make_slicer(FACTS, SHAPE, make_stream(1, "throughput"))


def test_a_continuum_is_per_spaxel_and_column_of_the_middle(made):
    layout = made.layout
    assert np.median(made.throughput) == pytest.approx(1.0)
    frame = slicers.render_light(made, slicers.tabulate(made, {"continuum_e_per_s": 10.0, "slope": 0.2}))
    expected = 10.0 * layout.n_spaxel * made.throughput.sum()
    assert frame[:, 79:81].sum() / 2 == pytest.approx(expected, rel=0.01)
    assert frame[:, -10:].sum() / frame[:, :10].sum() == pytest.approx(1.1 / 0.9, rel=0.02)
    edges = place_edges(layout, SHAPE, np.arange(160))
    assert (edges.min(), edges.max()) > (4, 4)
    assert edges.max() < SHAPE[0] - 5  # off the border of reference pixels


def test_lines_of_a_list_have_their_light(made):
    path = REPO / "config/lines/argon.ecsv"
    table = slicers.tabulate(made, {"brightest_e_per_s": 2500.0}, [path])
    wavelength, intensity = read_lists([path], table.edge_um[0], table.edge_um[-1])
    assert table.total[-1] == pytest.approx(2500.0 * intensity.sum() / intensity.max(), rel=0.01)
    k = np.argmax(intensity)
    near = np.interp(wavelength[k] + np.array([-3e-3, 3e-3]), *table)
    assert near[1] - near[0] == pytest.approx(2500.0, rel=0.05)


def test_a_star_has_its_light_and_its_place(made):
    layout = made.layout
    geometry = slicers.find_geometry(layout, FIELD, 0.05)
    star = {"kind": "star", "x": 7.3, "y": 4.2, "radius_pix": 0.0, "continuum_e_per_s": 100.0}
    galaxy = star | {"kind": "galaxy"}
    sources = spectrograph.make_sources([star, galaxy], BASE, geometry, hidden=("galaxy",))
    assert len(sources) == 1
    back = scene.sky_to_pixel(sources[0]["ra_deg"], sources[0]["dec_deg"], BASE, geometry)
    assert back == (pytest.approx(7.3), pytest.approx(4.2))
    fine = slicers.find_geometry(layout, FIELD, 0.05, slicers.FINE)
    psf = {"core_fwhm_pix": 1.2, "halo_fwhm_pix": 1.8, "core_fraction": 0.9}
    images = slicers.take_images(made, sources, BASE, fine, psf)
    assert images[0].shape == (layout.n_slice, layout.n_spaxel * slicers.FINE)
    assert images[0].mean(axis=1).sum() * layout.n_spaxel == pytest.approx(1.0, abs=0.005)
    table = slicers.tabulate(made, star)
    truth = slicers.make_truth(made, images, [table])
    assert truth.shape == (SHAPE[1], layout.n_slice, layout.n_spaxel)
    image = truth.mean(axis=0)
    y, x = np.indices(image.shape)
    assert (image * y).sum() / image.sum() == pytest.approx(3.2, abs=0.02)
    assert (image * x).sum() / image.sum() == pytest.approx(6.3, abs=0.02)
    nothing = slicers.tabulate(made, {})
    frame = slicers.render_light(made, nothing, images, [table])
    share = image.sum(axis=1) / image.sum()
    assert frame.sum() == pytest.approx(truth.sum() * (share * made.throughput).sum(), rel=0.01)


def test_old_references_are_off_by_known_amounts(made):
    facts = {"trace_shift_pix": 1.6, "wavelength_shift_pix": 3.4}
    trace, units = slicers.make_old_references(made, "trace", facts)
    np.testing.assert_allclose(trace["EDGES"] - slicers.make_edges(made), 1.6, atol=1e-4)
    assert units == {"SCI": "", "ERR": "", "EDGES": "pix"}
    old, _ = slicers.make_old_references(made, "wavesol", facts)
    truth, middle = slicers.make_wavesol(made), made.layout.n_spaxel // 2
    shift = (truth - old["WAVESOL"])[80] / made.layout.dispersion_um
    assert shift[:, middle].mean() == pytest.approx(3.4, abs=0.2)
    assert np.ptp(shift[0]) > 1.4  # the tilt of lines
