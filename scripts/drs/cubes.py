"""Cubes of one target on a common grid: moved by whole or parts of spaxels, compared, and averaged.

A cube that is moved by a part of a spaxel spreads each spaxel over the four that it overlaps, by the overlapping area:
light is kept, and nothing is made up. The noise of neighbours is then correlated; `Combined.correlation` says by how
much the noise of a large aperture exceeds that of independent spaxels. Values are compared before they are averaged: a
sample that differs from the median of the others by more than its noise, and by more than the median changes from one
spaxel to the next, is left out. The second condition spares the cores of stars, which a small error of the offsets or a
change of the seeing makes differ.
"""

from typing import NamedTuple

import numpy as np

from drs.dq import Flag
from drs.errors import ReductionError

LEAST_COVERAGE = 0.5  # of a spaxel, by usable ones
DEAD = np.uint32(Flag.DO_NOT_USE)


SLAB_BYTES = 1 << 27  # of one plane of the cubes that are compared at a time


class Combined(NamedTuple):
    """Combined cube; all arrays (wave, y, x) but the last.

    `flux`, `error` float32, `dq` uint32, `depth` uint16 (cubes used), `weight` and `time` float32, s (sum of times
    overlaps, sum of the times of the cubes used), and `correlation`: noise of a large aperture over that of
    independent spaxels.
    """

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray
    depth: np.ndarray
    weight: np.ndarray
    time: np.ndarray
    correlation: float


class Grid(NamedTuple):
    """The common grid: `shape` (ny, nx), and `shifts` (cube, 2): where the first spaxel of each cube falls, (y, x)."""

    shape: tuple
    shifts: np.ndarray


def make_grid(shapes, offsets, *, integer=False):
    """Return the Grid that holds all cubes.

    Parameters
    ----------
    shapes : list of tuple
        (ny, nx) of each cube.
    offsets : ndarray, float, (cube, 2)
        Of each cube's first spaxel, (y, x) in spaxels, from any common origin.
    integer : bool
        Round the offsets to whole spaxels: nothing is interpolated.

    Raises
    ------
    ReductionError
        A cube that touches no other.
    """
    offsets = np.asarray(offsets, float)
    offsets = np.rint(offsets) if integer else offsets
    low, high = offsets, offsets + np.array(shapes)
    for n in range(len(shapes)):
        apart = [(low[n] >= high[m]).any() or (high[n] <= low[m]).any() for m in range(len(shapes)) if m != n]
        if apart and all(apart):
            raise ReductionError(f"cube {n + 1} of {len(shapes)} overlaps with no other: check offsets and coordinates")
    origin = np.floor(low.min(axis=0))
    ny, nx = (int(size) for size in np.ceil(high.max(axis=0)) - origin)
    return Grid((ny, nx), offsets - origin)


def move_cube(flux, variance, dq, shift, shape):
    """Return a cube on the common grid: flux, variance, coverage (0 to 1), flags.

    Parameters
    ----------
    flux, variance : ndarray, float32, (wave, y, x)
    dq : ndarray, uint32, (wave, y, x)
    shift : ndarray, float, (2) or (wave, 2)
        Of the first spaxel on the grid, (y, x), of all bins or of each.
    shape : tuple
        (ny, nx) of the grid.

    Returns
    -------
    flux, variance : ndarray, float32, (wave, ny, nx)
        NaN where less than half of a spaxel is covered.
    coverage : ndarray, float32
    dq : ndarray, uint32
    """
    usable = (dq & DEAD == 0) & np.isfinite(flux) & np.isfinite(variance)
    shift = np.broadcast_to(shift, (len(flux), 2))
    wholes = np.floor(shift).astype(int)
    size = (flux.shape[0], *shape)
    sums = tuple(np.zeros(size, dtype) for dtype in (np.float64, np.float64, np.float32, np.uint32))
    planes = np.where(usable, flux, 0), np.where(usable, variance, 0), usable, np.where(usable, dq, 0)
    for whole in np.unique(wholes, axis=0):
        bins = np.flatnonzero((wholes == whole).all(axis=1))
        bins = slice(bins[0], bins[-1] + 1) if bins[-1] - bins[0] + 1 == bins.size else bins
        _add_spaxels(tuple(array[bins] for array in planes), whole, shift[bins] - whole, sums, bins)
    total, noise, cover, flags = sums
    held = cover >= LEAST_COVERAGE
    scale = np.divide(1, cover, out=np.full(size, np.nan), where=held)
    flux, variance = (total * scale).astype(np.float32), (noise * scale**2).astype(np.float32)
    return flux, variance, cover, np.where(held, flags, DEAD)


def _add_spaxels(planes, whole, part, sums, bins):
    """Add spaxels, each to the four that it overlaps, to the sums of some bins; `part` (bin, 2) of a spaxel."""
    values, variances, usable, joined = planes
    total, noise, cover, flags = sums
    for dy, y_share in enumerate((1 - part[:, 0], part[:, 0])):
        for dx, x_share in enumerate((1 - part[:, 1], part[:, 1])):
            share = (y_share * x_share)[:, np.newaxis, np.newaxis]
            if (share > 0).any():
                to, of = _overlap(whole + np.array((dy, dx)), values.shape[1:], total.shape[1:])
                to = (bins, *to[1:])
                total[to] += share * values[of]
                noise[to] += share**2 * variances[of]
                cover[to] += share.astype(np.float32) * usable[of]
                flags[to] |= np.where(share > 0, joined[of], np.uint32(0))


def _overlap(start, shape, grid):
    """Return the slices of the grid, and those of a cube that starts there, which are the same spaxels."""
    to, of = [slice(None)], [slice(None)]
    for first, n, limit in zip(start, shape, grid, strict=True):
        low, high = max(first, 0), min(first + n, limit)
        to.append(slice(low, max(high, low)))
        of.append(slice(low - first, max(high, low) - first))
    return tuple(to), tuple(of)


def combine_cubes(cubes, grid, times_s, *, clip_sigma, spare, drifts=None):
    """Return the mean of cubes, weighted by exposure time and by the part of a spaxel that each covers.

    Not by the variance of single samples: that of a star's core is high, and its light would count less.

    Parameters
    ----------
    cubes : list of (flux, error, dq)
        float32, float32, uint32, (wave, y, x), all in one unit and on one wavelength grid.
    grid : Grid
    times_s : list of float
        Exposure time of each cube.
    clip_sigma : float
        Samples further from the median are left out, where there are three or more; 0 keeps all.
    spare : float
        Part of the change of the median from spaxel to spaxel by which a sample may differ as well.
    drifts : list of ndarray, float, (wave, 2), optional
        By how much the image of each cube moves with the wavelength, (y, x) spaxels, which is taken out; None of one
        that does not.

    Returns
    -------
    Combined

    Raises
    ------
    ReductionError
        Cubes of different numbers of bins.
    """
    if len({flux.shape[0] for flux, _, _ in cubes}) > 1:
        raise ReductionError("cubes have different wavelengths: make them with one grid (extract_cube: grid)")
    n_wave = cubes[0][0].shape[0]
    shifts = [np.broadcast_to(shift, (n_wave, 2)) for shift in grid.shifts]
    if drifts is not None:
        shifts = [shift if drift is None else shift - drift for shift, drift in zip(shifts, drifts, strict=True)]
    step = max(int(SLAB_BYTES // (8 * len(cubes) * np.prod(grid.shape))), 1)
    slabs = [
        _combine_slab(
            [[plane[bins] for plane in cube] for cube in cubes],
            grid._replace(shifts=[shift[bins] for shift in shifts]),
            *(times_s, clip_sigma, spare),
        )
        for bins in (slice(first, first + step) for first in range(0, n_wave, step))
    ]
    share = [np.prod(t**2 + (1 - t) ** 2, axis=1).mean() for t in (np.mod(shift, 1) for shift in shifts)]
    return Combined(*map(np.concatenate, zip(*slabs, strict=True)), float(np.mean(share)) ** -0.5)


def _combine_slab(cubes, grid, times_s, clip_sigma, spare):
    """Return the arrays of Combined of some bins, which are independent of the others."""
    moved = [
        move_cube(flux, error.astype(np.float32) ** 2, dq, shift, grid.shape)
        for (flux, error, dq), shift in zip(cubes, grid.shifts, strict=True)
    ]
    flux, variance, cover, flags = (np.stack(arrays) for arrays in zip(*moved, strict=True))
    kept = np.isfinite(flux)
    rejected = np.zeros_like(kept)
    if len(cubes) > 2 and clip_sigma > 0:
        rejected = _find_outliers(flux, variance, kept, clip_sigma=clip_sigma, spare=spare)
        kept = kept & ~rejected
    time = np.where(kept, np.reshape(times_s, (-1, 1, 1, 1)), 0).astype(np.float64)
    weight = time * cover
    total = weight.sum(axis=0)
    held = total > 0
    norm = np.divide(1, total, out=np.full(total.shape, np.nan), where=held)
    mean = (weight * np.where(kept, flux, 0)).sum(axis=0) * norm
    error = np.sqrt((weight**2 * np.where(kept, variance, 0)).sum(axis=0)) * norm
    joined = np.bitwise_or.reduce(np.where(kept, flags, np.uint32(0)), axis=0)
    joined |= np.where(rejected.any(axis=0), np.uint32(Flag.OUTLIER), np.uint32(0))
    planes = mean, error, total, time.sum(axis=0)
    mean, error, total, time = (plane.astype(np.float32) for plane in planes)
    return mean, error, np.where(held, joined, DEAD), kept.sum(axis=0, dtype=np.uint16), total, time


def _find_outliers(flux, variance, known, *, clip_sigma, spare):
    """Return which samples (cube, wave, y, x) stand out of the median, by noise and by its own gradient."""
    values = np.ma.array(flux, mask=~known)
    median = np.ma.median(values, axis=0).filled(0.0)
    padded = np.pad(median, ((0, 0), (1, 1), (1, 1)), mode="edge")
    ny, nx = median.shape[1:]
    steps = [
        np.maximum(*(np.abs(padded[:, 1 + y : ny + 1 + y, 1 + x : nx + 1 + x] - median) for y, x in pair))
        for pair in (((0, 1), (0, -1)), ((1, 0), (-1, 0)))
    ]
    tolerance = spare * (steps[0] + steps[1])  # a cube may be off along both axes
    enough = known.sum(axis=0) > 2
    typical = np.ma.median(np.ma.array(variance, mask=~known), axis=0).filled(np.inf)
    noise = clip_sigma * np.sqrt(np.maximum(typical, 0)) + tolerance  # of a sample alone: a hit raises its own variance
    return known & enough & (np.abs(flux - median) > noise)
