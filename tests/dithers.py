"""A dithered field with stars and an extended galaxy under a sky that is not flat, with its truth."""

from typing import NamedTuple

import numpy as np

from drs.simulation import scene
from drs.wcs import build_wcs

SHAPE = (200, 216)
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
BASE = (299.6, 10.2, 30.0)
EXPOSURE_S, READ_VARIANCE = 80.0, 0.1


class Field(NamedTuple):
    """Rates, their variances, light of the sources, skies (each a list of (ny, nx)), WCS and pointings of exposures."""

    rates: list
    variances: list
    lights: list
    skies: list
    wcs: list
    pointings: list


def make_geometry(shape=SHAPE):
    """Return a detector in the middle of its instrument's field."""
    place = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
    return place | {"size_x_pix": shape[1], "size_y_pix": shape[0]}


def make_field(n=9, shape=SHAPE, *, level=50.0, gradient=0.015, bright=0.0, galaxy=60000.0, throw_pix=14.0, seed=3):
    """Return n dithered exposures: 12 stars, a disc of half-light radius 12, and if wanted a `bright` star, e-/s."""
    random, geometry = np.random.default_rng(seed), make_geometry(shape)

    def place(x, y, flux, radius=0.0):
        ra, dec = scene.pixel_to_sky(x * shape[1], y * shape[0], BASE, geometry)
        form = {"radius_pix": radius, "axis_ratio": 0.6, "angle_deg": 40.0}
        return {"ra_deg": ra, "dec_deg": dec, "flux_e_per_s": flux} | form

    sources = [place(*random.uniform(-0.1, 1.1, 2), 10 ** random.uniform(1.3, 4.0)) for _ in range(12)]
    sources += [place(0.45, 0.55, galaxy, 12.0), place(0.85, 0.2, bright)]
    v, u = (2 * index / (size - 1) - 1 for index, size in zip(np.indices(shape), shape, strict=True))
    illumination = 1 + gradient * (0.8 * u + 0.5 * v + 0.6 * u * v - 0.4 * v**2)
    parts = Field([], [], [], [], [], [])
    for _ in range(n):
        x, y = (np.array(shape[::-1]) + 1) / 2 + random.uniform(-throw_pix, throw_pix, 2)
        pointing = (*map(float, scene.pixel_to_sky(x, y, BASE, geometry)), BASE[2])
        light = scene.render_sources(sources, pointing, geometry, PSF)
        sky = level * (1 + 0.03 * random.standard_normal()) * illumination
        variance = (light + sky) / EXPOSURE_S + READ_VARIANCE
        rate = light + sky + random.normal(0, np.sqrt(variance))
        made = (rate.astype(np.float32), variance.astype(np.float32), light, sky, build_wcs(*pointing, geometry, shape))
        for part, value in zip(parts, (*made, pointing), strict=True):
            part.append(value)
    return parts
