"""Where the pixels of an image fall on another grid: exact at nodes, cubic between them."""

from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS
from numba import njit, prange

from drs.errors import ReductionError

STEP = 32  # pixels between nodes: cubic interpolation of a distortion of 6th order errs by less than 1e-5 pixel


class PixelMap(NamedTuple):
    """The places of the corners of an image's pixels on an output grid.

    `nodes` float64 (2, n_node_y, n_node_x): x and y on the output grid, 0-based, of every 32nd corner; node (1, 1) is
    the corner (-0.5, -0.5) of the image, and one node or more lie beyond each edge. `shape` is (ny, nx) of the image,
    `reach` (2, ny) the lowest and highest y of each of its rows on the grid, with a pixel of margin.
    """

    nodes: np.ndarray
    shape: tuple
    reach: np.ndarray


def build_map(locate, shape):
    """Return the map of an image.

    Parameters
    ----------
    locate : callable
        (x, y) of the image, 1-D arrays, 0-based -> (x, y) on the output grid.
    shape : tuple
        (ny, nx) of the image.

    Raises
    ------
    ReductionError
        A part of the image has no place on the output grid.
    """
    y, x = (np.arange(-1, length // STEP + 3) * STEP - 0.5 for length in shape)
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    nodes = np.stack([np.reshape(axis, grid_x.shape) for axis in locate(grid_x.ravel(), grid_y.ravel())])
    if not np.isfinite(nodes).all():
        raise ReductionError(
            "a part of an image has no place on the mosaic's plane: its pointing is far from the first image's; "
            "correct RA and DEC in exposures.yaml"
        )
    nodes = np.ascontiguousarray(nodes, np.float64)
    return PixelMap(nodes, tuple(map(int, shape)), _measure_reach(nodes[1], int(shape[0])))


def map_image(header, grid, shape, offset=(0.0, 0.0)):
    """Return the map of an image with coordinates on a grid with coordinates.

    Parameters
    ----------
    header, grid : dict
        WCS keywords of the image and of the grid, SIP distortion included.
    shape : tuple
        (ny, nx) of the image.
    offset : tuple of float, optional
        (x, y) in pixels of the grid, added to the places that the coordinates give.
    """
    source, target = WCS(header), WCS(grid)

    def locate(x, y):
        placed = target.all_world2pix(*source.all_pix2world(x, y, 0), 0)
        return [axis + shift for axis, shift in zip(placed, offset, strict=True)]

    return build_map(locate, shape)


def find_rows(pixelmap, first, last, margin=0):
    """Return the rows of an image of which parts may fall on rows `first` to `last` - 1 of the grid, as a slice.

    Parameters
    ----------
    pixelmap : PixelMap
    first, last : int
    margin : int, optional
        Rows of the image more on each side.
    """
    low, high = pixelmap.reach
    rows, n_row = np.flatnonzero((high >= first - 1.0) & (low <= last)), pixelmap.shape[0]
    if not rows.size:
        return slice(0, 0)
    return slice(int(max(rows[0] - margin, 0)), int(min(rows[-1] + 1 + margin, n_row)))


def _measure_reach(y, n_row):
    """Return the lowest and highest place on the grid of each row of an image, (2, n_row), with a pixel of margin."""
    across, edges = np.empty(4), np.empty((n_row + 1, y.shape[1]))
    for row in range(n_row + 1):
        _weigh_kernel(row % STEP / STEP, across)
        edges[row] = across @ y[row // STEP : row // STEP + 4]
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    return np.stack([low.min(axis=1) - 1.0, high.max(axis=1) + 1.0])


def locate_centres(pixelmap, x, y):
    """Return the places (x, y) on the grid of points of the image, 1-D arrays."""
    return _locate_kernel(pixelmap.nodes, np.asarray(x, np.float64), np.asarray(y, np.float64))


@njit(cache=True, error_model="numpy")
def _weigh_kernel(t, weights):
    """Fill the weights of four neighbouring nodes for a place between the middle two (cubic of Lagrange)."""
    weights[0] = -t * (t - 1.0) * (t - 2.0) / 6.0
    weights[1] = (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
    weights[2] = -(t + 1.0) * t * (t - 2.0) / 2.0
    weights[3] = (t + 1.0) * t * (t - 1.0) / 6.0


@njit(cache=True, error_model="numpy")
def _locate_kernel(nodes, x, y):
    """Return the places of points, (2, n)."""
    placed, along, across = np.empty((2, x.size)), np.empty(4), np.empty(4)
    for k in range(x.size):
        u, v = (x[k] + 0.5) / STEP, (y[k] + 0.5) / STEP
        i = min(max(int(np.floor(u)), 0), nodes.shape[2] - 4)
        j = min(max(int(np.floor(v)), 0), nodes.shape[1] - 4)
        _weigh_kernel(u - i, along)
        _weigh_kernel(v - j, across)
        for axis in range(2):
            total = 0.0
            for b in range(4):
                for a in range(4):
                    total += across[b] * along[a] * nodes[axis, j + b, i + a]
            placed[axis, k] = total
    return placed


def locate_rows(pixelmap, rows):
    """Return the places of the centres of all pixels of some rows (a slice), float64 (2, rows, nx)."""
    placed = np.empty((2, rows.stop - rows.start, pixelmap.shape[1]))
    _locate_rows_kernel(pixelmap.nodes, rows.start, placed)
    return placed


@njit(parallel=True, cache=True, error_model="numpy")
def _locate_rows_kernel(nodes, start, placed):
    """Fill the places of centres; rows are independent."""
    table = np.empty((STEP, 4))
    for k in range(STEP):
        _weigh_kernel((k + 0.5) / STEP, table[k])
    for y in prange(placed.shape[1]):
        row = start + y
        across, edge = np.empty(4), np.empty(nodes.shape[2])
        _weigh_kernel((row % STEP + 0.5) / STEP, across)
        for axis in range(2):
            for i in range(edge.size):
                total = 0.0
                for b in range(4):
                    total += across[b] * nodes[axis, row // STEP + b, i]
                edge[i] = total
            for x in range(placed.shape[2]):
                i, w = x // STEP, table[x % STEP]
                placed[axis, y, x] = w[0] * edge[i] + w[1] * edge[i + 1] + w[2] * edge[i + 2] + w[3] * edge[i + 3]
