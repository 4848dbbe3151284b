"""Parts of the detector that hold no ramp of the sky: on-detector guide windows and the border of reference pixels."""

import re

from drs.errors import ReductionError
from drs.region import find_frame, find_start

N_WINDOW = 4
IN_USE = ("ON", "TRACK", "GUIDE", "ACTIVE")
NOWHERE = ("", "N/A", "NONE")


def find_windows(keywords, shape, *, frame=None):
    """Return where the guide windows in use lie in an exposure.

    A window is read and reset on its own clock, so that its pixels hold no ramp. `ODGWnPS` (n = 1 to 4) is the text
    'xstart ystart xsize ysize' in pixels of the full frame, from 1; `ODGWnST` says whether the window is in use: ON,
    TRACK, GUIDE, ACTIVE or a logical T; without it a window with a position is.

    Parameters
    ----------
    keywords : mapping
        Header of the exposure.
    shape : tuple
        (ny, nx) of the exposure.
    frame : tuple, optional
        (ny, nx) of the full frame; without it what the header says.

    Returns
    -------
    list of (name, rows, columns)
        Slices of the exposure; a window outside of a subarray is left out.

    Raises
    ------
    ReductionError
        A position that is not four whole numbers, is missing for a window in use, or leaves the detector.
    """
    frame, windows = frame or find_frame(keywords, shape), []
    for name in (f"ODGW{n}" for n in range(1, N_WINDOW + 1)):
        text, status = keywords.get(f"{name}PS"), keywords.get(f"{name}ST")
        placed = text is not None and str(text).strip().upper() not in NOWHERE
        if not (placed if status is None else _is_in_use(status)):
            continue
        columns, rows = _parse_position(f"{name}PS", text, frame)
        if part := cut_part(rows, columns, find_start(keywords), shape):
            windows.append((name, *part))
    return windows


def _is_in_use(status):
    """Say what the status of a window means."""
    return status is True or str(status).strip().upper() in IN_USE


def _parse_position(keyword, text, frame):
    """Return the columns and rows (slices) of the full frame that a window covers."""
    numbers = re.fullmatch(r"([0-9]+) +([0-9]+) +([0-9]+) +([0-9]+)", str(text).strip())
    x, y, nx, ny = map(int, numbers.groups()) if numbers else (0, 0, 0, 0)
    inside = frame is None or (y - 1 + ny <= frame[0] and x - 1 + nx <= frame[1])
    if min(x, y, nx, ny) < 1 or not inside:
        size = "" if frame is None else f", within {frame[1]} columns and {frame[0]} rows"
        raise ReductionError(
            f"{keyword} = {text!r}: expected 'xstart ystart xsize ysize', whole numbers from 1 in pixels of the full "
            f"frame{size}; correct it in exposures.yaml, or set {keyword[:-2]}ST to OFF for a window not in use"
        )
    return slice(x - 1, x - 1 + nx), slice(y - 1, y - 1 + ny)


def find_border(keywords, shape, border_pix, *, frame=None):
    """Return where reference pixels lie in an exposure: rows and columns at each edge of the full frame.

    Parameters
    ----------
    keywords, shape, frame
        As for `find_windows`.
    border_pix : int
        Rows or columns at each edge.

    Returns
    -------
    list of (rows, columns)
        Slices of the exposure.

    Raises
    ------
    ReductionError
        The full frame of a subarray is not known, or has no other pixels.
    """
    if border_pix == 0:
        return []
    frame = frame or find_frame(keywords, shape)
    if frame is None:
        raise ReductionError(
            f"where the reference pixels of a subarray of shape {tuple(shape)} lie needs the size of its detector: set "
            "DETXSIZE and DETYSIZE in exposures.yaml, or give full-frame references"
        )
    ny, nx = frame
    if border_pix < 0 or 2 * border_pix >= min(frame):
        raise ReductionError(f"a border of {border_pix} reference pixels does not fit a detector of {ny} x {nx} pixels")
    everything = slice(0, ny), slice(0, nx)
    edges = [(slice(0, border_pix), everything[1]), (slice(ny - border_pix, ny), everything[1])]
    edges += [(everything[0], slice(0, border_pix)), (everything[0], slice(nx - border_pix, nx))]
    parts = [cut_part(rows, columns, find_start(keywords), shape) for rows, columns in edges]
    return [part for part in parts if part]


def cut_part(rows, columns, start, shape):
    """Return the rows and columns that a part of the full frame has in a region of some start and shape, or None."""
    bounds = [
        (max(part.start - first, 0), min(part.stop - first, size))
        for part, first, size in zip((rows, columns), start, shape, strict=True)
    ]
    return tuple(slice(*pair) for pair in bounds) if all(low < high for low, high in bounds) else None
