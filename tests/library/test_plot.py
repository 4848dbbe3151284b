"""Plots of spectra: size, ticks, the same bytes, gaps and spectra without a value."""

import io

import numpy as np
import pytest
from PIL import Image

from drs.plot import INK, PAPER, SIZE_PIX, find_ticks, plot_spectra

WAVE_UM = np.linspace(1.60, 1.70, 90)
FLUX = 100 * np.exp(-0.5 * ((WAVE_UM - 1.66) / 0.004) ** 2) + 5


def open_png(png):
    """Return the pixels (y, x, colour) of a PNG."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def find_ink(pixels):
    """Return where (y, x) the line of a spectrum is."""
    return np.argwhere(np.abs(pixels - np.array(INK)).sum(axis=2) < 24)


def test_a_line_peaks_where_it_is():
    png = plot_spectra(WAVE_UM, [(FLUX, np.ones(90))], ["a star"])
    assert png == plot_spectra(WAVE_UM, [(FLUX, np.ones(90))], ["a star"])
    pixels = open_png(png)
    assert pixels.shape == (SIZE_PIX[1], SIZE_PIX[0], 3)
    ink = find_ink(pixels)
    peak = ink[ink[:, 0] == ink[:, 0].min()][:, 1].mean()
    assert peak == pytest.approx(80 + 0.6 * (SIZE_PIX[0] - 92), abs=8)
    assert tuple(pixels[1, 1]) == PAPER


def test_gaps_and_spectra_without_a_value():
    gap, nothing = FLUX.copy(), np.full(90, np.nan)
    gap[30:45] = np.nan
    pixels = open_png(plot_spectra(WAVE_UM, [(gap, np.ones(90)), (nothing, nothing)], ["gap", "nothing"]))
    assert len(pixels) == 2 * SIZE_PIX[1]
    ink = find_ink(pixels)
    assert ink[:, 0].max() < SIZE_PIX[1]
    low, high = (80 + part * (SIZE_PIX[0] - 92) for part in (0.36, 0.47))
    assert not ((ink[:, 1] > low) & (ink[:, 1] < high)).any()
    assert open_png(plot_spectra(WAVE_UM[:1], [(FLUX[:1] * 0, FLUX[:1] * 0)], ["one bin"])).any()


def test_ticks_are_round():
    assert find_ticks(0.0, 10.0) == [0, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(find_ticks(1.601, 1.699), [1.62, 1.64, 1.66, 1.68])
    assert find_ticks(-30.0, 160.0) == [0, 50, 100, 150]
