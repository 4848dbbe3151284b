"""Spectra of lenslets and slices alike: their light, wavelengths and places."""

import numpy as np
import pytest
import slice_files
import spectra

from drs import product
from drs.errors import ReductionError
from drs.extraction import find_spectra
from drs.image import Image
from drs.simulation.slicers import make_edges, make_wavesol
from drs.simulation.slices import map_wavelength
from drs.simulation.spectrograph import make_offsets, make_rectmat, render_light
from drs.simulation.spectrograph import make_wavesol as make_lenslet_wavesol


def make_product(model, **arrays):
    """Return a reference in memory."""
    return product.Product({"DATAMODL": model}, arrays)


def test_spectra_of_slices():
    layout, slicer = slice_files.LAYOUT, slice_files.SLICER
    trace = make_product("TraceModel", EDGES=make_edges(slicer))
    found = find_spectra(trace, make_product("WavelengthModel", WAVESOL=make_wavesol(slicer)))
    n = layout.n_slice * layout.n_spaxel
    truth = map_wavelength(layout, slicer.shape).reshape(n, -1)
    np.testing.assert_allclose(found.guess_um, truth, atol=2e-7)
    np.testing.assert_array_equal(found.place[layout.n_spaxel + 2], [1, 2])
    np.testing.assert_array_equal(found.group, found.place[:, 0])
    frame = slice_files.make_frame({"continuum_e_per_s": 100.0}).astype(np.float32)
    flux, error, dq = found.extract(Image(frame, np.ones_like(frame), np.zeros(frame.shape, np.uint32)))
    assert flux.shape == error.shape == dq.shape == (n, slicer.shape[1])
    middle = flux.reshape(layout.n_slice, layout.n_spaxel, -1)[:, 4:-4, 65]
    expected = 100.0 * slicer.throughput[:, np.newaxis] + 0 * middle
    np.testing.assert_allclose(middle, expected, rtol=0.01)


def test_spectra_of_lenslets():
    made, layout = spectra.make_spectrograph(), spectra.LAYOUT
    rectmat, offsets = make_rectmat(made, true_throughput=True)
    wavesol = make_product("WavelengthModel", WAVESOL=make_lenslet_wavesol(made), OFFSETS=make_offsets(made))
    found = find_spectra(make_product("RectificationModel", RECTMAT=rectmat, OFFSETS=offsets), wavesol)
    assert found.group is None
    np.testing.assert_array_equal(found.place[layout.nx + 3], [3, 1])
    np.testing.assert_allclose(found.guess_um, made.traces.wavelength_um, atol=2e-7)
    light = spectra.make_light(made)
    frame = render_light(made, light, flexure_pix=0.2).astype(np.float32)
    flux, _, _ = found.extract(Image(frame, np.ones_like(frame), np.zeros(frame.shape, np.uint32)))
    known = np.isfinite(flux)
    assert known.mean() > 0.95
    np.testing.assert_allclose(flux[known], light[known], rtol=0.02, atol=1.0)


def test_references_of_different_modes_are_refused():
    slicer = slice_files.SLICER
    trace = make_product("TraceModel", EDGES=make_edges(slicer)[:4])
    with pytest.raises(ReductionError, match="4 slices on 130 columns: give those of one mode"):
        find_spectra(trace, make_product("WavelengthModel", WAVESOL=make_wavesol(slicer)))
