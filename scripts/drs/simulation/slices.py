"""Frames of a slicer spectrograph: where the slices fall, their wavelengths, and light on the detector."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
REACH_SIGMA = 5  # of the spread of light across the slices


class SliceLayout(NamedTuple):
    """Slices side by side along the rows of the detector, dispersed along its columns.

    Slice s is `n_spaxel` spaxels long, each `spaxel_pix` rows; slices are `pitch_pix` apart and centred on the
    detector. Along u = -1 to 1 over the columns, a slice is at
        y_s(u) = middle_s + tilt_pix u / 2 + curvature_pix (u^2 - 1/3),    length (1 + keystone u).
    Its wavelength is `wavelength_um` in the middle column, moved by `stagger_pix` columns in every other slice and by
    `line_tilt_pix` from one end of the slice to the other, with a bow; `dispersion_um` per column, and quadratic.
    The light spreads by `fwhm_across_pix` along the rows and `fwhm_along_pix` along the columns.
    """

    n_slice: int
    n_spaxel: int
    spaxel_pix: float
    pitch_pix: float
    stagger_pix: float
    tilt_pix: float
    curvature_pix: float
    keystone: float
    line_tilt_pix: float
    line_bow_pix: float
    wavelength_um: float
    dispersion_um: float
    quadratic: float
    fwhm_across_pix: float
    fwhm_along_pix: float


# 88 slices of 45 spaxels on 4096 x 4096, broad band: DOMAIN 1.2, 1.3.
FULL = SliceLayout(
    n_slice=88, n_spaxel=45, spaxel_pix=1.0, pitch_pix=46.4, stagger_pix=0.0, tilt_pix=3.0, curvature_pix=0.8,
    keystone=2e-3, line_tilt_pix=2.4, line_bow_pix=0.2, wavelength_um=1.63, dispersion_um=2.1e-4, quadratic=2e-6,
    fwhm_across_pix=1.6, fwhm_along_pix=2.1,
)  # fmt: skip
# The same in small: unequal axes, light of neighbours touches.
REDUCED = FULL._replace(
    n_slice=5, n_spaxel=14, pitch_pix=16.2, stagger_pix=6.0, tilt_pix=2.2, curvature_pix=0.5, line_tilt_pix=1.7,
    line_bow_pix=0.1, dispersion_um=6e-4, quadratic=8e-6,
)  # fmt: skip


def place_edges(layout, shape, columns, *, shift_pix=0.0):
    """Return the rows (slice, 2, column) of the lower and upper edges of slices at columns, all moved by a shift.

    Rows and columns are those of pixel centres, from 0.
    """
    u = 2 * np.asarray(columns, float) / (shape[1] - 1) - 1
    s = np.arange(layout.n_slice) - (layout.n_slice - 1) / 2
    middle = (shape[0] - 1) / 2 + layout.pitch_pix * s[:, np.newaxis] + shift_pix
    middle = middle + layout.tilt_pix / 2 * u + layout.curvature_pix * (u**2 - 1 / 3)
    half = layout.n_spaxel * layout.spaxel_pix / 2 * (1 + layout.keystone * u)
    return np.stack([middle - half, middle + half], axis=1)


def find_wavelength(layout, shape, slice_, part, column, *, shift_pix=0.0):
    """Return the wavelength (um) at a part (0 to 1) of a slice and a column; `shift_pix` moves it along the columns."""
    stagger = layout.stagger_pix * (np.asarray(slice_) % 2)
    away = layout.line_tilt_pix * (part - 0.5) + layout.line_bow_pix * (2 * part - 1) ** 2
    x = column - (shape[1] - 1) / 2 - stagger - away - shift_pix
    return layout.wavelength_um + layout.dispersion_um * (x + layout.quadratic * x**2)


def map_wavelength(layout, shape, *, shift_pix=0.0):
    """Return the wavelengths (slice, spaxel, column) of the centres of spaxels and columns."""
    s, p, x = np.ogrid[: layout.n_slice, : layout.n_spaxel, : shape[1]]
    return find_wavelength(layout, shape, s, (p + 0.5) / layout.n_spaxel, x, shift_pix=shift_pix)


def render_slices(layout, shape, light, *, shift_pix=(0.0, 0.0), oversample=5):
    """Return the frame (float64, `shape`) of light that enters the slices.

    Parameters
    ----------
    layout : SliceLayout
    shape : (ny, nx)
    light : callable
        light(slice, position, wavelength_um) -> density per spaxel and um, the spread along the wavelength in it;
        positions in spaxels, -0.5 to n_spaxel - 0.5.
    shift_pix : (rows, columns), optional
        Flexure.
    oversample : int, odd
        Points per pixel and axis at which the light is taken.

    Returns
    -------
    ndarray
        The sum of a slice is the integral of its light, but for what falls off the detector.
    """
    frame = np.zeros(shape)
    sigma = layout.fwhm_across_pix / FWHM_PER_SIGMA
    margin = int(np.ceil(REACH_SIGMA * sigma)) + 1
    column = (np.arange(shape[1] * oversample) + 0.5) / oversample - 0.5
    edges = place_edges(layout, shape, column, shift_pix=shift_pix[0])
    for s in range(layout.n_slice):
        first, last = int(edges[s, 0].min()) - margin, int(edges[s, 1].max()) + margin + 1
        row = (np.arange((last - first) * oversample) + 0.5) / oversample - 0.5 + first
        density = _take_light(layout, shape, s, row, (column, edges[s], light, shift_pix[1]))
        density = ndimage.gaussian_filter1d(density, sigma * oversample, axis=0, mode="constant", truncate=REACH_SIGMA)
        binned = density.reshape(last - first, oversample, shape[1], oversample).sum(axis=(1, 3)) / oversample**2
        low, high = max(first, 0), min(last, shape[0])
        frame[low:high] += binned[low - first : high - first]
    return frame


def _take_light(layout, shape, s, row, sampled):
    """Return the light per pixel of a slice (fine row, fine column), before it spreads across."""
    column, (lower, upper), light, shift = sampled
    fine = row[1] - row[0]
    # A point of the fine grid that an edge crosses has the part of its light that is inside.
    inside = np.clip((row[:, np.newaxis] + fine / 2 - lower) / fine, 0, 1)
    inside *= np.clip((upper - row[:, np.newaxis] + fine / 2) / fine, 0, 1)
    part = (row[:, np.newaxis] - lower) / (upper - lower)
    wavelength = find_wavelength(layout, shape, s, part, column, shift_pix=shift)
    x = column - (shape[1] - 1) / 2 - shift
    per_column = layout.dispersion_um * (1 + 2 * layout.quadratic * x)
    per_row = layout.n_spaxel / (upper - lower)
    return light(s, part * layout.n_spaxel - 0.5, wavelength) * inside * (per_row * np.abs(per_column))


def make_lines(layout, line_um, flux):
    """Return the light of lines: `flux` (line) per spaxel, spread by `fwhm_along_pix`, the same in every spaxel."""
    sigma = layout.fwhm_along_pix * layout.dispersion_um / FWHM_PER_SIGMA

    def light(slice_, position, wavelength_um):
        total = np.zeros(np.broadcast_shapes(np.shape(position), np.shape(wavelength_um)))
        for line, strength in zip(line_um, flux, strict=True):
            near = np.abs(wavelength_um - line) < 7 * sigma
            away = (wavelength_um[near] - line) / sigma
            total[near] += strength / (sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * away**2)
        return total

    return light


def make_lamp(layout, *, temperature_k=2500.0, throughput=None):
    """Return the light of a flat lamp: a blackbody (Planck), 1 at the middle wavelength per spaxel and column."""
    throughput = np.ones(layout.n_slice) if throughput is None else throughput
    middle = layout.wavelength_um

    def light(slice_, position, wavelength_um):
        planck = [x**-4 / np.expm1(14387.77 / (x * temperature_k)) for x in (wavelength_um, middle)]
        return throughput[slice_] * planck[0] / planck[1] / layout.dispersion_um + 0 * position

    return light
