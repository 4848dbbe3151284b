"""Level 2 of a slicer: frames rectified to (slice, position, wavelength) in one step.

Every pixel of the detector is a quadrilateral in (position along the slice, wavelength): its corners are placed with
the edges of the slice, which curve, and the wavelengths, which change along it. Each bin takes the part of every pixel
that overlaps it, by area: exact (Sutherland & Hodgman 1974, Comm. ACM 17, 32), so light is kept, a line is where it
belongs whatever its tilt, and nothing is resampled twice. Neighbouring bins share pixels; `correlation` tells by how
much the variance of a sum of bins exceeds the sum of their variances.

For a point source, `take_rows` cuts out the rows of a slice, to be resampled along the wavelength alone
(`drs.wavegrid`), which leaves their noise independent, and added by `drs.optimal`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.dq import Flag
from drs.errors import ReductionError

FLAGS = {"cache": True, "error_model": "numpy"}
DEAD = np.uint32(Flag.DO_NOT_USE)
LEAST_COVERAGE = 0.5  # of a bin, by pixels that are usable: less and the bin has no value
WHOLE = 0.98  # less, and its light is an estimate
ESTIMATED = np.uint32(Flag.FLUX_ESTIMATED)
LEAST_PART = 1e-3  # of a bin, of a pixel whose flags it gets


class Rectified(NamedTuple):
    """Light per bin: `flux`, `error` float32, `dq` uint32, all (slice, position, bin), and `correlation` float."""

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray
    correlation: float


class Rows(NamedTuple):
    """The rows of one slice, (row, column): flux, error, dq; wavelength, um; position in spaxels."""

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray
    wavelength_um: np.ndarray
    position: np.ndarray


def rectify_frame(rate, error, dq, edges, wavelength_um, grid_um):
    """Return a frame rectified to slices, positions and wavelengths.

    Parameters
    ----------
    rate, error : ndarray, float32, (ny, nx)
        The frame and its noise, one unit; not finite where not usable.
    dq : ndarray, uint32, (ny, nx)
        Pixels with DO_NOT_USE are left out; the other flags go to the bins that the pixels are part of.
    edges : ndarray, float64, (slice, 2, nx)
        Rows of the lower and the upper edge of every slice at the columns.
    wavelength_um : ndarray, float64, (slice, position, nx)
        Of the centres of spaxels and columns; a slice with a NaN has no values.
    grid_um : ndarray, float64, (bin)
        Centres of the bins, evenly apart.

    Returns
    -------
    Rectified
        Light per bin, in the unit of the frame. A bin of which less than half is covered by usable pixels is NaN,
        DO_NOT_USE; one that is covered in part is scaled to all of it.

    Raises
    ------
    ReductionError
        Slices that are not on the frame, or have no length; wavelengths of which none is on the grid.
    """
    _check_geometry(rate, edges, wavelength_um, grid_um)
    shape = (*wavelength_um.shape[:2], grid_um.size)
    step = grid_um[1] - grid_um[0] if grid_um.size > 1 else abs(wavelength_um[0, 0, 1] - wavelength_um[0, 0, 0])
    out = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32), np.full(shape, DEAD, np.uint32)
    known = np.isfinite(wavelength_um).all(axis=(1, 2))
    sums, bins = np.where(known[:, np.newaxis], [0.0, 0.0], np.nan), (grid_um[0] - step / 2, step)
    frame = tuple(np.ascontiguousarray(array) for array in (rate, error, dq))
    geometry = tuple(np.ascontiguousarray(array, float) for array in (edges, wavelength_um))
    _rectify_kernel(frame, geometry, bins, *out, sums)
    own, all_ = np.nansum(sums, axis=0)
    return Rectified(*out, float(np.sqrt(all_ / own)) if own > 0 else 1.0)


def extract_columns(rate, error, dq, edges, n_position):
    """Return the spectra of all spaxels column by column, not yet of one wavelength each: Rectified with nx bins.

    For the lines of an arc, from which the wavelengths come.
    """
    columns = np.arange(rate.shape[1], dtype=float)
    shape = len(edges), n_position, columns.size
    return rectify_frame(rate, error, dq, edges, np.broadcast_to(columns, shape).copy(), columns)


def take_rows(rate, error, dq, edges, wavelength_um):
    """Return the Rows of one slice.

    Parameters
    ----------
    rate, error, dq : ndarray, (ny, nx)
    edges : ndarray, float64, (2, nx)
    wavelength_um : ndarray, float64, (position, nx)

    Returns
    -------
    Rows
        Every row that has a pixel with its centre in the slice; pixels beyond it are DO_NOT_USE.
    """
    _check_geometry(rate, edges[np.newaxis], wavelength_um[np.newaxis], wavelength_um[0, :1])
    n_position = len(wavelength_um)
    first = max(0, int(np.ceil(edges[0].min())))
    last = min(rate.shape[0], int(np.floor(edges[1].max())) + 1)
    row = np.arange(first, last)[:, np.newaxis]
    position = (row - edges[0]) / (edges[1] - edges[0]) * n_position - 0.5
    left = np.clip(np.floor(position).astype(int), 0, max(0, n_position - 2))
    right, column = np.minimum(left + 1, n_position - 1), np.arange(rate.shape[1])
    low, high = wavelength_um[left, column], wavelength_um[right, column]
    outside = (position < -0.5) | (position > n_position - 0.5)
    cut = slice(first, last)
    flags = np.where(outside, dq[cut] | DEAD, dq[cut]).astype(np.uint32)
    return Rows(rate[cut].copy(), error[cut].copy(), flags, low + (position - left) * (high - low), position)


def map_pixels(edges, wavelength_um, shape):
    """Return the wavelengths (float64, `shape`, um) of the pixels whose centre is in a slice; NaN between slices.

    Arguments are those of `rectify_frame`.
    """
    wavelength, blank = np.full(shape, np.nan), np.zeros(shape, np.float32)
    for own_edges, own_um in zip(edges, wavelength_um, strict=True):
        rows = take_rows(blank, blank, np.zeros(shape, np.uint32), own_edges, own_um)
        first, inside = max(0, int(np.ceil(own_edges[0].min()))), rows.dq == 0
        wavelength[first : first + len(inside)][inside] = rows.wavelength_um[inside]
    return wavelength


def _check_geometry(rate, edges, wavelength_um, grid_um):
    """Refuse slices and wavelengths that do not fit the frame or the grid."""
    n_slice, _, nx = wavelength_um.shape
    if rate.ndim != 2 or edges.shape != (n_slice, 2, nx) or rate.shape[1] != nx:
        raise ValueError(f"frame {rate.shape}, edges {edges.shape}, wavelengths {wavelength_um.shape}")
    short = np.flatnonzero(~(edges[:, 1] - edges[:, 0] > 0).all(axis=1))
    if short.size:
        raise ReductionError(f"slices {', '.join(map(str, short))} have no length: trace them again")
    off = np.flatnonzero((edges[:, 1].max(axis=1) < 0) | (edges[:, 0].min(axis=1) > rate.shape[0] - 1))
    if off.size:
        raise ReductionError(
            f"slices {', '.join(map(str, off))} are not on the frame {rate.shape}: take its own traces"
        )
    low, high = np.nanmin(wavelength_um), np.nanmax(wavelength_um)
    if not (low <= grid_um[-1] and high >= grid_um[0]):
        raise ReductionError(
            f"wavelengths of {low:.4g} to {high:.4g} um, none on the grid of {grid_um[0]:.4g} to {grid_um[-1]:.4g} um:"
            " take the solution or the grid of the mode"
        )


@njit(**FLAGS)
def _cut_kernel(xy, n, axis, limit, above, out):
    """Write the part of a polygon on one side of a line; return its number of corners."""
    m = 0
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        a, b = xy[i, axis] - limit, xy[j, axis] - limit
        if not above:
            a, b = -a, -b
        if a >= 0:
            out[m, 0], out[m, 1] = xy[i, 0], xy[i, 1]
            m += 1
        if (a >= 0) != (b >= 0):
            t = a / (a - b)
            out[m, 0] = xy[i, 0] + t * (xy[j, 0] - xy[i, 0])
            out[m, 1] = xy[i, 1] + t * (xy[j, 1] - xy[i, 1])
            m += 1
    return m


@njit(**FLAGS)
def _area_kernel(xy, n):
    """Return the area of a polygon."""
    total = 0.0
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        total += (xy[i, 0] - xy[0, 0]) * (xy[j, 1] - xy[0, 1]) - (xy[j, 0] - xy[0, 0]) * (xy[i, 1] - xy[0, 1])
    return abs(total) / 2


@njit(**FLAGS)
def _take_middle_kernel(values, x):
    """Return the value on the border before column x: midway, and linear at both ends."""
    n = values.size
    if x == 0:
        return 1.5 * values[0] - 0.5 * values[1]
    if x == n:
        return 1.5 * values[n - 1] - 0.5 * values[n - 2]
    return 0.5 * (values[x - 1] + values[x])


@njit(**FLAGS)
def _place_corner_kernel(y, lower, upper, wavelength, bins):
    """Return position and bin (both from the first one's border) of a corner on a border of columns."""
    n = wavelength.size
    position = (y - lower) / (upper - lower) * n
    if n == 1:
        return position, (wavelength[0] - bins[0]) / bins[1]
    k = min(max(int(position - 0.5), 0), n - 2)
    value = wavelength[k] + (position - 0.5 - k) * (wavelength[k + 1] - wavelength[k])
    return position, (value - bins[0]) / bins[1]


@njit(**FLAGS)
def _spread_kernel(quad, pixel, work, sums, joined):
    """Add a pixel to the bins that it overlaps."""
    value, variance, flags, usable = pixel
    strip, half, cell = work
    whole = _area_kernel(quad, 4)
    n_position, n_bin = joined.shape
    least, most = quad[0, 0], quad[0, 0]
    for i in range(1, 4):
        least, most = min(least, quad[i, 0]), max(most, quad[i, 0])
    first, last = max(0, int(np.floor(least))), min(n_position - 1, int(np.floor(most)))
    for k in range(first, last + 1):
        n = _cut_kernel(quad, 4, 0, float(k), True, half)
        n = _cut_kernel(half, n, 0, k + 1.0, False, strip)
        if n < 3:
            continue
        low, high = strip[0, 1], strip[0, 1]
        for i in range(1, n):
            low, high = min(low, strip[i, 1]), max(high, strip[i, 1])
        for b in range(max(0, int(np.floor(low))), min(n_bin - 1, int(np.floor(high))) + 1):
            m = _cut_kernel(strip, n, 1, float(b), True, half)
            m = _cut_kernel(half, m, 1, b + 1.0, False, cell)
            area = _area_kernel(cell, m) if m > 2 else 0.0
            if area > LEAST_PART:
                joined[k, b] |= flags
            if usable and area > 0:
                part = area / whole
                sums[0, k, b] += part * value
                sums[1, k, b] += part * part * variance
                sums[2, k, b] += area
                sums[3, k, b] += part * variance


@njit(**FLAGS)
def _find_range_kernel(before, after):
    """Return the least and the most wavelength that a column can have, with a margin."""
    low, high, margin = before[0], before[0], 2 * abs(after[0] - before[0])
    for k in range(before.size):
        low = min(low, before[k], after[k])
        high = max(high, before[k], after[k])
    return low - margin, high + margin


@njit(**FLAGS)
def _rectify_slice_kernel(rate, error, dq, edges, wavelength, bins, sums, joined):
    """Add the pixels of a slice to its bins."""
    ny, nx = rate.shape
    n = wavelength.shape[0]
    quad = np.empty((4, 2))
    work = np.empty((12, 2)), np.empty((12, 2)), np.empty((12, 2))
    before, after = np.empty(n), np.empty(n)
    for k in range(n):
        after[k] = _take_middle_kernel(wavelength[k], 0)
    for x in range(nx):
        before[:] = after
        for k in range(n):
            after[k] = _take_middle_kernel(wavelength[k], x + 1)
        lower = _take_middle_kernel(edges[0], x), _take_middle_kernel(edges[0], x + 1)
        upper = _take_middle_kernel(edges[1], x), _take_middle_kernel(edges[1], x + 1)
        first = max(0, int(np.floor(min(lower[0], lower[1]) - 0.5)))
        last = min(ny - 1, int(np.ceil(max(upper[0], upper[1]) + 0.5)))
        low, high = _find_range_kernel(before, after)
        if not (high > bins[0] and low < bins[0] + bins[1] * joined.shape[1]):
            continue
        for y in range(first, last + 1):
            quad[0, 0], quad[0, 1] = _place_corner_kernel(y - 0.5, lower[0], upper[0], before, bins)
            quad[1, 0], quad[1, 1] = _place_corner_kernel(y - 0.5, lower[1], upper[1], after, bins)
            quad[2, 0], quad[2, 1] = _place_corner_kernel(y + 0.5, lower[1], upper[1], after, bins)
            quad[3, 0], quad[3, 1] = _place_corner_kernel(y + 0.5, lower[0], upper[0], before, bins)
            usable = dq[y, x] & DEAD == 0 and np.isfinite(rate[y, x]) and np.isfinite(error[y, x])
            pixel = float(rate[y, x]), float(error[y, x]) ** 2, dq[y, x] & ~DEAD, usable
            _spread_kernel(quad, pixel, work, sums, joined)


@njit(**FLAGS)
def _fill_slice_kernel(sums, joined, flux, sigma, flags):
    """Fill the bins of a slice; return their variances, summed alone and with what they share."""
    alone, shared = 0.0, 0.0
    for k in range(flux.shape[0]):
        for b in range(flux.shape[1]):
            covered = sums[2, k, b]
            if covered >= LEAST_COVERAGE:
                flux[k, b] = sums[0, k, b] / covered
                sigma[k, b] = np.sqrt(sums[1, k, b]) / covered
                flags[k, b] = joined[k, b] if covered >= WHOLE else joined[k, b] | ESTIMATED
                alone += sums[1, k, b]
                shared += sums[3, k, b]
    return alone, shared


@njit(parallel=True, nogil=True, **FLAGS)
def _rectify_kernel(frame, geometry, bins, flux, sigma, flags, totals):
    """Fill the bins of every slice that has wavelengths; `totals` gets the variances of `_fill_slice_kernel`."""
    rate, error, dq = frame
    edges, wavelength = geometry
    for s in prange(flux.shape[0]):
        if np.isfinite(totals[s, 0]):
            sums = np.zeros((4, flux.shape[1], flux.shape[2]))
            joined = np.zeros((flux.shape[1], flux.shape[2]), np.uint32)
            _rectify_slice_kernel(rate, error, dq, edges[s], wavelength[s], bins, sums, joined)
            totals[s, 0], totals[s, 1] = _fill_slice_kernel(sums, joined, flux[s], sigma[s], flags[s])
