"""Stars of an image paired with a catalogue in spite of a distortion of several pixels."""

import numpy as np
import pytest
from stars import observe_stars

from drs.astrometry import Search
from drs.errors import ReductionError
from drs.simulation import scene
from drs.starfield import list_stars, pair_stars
from drs.wcs import build_wcs

SHAPE = (190, 214)
GEOMETRY = {"size_y_pix": 190, "size_x_pix": 214, "scale_arcsec": 0.004, "rotation_deg": 0.0}
GEOMETRY |= {"centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0}
DISTORTED = GEOMETRY | {"distortion": {"cubic_pix": 3.5, "quadratic_pix": 1.0, "linear_pix": 0.5}}
POINTING = (150.0, 2.0, 33.0)
SEARCH = Search(30.0, 0.1, False, 20)


@pytest.fixture(scope="module")
def field():
    """Return (image of stars, their catalogue, their numbers by place)."""
    random = np.random.default_rng(3)
    ideal = scene.place_apart(75, SHAPE, separation=14, margin=2, stream=random)
    ra, dec = scene.pixel_to_sky(*ideal, POINTING, GEOMETRY)
    flux = 10 ** random.uniform(3.3, 4.3, ra.size)
    x, y = (axis - 1 for axis in scene.distort(*ideal, DISTORTED))
    return observe_stars(SHAPE, x, y, flux, seed=2, bad=0.001), np.stack([ra, dec, -2.5 * np.log10(flux)]), (x, y)


def pair(field, wcs, catalogue=None, search=SEARCH):
    """Return what pair_stars finds."""
    image, own, _ = field
    stars = list_stars(image)
    return pair_stars(stars, wcs, SHAPE, own if catalogue is None else catalogue, noise=0.4, search=search)


def test_stars_are_paired_to_the_edges(field):
    wcs = build_wcs(*POINTING, GEOMETRY, SHAPE)
    places, wanted, numbers = pair(field, wcs)
    assert len(numbers) > 55
    assert len(set(numbers)) == len(numbers)
    true = np.stack(field[2], axis=1)[numbers] + 1
    assert np.abs(places - true).max() < 0.15
    assert np.hypot(*(places - 0.5 - np.array(SHAPE[::-1]) / 2 - wanted).T).max() > 3  # farther than pairs are sought


def test_stars_that_are_not_whole_or_not_alone_are_left_out():
    image = observe_stars((60, 80), [20.2, 53.0, 60.3, 40.0], [30.1, 15.0, 16.0, 45.0], [5e3] * 4, seed=1)
    image.dq[46, 41] |= 1
    found = list_stars(image)[:2]
    assert found[:, 0] == pytest.approx((20.2, 30.1), abs=0.03)
    assert found.shape == (2, 1)
    empty = observe_stars((60, 80), [], [], [], seed=1)
    assert list_stars(empty).shape == (3, 0)


def test_another_field_and_another_catalogue_are_refused(field):
    wcs = build_wcs(POINTING[0], POINTING[1] + 5.0, POINTING[2], GEOMETRY, SHAPE)
    with pytest.raises(ReductionError, match=r"no star of the catalogue in the field: the nearest is 5 deg"):
        pair(field, wcs)
    random = np.random.default_rng(1)
    ra, dec = scene.pixel_to_sky(random.uniform(1, 214, 60), random.uniform(1, 190, 60), POINTING, GEOMETRY)
    with pytest.raises(ReductionError, match="agree"):
        pair(field, build_wcs(*POINTING, GEOMETRY, SHAPE), np.stack([ra, dec, np.zeros(60)]))
