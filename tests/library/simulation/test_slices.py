"""The simulated slicer: light is kept, and falls where the layout says."""

import numpy as np
import pytest

from drs.simulation.slices import (
    FULL,
    REDUCED,
    find_wavelength,
    make_lamp,
    make_lines,
    map_wavelength,
    place_edges,
    render_slices,
)

SHAPE = (96, 130)


def test_the_full_layout_is_on_its_detector():
    edges = place_edges(FULL, (4096, 4096), np.arange(4096))
    assert edges.shape == (88, 2, 4096)
    assert edges.min() > 0
    assert edges.max() < 4095
    assert (edges[1:, 0] > edges[:-1, 1]).all()
    assert FULL.n_spaxel == 45


def test_light_is_kept():
    line = REDUCED.wavelength_um
    frame = render_slices(REDUCED, SHAPE, make_lines(REDUCED, [line], [10.0]))
    assert frame.sum() == pytest.approx(10.0 * REDUCED.n_slice * REDUCED.n_spaxel, rel=2e-3)
    lamp = render_slices(REDUCED, SHAPE, make_lamp(REDUCED))
    wavelength = map_wavelength(REDUCED, SHAPE)[:, :, [0, 64, -1]]
    assert lamp[:, 65].sum() == pytest.approx(REDUCED.n_slice * REDUCED.n_spaxel, rel=0.02)
    assert wavelength.shape == (5, 14, 3)
    assert lamp[:, -1].sum() < 0.99 * lamp[:, 0].sum()  # 2500 K peaks at 1.47 um


def test_light_falls_where_the_layout_says():
    line, s = REDUCED.wavelength_um + 3.3e-3, 2
    frame = render_slices(REDUCED, SHAPE, make_lines(REDUCED, [line], [10.0]))
    lower, upper = place_edges(REDUCED, SHAPE, np.arange(SHAPE[1]))[s]
    for row in range(int(lower.max()) + 2, int(upper.min()) - 2):
        x = (frame[row] * np.arange(SHAPE[1])).sum() / frame[row].sum()
        part = (row - np.interp(x, np.arange(130), lower)) / np.interp(x, np.arange(130), upper - lower)
        found = find_wavelength(REDUCED, SHAPE, s, part, x)
        assert found == pytest.approx(line, abs=0.01 * REDUCED.dispersion_um)


def test_a_shift_moves_all():
    light = make_lines(REDUCED, [REDUCED.wavelength_um], [10.0])
    rest, moved = (render_slices(REDUCED, SHAPE, light, shift_pix=shift) for shift in ((0, 0), (2, 3)))
    np.testing.assert_allclose(moved[2:, 3:].sum(), rest.sum(), rtol=1e-3)
    rows, columns = (np.arange(n) for n in SHAPE)
    slope = REDUCED.tilt_pix / (SHAPE[1] - 1)
    assert (moved.sum(axis=1) @ rows - rest.sum(axis=1) @ rows) / rest.sum() == pytest.approx(2 + 3 * slope, abs=0.01)
    assert (moved.sum(axis=0) @ columns - rest.sum(axis=0) @ columns) / rest.sum() == pytest.approx(3, abs=0.02)


def test_every_other_slice_is_staggered():
    wavelength = map_wavelength(REDUCED, SHAPE)
    moved = (wavelength[0] - wavelength[1])[:, 60] / REDUCED.dispersion_um
    np.testing.assert_allclose(moved, REDUCED.stagger_pix, rtol=1e-2)
    across = (wavelength[0, 0] - wavelength[0, -1])[60] / REDUCED.dispersion_um
    assert across == pytest.approx(REDUCED.line_tilt_pix * 13 / 14, rel=0.01)
