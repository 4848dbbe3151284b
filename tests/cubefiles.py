"""Level 2 cubes of stars on disk, for the tests of what is made of cubes."""

import numpy as np
from scipy.special import ndtr
from spectra import KEYWORDS

from drs import product
from drs.wcs import build_cube_wcs

SHAPE = (12, 26, 31)
FIELD = {"scale_arcsec": 0.009, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
GRID_UM = 1.6330 + 2e-4 * np.arange(SHAPE[0])
STARS = ((9.3, 12.6, 3000.0), (17.8, 20.2, 1500.0), (18.4, 6.9, 900.0))  # y, x in the first cube, e-/s in a bin
NOISE_E_PER_S = 2.0
FWHM_PIX = 2.3


def render_stars(shift=(0.0, 0.0), stars=STARS, shape=SHAPE):
    """Return stars (wave, y, x) of the same light in every bin, integrated over spaxels, for a cube moved by (y, x)."""
    image = np.zeros(shape[1:])
    for y, x, flux in stars:
        edges = [np.arange(n + 1) - 0.5 - p for n, p in zip(shape[1:], (y - shift[0], x - shift[1]), strict=True)]
        rows, columns = (np.diff(ndtr(edge * 2.3548 / FWHM_PIX)) for edge in edges)
        image += flux * rows[:, np.newaxis] * columns
    return np.broadcast_to(image, shape)


def write_cube(path, number, values, *, shift=(0.0, 0.0), pa_deg=0.0, grid_um=GRID_UM, **keywords):
    """Write the Level 2 cube of an exposure that points `shift` (y, x) spaxels off the first; return its path."""
    pointing = {
        "ra_deg": 150.0 - shift[1] * 0.009 / 3600 / np.cos(np.deg2rad(2.0)),
        "dec_deg": 2.0 + shift[0] * 0.009 / 3600,
    }
    wcs = build_cube_wcs({**pointing, "pa_deg": pa_deg}, FIELD, values.shape[1:], grid_um)
    error = np.full(values.shape, NOISE_E_PER_S, np.float32)
    noisy = (values + error * np.random.default_rng(number).normal(size=values.shape)).astype(np.float32)
    arrays = {"SCI": noisy, "ERR": error, "DQ": np.zeros(values.shape, np.uint32)}
    times = {"EXPDTST": f"2024-09-25T06:{number:02d}:00.000", "EXPDTEND": f"2024-09-25T06:{number:02d}:50.000"}
    made = KEYWORDS | times | {"IMTYPE": "SCI", "EXPNUM": number, "DATALVL": 2, "DATAMODL": "IFUCubeModel"}
    made |= {"NOISCORR": 1.1, "OBJECT": "FIELD"} | keywords
    product.write(path, product.Product(made, arrays, {"SCI": "electron/s", "ERR": "electron/s"}, wcs))
    return path
