"""Combination of cubes: light and places kept, errors, outliers, cores of stars, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from drs.cubes import combine_cubes, make_grid, move_cube
from drs.dq import Flag
from drs.errors import ReductionError

SHAPE = (5, 14, 18)
OFFSETS = [(0.0, 0.0), (1.3, -2.45), (-2.0, 1.7), (0.55, 0.25), (-1.4, -0.6)]


def star(place, *, flux=4000.0, fwhm=2.2, shape=SHAPE):
    """Return a star (wave, y, x) of the same light in every bin, integrated over the spaxels."""
    edges = [np.arange(n + 1) - 0.5 - p for n, p in zip(shape[1:], place, strict=True)]
    y, x = (np.diff(ndtr(edge * 2.3548 / fwhm)) for edge in edges)
    return flux * np.ones((shape[0], 1, 1)) * y[:, np.newaxis] * x


def make_cubes(*, seed=1, offsets=OFFSETS, hits=0, background=5.0):
    """Return noisy cubes of a star at one place of the sky, and the clean ones."""
    rng, places, cubes, clean = np.random.default_rng(seed), np.random.default_rng(99), [], []
    for dy, dx in offsets:
        scene = star((7.2 - dy, 8.4 - dx)) + background
        error = np.sqrt(0.5**2 + scene / 50)
        flux = scene + error * rng.normal(size=SHAPE)
        for _ in range(hits):
            flux[tuple(places.integers(SHAPE))] += 1000
        cubes.append((flux.astype(np.float32), error.astype(np.float32), np.zeros(SHAPE, np.uint32)))
        clean.append(scene)
    return cubes, clean


def centroid(image):
    weights = np.clip(image - 5, 0, None)
    ys, xs = np.indices(image.shape)
    return (ys * weights).sum() / weights.sum(), (xs * weights).sum() / weights.sum()


@pytest.mark.parametrize("integer", [False, True])
def test_a_star_keeps_its_light_and_place(integer):
    cubes, _ = make_cubes()
    grid = make_grid([SHAPE[1:]] * len(cubes), OFFSETS, integer=integer)
    found = combine_cubes(cubes, grid, [60.0] * len(cubes), clip_sigma=5.0, spare=1.0)
    assert found.flux.shape == (SHAPE[0], *grid.shape)
    y, x = 7.2 + grid.shifts[0][0], 8.4 + grid.shifts[0][1]
    ys, xs = np.indices(grid.shape)
    inside = np.hypot(ys - y, xs - x) < 5.5
    light = (found.flux[:, inside] - 5).sum(axis=1)
    np.testing.assert_allclose(light, 4000, rtol=0.01)
    image = np.where(inside, found.flux.mean(axis=0), 5)
    np.testing.assert_allclose(centroid(image), (y, x), atol=0.3 if integer else 0.05)
    assert found.depth.max() == len(cubes)
    assert (found.correlation == 1) == integer


def test_light_is_kept_by_every_shift():
    flux = np.zeros(SHAPE, np.float32)
    flux[:, 6, 9] = 100
    for shift in ((0.0, 0.0), (2.25, 3.5), (1.999, 0.001)):
        moved, variance, cover, _ = move_cube(
            flux, np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint32), shift, (20, 24)
        )
        np.testing.assert_allclose(np.nansum(moved * cover, axis=(1, 2)), 100, rtol=1e-5)
        ys, xs = np.indices((20, 24))
        np.testing.assert_allclose(np.nansum(moved[0] * ys) / 100, 6 + shift[0], atol=1e-4)
        np.testing.assert_allclose(np.nansum(moved[0] * xs) / 100, 9 + shift[1], atol=1e-4)
        assert np.nanmax(variance) <= 1.01


def test_a_drift_is_taken_out_where_cubes_are_moved():
    flux, error, dq = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint32)
    drift = np.stack([np.linspace(-1.4, 0.9, SHAPE[0]), np.linspace(0.6, -0.7, SHAPE[0])], axis=1)
    ys, xs = np.indices(SHAPE[1:])
    for k, (dy, dx) in enumerate(drift):
        flux[k] = 1000 * np.exp(-0.5 * ((ys - 7 - dy) ** 2 + (xs - 8 - dx) ** 2) / 1.2**2)
    one = [(flux, error, dq)], make_grid([SHAPE[1:]], [(0.0, 0.0)]), [60.0]
    alone, rest = (combine_cubes(*one, clip_sigma=0, spare=0.0, drifts=drifts) for drifts in ([drift], [None]))
    centres = [find_centres(one.flux) for one in (alone, rest)]
    assert np.ptp(centres[0], axis=0).max() < 0.01
    assert np.ptp(centres[1], axis=0).max() > 2
    np.testing.assert_allclose(np.nansum(alone.flux, axis=(1, 2)), flux.sum(axis=(1, 2)), rtol=2e-3)
    assert rest.correlation == 1.0
    assert alone.correlation > 1.1
    assert np.nanmin(alone.error) < 0.6


def find_centres(flux):
    """Return the centroid (bin, 2) of every bin."""
    ys, xs = np.indices(flux.shape[1:])
    return np.stack([[np.nansum(plane * axis) / np.nansum(plane) for axis in (ys, xs)] for plane in flux])


def test_errors_hold():
    rng, pulls, wide = np.random.default_rng(3), [], []
    grid = make_grid([SHAPE[1:]] * len(OFFSETS), OFFSETS)
    ones, dq = np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint32)
    for _ in range(60):
        cubes = [(rng.normal(size=SHAPE).astype(np.float32), ones, dq) for _ in OFFSETS]
        found = combine_cubes(cubes, grid, [60.0] * len(cubes), clip_sigma=0, spare=0.0)
        deep = found.depth[0] == len(OFFSETS)
        pulls.append((found.flux / found.error)[:, deep])
        part = np.s_[:, 5:11, 5:13]
        wide.append(found.flux[part].sum(axis=(1, 2)) / np.sqrt((found.error[part] ** 2).sum(axis=(1, 2))))
    assert abs(np.std(pulls) - 1) < 0.02
    assert 1.05 < np.std(wide) <= 1.1 * found.correlation


def test_outliers_go_and_the_core_of_a_star_stays():
    cubes, _ = make_cubes(hits=12)
    grid = make_grid([SHAPE[1:]] * len(cubes), OFFSETS)
    clean = combine_cubes(make_cubes()[0], grid, [60.0] * 5, clip_sigma=0, spare=0.0)
    kept, clipped = (combine_cubes(cubes, grid, [60.0] * len(cubes), clip_sigma=sigma, spare=1.0) for sigma in (0, 5.0))
    inner = np.s_[:, 4:-4, 5:-5]
    before, after = (np.abs(cube.flux - clean.flux)[inner] for cube in (kept, clipped))
    assert (before > 30).sum() > 30
    assert (after > 30).sum() < 0.05 * (before > 30).sum()
    whole = combine_cubes(make_cubes()[0], grid, [60.0] * 5, clip_sigma=5.0, spare=1.0)
    y, x = (round(v) for v in (7.2 + grid.shifts[0][0], 8.4 + grid.shifts[0][1]))
    core = np.s_[:, y - 1 : y + 2, x - 1 : x + 2]
    np.testing.assert_allclose(whole.flux[core], clean.flux[core], rtol=1e-3)
    eager = combine_cubes(make_cubes()[0], grid, [60.0] * 5, clip_sigma=5.0, spare=0.0)
    assert (eager.depth[core] < whole.depth[core]).any()


def test_outliers_are_flagged():
    cubes, _ = make_cubes(hits=12)
    grid = make_grid([SHAPE[1:]] * len(cubes), OFFSETS)
    found = combine_cubes(cubes, grid, [60.0] * 5, clip_sigma=5.0, spare=1.0)
    rejected = found.dq & Flag.OUTLIER != 0
    assert 12 < rejected.sum() < 0.2 * rejected.size
    deep = found.time == 300
    assert deep.any()
    assert not rejected[deep].any()


def test_weights_are_times_and_the_same_in_slabs_of_any_size(monkeypatch):
    cubes, _ = make_cubes(hits=12)
    grid, times = make_grid([SHAPE[1:]] * 5, OFFSETS), [60.0, 120.0, 60.0, 60.0, 30.0]
    whole = combine_cubes(cubes, grid, times, clip_sigma=5.0, spare=1.0)
    monkeypatch.setattr("drs.cubes.SLAB_BYTES", 1)
    for one, other in zip(whole, combine_cubes(cubes, grid, times, clip_sigma=5.0, spare=1.0), strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.time.max() == 330
    assert (whole.weight <= whole.time * (1 + 1e-6)).all()
    ones = [(np.full(SHAPE, k, np.float32), np.full(SHAPE, 1, np.float32), np.zeros(SHAPE, np.uint32)) for k in (0, 3)]
    found = combine_cubes(ones, make_grid([SHAPE[1:]] * 2, [(0, 0), (0, 0)]), [100.0, 200.0], clip_sigma=5, spare=1)
    np.testing.assert_allclose(found.flux, 2.0)
    np.testing.assert_allclose(found.error, np.sqrt(5) / 3)


def test_spaxels_that_are_not_usable_are_left_out():
    cubes, _ = make_cubes(offsets=[(0.0, 0.0), (1.0, 2.0)])
    flux, _, dq = cubes[0]
    dq[2, 5, 6], flux[3, 5, 6] = Flag.DO_NOT_USE | Flag.HOT, np.nan
    dq[1, 5, 6] = Flag.JUMP_DET
    found = combine_cubes(cubes, make_grid([SHAPE[1:]] * 2, [(0, 0), (1, 2)]), [60, 60], clip_sigma=5, spare=1)
    assert found.depth[2, 5, 6] == found.depth[3, 5, 6] == 1
    assert found.dq[1, 5, 6] == Flag.JUMP_DET
    assert found.dq[2, 5, 6] == 0
    np.testing.assert_allclose(found.flux[2, 5, 6], cubes[1][0][2, 4, 4])
    assert np.isnan(found.flux[0, 14, 0])
    assert found.dq[0, 14, 0] == Flag.DO_NOT_USE


def test_refused():
    with pytest.raises(ReductionError, match="cube 3 of 3 overlaps with no other"):
        make_grid([(4, 5)] * 3, [(0, 0), (1, 1), (9, 9)])
    cubes, _ = make_cubes()
    short = [tuple(array[:3] for array in cubes[0]), *cubes[1:]]
    with pytest.raises(ReductionError, match="cubes have different wavelengths"):
        combine_cubes(short, make_grid([SHAPE[1:]] * 5, OFFSETS), [60.0] * 5, clip_sigma=5, spare=1)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 6), st.integers(2, 7)), shift=st.tuples(*[st.floats(0, 3)] * 2), bad=st.booleans()
)
def test_light_within_the_grid_is_kept_for_any_shape_and_shift(shape, shift, bad):
    flux = np.arange(1.0, 1 + np.prod(shape)).reshape(1, *shape).astype(np.float32)
    dq = np.zeros(flux.shape, np.uint32)
    dq[0, 0, 0] = Flag.DO_NOT_USE if bad else 0
    moved, _, cover, _ = move_cube(flux, np.ones_like(flux), dq, np.array(shift), (12, 13))
    light = flux.sum() - (flux[0, 0, 0] if bad else 0)
    assert cover.sum() == pytest.approx(flux.size - bad, rel=1e-5)
    known = np.isfinite(moved)
    assert np.all(moved[known] <= flux.max() * (1 + 1e-5))
    assert (np.where(known, moved, 0) * cover).sum() <= light * (1 + 1e-5)
    whole = move_cube(flux, np.ones_like(flux), dq, np.rint(shift), (12, 13))
    assert np.nansum(whole[0] * whole[2]) == pytest.approx(light, rel=1e-6)
