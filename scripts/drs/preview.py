"""Previews: an image as a small grey-scale PNG, bad pixels in colour, with compass and scale bar."""

import io
import math
from typing import NamedTuple

import numpy as np
from astropy.visualization import AsinhStretch, ZScaleInterval
from PIL import Image, ImageDraw, ImageFont

N_GREY = 250
BAD, INK, SHADE, PAPER, TEXT = range(N_GREY, N_GREY + 5)
COLOURS = {BAD: (70, 115, 215), INK: (255, 196, 61), SHADE: (20, 20, 20), PAPER: (246, 244, 240), TEXT: (140, 40, 30)}
ASINH_SOFTENING = 0.1
PLACEHOLDER_PIX = (320, 200)
ARCSEC_PER_DEG = 3600.0
BAR_FRACTION = 0.3


class Compass(NamedTuple):
    """Unit vectors (x, y) in the image towards north and east, and the size of a pixel in arcsec."""

    north: tuple
    east: tuple
    scale_arcsec: float


def reduce_size(values, bad, *, max_size_pix):
    """Return an image that fits into a square, by means of blocks.

    Parameters
    ----------
    values : ndarray, float32, (ny, nx)
    bad : ndarray, bool, (ny, nx)
        Pixels left out of the means.
    max_size_pix : int

    Returns
    -------
    values : ndarray, float64, (ceil(ny / block), ceil(nx / block))
        Mean of each block's good pixels; 0 without any.
    bad : ndarray, bool
        True where at least half of a block's pixels are bad.
    block : int
        Side of a block in pixels.
    """
    if values.ndim != 2 or values.shape != bad.shape:
        raise ValueError(f"values and bad must be images (ny, nx) of one shape, got {values.shape}, {bad.shape}")
    block = math.ceil(max(values.shape) / max_size_pix)
    good = ~bad
    total = _sum_blocks(np.where(good, values, 0.0), block)
    n_good = _sum_blocks(good, block)
    n_pixels = _sum_blocks(np.ones(values.shape), block)
    return total / np.maximum(n_good, 1), 2 * n_good <= n_pixels, block


def _sum_blocks(array, block):
    """Return the sum over blocks of `block` x `block` pixels; those at the upper edges may be smaller."""
    starts = [np.arange(0, length, block) for length in array.shape]
    rows = np.add.reduceat(array.astype(np.float64), starts[0], axis=0)
    return np.add.reduceat(rows, starts[1], axis=1)


def stretch(values, bad):
    """Return an image as palette indices: asinh between the zscale limits of its good pixels.

    Parameters
    ----------
    values : ndarray, (ny, nx)
    bad : ndarray, bool, (ny, nx)

    Returns
    -------
    indices : ndarray, uint8, (ny, nx)
        0 (black) to N_GREY - 1 (white), and BAD.
    """
    if bad.all():
        return np.full(values.shape, BAD, np.uint8)
    low, high = ZScaleInterval().get_limits(values[~bad])
    if not high > low:
        low, high = low - 0.5, low + 0.5
    fraction = AsinhStretch(ASINH_SOFTENING)(np.clip((values - low) / (high - low), 0.0, 1.0), clip=False)
    grey = np.round(fraction * (N_GREY - 1))
    return np.where(bad, BAD, grey).astype(np.uint8)


def find_compass(wcs, shape):
    """Return the directions on the sky at the centre of an image, None without celestial coordinates.

    Parameters
    ----------
    wcs : dict
        WCS keywords.
    shape : tuple
        (ny, nx).
    """
    if "CTYPE1" not in wcs:
        return None
    from astropy.wcs import WCS  # slow to import; only Levels 2 and 3 have coordinates

    if not (sky := WCS(wcs)).has_celestial:
        return None
    centre = np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]])
    ra_deg, dec_deg = sky.wcs_pix2world(centre, 0)[0]
    step_deg = 1.0 / ARCSEC_PER_DEG * (1 if dec_deg < 0 else -1)  # towards the equator: never across a pole
    places = [(ra_deg, dec_deg + step_deg), (ra_deg + abs(step_deg) / math.cos(math.radians(dec_deg)), dec_deg)]
    north, east = sky.wcs_world2pix(np.array(places), 0) - centre
    north *= math.copysign(1.0, step_deg)
    lengths = np.hypot(*north), np.hypot(*east)
    scale_arcsec = abs(step_deg) * ARCSEC_PER_DEG / math.sqrt(lengths[0] * lengths[1])
    unit = [tuple(float(v) for v in arrow / length) for arrow, length in zip((north, east), lengths, strict=True)]
    return Compass(*unit, scale_arcsec)


def render_preview(values, bad, *, max_size_pix, compass=None):
    """Return the PNG of an image, y axis up.

    Parameters
    ----------
    values : ndarray, float32, (ny, nx)
    bad : ndarray, bool, (ny, nx)
        Pixels without a value, shown in blue.
    max_size_pix : int
        Longest side of the PNG; a larger image is averaged in blocks, a smaller one enlarged by a whole number.
    compass : Compass, optional
        Directions on the sky, drawn with a scale bar.

    Returns
    -------
    bytes
    """
    values, bad, block = reduce_size(values, bad, max_size_pix=max_size_pix)
    indices = stretch(values, bad)[::-1]
    enlarged = max(1, max_size_pix // max(indices.shape))
    picture = _new_picture(np.kron(indices, np.ones((enlarged, enlarged), np.uint8)))
    if compass is not None:
        _draw_compass(picture, compass)
        _draw_scale_bar(picture, compass.scale_arcsec * block / enlarged)
    return _encode(picture)


def render_placeholder(title, reason):
    """Return the PNG that stands for a product without pixels: what it is and why, in words."""
    width, height = PLACEHOLDER_PIX
    picture = _new_picture(np.full((height, width), PAPER, np.uint8))
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"
    draw.rectangle((0, 0, width - 1, height - 1), outline=TEXT)
    draw.text((12, 10), title, fill=TEXT, font=ImageFont.load_default(22))
    font = ImageFont.load_default(14)
    lines, limit = _wrap(reason, lambda text: font.getlength(text) <= width - 24), 8
    if len(lines) > limit:
        lines = [*lines[: limit - 1], "..."]
    draw.multiline_text((12, 44), "\n".join(lines), fill=SHADE, font=font, spacing=5)
    return _encode(picture)


def _wrap(text, fits):
    """Return `text` in lines that fit; a word longer than a line is cut."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if fits(joined):
            lines[-1] = joined
            continue
        lines.append("")
        for letter in word:
            if not fits(lines[-1] + letter):
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line]


def _new_picture(indices):
    """Return the palette picture of an array of indices, first row on top."""
    picture = Image.fromarray(np.ascontiguousarray(indices, np.uint8)).convert("L")
    greys = np.repeat(np.linspace(0, 255, N_GREY).round().astype(np.uint8), 3)
    colours = np.array([COLOURS[index] for index in sorted(COLOURS)], np.uint8).ravel()
    picture.putpalette(np.concatenate([greys, colours]).tobytes())
    return picture


def _encode(picture):
    """Return a picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _draw_compass(picture, compass):
    """Draw arrows to north and east into the upper right corner."""
    side = min(picture.size)
    length = 0.1 * side
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"
    font = ImageFont.load_default(_text_size(picture))
    # The two arrows together are centred on a place where no angle takes them or their letters out of the picture.
    middle = np.array([picture.size[0] - 1.8 * length, 1.8 * length])
    arrows = {name: np.array([x, -y]) * length for name, (x, y) in (("N", compass.north), ("E", compass.east))}
    origin = middle - (arrows["N"] + arrows["E"]) / 2
    for name, arrow in arrows.items():
        tip, across = origin + arrow, np.array([-arrow[1], arrow[0]])
        barbs = [tip - 0.28 * arrow + side * 0.16 * across for side in (-1, 1)]
        _draw_line(draw, [origin, tip])
        _draw_line(draw, [barbs[0], tip, barbs[1]])
        _draw_text(draw, origin + 1.35 * arrow, name, font)


def _draw_scale_bar(picture, scale_arcsec):
    """Draw a bar of a round number of arcsec into the lower left corner; `scale_arcsec` is that of the picture."""
    width, height = picture.size
    longest = BAR_FRACTION * width * scale_arcsec
    decade = 10.0 ** math.floor(math.log10(longest))
    bar_arcsec = decade * max(step for step in (1, 2, 5) if step * decade <= longest)
    margin = 0.04 * min(width, height)
    left, right, y = margin, margin + bar_arcsec / scale_arcsec, height - margin
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"
    _draw_line(draw, [np.array([left, y]), np.array([right, y])])
    size = _text_size(picture)
    place = np.array([(left + right) / 2, y - 0.9 * size])
    _draw_text(draw, place, f"{bar_arcsec:.6g} arcsec", ImageFont.load_default(size))


def _text_size(picture):
    """Return the height of the letters in pixels."""
    return max(14.0, 0.05 * min(picture.size))


def _draw_line(draw, points):
    """Draw a line with a dark rim, visible on black and on white."""
    flat = [tuple(point) for point in points]
    width = max(2, min(draw.im.size) // 200)
    draw.line(flat, fill=SHADE, width=width + 2)
    draw.line(flat, fill=INK, width=width)


def _draw_text(draw, place, text, font):
    """Draw a text with a dark rim, centred on a place."""
    for fill, width in ((SHADE, 2), (INK, 0.4)):
        draw.text(tuple(place), text, fill=fill, font=font, anchor="mm", stroke_width=width, stroke_fill=fill)


def make_thumbnail(png, max_size_pix):
    """Return a preview as JPEG of at most `max_size_pix` on its longer side, for a page with many of them."""
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((max_size_pix, max_size_pix), Image.Resampling.BOX)
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=80)
    return stream.getvalue()
