"""Spread the pixels of an image over an output grid: the kernels of drizzle, row by row, for any part of the grid."""

import numpy as np
from numba import njit, prange

from drs.pixelmap import STEP

KERNELS = {"square": 0, "turbo": 1, "point": 2}
STRIP = 16  # rows of the grid that one thread fills
ROUNDING = 1e-12  # of a drop; less of it in a pixel is none
FLAGS = {"cache": True, "error_model": "numpy", "forceinline": True}  # of what is done for each pixel: 1.6 x as fast
NO_FLAGS = np.empty((0, 0), np.uint32)


def drizzle_rows(frame, pixelmap, window, *, kernel="square", pixfrac=1.0, flags=NO_FLAGS):
    """Return what an image adds to some rows of an output grid.

    Each pixel is shrunk to a drop of `pixfrac` its side about its centre, and adds to every output pixel by the part
    `a` of the drop that falls there (Fruchter & Hook 2002, PASP 114, 144, eqs. 3-5). Kernel `square` takes the exact
    area of the quadrilateral that the drop becomes, `turbo` a square along the output's axes, `point` the centre.
    Every output pixel adds up its input in the order of the image: the result depends on neither the window nor the
    threads.

    Parameters
    ----------
    frame : tuple
        `values`, `variance` and `weight`, float32, (rows, nx): some rows of the image; weight 0 leaves a pixel out.
    pixelmap : drs.pixelmap.PixelMap
    window : tuple
        (row of the image where the frame begins, first row of the grid, rows, columns of the grid).
    kernel : str, optional
    pixfrac : float, optional
        Side of a drop over that of a pixel, 0 to 1.
    flags : ndarray, uint32, (rows, nx), optional
        Flags that go to the output pixel where the centre of their pixel falls.

    Returns
    -------
    sums : ndarray, float64, (5, rows, columns)
        Sums of a w v, a w, a^2 w^2 V, a w^2 V (the noise of a wide aperture, where what one drop shares between
        output pixels comes together again) and a, for values v, variances V and weights w.
    dq : ndarray, uint32, (rows, columns)
    """
    values, variance, weight = (np.ascontiguousarray(plane, np.float32) for plane in frame)
    if not values.shape == variance.shape == weight.shape or values.ndim != 2:
        raise ValueError(f"planes of shapes {values.shape}, {variance.shape}, {weight.shape}; expected one (rows, nx)")
    start, first, n_row, n_column = window
    sums, dq = np.zeros((5, n_row, n_column)), np.zeros((n_row, n_column), np.uint32)
    planes = (values, variance, weight, flags)
    _drizzle_kernel(planes, pixelmap.nodes, (start, first), KERNELS[kernel], float(pixfrac), sums, dq)
    return sums, dq


@njit(**FLAGS)
def _weigh_kernel(t, weights):
    """Fill the weights of four neighbouring nodes for a place between the middle two (cubic of Lagrange)."""
    weights[0] = -t * (t - 1.0) * (t - 2.0) / 6.0
    weights[1] = (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
    weights[2] = -(t + 1.0) * t * (t - 2.0) / 2.0
    weights[3] = (t + 1.0) * t * (t - 1.0) / 6.0


@njit(**FLAGS)
def _edge_kernel(x1, y1, x2, y2):
    """Return the integral of min(y, 0) along that part of a line where x < 0; no branches, for vector instructions."""
    width = x2 - x1
    slope = (y2 - y1) / (width if width != 0.0 else 1.0)
    a, b = min(x1, 0.0), min(x2, 0.0)
    ya, yb = y1 + slope * (a - x1), y1 + slope * (b - x1)
    low, high = min(ya, yb), max(ya, yb)
    span = high - low
    below = -min(low, 0.0) / (span if span > 0.0 else 1.0)
    below = 1.0 if high <= 0.0 else below
    return 0.5 * (b - a) * below * (min(low, 0.0) + min(high, 0.0))


@njit(**FLAGS)
def _corner_kernel(quad, u, v):
    """Return the area of a quadrilateral where x < u and y < v, by Green's theorem; its sign is that of its sense."""
    x0, y0, x1, y1, x2, y2, x3, y3 = quad
    x0, x1, x2, x3, y0, y1, y2, y3 = x0 - u, x1 - u, x2 - u, x3 - u, y0 - v, y1 - v, y2 - v, y3 - v
    lower = _edge_kernel(x0, y0, x1, y1) + _edge_kernel(x1, y1, x2, y2)
    return lower + _edge_kernel(x2, y2, x3, y3) + _edge_kernel(x3, y3, x0, y0)


@njit(**FLAGS)
def _shrink_kernel(corners, pixfrac, quads, lines):
    """Shrink the pixels of a block to drops: x and y of their corners in turn, (8, STEP).

    `lines` (4, STEP): the first column and row of the grid that end within the drop, its right end and its top.
    """
    for k in range(quads.shape[1]):
        x0, y0, x1, y1 = corners[0, k], corners[1, k], corners[0, k + 1], corners[1, k + 1]
        x2, y2, x3, y3 = corners[2, k + 1], corners[3, k + 1], corners[2, k], corners[3, k]
        x, y = 0.25 * (x0 + x1 + x2 + x3), 0.25 * (y0 + y1 + y2 + y3)
        x0, x1, x2, x3 = x + pixfrac * (x0 - x), x + pixfrac * (x1 - x), x + pixfrac * (x2 - x), x + pixfrac * (x3 - x)
        y0, y1, y2, y3 = y + pixfrac * (y0 - y), y + pixfrac * (y1 - y), y + pixfrac * (y2 - y), y + pixfrac * (y3 - y)
        quads[0, k], quads[1, k], quads[2, k], quads[3, k] = x0, y0, x1, y1
        quads[4, k], quads[5, k], quads[6, k], quads[7, k] = x2, y2, x3, y3
        lines[0, k] = np.floor(min(min(x0, x1), min(x2, x3)) + 0.5) + 0.5
        lines[1, k] = np.floor(min(min(y0, y1), min(y2, y3)) + 0.5) + 0.5
        lines[2, k], lines[3, k] = max(max(x0, x1), max(x2, x3)), max(max(y0, y1), max(y2, y3))


@njit(**FLAGS)
def _cut_edge_kernel(start, stop, lines, areas):
    """Add what one edge of each drop of a block says of the areas left of and below its first lines.

    The lines cut a drop in four: `areas` get that before both, before that of the column, before that of the row, and
    the whole.
    """
    (x1, y1), (x2, y2), (u, v, right, top), (both, columns, rows, whole) = start, stop, lines, areas
    for k in range(both.size):
        both[k] += _edge_kernel(x1[k] - u[k], y1[k] - v[k], x2[k] - u[k], y2[k] - v[k])
        columns[k] += _edge_kernel(x1[k] - u[k], y1[k] - top[k], x2[k] - u[k], y2[k] - top[k])
        rows[k] += _edge_kernel(x1[k] - right[k], y1[k] - v[k], x2[k] - right[k], y2[k] - v[k])
        whole[k] += 0.5 * (x2[k] - x1[k]) * (y1[k] + y2[k] - 2.0 * top[k])


@njit(**FLAGS)
def _cut_kernel(quads, lines, areas):
    """Measure the areas of `_cut_edge_kernel` of a block of drops."""
    areas[:] = 0.0
    ends = lines[0], lines[1], lines[2], lines[3]
    sums = areas[0], areas[1], areas[2], areas[3]
    for corner in range(4):
        a, b = 2 * corner, (2 * corner + 2) % 8
        _cut_edge_kernel((quads[a], quads[a + 1]), (quads[b], quads[b + 1]), ends, sums)


@njit(**FLAGS)
def _measure_cut_kernel(areas, j, i):
    """Return the part of a drop in the lower or upper (j) left or right (i) of the four that two lines cut it into."""
    both, columns, rows = areas
    if j == 0:
        return both if i == 0 else rows - both
    return columns - both if i == 0 else 1.0 - columns - rows + both


@njit(**FLAGS)
def _measure_quad_kernel(quad, row, column):
    """Return the part of a drop of any size in a pixel, by exact areas."""
    x0, y0, x1, y1, x2, y2, x3, y3 = quad
    area = -0.5 * ((x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0))
    x, y = column - 0.5, row - 0.5
    part = _corner_kernel(quad, x + 1.0, y + 1.0) - _corner_kernel(quad, x, y + 1.0)
    return (part - _corner_kernel(quad, x + 1.0, y) + _corner_kernel(quad, x, y)) / area


@njit(**FLAGS)
def _measure_square_kernel(place, half, row, column):
    """Return the part of a square of two times `half` along the axes of the grid in a pixel."""
    (x, y), area = place, 4.0 * half * half
    width = min(column + 0.5, x + half) - max(column - 0.5, x - half)
    height = min(row + 0.5, y + half) - max(row - 0.5, y - half)
    return width * height / area if width > 0.0 and height > 0.0 else 0.0


@njit(**FLAGS)
def _interpolate_kernel(nodes, row, across, edges):
    """Fill x and y of the nodes of the lower (0, 1) and upper edge (2, 3) of a row of pixels."""
    for upper in range(2):
        j, k = (row + upper) // STEP, (row + upper) % STEP
        _weigh_kernel(k / STEP, across)
        for axis in range(2):
            for i in range(nodes.shape[2]):
                total = 0.0
                for b in range(4):
                    total += across[b] * nodes[axis, j + b, i]
                edges[2 * upper + axis, i] = total


@njit(**FLAGS)
def _fill_corners_kernel(edges, block, table, corners):
    """Fill the corners of a block of pixels, (4, STEP + 1), from the nodes of the edges."""
    for line in range(4):
        e0, e1, e2, e3 = edges[line, block], edges[line, block + 1], edges[line, block + 2], edges[line, block + 3]
        for k in range(STEP + 1):
            corners[line, k] = table[k, 0] * e0 + table[k, 1] * e1 + table[k, 2] * e2 + table[k, 3] * e3


@njit(**FLAGS)
def _spread_block_kernel(drops, frame, shape, limits, sums):
    """Add the pixels of a block to the rows of `limits`: from, to, first of sums.

    One function, so that no array is handed on for each pixel: counting its references takes as long as the rest.
    """
    (quads, lines, areas), (values, variance, weight), (kernel, pixfrac) = drops, frame, shape
    for k in range(values.size):
        if not weight[k] > 0:
            continue
        value, noise2, w = np.float64(values[k]), np.float64(variance[k]), np.float64(weight[k])
        quad = quads[0, k], quads[1, k], quads[2, k], quads[3, k], quads[4, k], quads[5, k], quads[6, k], quads[7, k]
        x, y = 0.25 * (quad[0] + quad[2] + quad[4] + quad[6]), 0.25 * (quad[1] + quad[3] + quad[5] + quad[7])
        if kernel == 0:
            left, bottom, right, top = lines[0, k] - 0.5, lines[1, k] - 0.5, lines[2, k] + 0.5, lines[3, k] + 0.5
        else:
            half = 0.5 * pixfrac if kernel == 1 else 0.0
            left, bottom, right, top = x - half + 0.5, y - half + 0.5, x + half + 0.5, y + half + 0.5
        first, start = int(np.floor(left)), int(np.floor(bottom))
        last, stop = int(np.floor(right)), int(np.floor(top))
        is_cut = kernel == 0 and last <= first + 1 and stop <= start + 1
        whole = 1.0 / areas[3, k] if is_cut else 1.0
        cut = areas[0, k] * whole, areas[1, k] * whole, areas[2, k] * whole
        for row in range(max(start, limits[0]), min(stop + 1, limits[1])):
            for column in range(max(first, 0), min(last + 1, sums.shape[2])):
                if is_cut:
                    part = _measure_cut_kernel(cut, row - start, column - first)
                elif kernel == 0:
                    part = _measure_quad_kernel(quad, row, column)
                elif kernel == 1:
                    part = _measure_square_kernel((x, y), half, row, column)
                else:
                    part = 1.0
                if part > ROUNDING:
                    aw, out = part * w, row - limits[2]
                    sums[0, out, column] += aw * value
                    sums[1, out, column] += aw
                    sums[2, out, column] += aw * aw * noise2
                    sums[3, out, column] += aw * w * noise2
                    sums[4, out, column] += part


@njit(**FLAGS)
def _flag_block_kernel(corners, flags, limits, dq):
    """Add the flags of the pixels of a block where their centres fall."""
    for k in range(flags.size):
        if flags[k] != 0:
            x = 0.25 * (corners[0, k] + corners[0, k + 1] + corners[2, k + 1] + corners[2, k])
            y = 0.25 * (corners[1, k] + corners[1, k + 1] + corners[3, k + 1] + corners[3, k])
            column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
            if limits[0] <= row < limits[1] and 0 <= column < dq.shape[1]:
                dq[row - limits[2], column] |= flags[k]


@njit(parallel=True, cache=True, error_model="numpy")
def _drizzle_kernel(planes, nodes, starts, kernel, pixfrac, sums, dq):
    """Add all pixels of some rows of an image to all rows of a window, strip by strip."""
    values, variance, weight, flags = planes
    start, first = starts
    n_row, nx, n_out = *values.shape, sums.shape[1]
    table = np.empty((STEP + 1, 4))
    for k in range(STEP + 1):
        _weigh_kernel(k / STEP, table[k])
    for strip in prange((n_out + STRIP - 1) // STRIP):
        limits = (first + strip * STRIP, min(first + (strip + 1) * STRIP, first + n_out), first)
        across, edges, c = np.empty(4), np.empty((4, nodes.shape[2])), np.empty((4, STEP + 1))
        drops = np.empty((8, STEP)), np.empty((4, STEP)), np.zeros((4, STEP))
        for row in range(n_row):
            _interpolate_kernel(nodes, start + row, across, edges)
            for block in range((nx + STEP - 1) // STEP):
                low = min(min(edges[1, block + 1], edges[1, block + 2]), min(edges[3, block + 1], edges[3, block + 2]))
                high = max(max(edges[1, block + 1], edges[1, block + 2]), max(edges[3, block + 1], edges[3, block + 2]))
                if high + 1.0 < limits[0] or low - 1.0 > limits[1] - 1:
                    continue
                _fill_corners_kernel(edges, block, table, c)
                _shrink_kernel(c, pixfrac, drops[0], drops[1])
                if kernel == 0:
                    _cut_kernel(*drops)
                part = slice(block * STEP, min((block + 1) * STEP, nx))
                frame = values[row, part], variance[row, part], weight[row, part]
                _spread_block_kernel(drops, frame, (kernel, pixfrac), limits, sums)
                if flags.size > 0:
                    _flag_block_kernel(c, flags[row, part], limits, dq)
