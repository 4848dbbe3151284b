"""How far slices have moved: against their traces, and the frame of a sky against an exposure."""

from dataclasses import replace

import numpy as np
import pytest
from arcs import LISTS
from slice_files import LAYOUT, RESPONSE, SHAPE, make_frame, write_rate, write_references

from drs import product
from drs.image import Image
from drs.simulation.slices import map_wavelength, place_edges
from drs.slicer import rectify_frame
from drs.sliceshift import move_slices, see_sky

OH = {"continuum_e_per_s": 6.0, "brightest_e_per_s": 500.0}
GRID_UM = 1.61 + 6e-4 * np.arange(80)


def make_sky(tmp_path, *, rows, columns):
    """Return (cube of a sky that is moved, its rate, its manifest and caches)."""
    frame = make_frame(OH, [LISTS / "oh.ecsv"], shift_pix=(rows, columns))
    rate = write_rate(tmp_path / "sky.fits", frame, 2, "SKY")
    manifest, cache = write_references(tmp_path, old=False)
    sky = product.read(rate)
    keywords = sky.keywords | {"DATAMODL": "IFUCubeModel", "FRMSHIFT": rows, "WAVSHIFT": columns}
    return replace(sky, keywords=keywords), rate, (manifest, [tmp_path / "none", cache])


def rectify_at(rows, columns, response=1.0):
    """Return the function that rectifies frames of slices that are moved, of pixels with a response."""
    edges = place_edges(LAYOUT, SHAPE, np.arange(SHAPE[1]), shift_pix=rows)
    wavelength_um = map_wavelength(LAYOUT, SHAPE, shift_pix=columns)

    def rectify(image):
        frame = image.rate / np.float32(response), image.error / np.float32(response), image.dq
        return [np.moveaxis(array, 2, 0) for array in rectify_frame(*frame, edges, wavelength_um, GRID_UM)[:3]]

    return rectify


def test_a_sky_is_seen_as_the_exposure_sees_it(tmp_path):
    sky, rate, references = make_sky(tmp_path, rows=0.05, columns=0.1)
    rectify = rectify_at(0.1, 0.25, RESPONSE)
    seen, files = see_sky(sky, rate, references, {"FRMSHIFT": 0.1, "WAVSHIFT": 0.25}, rectify)
    assert [path.name for path in files] == ["iris_ifs_dark_20240101t000000_0.0.1.fits"]
    blank = np.zeros(SHAPE, np.uint32), np.ones(SHAPE, np.float32)
    truth, own = (
        rectify_at(*place)(Image(make_frame(OH, [LISTS / "oh.ecsv"], shift_pix=place).astype(np.float32), *blank[::-1]))
        for place in ((0.1, 0.25), (0.05, 0.1))
    )
    inside = np.s_[4:-4, :, 2:-2]
    pulls = ((seen.arrays["SCI"] - truth[0]) / seen.arrays["ERR"])[inside]
    assert np.nanstd(pulls) == pytest.approx(1.0, abs=0.1)
    other = ((own[0] - truth[0]) / seen.arrays["ERR"])[inside]
    assert np.nanstd(other) > 1.5  # what two cubes that are rectified each by its own differ by, without any noise


def test_without_a_shift_of_both_the_frame_stays(tmp_path):
    sky, rate, references = make_sky(tmp_path, rows=0.05, columns=0.1)
    found = []
    for keywords in ({}, {"FRMSHIFT": 0.05, "WAVSHIFT": 0.1}):
        see_sky(sky, rate, references, keywords, lambda image: found.append(image) or image[:3])
    np.testing.assert_allclose(found[0].rate, found[1].rate, rtol=1e-5, atol=1e-5)
    frame = product.read(rate)
    np.testing.assert_allclose(found[0].rate, frame.arrays["SCI"] - 0.25, atol=1e-4)
    np.testing.assert_allclose(found[0].error, frame.arrays["ERR"], rtol=1e-4)  # without that of the dark


def test_slices_move_to_where_lines_of_the_sky_say(tmp_path, caplog):
    sky, _, (_, (_, cache)) = make_sky(tmp_path, rows=0.2, columns=0.0)
    trace = product.read(next(cache.rglob("*trace*.fits")))
    exposure, moved = move_slices(sky, sky.image, trace)
    assert exposure.keywords["FRMSHIFT"] == pytest.approx(0.2, abs=0.06)
    np.testing.assert_allclose(moved.arrays["EDGES"] - trace.arrays["EDGES"], exposure.keywords["FRMSHIFT"], atol=1e-4)
    dark = sky.image._replace(rate=0 * sky.image.rate)
    assert move_slices(sky, dark, trace) == (sky, trace)
    assert "slices stay where the traces are" in caplog.text
