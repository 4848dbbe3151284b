"""Frames of a lenslet spectrograph: where the spectra fall, their profiles, wavelengths, and light on the detector."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


class Layout(NamedTuple):
    """Lenslets (ny, nx) on the detector; the array is turned so that the spectra of a row of lenslets interleave.

    The spectrum of lenslet (j, i), counted from the middle, has its centre at
        x = middle + pitch i - rise j,    y = middle + rise i + pitch j    (pixels)
    and runs `n_column` columns along x, with a tilt and a curvature over its length, pixels. The wavelength is
    quadratic in the column, and shifts with the part of a pixel that the trace begins at.
    """

    ny: int
    nx: int
    pitch_pix: float
    rise_pix: float
    n_column: int
    n_row: int
    tilt_pix: float
    curvature_pix: float
    wavelength_um: float
    dispersion_um: float
    fwhm_pix: float
    wing_fraction: float
    wing_fwhm_pix: float


class Traces(NamedTuple):
    """Where the spectra of a layout fall.

    `centre_row` float64 (lenslet, column), `first_row`, `first_column` int64 (lenslet), `wavelength_um` float64
    (lenslet, column); all on the detector, from 0.
    """

    centre_row: np.ndarray
    first_row: np.ndarray
    first_column: np.ndarray
    wavelength_um: np.ndarray


def place_traces(layout, shape, *, shift_pix=0.0):
    """Return the Traces of a layout on a detector (ny, nx), all moved by `shift_pix` rows (flexure)."""
    j, i = (axis.ravel() for axis in np.indices((layout.ny, layout.nx), float))
    j, i = j - (layout.ny - 1) / 2, i - (layout.nx - 1) / 2
    x = (shape[1] - 1) / 2 + layout.pitch_pix * i - layout.rise_pix * j
    y = (shape[0] - 1) / 2 + layout.rise_pix * i + layout.pitch_pix * j
    first_column = np.floor(x - (layout.n_column - 1) / 2).astype(np.int64)
    along = np.linspace(-1, 1, layout.n_column)
    centre = y[:, np.newaxis] + layout.tilt_pix / 2 * along + layout.curvature_pix * (along**2 - 1 / 3)
    first_row = np.floor(y).astype(np.int64) - (layout.n_row - 1) // 2
    column = np.arange(layout.n_column) - (layout.n_column - 1) / 2
    part = (x - (layout.n_column - 1) / 2) - first_column
    column = column[np.newaxis] - part[:, np.newaxis]
    wavelength = layout.wavelength_um + layout.dispersion_um * (column + 2e-5 * column**2)
    return Traces(centre + shift_pix, first_row, first_column, wavelength)


def make_profiles(layout, traces, *, throughput=1.0, fwhm_factor=1.0):
    """Return the part of each lenslet's light in each pixel of its trace, float64 (lenslet, column, row).

    A core and a wing, both Gaussians, integrated over the pixels.

    Parameters
    ----------
    layout : Layout
    traces : Traces
    throughput : float or ndarray, (lenslet)
    fwhm_factor : float
        Width of the core over that of the layout.
    """
    edges = traces.first_row[:, np.newaxis] + np.arange(layout.n_row + 1) - 0.5
    away = edges[:, np.newaxis, :] - traces.centre_row[:, :, np.newaxis]
    parts = ((1 - layout.wing_fraction, layout.fwhm_pix * fwhm_factor), (layout.wing_fraction, layout.wing_fwhm_pix))
    profile = sum(part * np.diff(ndtr(away * (FWHM_PER_SIGMA / fwhm)), axis=2) for part, fwhm in parts)
    return profile * np.broadcast_to(throughput, len(profile))[:, np.newaxis, np.newaxis]


def render_spectra(light, profiles, traces, shape):
    """Return the frame (float64, `shape`) of the light (lenslet, column) that enters each lenslet."""
    frame = np.zeros(shape)
    _, n_column, n_row = profiles.shape
    rows = traces.first_row[:, np.newaxis, np.newaxis] + np.arange(n_row)
    columns = traces.first_column[:, np.newaxis, np.newaxis] + np.arange(n_column)[:, np.newaxis]
    rows, columns = np.broadcast_arrays(rows, columns)
    on = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    np.add.at(frame, (rows[on], columns[on]), (profiles * light[:, :, np.newaxis])[on])
    return frame
