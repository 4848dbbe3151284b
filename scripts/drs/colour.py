"""Colour pictures: three images as red, green and blue, and pictures side by side with a line of text."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SOFTENING = 0.05  # asinh
QUANTILES = (0.05, 0.998)  # of the mean of the channels: black and white
GAP = (70, 115, 215)
PAPER, INK = (20, 20, 20), (235, 235, 235)
MARGIN_PIX = 8
TEXT_PIX = 20


def mix_colours(channels, gaps):
    """Return a colour picture, uint8 (y, x, 3), of three images; asinh, the same limits for all, so that colours stay.

    Parameters
    ----------
    channels : ndarray, float, (3, y, x)
        Red, green, blue.
    gaps : ndarray, bool, (y, x)
        Pixels without a value, shown in blue.
    """
    mean = channels.mean(axis=0)
    low, high = np.quantile(mean[~gaps], QUANTILES) if not gaps.all() else (0.0, 1.0)
    part = np.clip((mean - low) / max(high - low, 1e-30), 0, 1)
    bright = np.arcsinh(part / SOFTENING) / np.arcsinh(1 / SOFTENING)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(mean > low, (channels - low) / (mean - low), 1.0)  # Lupton et al. 2004, PASP 116, 133
    picture = np.clip(np.nan_to_num(share * bright), 0, 1)
    return np.where(gaps[..., np.newaxis], GAP, np.round(255 * picture.transpose(1, 2, 0))).astype(np.uint8)


def join_pictures(pictures, titles, *, size_pix):
    """Return the PNG of pictures, uint8 (y, x, 3), y axis up, side by side, each with its title.

    Each is enlarged by a whole number to fit into `size_pix`; a larger one is made smaller.
    """
    tiles = [_resize(Image.fromarray(np.ascontiguousarray(picture[::-1])), size_pix) for picture in pictures]
    width = sum(tile.width for tile in tiles) + MARGIN_PIX * (len(tiles) + 1)
    joined = Image.new("RGB", (width, max(tile.height for tile in tiles) + TEXT_PIX + 2 * MARGIN_PIX), PAPER)
    draw, left = ImageDraw.Draw(joined), MARGIN_PIX
    for tile, title in zip(tiles, titles, strict=True):
        draw.text((left, MARGIN_PIX // 2), title, fill=INK, font=ImageFont.load_default(13))
        joined.paste(tile, (left, TEXT_PIX + MARGIN_PIX))
        left += tile.width + MARGIN_PIX
    stream = io.BytesIO()
    joined.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _resize(tile, size_pix):
    """Return a picture whose longer side is near a size."""
    factor = size_pix / max(tile.size)
    if factor >= 1:
        return tile.resize([int(factor) * side for side in tile.size], Image.Resampling.NEAREST)
    return tile.resize([max(round(factor * side), 1) for side in tile.size], Image.Resampling.BOX)
