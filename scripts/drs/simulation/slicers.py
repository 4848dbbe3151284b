"""A slicer spectrograph on the sky: the light along each slice, its spectra, and the references of CRDS.

The image of a source is integrated over the width of a slice and sampled finely along it; spectra are tables that hold
the width of a line on the detector. Continua are in electrons per second, spaxel and column of the middle.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from drs.lines import read_lists
from drs.simulation import scene
from drs.simulation.air import find_transmission
from drs.simulation.slices import SliceLayout, find_wavelength, map_wavelength, place_edges, render_slices

FINE = 8  # samples of an image per spaxel
STEPS_PER_COLUMN = 40  # of a table
MARGIN_COLUMNS = 40  # of a table beyond the detector


class Slicer(NamedTuple):
    """Slices on their detector: `throughput` float64 (slice), median 1; `shape` (ny, nx) of the detector."""

    layout: SliceLayout
    throughput: np.ndarray
    shape: tuple


class Table(NamedTuple):
    """A spectrum: `edge_um` float64, rising; `total` float64, light per spaxel up to there, e-/s."""

    edge_um: np.ndarray
    total: np.ndarray


def make_slicer(facts, shape, random):
    """Return a Slicer.

    Parameters
    ----------
    facts : dict
        Section `slices` of a preset.
    shape : (ny, nx)
        Of the detector.
    random : numpy.random.Generator
        Of the throughput of the slices.
    """
    layout = SliceLayout(**facts["layout"])
    throughput = 1 + facts["throughput_scatter"] * random.standard_normal(layout.n_slice)
    return Slicer(layout, throughput / np.median(throughput), shape)


def find_geometry(layout, field, scale_arcsec, parts=1):
    """Return the geometry of the spaxels on the sky, each in `parts` by `parts`, as `scene` takes that of pixels."""
    place = {key: field[key] for key in ("centre_x_arcsec", "centre_y_arcsec", "rotation_deg")}
    size = {"size_x_pix": layout.n_spaxel * parts, "size_y_pix": layout.n_slice * parts}
    return {**size, "scale_arcsec": scale_arcsec / parts, **place}


def tabulate(slicer, facts, lists=None):
    """Return the Table of a spectrum: a continuum with a slope over the detector, Gaussian lines, lists of lines.

    Parameters
    ----------
    slicer : Slicer
    facts : dict
        `continuum_e_per_s`, `slope`, `lines` with wavelength_um, fwhm_um, e_per_s; `brightest_e_per_s` of the lists.
    lists : list of path, optional
        Files of drs.lines.
    """
    layout, n_column = slicer.layout, slicer.shape[1]
    half = layout.dispersion_um * (n_column / 2 + MARGIN_COLUMNS)
    n_step = int(2 * half / layout.dispersion_um * STEPS_PER_COLUMN)
    edge = layout.wavelength_um + np.linspace(-half, half, n_step + 1)
    x = (edge - layout.wavelength_um) / layout.dispersion_um
    total = facts.get("continuum_e_per_s", 0.0) * (x + facts.get("slope", 0.0) / n_column * x**2 / 2)
    lines = [(line["wavelength_um"], line["fwhm_um"], line["e_per_s"]) for line in facts.get("lines", ())]
    if lists:
        wavelength, intensity = read_lists(lists, edge[0], edge[-1])
        bright = facts["brightest_e_per_s"] * intensity / intensity.max()
        lines += list(zip(wavelength, np.zeros(wavelength.size), bright, strict=True))
    for middle_um, fwhm_um, light in lines:
        sigma = np.hypot(fwhm_um, layout.fwhm_along_pix * layout.dispersion_um) / scene.FWHM_PER_SIGMA
        total = total + light * ndtr((edge - middle_um) / sigma)
    return Table(edge, total)


def absorb(table, lines):
    """Return a Table of what the atmosphere lets through (`drs.simulation.air.find_transmission`)."""
    middle = (table.edge_um[1:] + table.edge_um[:-1]) / 2
    light = np.diff(table.total) * find_transmission(lines, middle)
    return table._replace(total=np.concatenate([table.total[:1], table.total[0] + np.cumsum(light)]))


def take_images(slicer, sources, pointing, field, psf):
    """Return the image (slice, fine position) of each source, part of its light per spaxel of length.

    Parameters
    ----------
    slicer : Slicer
    sources : list of dict
        From `drs.simulation.spectrograph.make_sources`.
    pointing : (ra_deg, dec_deg, pa_deg)
    field : dict
        Geometry of the spaxels in FINE parts.
    psf : dict
        core_fwhm_pix, halo_fwhm_pix, core_fraction, in spaxels.
    """
    blur = {key: value * (FINE if key.endswith("_pix") else 1) for key, value in psf.items()}
    images = []
    for source in sources:
        fine = {**source, "radius_pix": source["radius_pix"] * FINE}
        image = scene.render_sources([fine], pointing, field, blur)
        images.append(image.reshape(slicer.layout.n_slice, FINE, -1).sum(axis=1) * FINE)
    return images


def render_light(slicer, uniform, images=(), tables=(), *, shift_pix=(0.0, 0.0)):
    """Return what falls on the detector, e-/s: a Table of light that is the same everywhere, and images with Tables.

    `shift_pix`: rows and columns that all spectra are moved by.
    """
    layout = slicer.layout
    at = (np.arange(layout.n_spaxel * FINE) + 0.5) / FINE - 0.5
    densities = [_take_density(table) for table in (uniform, *tables)]

    def light(slice_, position, wavelength_um):
        values = np.interp(wavelength_um, *densities[0])
        for image, density in zip(images, densities[1:], strict=True):
            values = values + np.interp(position, at, image[slice_]) * np.interp(wavelength_um, *density)
        return values * slicer.throughput[slice_]

    return render_slices(layout, slicer.shape, light, shift_pix=shift_pix)


def _take_density(table):
    """Return wavelengths (um) and the light per spaxel and um there."""
    return (table.edge_um[1:] + table.edge_um[:-1]) / 2, np.diff(table.total) / np.diff(table.edge_um)


def make_truth(slicer, images, tables):
    """Return the light (column, slice, spaxel) of sources, e-/s, as it is spread along the slices."""
    layout, n_column = slicer.layout, slicer.shape[1]
    columns = np.arange(n_column + 1) - 0.5
    s, p, x = np.ogrid[: layout.n_slice, : layout.n_spaxel, : n_column + 1]
    bounds = find_wavelength(layout, slicer.shape, s, (p + 0.5) / layout.n_spaxel, columns[x])
    light = np.zeros((layout.n_slice, layout.n_spaxel, n_column))
    sigma = layout.fwhm_across_pix / layout.spaxel_pix / scene.FWHM_PER_SIGMA
    for image, table in zip(images, tables, strict=True):
        # A flat makes up for what uniform light loses over the ends of a slice.
        spread, even = (
            ndimage.gaussian_filter1d(values, sigma * FINE, axis=1, mode="constant")
            for values in (image, np.ones_like(image))
        )
        part = (spread / even).reshape(layout.n_slice, layout.n_spaxel, FINE).sum(axis=2) / FINE
        light += part[:, :, np.newaxis] * np.diff(np.interp(bounds, *table), axis=2)
    return np.moveaxis(light, 2, 0)


def make_edges(slicer, *, shift_pix=0.0):
    """Return EDGES of a TraceModel: rows (slice, 2, column), float32."""
    edges = place_edges(slicer.layout, slicer.shape, np.arange(slicer.shape[1]), shift_pix=shift_pix)
    return edges.astype(np.float32)


def make_wavesol(slicer, *, shift_pix=0.0, tilted=True):
    """Return WAVESOL (column, slice, position), float32, um: true, or off by columns and without the tilt of lines."""
    layout = slicer.layout if tilted else slicer.layout._replace(line_tilt_pix=0.0, line_bow_pix=0.0)
    return np.moveaxis(map_wavelength(layout, slicer.shape, shift_pix=shift_pix), 2, 0).astype(np.float32)


def make_old_references(slicer, reftype, facts):
    """Return (arrays, units) of an old trace, whose flat is 1, or an old wavelength solution.

    Parameters
    ----------
    slicer : Slicer
    reftype : {'trace', 'wavesol'}
    facts : dict
        `trace_shift_pix`, `wavelength_shift_pix`: how far they are off.
    """
    if reftype == "wavesol":
        old = make_wavesol(slicer, shift_pix=facts["wavelength_shift_pix"], tilted=False)
        return {"WAVESOL": old}, {"WAVESOL": "um"}
    flat, edges = np.ones(slicer.shape, np.float32), make_edges(slicer, shift_pix=facts["trace_shift_pix"])
    arrays = {"SCI": flat, "ERR": 0 * flat, "DQ": np.zeros(slicer.shape, np.uint32), "EDGES": edges}
    return arrays, {"SCI": "", "ERR": "", "EDGES": "pix"}
