"""Slices traced in a flat: edges, offsets, bad pixels, missing slices, and the flat without its lamp."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from drs.dq import Flag
from drs.errors import ReductionError
from drs.simulation.slices import REDUCED, make_lamp, make_lines, map_wavelength, place_edges, render_slices
from drs.traces import find_inside, make_slice_flat, measure_shift, place_traces, trace_slices

SHAPE = (96, 130)
THROUGHPUT = np.array([1.0, 0.8, 1.1, 0.95, 1.05])
COLUMNS = np.arange(SHAPE[1])
EXPECTED = place_edges(REDUCED, SHAPE, [(SHAPE[1] - 1) / 2])[:, :, 0]
TRUE = place_edges(REDUCED, SHAPE, COLUMNS)
LIGHT = 1000 * render_slices(REDUCED, SHAPE, make_lamp(REDUCED, throughput=THROUGHPUT))


def make_flat(light=LIGHT, *, seed=1, bad=0.01, scattered=5.0):
    """Return flat, error, dq: Poisson noise, scattered light, and cosmic rays that no flag tells of."""
    rng = np.random.default_rng(seed)
    error = np.sqrt(light + scattered) / 3
    flat = light + scattered + rng.normal(size=light.shape) * error
    flat[rng.random(light.shape) < bad] = 1e5
    return flat.astype(np.float32), error.astype(np.float32), np.zeros(light.shape, np.uint32)


@pytest.fixture(scope="module")
def traces():
    flat, _, dq = make_flat()
    return trace_slices(flat, dq, EXPECTED, n_block=13)


def test_edges_are_those_of_the_layout(traces):
    away = place_traces(traces, COLUMNS) - TRUE
    assert np.abs(away).max() < 0.04  # measured 0.023, rms 0.005
    assert away.std() < 0.008
    assert np.abs(away.mean(axis=(0, 2))).max() < 0.003  # gaps of 2 pixels, light spread by 1.6: none is seen alone
    assert traces.spread_pix == pytest.approx(REDUCED.fwhm_across_pix / 2.3548, rel=0.02)
    assert traces.rms_pix.max() < 0.02
    assert (traces.n_block >= 10).all()


@given(offset=st.floats(-6, 6))
@settings(max_examples=12, deadline=None)
def test_an_offset_is_found(traces, offset):
    flat, _, dq = make_flat()
    moved = trace_slices(flat, dq, EXPECTED + offset, n_block=13)
    assert moved.offset_pix == pytest.approx(-offset, abs=0.01)
    np.testing.assert_allclose(moved.coefficients, traces.coefficients, atol=2e-3)


def test_flagged_rows_and_columns_are_left_out(traces):
    flat, _, dq = make_flat()
    flat[40, :] = np.nan
    dq[:, 55:61] = Flag.DO_NOT_USE
    flat[:, 55:61] = 1e4
    found = trace_slices(flat, dq, EXPECTED, n_block=13)
    assert np.abs(place_traces(found, COLUMNS) - TRUE).max() < 0.06


def test_columns_without_lamp_are_left_out():
    dark = np.where(COLUMNS < 30, 0.0, 1.0)  # beyond the edge of the filter
    flat, _, dq = make_flat(LIGHT * dark)
    found = trace_slices(flat, dq, EXPECTED, n_block=13)
    assert np.abs(place_traces(found, COLUMNS[30:]) - TRUE[:, :, 30:]).max() < 0.06


def test_a_missing_slice_is_named():
    throughput = THROUGHPUT * [1, 0, 1, 0.001, 1]
    flat, _, dq = make_flat(1000 * render_slices(REDUCED, SHAPE, make_lamp(REDUCED, throughput=throughput)))
    with pytest.raises(ReductionError, match=r"slices 1, 3 of 5 have no light in the flat"):
        trace_slices(flat, dq, EXPECTED, n_block=13)


def test_refused():
    flat, _, dq = make_flat()
    with pytest.raises(ReductionError, match=r"5 pixels or more off their expected places"):
        trace_slices(flat, dq, EXPECTED + 7, n_block=13, most_offset_pix=5)
    with pytest.raises(ReductionError, match="the flat has no light"):
        trace_slices(np.zeros_like(flat), dq, EXPECTED)
    with pytest.raises(ReductionError, match="the flat has no light"):
        trace_slices(np.full_like(flat, np.nan), dq, EXPECTED)
    with pytest.raises(ReductionError, match=r"slice \d of 5 is found in \d of 4 blocks, at least 6 are needed"):
        trace_slices(flat, dq, EXPECTED, n_block=4)
    with pytest.raises(ValueError, match="expected edges"):
        trace_slices(flat, dq, EXPECTED.T)


def map_frame(traces):
    """Return the true wavelength (ny, nx) of pixels, NaN outside."""
    wavelength, frame = map_wavelength(REDUCED, SHAPE), np.full(SHAPE, np.nan)
    for s, (lower, upper) in enumerate(place_traces(traces, COLUMNS)):
        for x in COLUMNS:
            rows = np.arange(int(np.ceil(lower[x])), int(upper[x]) + 1)
            at = (rows - lower[x]) / (upper[x] - lower[x]) * REDUCED.n_spaxel - 0.5
            frame[rows, x] = np.interp(at, np.arange(REDUCED.n_spaxel), wavelength[s, :, x])
    return frame


def test_the_flat_has_the_throughput_but_not_the_lamp(traces):
    rng = np.random.default_rng(5)
    response = rng.normal(1, 0.03, SHAPE)
    lamp = LIGHT * (1 + 0.5 * np.sin(COLUMNS / 20))
    flat, error, dq = make_flat(lamp * response, bad=0.002, scattered=0)
    dq[30, 40] = Flag.DO_NOT_USE
    coordinate = np.where(find_inside(traces, SHAPE), COLUMNS * 1.0, np.nan)
    new, new_error, new_dq = make_slice_flat(flat, error, dq, traces, coordinate, n_knot=16)
    expected = np.full(SHAPE, np.nan)
    for s, (lower, upper) in enumerate(TRUE):
        row = np.arange(SHAPE[0])[:, np.newaxis]
        inner = (row > lower + 2) & (row < upper - 2)
        expected[inner] = (response * THROUGHPUT[s])[inner]
    ratio = new / expected
    ratio = ratio[np.isfinite(ratio) & (flat < 1e4)]
    assert np.median(ratio) == pytest.approx(np.median(ratio), abs=0.01)
    assert np.std(ratio / np.median(ratio)) < 1.25 * np.median((new_error / new)[np.isfinite(expected)])
    assert new[0, 0] == 1
    assert new_dq[0, 0] == Flag.NO_FLAT_FIELD
    assert new_dq[30, 40] == Flag.DO_NOT_USE | Flag.NO_FLAT_FIELD


def test_the_lamp_of_staggered_slices_is_that_of_their_wavelengths(traces):
    flat, error, dq = make_flat(bad=0, scattered=0)
    edge = 1.6295  # of a filter, steep: 6 columns of stagger and 1.7 of tilt smear it where columns are taken
    wavelength = map_frame(traces)
    flat *= (0.4 + 0.6 * ndtr((wavelength - edge) / (3 * REDUCED.dispersion_um))).astype(np.float32)
    scatter = []
    for coordinate in (wavelength, np.where(np.isfinite(wavelength), COLUMNS, np.nan)):
        new, *_ = make_slice_flat(flat, error, dq, traces, coordinate, n_knot=80)
        near = np.abs(wavelength - edge) / REDUCED.dispersion_um
        scatter.append(np.std(new[(near > 2) & (near < 8) & (flat > 100)]))
    assert scatter[0] < 0.6 * scatter[1]


def test_a_flat_without_pixels_is_refused(traces):
    flat, error, dq = make_flat()
    with pytest.raises(ReductionError, match=r"0 usable pixels of slices for a lamp spectrum"):
        make_slice_flat(flat, error, dq | np.uint32(Flag.DO_NOT_USE), traces, np.ones(SHAPE))


@pytest.mark.parametrize("rows", [-0.3, 0.0, 0.12])
def test_the_shift_of_slices_is_found_by_lines_of_the_sky(rows):
    lines = [1.6085, 1.6140, 1.6194, 1.6235, 1.6317, 1.6360, 1.6415, 1.6480, 1.6502]
    frame = render_slices(REDUCED, SHAPE, make_lines(REDUCED, lines, [400.0] * len(lines)), shift_pix=(rows, 0.1))
    frame += 6 * (frame > 0)
    star = np.exp(-0.5 * ((np.arange(SHAPE[0])[:, np.newaxis] - TRUE[2, 1]) / 3) ** 2)  # at the end of a slice
    sigma = np.sqrt(0.25 + (frame + 300 * star) / 70)
    noisy = frame + 300 * star + np.random.default_rng(2).normal(size=SHAPE) * sigma
    dq = np.zeros(SHAPE, np.uint32)
    dq[::7, ::11], noisy[::7, ::11] = Flag.DO_NOT_USE, 1e5
    found, error = measure_shift(noisy.astype(np.float32), dq, TRUE, spread_pix=0.68)
    assert found == pytest.approx(rows, abs=0.05)  # measured 0.02 to 0.03 more, where lines are tilted
    assert 0.001 < error < 0.03


def test_without_lines_no_shift_is_measured():
    with pytest.raises(ReductionError, match="lines at 0 ends of slices, at least 4 are needed"):
        measure_shift(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint32), TRUE, spread_pix=0.68)
