"""Spread the pixels of an image over an output grid: the kernels of drizzle, row by row, for any part of the grid."""

import numpy as np
from numba import njit, prange

from drs.pixelmap import STEP

KERNELS = {"square": 0, "turbo": 1, "point": 2}
STRIP = 16  # rows of the grid that one thread fills
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


@njit(cache=True, error_model="numpy")
def _weigh_kernel(t, weights):
    """Fill the weights of four neighbouring nodes for a place between the middle two (cubic of Lagrange)."""
    weights[0] = -t * (t - 1.0) * (t - 2.0) / 6.0
    weights[1] = (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
    weights[2] = -(t + 1.0) * t * (t - 2.0) / 2.0
    weights[3] = (t + 1.0) * t * (t - 1.0) / 6.0


@njit(cache=True, error_model="numpy")
def _edge_kernel(x1, y1, x2, y2):
    """Return the area between a line and y = 0 within the unit square, positive for a line to the right."""
    sign, low, high = 1.0, x1, x2
    if x1 > x2:
        sign, low, high = -1.0, x2, x1
    a, b = max(low, 0.0), min(high, 1.0)
    if a >= b:
        return 0.0
    slope = (y2 - y1) / (x2 - x1)
    ya, yb = y1 + slope * (a - x1), y1 + slope * (b - x1)
    if ya <= 0.0 and yb <= 0.0:
        return 0.0
    if ya >= 1.0 and yb >= 1.0:
        return sign * (b - a)
    if min(ya, yb) >= 0.0 and max(ya, yb) <= 1.0:
        return sign * (b - a) * 0.5 * (ya + yb)
    # The integral of clip(y, 0, 1) along the line, by its antiderivative in y.
    ha = 0.0 if ya < 0.0 else (0.5 * ya * ya if ya < 1.0 else ya - 0.5)
    hb = 0.0 if yb < 0.0 else (0.5 * yb * yb if yb < 1.0 else yb - 0.5)
    return sign * (b - a) * (hb - ha) / (yb - ya)


@njit(cache=True, error_model="numpy")
def _add_kernel(part, pixel, y, x, sums):
    """Add a part of a drop [signal, variance, weight] to an output pixel."""
    value, variance, weight = pixel
    aw = part * weight
    sums[0, y, x] += aw * value
    sums[1, y, x] += aw
    sums[2, y, x] += aw * aw * variance
    sums[3, y, x] += aw * weight * variance
    sums[4, y, x] += part


@njit(cache=True, error_model="numpy")
def _spread_square_kernel(quad, pixel, limits, sums):
    """Add a quadrilateral to the rows of `limits` by exact areas; `quad` is x and y of its corners in turn."""
    x0, y0, x1, y1, x2, y2, x3, y3 = quad
    area = 0.5 * ((x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0))
    if area == 0.0:
        return
    column_a = max(int(np.floor(min(min(x0, x1), min(x2, x3)) + 0.5)), 0)
    column_b = min(int(np.floor(max(max(x0, x1), max(x2, x3)) + 0.5)), sums.shape[2] - 1)
    row_a = max(int(np.floor(min(min(y0, y1), min(y2, y3)) + 0.5)), limits[0])
    row_b = min(int(np.floor(max(max(y0, y1), max(y2, y3)) + 0.5)), limits[1] - 1)
    for row in range(row_a, row_b + 1):
        v = row - 0.5
        for column in range(column_a, column_b + 1):
            u = column - 0.5
            part = _edge_kernel(x0 - u, y0 - v, x1 - u, y1 - v) + _edge_kernel(x1 - u, y1 - v, x2 - u, y2 - v)
            part += _edge_kernel(x2 - u, y2 - v, x3 - u, y3 - v) + _edge_kernel(x3 - u, y3 - v, x0 - u, y0 - v)
            part = -part / area  # a quadrilateral in the sense of growing angles gives the negative
            if part > 0.0:
                _add_kernel(part, pixel, row - limits[2], column, sums)


@njit(cache=True, error_model="numpy")
def _spread_turbo_kernel(x, y, half, pixel, limits, sums):
    """Add a square of two times `half` along the axes of the grid to the rows of `limits`."""
    for row in range(max(int(np.floor(y - half + 0.5)), limits[0]), min(int(np.floor(y + half + 0.5)) + 1, limits[1])):
        height = min(row + 0.5, y + half) - max(row - 0.5, y - half)
        column_b = min(int(np.floor(x + half + 0.5)), sums.shape[2] - 1)
        for column in range(max(int(np.floor(x - half + 0.5)), 0), column_b + 1):
            width = min(column + 0.5, x + half) - max(column - 0.5, x - half)
            if width > 0.0 and height > 0.0:
                _add_kernel(width * height / (4.0 * half * half), pixel, row - limits[2], column, sums)


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
def _fill_corners_kernel(edges, block, table, corners):
    """Fill the corners of a block of pixels, (4, STEP + 1), from the nodes of the edges."""
    for line in range(4):
        e0, e1, e2, e3 = edges[line, block], edges[line, block + 1], edges[line, block + 2], edges[line, block + 3]
        for k in range(STEP + 1):
            corners[line, k] = table[k, 0] * e0 + table[k, 1] * e1 + table[k, 2] * e2 + table[k, 3] * e3


@njit(cache=True, error_model="numpy")
def _spread_pixel_kernel(c, kernel, pixfrac, pixel, limits, sums):
    """Add one pixel with corners `c` (x and y in turn) by a kernel; `limits`: rows from, to, first of sums."""
    x = 0.25 * (c[0] + c[2] + c[4] + c[6])
    y = 0.25 * (c[1] + c[3] + c[5] + c[7])
    if kernel == 0:
        if pixfrac != 1.0:
            c = (
                x + pixfrac * (c[0] - x),
                y + pixfrac * (c[1] - y),
                x + pixfrac * (c[2] - x),
                y + pixfrac * (c[3] - y),
                x + pixfrac * (c[4] - x),
                y + pixfrac * (c[5] - y),
                x + pixfrac * (c[6] - x),
                y + pixfrac * (c[7] - y),
            )
        _spread_square_kernel(c, pixel, limits, sums)
    elif kernel == 1:
        _spread_turbo_kernel(x, y, 0.5 * pixfrac, pixel, limits, sums)
    else:
        row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        if limits[0] <= row < limits[1] and 0 <= column < sums.shape[2]:
            _add_kernel(1.0, pixel, row - limits[2], column, sums)


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
        for row in range(n_row):
            _interpolate_kernel(nodes, start + row, across, edges)
            for block in range((nx + STEP - 1) // STEP):
                low = min(min(edges[1, block + 1], edges[1, block + 2]), min(edges[3, block + 1], edges[3, block + 2]))
                high = max(max(edges[1, block + 1], edges[1, block + 2]), max(edges[3, block + 1], edges[3, block + 2]))
                if high + 1.0 < limits[0] or low - 1.0 > limits[1] - 1:
                    continue
                _fill_corners_kernel(edges, block, table, c)
                for x in range(block * STEP, min((block + 1) * STEP, nx)):
                    k = x - block * STEP
                    if weight[row, x] > 0:
                        corners = c[0, k], c[1, k], c[0, k + 1], c[1, k + 1], c[2, k + 1], c[3, k + 1], c[2, k], c[3, k]
                        pixel = np.float64(values[row, x]), np.float64(variance[row, x]), np.float64(weight[row, x])
                        _spread_pixel_kernel(corners, kernel, pixfrac, pixel, limits, sums)
                    if flags.size > 0 and flags[row, x] != 0:
                        out_x = int(np.floor(0.25 * (c[0, k] + c[0, k + 1] + c[2, k + 1] + c[2, k]) + 0.5))
                        out_y = int(np.floor(0.25 * (c[1, k] + c[1, k + 1] + c[3, k + 1] + c[3, k]) + 0.5))
                        if limits[0] <= out_y < limits[1] and 0 <= out_x < sums.shape[2]:
                            dq[out_y - first, out_x] |= flags[row, x]
