"""A lenslet spectrograph on the sky: the light of each lenslet in each column of its spectrum, and the matrix of CRDS.

The light of a spaxel is the sum of the sources' images, integrated over the lenslet, times their spectra, integrated
over the wavelengths of a column; continua are in electrons per second and column, as a column of the middle has them.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from drs.simulation import scene
from drs.simulation.air import find_transmission
from drs.simulation.lenslets import Layout, Traces, make_profiles, place_traces, render_spectra

SIGMAS_PER_FWHM = 1 / scene.FWHM_PER_SIGMA


class Spectrograph(NamedTuple):
    """A lenslet array on its detector: `throughput` float64 (lenslet), median 1; `shape` (ny, nx) of the detector."""

    layout: Layout
    traces: Traces
    throughput: np.ndarray
    shape: tuple


def make_spectrograph(facts, shape, random):
    """Return a Spectrograph.

    Parameters
    ----------
    facts : dict
        Section `lenslets` of a preset.
    shape : (ny, nx)
        Of the detector.
    random : numpy.random.Generator
        Of the throughput of the lenslets.
    """
    layout = Layout(**facts["layout"])
    throughput = 1 + facts["throughput_scatter"] * random.standard_normal(layout.ny * layout.nx)
    return Spectrograph(layout, place_traces(layout, shape), throughput / np.median(throughput), shape)


def find_geometry(layout, field, scale_arcsec):
    """Return the geometry of the lenslets on the sky, as `scene` takes that of a detector's pixels."""
    place = {key: field[key] for key in ("centre_x_arcsec", "centre_y_arcsec", "rotation_deg")}
    return {"size_x_pix": layout.nx, "size_y_pix": layout.ny, "scale_arcsec": scale_arcsec, **place}


def make_sources(sources, base, geometry, hidden=()):
    """Return the sources of a field as `scene` takes them, placed in spaxels (from 1) at the pointing `base`."""
    placed = []
    for source in sources:
        if source["kind"] not in hidden:
            ra_deg, dec_deg = scene.pixel_to_sky(source["x"], source["y"], base, geometry)
            placed.append({**source, "ra_deg": float(ra_deg), "dec_deg": float(dec_deg), "flux_e_per_s": 1.0})
    return placed


def absorb(spectrograph, facts, light):
    """Return the part of the light (lenslet, column) of sources that the atmosphere lets through (`absorption`)."""
    return light * find_transmission(facts.get("absorption", ()), spectrograph.traces.wavelength_um)


def light_of_sources(spectrograph, sources, pointing, geometry, psf, *, drift=(0.0, 0.0)):
    """Return the light (lenslet, column), e-/s, of sources.

    `drift`: spaxels (y, x) that images move by from the first column to the last, about the middle one.
    """
    edges = _find_edges(spectrograph.traces.wavelength_um)
    light = np.zeros(spectrograph.traces.wavelength_um.shape)
    along = np.linspace(-0.5, 0.5, light.shape[1]) if any(drift) else np.zeros(1)
    places = [_move_field(geometry, [part * axis for axis in drift]) for part in along]
    for source in sources:
        images = [scene.render_sources([source], pointing, place, psf).ravel() for place in places]
        light += np.stack(images, axis=1) * _spectrum(edges, spectrograph.layout, source)
    return light


def _move_field(geometry, moved):
    """Return a geometry in which images are moved by spaxels (y, x): its field goes the other way."""
    turn = np.deg2rad(geometry["rotation_deg"])
    y, x = (geometry["scale_arcsec"] * axis for axis in moved)
    away = (x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn))
    keys = "centre_x_arcsec", "centre_y_arcsec"
    return geometry | {key: geometry[key] - value for key, value in zip(keys, away, strict=True)}


def light_of_field(spectrograph, facts, kind, level):
    """Return the light (lenslet, column), e-/s, that all lenslets see alike: of the lamp, or of the sky.

    Parameters
    ----------
    spectrograph : Spectrograph
    facts : dict
        `lamp`, `sky`, and in `families` kind -> brightness of the families of the sky's lines.
    kind : str
        Of the exposure.
    level : float
        Of the lamp, or of the sky's lines, whose continuum does not vary; 0 is darkness.
    """
    if kind == "lenslet-scan" or not level:
        return level * light_of_sky(spectrograph, facts["lamp"])
    factors = facts["families"].get(kind)
    lines = [
        {**line, "e_per_s": level * line["e_per_s"] * (factors[line["family"]] if factors else 1.0)}
        for line in facts["sky"]["lines"]
    ]
    return light_of_sky(spectrograph, {**facts["sky"], "lines": lines})


def light_of_sky(spectrograph, spectrum):
    """Return the light (lenslet, column), e-/s, of a spectrum that is the same in all lenslets."""
    return _spectrum(_find_edges(spectrograph.traces.wavelength_um), spectrograph.layout, spectrum)


def _find_edges(wavelength_um):
    """Return the edges of columns (lenslet, column + 1), um."""
    middle = (wavelength_um[:, 1:] + wavelength_um[:, :-1]) / 2
    first, last = 2 * wavelength_um[:, :1] - middle[:, :1], 2 * wavelength_um[:, -1:] - middle[:, -1:]
    return np.concatenate([first, middle, last], axis=1)


def _spectrum(edges_um, layout, facts):
    """Return a spectrum (lenslet, column): continuum with a slope over the range of the layout, and Gaussian lines."""
    centre_um = (edges_um[:, 1:] + edges_um[:, :-1]) / 2
    part = np.diff(edges_um, axis=1) / layout.dispersion_um
    along = (centre_um - layout.wavelength_um) / (layout.dispersion_um * layout.n_column)
    light = facts["continuum_e_per_s"] * (1 + facts.get("slope", 0.0) * along) * part
    for line in facts.get("lines", ()):
        sigma_um = line["fwhm_um"] * SIGMAS_PER_FWHM
        light = light + line["e_per_s"] * np.diff(ndtr((edges_um - line["wavelength_um"]) / sigma_um), axis=1)
    return light


def render_light(spectrograph, light, *, lit=1.0, flexure_pix=0.0):
    """Return what falls on the detector, e-/s, of the light (lenslet, column) that enters the lenslets.

    Parameters
    ----------
    spectrograph : Spectrograph
    light : ndarray, (lenslet, column)
    lit : float or ndarray, (lenslet)
        Part of the light that the mask lets through.
    flexure_pix : float
        Rows that all spectra are moved by.
    """
    layout, shape = spectrograph.layout, spectrograph.shape
    traces = place_traces(layout, shape, shift_pix=flexure_pix)
    profiles = make_profiles(layout, traces, throughput=spectrograph.throughput * lit)
    return render_spectra(light, profiles, traces, shape)


def make_rectmat(spectrograph, *, shift_pix=0.0, fwhm_factor=1.0, true_throughput=False):
    """Return RECTMAT and OFFSETS as CRDS keeps them: true, or of places and widths that are a little off."""
    layout = spectrograph.layout
    traces = place_traces(layout, spectrograph.shape, shift_pix=shift_pix)
    throughput = spectrograph.throughput if true_throughput else 1.0
    profiles = make_profiles(layout, traces, throughput=throughput, fwhm_factor=fwhm_factor)
    rectmat = profiles.transpose(2, 1, 0).reshape(layout.n_row, layout.n_column, layout.ny, layout.nx)
    return rectmat.astype(np.float32), make_offsets(spectrograph)


def make_offsets(spectrograph):
    """Return OFFSETS (2, ny, nx), int32: first row and column of each trace."""
    layout, traces = spectrograph.layout, spectrograph.traces
    return np.stack([traces.first_row, traces.first_column]).reshape(2, layout.ny, layout.nx).astype(np.int32)


def make_wavesol(spectrograph):
    """Return WAVESOL (column, ny, nx), float32, um."""
    return fold(spectrograph.layout, spectrograph.traces.wavelength_um).astype(np.float32)


def make_truth(spectrograph):
    """Return the truth of a Spectrograph: RECTMAT with its throughput, OFFSETS, WAVESOL."""
    return *make_rectmat(spectrograph, true_throughput=True), make_wavesol(spectrograph)


def fold(layout, spectra):
    """Return spectra (lenslet, column) as (column, ny, nx)."""
    return spectra.T.reshape(-1, layout.ny, layout.nx)
