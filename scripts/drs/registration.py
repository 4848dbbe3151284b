"""Where the pixels of images fall on a common grid, and what they say together: means and masks, by nearest pixels."""

import numpy as np
from astropy.wcs import WCS

from drs.errors import ReductionError

NODES = 33  # of a coarse grid, each axis: between them the coordinates of a detector are linear to 1e-3 pixel
MAX_GROWTH = 25.0
DISTORTION = ("A_", "B_", "AP_", "BP_")


def open_wcs(header):
    """Return the WCS of a product's keywords."""
    return WCS({key: value for key, value in header.items() if value is not None})


def without_distortion(header):
    """Return WCS keywords without their SIP polynomials."""
    linear = {key: value for key, value in header.items() if not key.startswith(DISTORTION)}
    types = {key: str(linear[key]).removesuffix("-SIP") for key in ("CTYPE1", "CTYPE2")}
    return linear | types


def plan_field(headers, shapes):
    """Return (WCS keywords, (ny, nx)) of an undistorted grid that holds all images, with the pixels of the first.

    Parameters
    ----------
    headers : list of dict
        WCS keywords of the images.
    shapes : list of (ny, nx)

    Raises
    ------
    ReductionError
        The grid would be unreasonably large: the pointings are not of one field, or a WCS is wrong.
    """
    grid = without_distortion(headers[0])
    places = []
    for header, (ny, nx) in zip(headers, shapes, strict=True):
        y, x = (axis.ravel() for axis in np.meshgrid([0.0, ny / 2, ny - 1.0], [0.0, nx / 2, nx - 1.0], indexing="ij"))
        places.append(np.stack(_transform(header, grid, x, y)))
    places = np.concatenate(places, axis=1)
    if not np.isfinite(places).all():
        raise ReductionError("the coordinates of the exposures do not meet: correct RA, DEC or PA in exposures.yaml")
    low, high = np.floor(places.min(axis=1)) - 1, np.ceil(places.max(axis=1)) + 1
    nx, ny = (int(length) for length in high - low + 1)
    if nx * ny > MAX_GROWTH * shapes[0][0] * shapes[0][1]:
        raise ReductionError(
            f"the pointings span {nx} x {ny} pixels for images of {shapes[0][::-1]}: not one field; "
            "correct RA, DEC, PA or OBJECT in exposures.yaml"
        )
    shift = {key: grid[key] - float(start) for key, start in zip(("CRPIX1", "CRPIX2"), low, strict=True)}
    return grid | shift, (ny, nx)


def _transform(header, grid, x, y):
    """Return where 0-based pixels (x, y) of an image fall on the grid, distortion included."""
    sky = open_wcs(header).all_pix2world(x, y, 0)
    return open_wcs(grid).wcs_world2pix(*sky, 0)


def map_pixels(header, shape, grid):
    """Return the 0-based (y, x) on the grid, float32 (ny, nx), of every pixel of an image.

    The coordinates are worked out at nodes and interpolated linearly between them.

    Parameters
    ----------
    header, grid : dict
        WCS keywords of the image (SIP is applied) and of the grid (which has none).
    shape : (ny, nx)
        Of the image.
    """
    axes = [np.linspace(0, size - 1, min(size, NODES)) for size in shape]
    y, x = np.meshgrid(*axes, indexing="ij")
    places = _transform(header, grid, x.ravel(), y.ravel())
    hats = [_hat_functions(nodes, size) for nodes, size in zip(axes, shape, strict=True)]
    return tuple((hats[0] @ place.reshape(y.shape) @ hats[1].T).astype(np.float32) for place in places[::-1])


def _hat_functions(nodes, size):
    """Return the weights (size, n_node) of linear interpolation between nodes for the pixels of an axis."""
    return np.stack([np.interp(np.arange(size), nodes, row) for row in np.eye(nodes.size)], axis=1)


def locate_nearest(header, shape, grid, grid_shape):
    """Return the index of the grid's pixel nearest to each pixel of an image, flattened; -1 outside the grid.

    Parameters are those of `map_pixels`; `grid_shape` is (ny, nx) of the grid.
    """
    y, x = (np.rint(axis).astype(np.int64) for axis in map_pixels(header, shape, grid))
    inside = (y >= 0) & (x >= 0) & (y < grid_shape[0]) & (x < grid_shape[1])
    return np.where(inside, y * grid_shape[1] + x, -1)


def average_frames(frames, places, grid_shape):
    """Return (mean, number of frames) of images on a grid, each pixel put on the nearest one.

    Parameters
    ----------
    frames : list of ndarray, (ny, nx)
        NaN where there is no value.
    places : list of ndarray, int64, (ny, nx)
        Of `locate_nearest`.
    grid_shape : (ny, nx)

    Returns
    -------
    mean : ndarray, float32, grid_shape
        NaN where nothing falls.
    count : ndarray, int32, grid_shape
    """
    size = grid_shape[0] * grid_shape[1]
    total, count = np.zeros(size), np.zeros(size, np.int32)
    for frame, place in zip(frames, places, strict=True):
        good = np.isfinite(frame) & (place >= 0)
        total += np.bincount(place[good], weights=frame[good], minlength=size)
        count += np.bincount(place[good], minlength=size).astype(np.int32)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return mean.reshape(grid_shape), count.reshape(grid_shape)


def look_up(is_set, place):
    """Return the values of a mask on the grid at the places of `locate_nearest`; False outside."""
    return np.where(place >= 0, is_set.ravel()[np.maximum(place, 0)], False)
