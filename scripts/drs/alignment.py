"""Images of a group on one grid: which belong together, where they are, and what is left out and why."""

from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS

from drs.combination import open_member
from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import Image
from drs.mosaic import find_footprints, find_group, plan_grid, plane_of
from drs.offsets import Offset, correlate, find_stars, match_stars, place_headers, read_offsets
from drs.pixelmap import map_image
from drs.region import is_subarray

METHODS = ("header", "measured")  # besides the path of a table
NOWHERE = Offset(0.0, 0.0, 0.0, "header", 0)


class Alignment(NamedTuple):
    """The images of a mosaic: their positions among those given, as members, where they were put, and the grid."""

    kept: list
    members: list
    offsets: list
    left_out: list
    grid: dict
    shape: tuple


def align(products, names, *, offsets, max_offset_pix, mosaic=False):
    """Return the alignment of the images of one field.

    Parameters
    ----------
    products : list of drs.product.Product
        With Planes as arrays.
    names : list of str
        Their files, for the messages.
    offsets : str or path
        `header` (the coordinates as they are), `measured` (stars, else cross-correlation), or a table.
    max_offset_pix : float
        Largest error of the coordinates that is sought.
    mosaic : bool, optional
        The images are of several detectors with gaps between them, or full frames with their subarrays: none need
        overlap, and what was read as part of a subarray that is there is not taken from the full frame.

    Raises
    ------
    ReductionError
        No coordinates, no overlap, nothing to align by, or no usable pixel.
    """
    if wrong := [name for one, name in zip(products, names, strict=True) if not {"CTYPE1", "CRVAL1"} <= one.wcs.keys()]:
        raise ReductionError(f"no coordinates in {', '.join(wrong)}: make them with calibrate_image")
    headers, shapes = [one.wcs for one in products], [one.arrays["SCI"].shape for one in products]
    if offsets not in METHODS:
        numbers = [one.keywords.get("EXPNUM") for one in products]
        headers = place_headers(headers, numbers, read_offsets(offsets))
    kept, left_out = (list(range(len(names))), []) if mosaic else _find_overlapping(headers, shapes, names)
    windowed = {one.keywords["DETECTOR"] for one in products if is_subarray(one.keywords)} if mosaic else set()
    found = dict.fromkeys(kept, NOWHERE)
    if offsets == "measured" and len(kept) > 1:
        found, more = _measure({k: products[k] for k in kept}, names, max_offset_pix)
        kept, left_out = [k for k in kept if k in found], left_out + more
    places = [found[k][:2] for k in kept]
    grid, shape = plan_grid([headers[k] for k in kept], [shapes[k] for k in kept], places)
    members = {}
    for k, place in zip(kept, places, strict=True):
        keywords = products[k].keywords
        time_s = keywords.get("TOTTIME", keywords["EXPTIME"])
        pixelmap = map_image(headers[k], grid, shapes[k], offset=place)
        excluded = Flag.SUBARRAY if keywords.get("DETECTOR") in windowed and not is_subarray(keywords) else Flag(0)
        member = open_member(products[k].arrays, pixelmap, time_s, excluded)
        if member is None:
            left_out.append(f"left out: {names[k]}: all of its pixels are masked")
        else:
            members[k] = member
    if not members:
        raise ReductionError("all pixels of all images are masked: see their DQ and their calibrations")
    return Alignment([*members], [*members.values()], [found[k] for k in members], left_out, grid, shape)


def _find_overlapping(headers, shapes, names):
    """Return the positions of images that hang together, and why the others are left out."""
    group = find_group(find_footprints(headers, shapes))
    apart = [names[k] for k in range(len(names)) if k not in group]
    if apart and len(group) <= len(apart):
        plan_grid(headers, shapes)  # says how far apart they are, where they are of two fields
        raise ReductionError(f"{', '.join(apart)} overlap no other image; correct RA, DEC or OBJECT")
    why = "overlaps no other image; correct its RA and DEC in exposures.yaml"
    return group, [f"left out: {name}: {why}" for name in apart]


def _measure(products, names, max_offset_pix):
    """Return position -> offset on the plane of the first image, and why images without one are left out."""
    (first, *others), found, left_out = list(products), {}, []
    plane = WCS(plane_of(products[first].wcs))
    base, stars = _read_stars(products[first], plane)
    found[first] = NOWHERE._replace(method="reference", n_stars=stars.shape[1])
    for k in others:
        values, own = _read_stars(products[k], plane)
        offset = match_stars(own, stars, max_offset_pix=max_offset_pix)
        if offset is None:
            offset = _correlate(values, products[k], base, plane, max_offset_pix)
        if offset is None:
            why = f"{own.shape[1]} stars, too few match; no peak of the correlation within {max_offset_pix:g} pix"
            left_out.append(f"left out: {names[k]}: its offset cannot be measured ({why})")
            continue
        found[k] = offset
        own = np.add(own, [[offset.x_pix], [offset.y_pix], [0.0]])
        far = np.array([np.hypot(stars[0] - x, stars[1] - y).min(initial=np.inf) > 5 for x, y in own[:2].T], bool)
        stars = np.concatenate([stars, own[:, far]], axis=1)
    if len(found) == 1:
        raise ReductionError(
            f"no offset can be measured: {'; '.join(left_out)}; use combine_images: {{offsets: header}} or a table"
        )
    return found, left_out


def _read_stars(one, plane):
    """Return the values of an image (NaN: unusable) and its stars on a plane, (3, n)."""
    whole = slice(0, one.arrays["SCI"].shape[0])
    image = Image(*(one.arrays[name].read(whole) for name in ("SCI", "ERR", "DQ")))
    unusable = image.unusable
    x, y, flux = find_stars(image.rate, image.error, unusable)
    if x.size:
        x, y = plane.wcs_world2pix(*WCS(one.wcs).all_pix2world(x, y, 0), 0)
    return np.where(unusable, np.float32(np.nan), image.rate), np.stack([x, y, flux])


def _correlate(values, one, base, plane, max_offset_pix):
    """Return the offset of an image by its correlation with the first, both on that one's pixels."""
    ny, nx = values.shape
    centre = np.array([(nx - 1) / 2, (ny - 1) / 2])
    moved = np.array(plane.wcs_world2pix(*WCS(one.wcs).all_pix2world(*centre, 0), 0), float) - centre
    dx, dy = np.rint(moved).astype(int)
    placed = np.full(base.shape, np.nan, np.float32)
    rows, columns = (
        slice(max(d, 0), max(min(n + d, m), 0)) for d, n, m in ((dy, ny, base.shape[0]), (dx, nx, base.shape[1]))
    )
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return None
    placed[rows, columns] = values[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx]
    offset = correlate(placed, base, max_offset_pix=max_offset_pix)
    if offset is None:
        return None
    x, y = (np.array([dx, dy]) - moved).tolist()
    return offset._replace(x_pix=offset.x_pix + x, y_pix=offset.y_pix + y)
