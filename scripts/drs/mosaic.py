"""The pixel grid of a mosaic, and which images belong on it."""

import re

import numpy as np
from astropy.wcs import WCS

from drs.errors import ReductionError

MAX_GROWTH = 25.0
DISTORTION = re.compile(r"(A|B|AP|BP)_(ORDER|DMAX|[0-9]+_[0-9]+)")


def plane_of(header):
    """Return WCS keywords without distortion: the tangent plane on which an image is put."""
    plane = {key: value for key, value in header.items() if not DISTORTION.fullmatch(key)}
    return plane | {key: plane[key].removesuffix("-SIP") for key in ("CTYPE1", "CTYPE2")}


def find_footprints(headers, shapes, offsets=None):
    """Return the rectangles of images on the plane of the first: x from, y from, x to, y to, in pixels; (n, 4).

    Parameters
    ----------
    headers : list of dict
        WCS keywords.
    shapes : list of tuple
        (ny, nx).
    offsets : list of tuple, optional
        (x, y) in pixels of the plane, added to each.
    """
    first, boxes = WCS(plane_of(headers[0])), []
    offsets = [(0.0, 0.0)] * len(headers) if offsets is None else offsets
    for header, (ny, nx), offset in zip(headers, shapes, offsets, strict=True):
        edge = np.array([[-0.5, -0.5], [nx - 0.5, -0.5], [-0.5, ny - 0.5], [nx - 0.5, ny - 0.5]])
        corners = first.wcs_world2pix(WCS(header).all_pix2world(edge, 0), 0) + offset
        boxes.append([*corners.min(axis=0), *corners.max(axis=0)])
    return np.array(boxes)


def find_group(boxes):
    """Return the positions of the largest set of images that hang together, each overlapping another of the set.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
        Result of `find_footprints`; a place that is NaN overlaps nothing.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        overlaps = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low) > 0).all(axis=-1)
    groups, left = [], set(range(len(boxes)))
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            new = {int(k) for member in new for k in np.flatnonzero(overlaps[member])} - group
        groups.append(sorted(group))
        left -= group
    return max(groups, key=len)


def plan_grid(headers, shapes, offsets=None):
    """Return the WCS keywords and the shape (ny, nx) of the grid that holds all images.

    The grid has the pixels of the first image, shifted by whole pixels: where that has no distortion and no offset, it
    is not resampled.

    Parameters
    ----------
    headers : list of dict
        WCS keywords of the images.
    shapes : list of tuple
        (ny, nx) of the images.
    offsets : list of tuple, optional
        (x, y) in pixels of the first image's plane, added to the place of each image.

    Raises
    ------
    ReductionError
        The grid would be unreasonably large: the pointings are not of one field.
    """
    boxes = find_footprints(headers, shapes, offsets)
    low = np.floor(np.round(boxes[:, :2].min(axis=0), 6) + 0.5)
    high = np.ceil(np.round(boxes[:, 2:].max(axis=0), 6) + 0.5)
    nx, ny = high - low
    if not np.isfinite(boxes).all() or nx * ny > MAX_GROWTH * max(rows * columns for rows, columns in shapes):
        raise ReductionError(
            f"the pointings span {nx:.0f} x {ny:.0f} pixels for images of {shapes[0][::-1]}: not one field; "
            "correct RA, DEC or OBJECT in exposures.yaml"
        )
    keywords = plane_of(headers[0])
    keywords["CRPIX1"] -= float(low[0])
    keywords["CRPIX2"] -= float(low[1])
    return keywords, (int(ny), int(nx))
