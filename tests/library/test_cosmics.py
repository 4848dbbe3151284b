"""Cosmic rays in one image: hits with known places are flagged, stars keep their pixels, values stay."""

import numpy as np
import pytest
from fields import make_field

from drs.cosmics import HIT, flag_hits
from drs.image import Image

LIMITS = {"sigma": 6.0, "neighbour_fraction": 0.5, "contrast": 5.0}
SHAPE = (300, 380)


def make_image(fwhm, seed, hits=0):
    """Return an image of isolated stars with bad pixels, and where it was hit by 10 to 3000 sigma."""
    field = make_field(1, SHAPE, fwhm=fwhm, seed=seed, hits=hits, spacing=24)
    arrays, struck = field.images[0], np.zeros(SHAPE, bool)
    struck[field.hits[0]] = arrays["DQ"][field.hits[0]] == 0
    excess = np.where(struck, np.maximum(arrays["SCI"], 0) / 50.0, 0)  # of photon noise, as a ramp would have it
    return Image(arrays["SCI"], np.sqrt(arrays["ERR"] ** 2 + excess).astype(np.float32), arrays["DQ"]), struck


@pytest.mark.parametrize("fwhm", [2.5, 3.0])
def test_hits_are_found_and_stars_keep_all_pixels(fwhm):
    clean, _ = make_image(fwhm, 1)
    flagged, count = flag_hits(clean, **LIMITS)
    assert count == 0
    np.testing.assert_array_equal(flagged.dq, clean.dq)
    image, struck = make_image(fwhm, 1, hits=300)
    before = image.dq.copy()
    flagged, count = flag_hits(image, **LIMITS)
    is_hit = flagged.dq & HIT == HIT
    found = is_hit & (before == 0)
    assert found.sum() == count
    assert is_hit[struck].mean() >= 0.90
    near = np.array(np.nonzero(struck))
    others = np.array(np.nonzero(found & ~struck))
    apart = np.abs(others[:, :, None] - near[:, None, :]).max(axis=0).min(axis=1)
    assert apart.max() <= 3  # nothing but pixels around a hit: a star that is struck loses some with it
    assert others.shape[1] < 0.5 * struck.sum()
    np.testing.assert_array_equal(flagged.rate, image.rate)
    np.testing.assert_array_equal(image.dq, before)


def test_masked_pixels_are_neither_hits_nor_seen():
    image, _ = make_image(2.6, 3)
    image.dq[40:50, 60:70] |= 1
    image.rate[40:50, 60:70] = np.nan
    flagged, count = flag_hits(image, **LIMITS)
    assert count == 0
    np.testing.assert_array_equal(flagged.dq, image.dq)
    nothing, count = flag_hits(image._replace(dq=np.ones(SHAPE, np.uint32)), **LIMITS)
    assert (count, (nothing.dq == 1).all()) == (0, True)
