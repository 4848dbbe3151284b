"""Slicer frames: light and lines kept, errors, bad pixels, optimal extraction, and the whole way from flat and arc."""

import numpy as np
import pytest
from arcs import LISTS
from drizzle.resample import Drizzle
from hypothesis import given, settings
from hypothesis import strategies as st

from drs.dq import Flag
from drs.errors import ReductionError
from drs.lines import find_lines, merge_list, read_lists
from drs.simulation.slices import (
    REDUCED,
    find_wavelength,
    make_lamp,
    make_lines,
    map_wavelength,
    place_edges,
    render_slices,
)
from drs.slicer import extract_columns, map_pixels, rectify_frame, take_rows
from drs.traces import place_traces, trace_slices
from drs.wavegrid import make_grid
from drs.wavesol import check_wavelengths, solve_wavelengths

SHAPE = (96, 130)
COLUMNS = np.arange(SHAPE[1])
EDGES = place_edges(REDUCED, SHAPE, COLUMNS)
WAVELENGTH = map_wavelength(REDUCED, SHAPE)
STEP = REDUCED.dispersion_um
GRID = make_grid(1.600, 1.660, STEP)
INNER = slice(3, -3)  # spaxels that the spread of light over the edges of slices does not reach
LINE = REDUCED.wavelength_um + 3.3e-3


def make_frame(light, *, noise=0.0, seed=1, **options):
    """Return rate, error, dq of light."""
    frame = render_slices(REDUCED, SHAPE, light, **options)
    error = np.sqrt(noise**2 + np.maximum(frame, 0) / 20) if noise else np.ones(SHAPE)
    rate = frame + (np.random.default_rng(seed).normal(size=SHAPE) * error if noise else 0)
    return rate.astype(np.float32), error.astype(np.float32), np.zeros(SHAPE, np.uint32)


def test_a_line_keeps_its_flux_and_its_place_in_every_spaxel():
    found = rectify_frame(*make_frame(make_lines(REDUCED, [LINE], [1000.0])), EDGES, WAVELENGTH, GRID)
    flux = found.flux[:, INNER].sum(axis=2)
    np.testing.assert_allclose(flux, 1000, rtol=2e-3)  # measured 4e-5, 2e-3 in the first and the last
    centre = (found.flux * GRID).sum(axis=2) / found.flux.sum(axis=2)
    np.testing.assert_allclose(centre[:, INNER], LINE, atol=0.003 * STEP)  # though it is tilted by 1.7 columns
    assert not found.dq.any()


@given(step=st.floats(0.4, 2.5), offset=st.floats(0, 1), n_position=st.integers(5, 20))
@settings(max_examples=15, deadline=None)
def test_light_is_kept_on_any_grid(step, offset, n_position):
    images = make_frame(make_lines(REDUCED, [LINE], [1000.0]))
    part = (np.arange(n_position) + 0.5) / n_position * REDUCED.n_spaxel - 0.5
    index = np.arange(REDUCED.n_spaxel)
    wavelength = np.empty((REDUCED.n_slice, n_position, SHAPE[1]))
    for s in range(REDUCED.n_slice):
        for x in COLUMNS:
            line = np.polyfit(index, WAVELENGTH[s, :, x], 2)
            wavelength[s, :, x] = np.polyval(line, part)
    grid = make_grid(1.604 + offset * STEP * step, 1.655, STEP * step)
    found = rectify_frame(*images, EDGES, wavelength, grid)
    # All that is between the edges of a slice, by whole pixels and parts: no light of it is lost or made.
    total = np.zeros(REDUCED.n_slice)
    for s, (lower, upper) in enumerate(EDGES):
        row = np.arange(SHAPE[0])[:, np.newaxis]
        covered = np.clip(row + 0.5 - lower, 0, 1) * np.clip(upper - row + 0.5, 0, 1)
        total[s] = (images[0] * covered).sum()
    np.testing.assert_allclose(found.flux.sum(axis=(1, 2)), total, rtol=1e-3)


def test_one_area_resampling_is_that_of_drizzle():
    images = make_frame(make_lamp(REDUCED), noise=0.05)
    s, grid = 2, GRID[5:-5]
    found = rectify_frame(*images, EDGES, WAVELENGTH, grid)
    lower, upper = EDGES[s]
    rows = np.arange(int(lower.min()) - 2, int(upper.max()) + 3)
    position = (rows[:, np.newaxis] - lower) / (upper - lower) * REDUCED.n_spaxel - 0.5
    wavelength = np.empty(position.shape)
    for x in COLUMNS:
        left = np.clip(np.floor(position[:, x]).astype(int), 0, REDUCED.n_spaxel - 2)
        own = WAVELENGTH[s, :, x]
        wavelength[:, x] = own[left] + (position[:, x] - left) * (own[left + 1] - own[left])
    bins = (wavelength - grid[0]) / (grid[1] - grid[0])
    (bin_y, bin_x), (place_y, place_x) = np.gradient(bins), np.gradient(position)
    area = np.abs(bin_x * place_y - bin_y * place_x)
    drizzle = Drizzle(kernel="square", out_shape=(REDUCED.n_spaxel, grid.size), fillval="nan")
    pixmap = np.ascontiguousarray(np.stack([bins, position], axis=2))
    drizzle.add_image(
        np.ascontiguousarray(images[0][rows] / area).astype(np.float32), exptime=1, pixmap=pixmap, pixfrac=1.0,
        in_units="cps",
    )  # fmt: skip
    np.testing.assert_allclose(found.flux[s, INNER, 2:-2], drizzle.out_img[INNER, 2:-2], rtol=2e-3)


def test_errors_and_their_correlation():
    rng, pulls, sums = np.random.default_rng(3), [], []
    error = np.full(SHAPE, 0.5, np.float32)
    for _ in range(30):
        rate = rng.normal(0, 0.5, SHAPE).astype(np.float32)
        found = rectify_frame(rate, error, np.zeros(SHAPE, np.uint32), EDGES, WAVELENGTH, GRID)
        pulls.append(found.flux / found.error)
        wide = found.flux[:, 1:-1, 4:-4], found.error[:, 1:-1, 4:-4].astype(float)
        sums.append(wide[0].sum(axis=(1, 2)) / np.sqrt((wide[1] ** 2).sum(axis=(1, 2))))
    assert np.std(pulls) == pytest.approx(1, abs=0.01)  # measured 1.00
    assert found.correlation > 1.3
    assert np.std(sums) == pytest.approx(found.correlation, rel=0.2)  # 150 sums: 0.06 each


def test_bad_pixels_are_left_out_and_their_flags_go_on():
    light = make_lamp(REDUCED)
    rate, error, dq = make_frame(light)
    whole = rectify_frame(rate, error, dq, EDGES, WAVELENGTH, GRID)
    y, x = int(EDGES[1].mean()), 70
    rate[y, x], dq[y, x] = 1e6, Flag.DO_NOT_USE | Flag.HOT
    dq[y + 3, x] |= Flag.JUMP_DET
    found = rectify_frame(rate, error, dq, EDGES, WAVELENGTH, GRID)
    changed = found.dq[1] & np.uint32(Flag.HOT) > 0
    assert 1 <= changed.sum() <= 9
    known = np.isfinite(found.flux[1]) & (np.arange(REDUCED.n_spaxel) % (REDUCED.n_spaxel - 1) > 0)[:, np.newaxis]
    np.testing.assert_allclose(found.flux[1][known], whole.flux[1][known], rtol=0.1)
    assert (found.error[1][changed & known] > whole.error[1][changed & known]).all()
    lost = np.isnan(found.flux[1])
    assert (found.dq[1][lost] == Flag.DO_NOT_USE | Flag.HOT).all()
    assert (found.dq[1] == Flag.JUMP_DET).any()
    estimated = found.dq[1] & np.uint32(Flag.FLUX_ESTIMATED) > 0
    assert 1 <= estimated.sum() <= 9
    assert not (estimated & ~changed).any()
    np.testing.assert_array_equal(found.flux[[0, 2, 3, 4]], whole.flux[[0, 2, 3, 4]])
    rate[:, 60:75] = np.nan
    gone = rectify_frame(rate, error, dq, EDGES, WAVELENGTH, GRID)
    assert 13 < np.isnan(gone.flux[0, 5]).sum() < 17


def test_falling_wavelengths_are_the_same():
    images = make_frame(make_lines(REDUCED, [LINE], [1000.0]), noise=0.2)
    found = rectify_frame(*images, EDGES, WAVELENGTH, GRID)
    turned = rectify_frame(*(image[:, ::-1] for image in images), EDGES[:, :, ::-1], WAVELENGTH[:, :, ::-1], GRID)
    np.testing.assert_allclose(turned.flux, found.flux, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(turned.error, found.error, rtol=1e-4)


def test_from_flat_and_arc_to_a_rectified_line():
    """Nothing of the truth is given but the design: edges off by 2.6 rows, wavelengths by 6 columns and no tilt."""
    lamp, line_flux, noise = make_lamp(REDUCED), 3e4, 3.0
    flat, _, dq = make_frame(lambda *args: 1000 * lamp(*args), noise=noise)
    traces = trace_slices(flat, dq, EDGES[:, :, 64] + 2.6, n_block=13)
    edges = place_traces(traces, COLUMNS)
    listed = read_lists([LISTS / f"{name}.ecsv" for name in ("argon", "krypton")], 1.59, 1.67)
    listed = listed[0], np.maximum(listed[1], 0.02)
    arc = make_frame(make_lines(REDUCED, listed[0], line_flux * listed[1]), noise=noise, seed=2)
    columns = extract_columns(*arc, edges, REDUCED.n_spaxel)
    spectra = [array.reshape(-1, SHAPE[1]) for array in columns[:3]]
    lines = find_lines(*spectra, fwhm_pix=2.2)
    slices, position = (axis.ravel() for axis in np.indices((REDUCED.n_slice, REDUCED.n_spaxel)))
    middle = map_wavelength(REDUCED._replace(line_tilt_pix=0, line_bow_pix=0), SHAPE).reshape(-1, SHAPE[1])
    merged = merge_list(*listed, REDUCED.fwhm_along_pix * STEP)
    place = np.stack([slices, position], axis=1)
    solution = solve_wavelengths(lines, merged, middle + 6 * STEP, place, group=slices, orders=(2, 2))
    wavelength = solution.wavelength_um.reshape(WAVELENGTH.shape)
    away = (wavelength - WAVELENGTH) / STEP
    assert away[:, 1:-1].std() < 0.03
    assert solution.rms_all_pix < 0.05
    science = rectify_frame(*make_frame(make_lines(REDUCED, [LINE], [1000.0])), edges, wavelength, GRID)
    np.testing.assert_allclose(science.flux[:, INNER].sum(axis=2), 1000, rtol=5e-3)
    centre = (science.flux * GRID).sum(axis=2) / science.flux.sum(axis=2)
    assert np.std(centre[:, INNER] - LINE) < 0.03 * STEP
    oh = make_frame(make_lines(REDUCED, merged[0], 3e4 * merged[1]), noise=noise, seed=3)
    sky = extract_columns(*oh, edges, REDUCED.n_spaxel)
    found = find_lines(*(array.reshape(-1, SHAPE[1]) for array in sky[:3]), fwhm_pix=2.2)
    check = check_wavelengths(found, merged, solution.wavelength_um, limit_pix=0.05)
    assert abs(check.offset_pix) < 0.05


def test_refused():
    images = make_frame(make_lamp(REDUCED))
    with pytest.raises(ReductionError, match=r"slices 1, 2 have no length"):
        rectify_frame(*images, np.concatenate([EDGES[:1], EDGES[1:3, ::-1], EDGES[3:]]), WAVELENGTH, GRID)
    with pytest.raises(ReductionError, match=r"slices 0, 1, 2, 3, 4 are not on the frame"):
        rectify_frame(*images, EDGES + 500, WAVELENGTH, GRID)
    with pytest.raises(ReductionError, match=r"none on the grid of 2 to 2\.1 um"):
        rectify_frame(*images, EDGES, WAVELENGTH, make_grid(2.0, 2.1, 1e-3))
    with pytest.raises(ValueError, match="edges"):
        rectify_frame(*images, EDGES[:, :, 1:], WAVELENGTH, GRID)
    unknown = WAVELENGTH.copy()
    unknown[3, 2, 7] = np.nan
    found = rectify_frame(*images, EDGES, unknown, GRID)
    assert np.isnan(found.flux[3]).all()
    assert np.isfinite(found.flux[[0, 1, 2, 4]]).all()


def test_the_rows_of_a_slice():
    images = make_frame(make_lamp(REDUCED))
    rows = take_rows(*images, EDGES[2], WAVELENGTH[2])
    lower, upper = EDGES[2]
    assert len(rows.flux) == int(upper.max()) - int(np.ceil(lower.min())) + 1
    np.testing.assert_array_equal((rows.dq == 0).sum(axis=0), np.floor(upper) - np.ceil(lower) + 1)
    inside = rows.dq == 0
    assert rows.position[inside].min() >= -0.5
    assert rows.position[inside].max() <= REDUCED.n_spaxel - 0.5
    part = (rows.position + 0.5) / REDUCED.n_spaxel
    expected = find_wavelength(REDUCED, SHAPE, 2, part, COLUMNS)
    np.testing.assert_allclose(rows.wavelength_um[inside], expected[inside], atol=2e-3 * STEP)


def test_the_wavelengths_of_pixels():
    found = map_pixels(EDGES, WAVELENGTH, SHAPE)
    rows = np.arange(SHAPE[0])[:, np.newaxis]
    for s, (lower, upper) in enumerate(EDGES):
        inside = (rows >= lower) & (rows <= upper)
        expected = find_wavelength(REDUCED, SHAPE, s, (rows - lower) / (upper - lower), COLUMNS)
        np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3 * STEP)
        found[inside] = np.nan
    assert np.isnan(found).all()  # between the slices
