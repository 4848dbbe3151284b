"""Spectra of lamps with known wavelengths, for the tests of lines and wavelengths."""

from pathlib import Path

import numpy as np
from scipy.special import ndtr

LISTS = Path(__file__).resolve().parents[1] / "config" / "lines"
FWHM_PIX = 2.1


def render_lines(wavelength_um, line_um, flux, *, noise=3.0, seed=1):
    """Return flux, error, dq (spectrum, column) of lines with the noise of their light and of reads."""
    n, n_column = wavelength_um.shape
    light, columns = np.zeros(wavelength_um.shape), np.arange(n_column)
    for s in range(n):
        order = np.argsort(wavelength_um[s])
        centres = np.interp(line_um, wavelength_um[s][order], columns[order], left=np.nan, right=np.nan)
        for centre, strength in zip(centres, flux, strict=True):
            if np.isfinite(centre):
                low, high = max(0, int(centre) - 12), min(n_column, int(centre) + 13)
                edges = (np.arange(low, high + 1) - 0.5 - centre) * 2.3548 / FWHM_PIX
                light[s, low:high] += strength * np.diff(ndtr(edges))
    error = np.sqrt(light / 2 + noise**2)
    rate = light + np.random.default_rng(seed).normal(size=light.shape) * error
    return rate.astype(np.float32), error.astype(np.float32), np.zeros(light.shape, np.uint32)
