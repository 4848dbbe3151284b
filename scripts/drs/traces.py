"""Where the slices of a slicer are on the detector, from a flat lamp, and the flat with the lamp's spectrum removed.

Across the gap between two slices the light is A before its first edge and B after its second, spread by a Gaussian:
    m(y) = c + A Phi((e1 - y) / sigma) + B Phi((y - e2) / sigma),    integrated over the pixels.                   (1)
Both edges are fitted to the median of a block of columns, at many blocks at once, and low-order Legendre polynomials
to the edges along the columns, outlying blocks rejected. The median and the rejection leave out bad pixels and cosmic
rays. The spread is measured where only one edge is near: at the first and the last edge of all.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from scipy.interpolate import make_lsq_spline
from scipy.ndimage import median_filter
from scipy.special import ndtr

from drs.dq import Flag
from drs.errors import ReductionError

DEAD = np.uint32(Flag.DO_NOT_USE)
MOST_TURNS = 30  # of a fit of edges
CLIP_SIGMA = 4.0
LEAST_LIGHT = 0.1  # of the median slice: less and the slice is missing
SPREADS_PIX = 0.3, 3.0
LINE_WINDOW_PIX = 31  # over which a continuum is smooth
END_PIX = 3  # from the end of a slice, where its lines are seen
MOST_SHIFT_PIX = 1.0
MEDIAN_OVER_MAD = 1.4826 * np.sqrt(np.pi / 2)  # error of a median of n: times their MAD, over the root of n
HALF_WINDOW_PIX = 5  # rows on either side of a gap that are fitted


class Traces(NamedTuple):
    """Edges of slices.

    `coefficients` float64 (slice, 2, order + 1): Legendre, of the lower and the upper edge in rows, over u = -1 to 1
    from the first column to the last; `n_column`; `rms_pix` float64 (slice, 2) of blocks about the polynomials,
    `n_block` int64 (slice, 2) used; `offset_pix` float, of all slices from where they were expected; `spread_pix`,
    sigma of the light across the slices.
    """

    coefficients: np.ndarray
    n_column: int
    rms_pix: np.ndarray
    n_block: np.ndarray
    offset_pix: float
    spread_pix: float


def scale_columns(column, n_column):
    """Return columns as -1 (the first) to 1 (the last)."""
    return 2 * np.asarray(column, float) / (n_column - 1) - 1


def place_traces(traces, column):
    """Return the rows (slice, 2, column) of the edges at columns."""
    basis = legendre.legvander(scale_columns(column, traces.n_column), traces.coefficients.shape[-1] - 1)
    return traces.coefficients @ basis.T


def trace_slices(flat, dq, expected_row, *, n_block=32, order=3, most_offset_pix=8.0):
    """Return the Traces of the slices in a flat.

    Parameters
    ----------
    flat : ndarray, float32, (ny, nx)
        Flat lamp, dark subtracted; NaN where there is no value.
    dq : ndarray, uint32, (ny, nx)
    expected_row : ndarray, float64, (slice, 2)
        Edges in the middle column, in rising order, to `most_offset_pix` for all slices together.
    n_block : int, optional
        Blocks of columns; a slice moves by well under a pixel in each.
    order : int, optional
        Of the polynomials.

    Raises
    ------
    ReductionError
        A slice without light or with too few blocks (named); an offset at the end of the range; no light at all.
    """
    expected_row = np.asarray(expected_row, float)
    if flat.shape != dq.shape or expected_row.ndim != 2 or expected_row.shape[1] != 2:
        raise ValueError(f"flat {flat.shape}, dq {dq.shape}, expected edges {expected_row.shape}")
    profiles, centre = _take_profiles(flat, dq, n_block)
    bright = np.mean(np.maximum(np.nan_to_num(profiles), 0), axis=1)
    middle = _choose_middle(bright)
    profiles[bright < LEAST_LIGHT * bright.max()] = np.nan  # beyond the edge of the filter
    offset = _find_offset(profiles[middle], expected_row, most_offset_pix)
    edges, good, spread = _follow_edges(profiles, middle, expected_row + offset)
    _check_light(profiles, edges)
    return _fit_polynomials(edges, good, (centre, flat.shape[1], order, expected_row, spread))


def measure_shift(frame, dq, edges, *, spread_pix, n_block=5):
    """Return how many rows the slices of a frame are off their edges, and its error: (float, float).

    The ends of the slices in the lines of the sky: the continuum, that of sources too, is taken off along the columns.
    An edge is where the light of the lines is in a block of columns; the median over the edges leaves out those at
    which a source has lines.

    Parameters
    ----------
    frame : ndarray, float32, (ny, nx)
        Dark subtracted, not divided by a flat of the slices, which holds their ends.
    dq : ndarray, uint32, (ny, nx)
    edges : ndarray, float64, (slice, 2, nx)
        Of a lamp, right to a pixel.
    spread_pix : float
        Sigma of the light across the slices.
    n_block : int, optional
        Blocks of columns.

    Raises
    ------
    ReductionError
        Fewer than four ends with lines.
    """
    lines = _take_lines(frame, dq)
    away = []
    for part in np.array_split(np.arange(lines.shape[1]), n_block):
        start, lit = _weigh_edges(lines[:, part], edges[:, :, part])
        found, good, _ = _fit_gaps(lines[:, part].mean(axis=1), start, spread_pix, free=False)
        good &= lit & (np.abs(found - start) < MOST_SHIFT_PIX)
        away.append(np.where(good, found - start, np.nan))
    stacked = np.stack(away)
    seen = np.isfinite(stacked).sum(axis=0) > n_block / 2
    if seen.sum() < 4:
        raise ReductionError(f"lines at {seen.sum()} ends of slices, at least 4 are needed to measure their shift")
    each = np.nanmedian(stacked[:, seen], axis=0)
    shift = np.median(each)
    return float(shift), float(MEDIAN_OVER_MAD * np.median(np.abs(each - shift)) / np.sqrt(each.size))


def _take_lines(frame, dq):
    """Return a frame (float64) less the median along its rows; pixels without a value are bridged."""
    usable = (dq & DEAD == 0) & np.isfinite(frame)
    column, lines = np.arange(frame.shape[1]), np.zeros(frame.shape)
    for y in np.flatnonzero(2 * usable.sum(axis=1) > column.size):
        row = np.interp(column, column[usable[y]], frame[y, usable[y]].astype(float))
        lines[y] = row - median_filter(row, LINE_WINDOW_PIX, mode="nearest")
    return lines


def _weigh_edges(lines, edges):
    """Return the mean rows of edges (slice, 2), weighted with the light beside them, and where there is any."""
    weight = np.zeros(edges.shape)
    column = np.arange(edges.shape[2])
    for side, sign in enumerate((1, -1)):
        middle = np.rint(edges[:, side] + sign * END_PIX).astype(int)
        for step in (-1, 0, 1):
            weight[:, side] += lines[np.clip(middle + step, 0, len(lines) - 1), column]
    weight = np.maximum(weight, 0)
    total = weight.sum(axis=2)
    lit = total > 0
    return np.where(lit, (weight * edges).sum(axis=2) / np.where(lit, total, 1), edges.mean(axis=2)), lit


def make_slice_flat(flat, error, dq, traces, coordinate, *, n_knot=64):
    """Return a slicer flat with the spectrum of the lamp removed: (flat, error, dq).

    Parameters
    ----------
    flat, error : ndarray, float32, (ny, nx)
        Dark-subtracted lamp and its noise.
    dq : ndarray, uint32, (ny, nx)
    traces : Traces
    coordinate : ndarray, float64, (ny, nx)
        What the lamp's spectrum depends on: the wavelength, or the column where every slice has the same; NaN outside.
    n_knot : int, optional
        Of the cubic spline through the spectrum.

    Returns
    -------
    tuple of ndarray
        Float32, float32, uint32 (ny, nx). The median over the slices is 1, their own throughputs remain. Pixels
        between slices or without a value are 1, NO_FLAT_FIELD.
    """
    inside = find_inside(traces, flat.shape) & np.isfinite(coordinate)
    usable = inside & (dq & DEAD == 0) & np.isfinite(flat) & np.isfinite(error)
    if usable.sum() < 10 * n_knot:
        raise ReductionError(f"{usable.sum()} usable pixels of slices for a lamp spectrum of {n_knot} knots")
    spline = _fit_lamp(coordinate[usable], flat[usable].astype(float), n_knot)
    lamp = np.ones(flat.shape)
    lamp[inside] = spline(np.clip(coordinate[inside], *spline.t[[0, -1]]))
    usable &= lamp > 0
    ratio = flat / lamp
    scale = np.median(ratio[usable])
    new = np.where(usable, ratio / scale, 1).astype(np.float32)
    new_error = np.where(usable, error / lamp / scale, 0).astype(np.float32)
    return new, new_error, np.where(usable, dq, dq | np.uint32(Flag.NO_FLAT_FIELD)).astype(np.uint32)


def find_inside(traces, shape):
    """Return where (ny, nx, bool) the centre of a pixel is in a slice."""
    inside, row = np.zeros(shape, bool), np.arange(shape[0])[:, np.newaxis]
    for lower, upper in place_traces(traces, np.arange(shape[1])):
        first, last = max(0, int(lower.min())), min(shape[0], int(upper.max()) + 2)
        inside[first:last] |= (row[first:last] >= lower) & (row[first:last] <= upper)
    return inside


def _fit_lamp(x, light, n_knot):
    """Return the spline (scipy BSpline) of light against x, through medians of many narrow bins."""
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, 8 * n_knot)
    at = np.array([x[part].mean() for part in parts])
    median = np.array([np.median(light[part]) for part in parts])
    inner = np.interp(np.linspace(0, 1, n_knot)[1:-1], np.linspace(0, 1, at.size), at)
    knots = np.concatenate([np.full(4, at[0]), np.unique(inner), np.full(4, at[-1])])
    return make_lsq_spline(at, median, knots)


def _take_profiles(flat, dq, n_block):
    """Return medians of blocks of columns, (block, ny), and their middle columns; fewer than a third of it is NaN."""
    values = np.where((dq & DEAD == 0) & np.isfinite(flat), flat, np.nan).astype(np.float64)
    parts = np.array_split(np.arange(flat.shape[1]), min(n_block, flat.shape[1]))
    profiles = np.full((len(parts), flat.shape[0]), np.nan)
    for k, part in enumerate(parts):
        block = values[:, part[0] : part[-1] + 1]
        enough = np.isfinite(block).mean(axis=1) > 1 / 3
        profiles[k, enough] = np.nanmedian(block[enough], axis=1)
    return profiles, np.array([part.mean() for part in parts])


def _choose_middle(bright):
    """Return the bright block nearest to the middle."""
    bright = np.asarray(bright)
    if bright.size == 0 or not bright.max() > 0:
        raise ReductionError("the flat has no light: check lamp and shutter")
    candidates = np.flatnonzero(bright > 0.3 * bright.max())
    return candidates[np.argmin(np.abs(candidates - (bright.size - 1) / 2))]


def _find_offset(profile, expected_row, most):
    """Return how many rows (float) the slices are off their places, at which the most light is inside them."""
    ny = profile.size
    light = np.concatenate([[0], np.cumsum(np.nan_to_num(np.minimum(profile, 2 * np.nanpercentile(profile, 80))))])

    def inside(offset):
        edges = np.clip(expected_row + offset + 0.5, 0, ny)
        return np.diff(np.interp(edges, np.arange(ny + 1), light), axis=1).sum()

    tries = np.arange(-most, most + 0.01, 0.25)
    values = np.array([inside(offset) for offset in tries])
    plateau = np.flatnonzero(values >= values.max() - 1e-3 * np.ptp(values))
    if plateau[0] == 0 or plateau[-1] == tries.size - 1:
        raise ReductionError(
            f"the slices are {most:g} pixels or more off their expected places: check the layout, or widen the search"
        )
    return tries[plateau].mean()


def _follow_edges(profiles, middle, start):
    """Return edges (block, slice, 2), where they are good (bool, the same), and sigma of the spread.

    From the middle block to both ends, each block beginning at the edges of the last one that had them.
    """
    n, n_slice = len(profiles), len(start)
    spread = _measure_spread(profiles[middle], start)
    edges, good = np.full((n, n_slice, 2), np.nan), np.zeros((n, n_slice, 2), bool)
    for blocks in (range(middle, n), range(middle - 1, -1, -1)):
        last = edges[middle] if np.isfinite(edges[middle]).any() else start
        for k in blocks:
            if not np.isfinite(profiles[k]).any():
                continue
            found, fine, _ = _fit_gaps(profiles[k], last, spread, free=False)
            edges[k], good[k] = found, fine
            # A gap that was not fitted goes with the others.
            step = np.median((found - last)[fine]) if fine.any() else 0.0
            last = np.where(fine & (np.abs(found - last - step) < 1), found, last + step)
    return edges, good, spread


def _measure_spread(profile, start):
    """Return sigma, pixels, of the first and the last edge of all."""
    _, fine, spread = _fit_gaps(profile, start, 0.8, free=True)
    found = np.array([spread[0], spread[-1]])[[fine[0, 0], fine[-1, 1]]]
    found = found[(found > SPREADS_PIX[0]) & (found < SPREADS_PIX[1])]
    return float(found.mean()) if found.size else 0.8


def _fit_gaps(profile, edges, spread, *, free):
    """Return edges of all gaps of a block by eq. (1): (edges (slice, 2), good, sigma per gap).

    Gauss-Newton on all gaps at once; the light of the slices is linear in it and solved with the rest. `free` fits the
    spread, of the outer edges only.
    """
    n_slice = len(edges)
    first, second = np.append(np.nan, edges[:, 1]), np.append(edges[:, 0], np.nan)  # of gap g: e1, e2
    has = np.stack([np.isfinite(first), np.isfinite(second)])
    half = min(HALF_WINDOW_PIX, 0.45 * np.min(edges[:, 1] - edges[:, 0]))
    low, high = np.where(has[0], first, second) - half, np.where(has[1], second, first) + half
    length = int(np.ceil(np.max(high - low))) + 1
    row = np.floor(low).astype(int)[:, np.newaxis] + np.arange(length)
    data = profile[np.clip(row, 0, profile.size - 1)]
    usable = np.isfinite(data) & (row >= 0) & (row < profile.size) & (row <= high[:, np.newaxis])
    data = np.where(usable, data, 0)
    level = np.percentile(np.where(usable, data, np.nan_to_num(np.nanmedian(profile))), 90, axis=1)
    outer = ~has.all(axis=0)
    # c, A, B, e1, e2, sigma of each gap, and which of them are fitted.
    spreads = np.full(level.shape, spread)
    guess = np.nan_to_num(np.stack([0 * level, level * has[0], level * has[1], first, second, spreads], axis=1))
    fitted = np.stack([outer, has[0], has[1], has[0], has[1], outer & free], axis=1)
    found, fine = _fit_model((row, data, usable, guess, fitted))
    if outer.sum() < len(outer) and (fine & outer).any():  # scattered light: seen outside, the same in gaps
        guess[:, 0] = found[fine & outer, 0].mean()
        found, fine = _fit_model((row, data, usable, guess, fitted))
    limits = 0.5 * half
    moved = np.abs(found[:, 3:5] - guess[:, 3:5])
    fine &= np.where(has.T, moved < limits, True).all(axis=1) & (level > 0)
    result = np.stack([found[:n_slice, 4], found[1:, 3]], axis=1)
    good = np.stack([fine[:n_slice], fine[1:]], axis=1)
    return np.where(good, result, edges), good, found[:, 5]


def _fit_model(problem):
    """Return the parameters (gap, 6) of eq. (1) by damped Gauss-Newton steps, and where they have settled."""
    row, data, usable, found, fitted = problem
    found, settled = found.copy(), np.zeros(len(found), bool)
    for _ in range(MOST_TURNS):
        model, slopes = _model_gaps(row, found)
        slopes = np.where(fitted[:, np.newaxis, :] & usable[:, :, np.newaxis], slopes, 0)
        normal = np.einsum("gij,gik->gjk", slopes, slopes)
        damping = 1e-9 * np.einsum("gjj->g", normal)[:, np.newaxis] + 1e-300
        normal += np.eye(6) * np.where(fitted, damping, 1)[:, :, np.newaxis]
        right = np.einsum("gij,gi->gj", slopes, np.where(usable, data - model, 0))
        step = np.linalg.solve(normal, right[:, :, np.newaxis])[:, :, 0]
        step[:, 3:] = np.clip(step[:, 3:], -0.5, 0.5)
        found += step
        found[:, 5] = np.clip(found[:, 5], *SPREADS_PIX)
        settled = np.isfinite(step).all(axis=1) & (np.abs(step[:, 3:]) < 1e-4).all(axis=1)
        if settled.all():
            break
    return found, settled


def _model_gaps(row, found):
    """Return eq. (1) at the rows of every gap, (gap, row), and its derivatives (gap, row, 6)."""
    c, a, b, e1, e2, sigma = (value[:, np.newaxis] for value in found.T)
    edges = np.concatenate([row - 0.5, row[:, -1:] + 0.5], axis=1)
    falling, d_falling, s_falling = _integrate_step((e1 - edges) / sigma, sigma)
    rising, d_rising, s_rising = _integrate_step((edges - e2) / sigma, sigma)
    slopes = [1 + 0 * falling, -falling, rising, -a * d_falling, -b * d_rising, b * s_rising - a * s_falling]
    return c - a * falling + b * rising, np.stack(slopes, axis=2)


def _integrate_step(z, sigma):
    """Return the integral of Phi over pixels with edges z (times sigma), and its derivatives by place and by sigma."""
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return (
        sigma * np.diff(z * ndtr(z) + density, axis=1),
        np.diff(ndtr(z), axis=1),
        np.diff(density, axis=1),
    )


def _check_light(profiles, edges):
    """Refuse a flat in which slices have no light, and name them."""
    rows = np.nan_to_num(np.nanmedian(np.where(np.isfinite(edges), edges, np.nan), axis=0))
    light = np.array(
        [np.nanpercentile(profiles[:, max(0, int(low) + 1) : max(2, int(high))], 75) for low, high in rows]
    )
    missing = np.flatnonzero(~(light > LEAST_LIGHT * np.nanmedian(light)))
    if missing.size:
        raise ReductionError(
            f"slices {', '.join(map(str, missing))} of {len(light)} have no light in the flat: check mask and layout"
        )


def _fit_polynomials(edges, good, fit):
    """Return the Traces of edges (block, slice, 2)."""
    centre, n_column, order, expected_row, spread = fit
    u = scale_columns(centre, n_column)
    shape = edges.shape[1:]
    coefficients, rms, count = np.zeros((*shape, order + 1)), np.zeros(shape), np.zeros(shape, np.int64)
    for s, side in np.ndindex(*shape):
        y, keep = edges[:, s, side], good[:, s, side].copy()
        for _ in range(5):
            if keep.sum() < order + 3:
                raise ReductionError(
                    f"slice {s} of {shape[0]} is found in {keep.sum()} of {len(u)} blocks, at least {order + 3} are"
                    " needed: check mask, layout and lamp"
                )
            polynomial = legendre.legfit(u[keep], y[keep], order)
            away = y - legendre.legval(u, polynomial)
            width = 1.4826 * np.median(np.abs(away[keep])) * np.sqrt(keep.sum() / (keep.sum() - order - 1))
            kept = good[:, s, side] & (np.abs(away) < CLIP_SIGMA * max(width, 1e-4))
            if (kept == keep).all():
                break
            keep = kept
        coefficients[s, side], rms[s, side], count[s, side] = polynomial, np.sqrt(np.mean(away[keep] ** 2)), keep.sum()
    middle = legendre.legval(0.0, np.moveaxis(coefficients, -1, 0))
    return Traces(coefficients, n_column, rms, count, float(np.median(middle - expected_row)), spread)
