"""Where on the detector an exposure lies: subarrays and the full frame, in rows and columns of numpy."""

from drs.errors import ReductionError


def find_region(map_shape, keywords, shape, *, name):
    """Return the (rows, columns) of a map that an exposure saw; refuse a map that does not hold them."""
    if map_shape == tuple(shape):
        return slice(None), slice(None)
    subarray = keywords.get("SUBARRAY", "FULL")
    if not is_subarray(keywords):
        raise ReductionError(
            f"{name} has shape {map_shape}, the exposure {tuple(shape)} (ny, nx) and SUBARRAY = '{subarray}'; give a "
            "reference of this detector, or correct SUBARRAY with SUBSTRT1/2"
        )
    starts = find_start(keywords)
    region = tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))
    if any(part.stop > size for part, size in zip(region, map_shape, strict=True)):
        raise ReductionError(
            f"{name} has shape {map_shape}, too small for the subarray of shape {tuple(shape)} (ny, nx) that starts "
            f"at SUBSTRT2, SUBSTRT1 = {[start + 1 for start in starts]}; correct SUBSTRT1/2 in exposures.yaml or give "
            "a full-frame reference"
        )
    return region


def is_subarray(keywords):
    """Say whether an exposure is a part of its detector."""
    return keywords.get("SUBARRAY", "FULL") not in ("FULL", "N/A")


def find_start(keywords):
    """Return (row, column), from 0, of the full frame at which an exposure begins."""
    if not is_subarray(keywords):
        return 0, 0
    starts = [keywords.get(key) for key in ("SUBSTRT2", "SUBSTRT1")]
    if not all(isinstance(start, int) and start >= 1 for start in starts):
        raise ReductionError(
            f"SUBARRAY = '{keywords['SUBARRAY']}' needs SUBSTRT1 and SUBSTRT2, whole numbers from 1; found "
            f"{starts[::-1]}; correct them in exposures.yaml"
        )
    return starts[0] - 1, starts[1] - 1


def check_place(reference, keywords, *, name):
    """Refuse a reference of a subarray's shape that lies elsewhere on the detector, as far as its header says."""
    if not is_subarray(keywords):
        return
    own, wanted = ([header.get(key) for key in ("SUBSTRT1", "SUBSTRT2")] for header in (reference, keywords))
    if None not in (*own, *wanted) and own != wanted:
        raise ReductionError(
            f"{name} begins at SUBSTRT1, SUBSTRT2 = {own}, the exposure of the same shape at {wanted}; give one of "
            "this subarray, or a full-frame reference"
        )


def find_frame(keywords, shape, map_shapes=()):
    """Return (ny, nx) of the full frame: the exposure's own, that of a full-frame map, or DETYSIZE and DETXSIZE.

    Parameters
    ----------
    keywords : mapping
        Header of the exposure.
    shape : tuple
        (ny, nx) of the exposure.
    map_shapes : iterable of tuple, optional
        (ny, nx) of its reference maps; one that is not of the exposure's own shape is full-frame.

    Returns
    -------
    tuple or None
        None where nothing tells.
    """
    if not is_subarray(keywords):
        return tuple(shape)
    for found in map_shapes:
        if tuple(found) != tuple(shape):
            return tuple(found)
    sizes = keywords.get("DETYSIZE"), keywords.get("DETXSIZE")
    return sizes if all(isinstance(size, int) and size > 0 for size in sizes) else None


def find_size(keywords):
    """Return (ny, nx) of an exposure of the full frame, as far as its header says; None otherwise."""
    size = keywords.get("DETYSIZE"), keywords.get("DETXSIZE")
    return None if None in size or is_subarray(keywords) else size
