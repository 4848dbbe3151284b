"""Cubes of one field: their white light aligned as images are, and where each falls on the grid that holds them all."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from drs.alignment import align
from drs.cubes import Grid, make_grid
from drs.dispersion import evaluate_drift
from drs.errors import ReductionError
from drs.pixelmap import locate_centres
from drs.whitelight import show_as_image

SPECTRAL = ("CTYPE3", "CUNIT3", "CRVAL3", "CRPIX3", "CDELT3", "PC3_3", "SPECSYS")
SAME_TO = 1e-9  # a header holds 15 digits
DIGITS = 6  # of a shift: rounding of coordinates does not make a spaxel more
MOST_TURN = 0.5  # spaxels at the corner of a cube, which is moved and not turned


class Field(NamedTuple):
    """Cubes on one grid: positions of those `kept`, the Grid, its WCS keywords, `offsets`, and lines on the others."""

    kept: list
    grid: Grid
    wcs: dict
    offsets: list
    left_out: list


class Rows(NamedTuple):
    """An array that is read by rows, as one in a file."""

    array: np.ndarray

    @property
    def shape(self):
        """Shape of the array."""
        return self.array.shape

    def read(self, rows):
        """Return some rows (a slice)."""
        return self.array[rows]


def place_cubes(cubes, names, *, offsets, max_offset_pix, integer):
    """Return the Field of cubes.

    Parameters
    ----------
    cubes : list of Product
        IFUCubeModel, e-/s.
    names : list of str
        Their files, for the messages.
    offsets, max_offset_pix
        As those of `drs.alignment.align`, for the white light.
    integer : bool
        Move cubes by whole spaxels.

    Raises
    ------
    ReductionError
        Cubes of different wavelengths, that are turned against each other, or that `align` refuses.
    """
    check_wavelengths(cubes, names)
    shown = [show_as_image(cube) for cube in cubes]
    rows = [replace(one, arrays={name: Rows(array) for name, array in one.arrays.items()}) for one in shown]
    aligned = align(rows, names, offsets=offsets, max_offset_pix=max_offset_pix)
    kept = aligned.kept
    shifts = [find_shift(member.pixelmap, names[k]) for k, member in zip(kept, aligned.members, strict=True)]
    grid = make_grid([cubes[k].arrays["SCI"].shape[1:] for k in kept], shifts, integer=integer)
    moved = grid.shifts[0] - (np.rint(shifts[0]) if integer else shifts[0])  # a cube may need a spaxel more
    place = {"CRPIX1": aligned.grid["CRPIX1"] + float(moved[1]), "CRPIX2": aligned.grid["CRPIX2"] + float(moved[0])}
    first = cubes[kept[0]].wcs
    spectral = {key: first[key] for key in SPECTRAL if key in first}
    return Field(kept, grid, aligned.grid | place | spectral | {"WCSAXES": 3}, aligned.offsets, aligned.left_out)


def check_wavelengths(cubes, names):
    """Refuse cubes of different wavelength grids."""
    first = cubes[0]
    for cube, name in zip(cubes[1:], names[1:], strict=True):
        n_bin = [len(one.arrays["SCI"]) for one in (first, cube)]
        near = all(math.isclose(cube.wcs[key], first.wcs[key], rel_tol=SAME_TO) for key in ("CRVAL3", "CDELT3"))
        if n_bin[0] != n_bin[1] or not near:
            found = [f"{n} bins from {one.wcs['CRVAL3']:.6f} um" for n, one in zip(n_bin, (first, cube), strict=True)]
            raise ReductionError(
                f"{names[0]} has {found[0]}, {name} {found[1]}: make them on one grid (extract_cube: grid_*_um)"
            )


def find_shift(pixelmap, name):
    """Return the place (y, x) of the first spaxel of a cube on the grid; refuse a cube that is turned."""
    ny, nx = pixelmap.shape
    x, y = np.array([0.0, nx - 1, 0, nx - 1]), np.array([0.0, 0, ny - 1, ny - 1])
    away = np.array(locate_centres(pixelmap, x, y)) - (x, y)
    shift = away.mean(axis=1)
    turn = np.abs(away - shift[:, np.newaxis]).max()
    if turn > MOST_TURN:
        raise ReductionError(
            f"{name} is turned or scaled against the first cube by {turn:.2f} spaxels at its corners, at most "
            f"{MOST_TURN} can be combined: combine cubes of one PA (associations.yaml: max_pa_difference_deg)"
        )
    return np.round(shift[::-1], DIGITS)


def take_drift(cube):
    """Return the drift (bin, 2), (y, x) spaxels, that a cube states; None where it states none, or 0."""
    rows = [[cube.keywords.get(f"ADC{axis}{k}", 0.0) for k in range(4)] for axis in "YX"]
    return evaluate_drift(rows, len(cube.arrays["SCI"])) if np.any(rows) else None


def apply_drifts(combined, members, *, integer):
    """Return a combined cube without what its members state of their drifts, and says whether it was taken out."""
    keywords = {key: value for key, value in combined.keywords.items() if not key.startswith("ADC")}
    combined = replace(combined, keywords=keywords)
    if not any("ADCFROM" in member.keywords for member in members):
        return combined
    return combined.with_step("adc", skipped="cubes are moved by whole spaxels" if integer else None)
