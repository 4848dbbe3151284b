"""Dithered images of one known field: stars, noise that holds, bad pixels, cosmic rays with known places."""

from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS
from scipy.special import erf

from drs.combination import PLANES, WORKING, Settings, combine, open_member
from drs.mosaic import plan_grid
from drs.pixelmap import map_image
from drs.planes import open_planes
from drs.wcs import build_wcs

DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
SETTINGS = Settings("exact", "square", 1.0, "mean", "error", 5.0, 0.8, 3.0)


class Rows:
    """An array with the interface of a Plane."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def read(self, rows):
        return self.array[..., rows, :].copy()


class Field(NamedTuple):
    """Images and their truth: arrays by name, WCS and hits (y, x) of each image; stars x, y on the grid, flux."""

    images: list
    headers: list
    hits: list
    stars: np.ndarray
    grid: dict
    shape: tuple


def star_image(shape, x, y, flux, fwhm):
    """Return Gaussian stars integrated over pixels, e-/s."""
    image, sigma = np.zeros(shape), fwhm / 2.3548
    half = int(6 * sigma) + 2
    for x0, y0, f in zip(x, y, flux, strict=True):
        i, j = round(x0), round(y0)
        xs, ys = (
            np.arange(max(i - half, 0), min(i + half + 1, shape[1])),
            np.arange(max(j - half, 0), min(j + half + 1, shape[0])),
        )
        if not xs.size or not ys.size:
            continue
        parts = []
        for axis, centre in ((ys, y0), (xs, x0)):
            low, high = ((axis + side - centre) / (np.sqrt(2) * sigma) for side in (-0.5, 0.5))
            parts.append(0.5 * (erf(high) - erf(low)))
        image[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] += f * np.outer(*parts)
    return image


def make_field(n=5, shape=(150, 190), *, fwhm=2.6, seed=1, hits=0, pa=0.1, seeing=0.0, spacing=18, bad=0.003):
    """Return `n` dithers of a field with isolated stars on a jittered grid; hits are 10 to 3000 sigma."""
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-12, 12, (n, 2))
    moves[0] = 0
    headers = [
        build_wcs(150 + dx * 0.004 / 3600, 2 + dy * 0.004 / 3600, pa * k, DETECTOR, shape)
        for k, (dx, dy) in enumerate(moves)
    ]
    grid, size = plan_grid(headers, [shape] * n)
    ys, xs = (axis.ravel() for axis in np.mgrid[22 : size[0] - 22 : spacing, 22 : size[1] - 22 : spacing])
    places = np.stack([xs, ys]) + rng.uniform(-2, 2, (2, xs.size))
    flux = 10 ** rng.uniform(2.5, 5, xs.size)
    world = WCS(grid).wcs_pix2world(*places, 0)
    images, struck = [], []
    for header in headers:
        light = star_image(shape, *WCS(header).wcs_world2pix(*world, 0), flux, fwhm * (1 + seeing * rng.normal()))
        variance = (light + 60.0) / 50.0 + 0.3  # 50 s, sky 60 e-/s
        values = light + rng.normal(0, np.sqrt(variance))
        dq = (rng.random(shape) < bad).astype(np.uint32)
        values[dq > 0] = 1e6
        places_hit = np.unique(rng.integers(0, shape[0] * shape[1], hits))
        rows, columns = np.divmod(places_hit, shape[1])
        values[rows, columns] += np.sqrt(variance[rows, columns]) * 10 ** rng.uniform(1, 3.5, rows.size)
        arrays = {"SCI": values.astype("f4"), "ERR": np.sqrt(variance).astype("f4"), "DQ": dq}
        images.append(arrays)
        struck.append((rows, columns))
    return Field(images, headers, struck, np.stack([*places, flux]), grid, size)


def combine_field(field, *, tile_rows=None, **changes):
    """Return the planes of a field's mosaic, the correlation of the noise, and the rejected pixels."""
    members = []
    for arrays, header in zip(field.images, field.headers, strict=True):
        pixelmap = map_image(header, field.grid, arrays["SCI"].shape)
        members.append(open_member({name: Rows(array) for name, array in arrays.items()}, pixelmap, 50.0))
    with open_planes(field.shape, PLANES | WORKING) as spool:
        facts = combine(members, field.shape, SETTINGS._replace(**changes), spool, tile_rows=tile_rows)
        return {name: spool.read(name, slice(None)) for name in PLANES}, *facts
