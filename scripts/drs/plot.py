"""Plots of spectra as small PNGs: one panel per source, flux against wavelength with its error."""

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE_PIX = (720, 170)  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 80, 12, 22, 26
PAPER, INK, BAND, AXIS = (255, 255, 255), (32, 64, 128), (205, 216, 235), (90, 90, 90)
N_TICK = 5


def plot_spectra(wavelength_um, spectra, titles):
    """Return the PNG of spectra.

    Parameters
    ----------
    wavelength_um : ndarray, float, (bin)
        Rising.
    spectra : list of (flux, error)
        ndarray, (bin); NaN is left out.
    titles : list of str
    """
    width, height = SIZE_PIX
    picture = Image.new("RGB", (width, height * len(spectra)), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"
    for k, ((flux, error), title) in enumerate(zip(spectra, titles, strict=True)):
        _draw_panel(draw, wavelength_um, flux, error, title, k * height)
    stream = io.BytesIO()
    picture.quantize(32, dither=Image.Dither.NONE).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _draw_panel(draw, wavelength_um, flux, error, title, above):
    """Draw one spectrum into the panel that begins `above` pixels below the top."""
    font = ImageFont.load_default(12)
    known = np.isfinite(flux) & np.isfinite(error)
    draw.text((LEFT, above + 4), title if known.any() else f"{title}: no value", fill=AXIS, font=font)
    box = LEFT, above + TOP, SIZE_PIX[0] - RIGHT, above + SIZE_PIX[1] - BOTTOM
    draw.rectangle(box, outline=AXIS)
    if not known.any():
        return
    ends = wavelength_um[0], wavelength_um[-1] if wavelength_um.size > 1 else wavelength_um[0] + 1.0
    low, high = float((flux - error)[known].min()), float((flux + error)[known].max())
    low, high = (min(low, 0.0), high) if high > low else (low - 1, high + 1)
    high += 0.05 * (high - low)

    def place(x, y):
        part = (x - ends[0]) / (ends[1] - ends[0]), (y - low) / (high - low)
        return box[0] + part[0] * (box[2] - box[0]), box[3] - part[1] * (box[3] - box[1])

    for tick in find_ticks(*ends):
        x, _ = place(tick, low)
        draw.line((x, box[3], x, box[3] + 4), fill=AXIS)
        draw.text((x, box[3] + 6), f"{tick:.6g}", fill=AXIS, font=font, anchor="ma")
    for tick in find_ticks(low, high):
        _, y = place(ends[0], tick)
        draw.line((box[0] - 4, y, box[0], y), fill=AXIS)
        draw.text((box[0] - 7, y), f"{tick:.6g}", fill=AXIS, font=font, anchor="rm")
    for run in np.split(np.flatnonzero(known), np.flatnonzero(np.diff(np.flatnonzero(known)) > 1) + 1):
        above_, below = ([place(wavelength_um[n], flux[n] + sign * error[n]) for n in run] for sign in (1, -1))
        if run.size > 1:
            draw.polygon([*above_, *below[::-1]], fill=BAND)
        draw.line([place(wavelength_um[n], flux[n]) for n in run], fill=INK, width=2)


def find_ticks(low, high):
    """Return round numbers between two limits, about five."""
    raw = (high - low) / N_TICK
    decade = 10.0 ** math.floor(math.log10(raw))
    step = decade * next(factor for factor in (1, 2, 5, 10) if factor * decade >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * n for n in range(first, math.floor(high / step + 1e-9) + 1)]
