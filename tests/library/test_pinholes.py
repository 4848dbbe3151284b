"""Spots of a mask of pinholes: their places to a hundredth of a pixel, and their numbers on a distorted grid."""

import numpy as np
import pytest

from drs.errors import ReductionError
from drs.pinholes import find_spots, number_spots
from drs.simulation import scene

SHAPE = (150, 170)
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
GEOMETRY = {
    "size_y_pix": 150,
    "size_x_pix": 170,
    "distortion": {"cubic_pix": 5.0, "quadratic_pix": 2.0, "linear_pix": 1.0},
}
HOW = {"fwhm_pix": 2.7, "threshold_sigma": 20}


def make_mask(shift=(0.0, 0.0), seed=1, noise=3.0):
    """Return an image of pinholes 14 pixels apart, and where they are."""
    random = np.random.default_rng(seed)
    places = scene.place_pinholes(
        SHAPE, pitch_pix=14.0, error_pix=0.1, shift_pix=shift, stream=np.random.default_rng(9)
    )
    light = scene.render_pinholes(GEOMETRY, PSF, places, 20000.0)
    truth = np.stack(scene.distort(*places, GEOMETRY), axis=1)
    return (light + 5 + random.normal(0, noise, SHAPE)).astype(np.float32), truth


def test_places_of_spots():
    values, truth = make_mask()
    unusable = np.zeros(SHAPE, bool)
    unusable[70, 80] = True
    values[70, 80] = np.nan
    values[30, 33] += 3e4  # a cosmic ray
    found = find_spots(values, unusable, **HOW)
    distance = np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1))
    is_spot = distance.min(axis=1) < 1
    assert (~is_spot).sum() <= 1
    assert is_spot.sum() >= 95
    errors = (found - truth[distance.argmin(axis=1)])[is_spot]
    assert np.sqrt(np.mean(errors**2)) < 0.01
    assert np.abs(errors.mean(axis=0)).max() < 3e-3


def test_numbers_follow_the_grid_and_its_shift():
    first = number_spots(find_spots(make_mask()[0], np.zeros(SHAPE, bool), **HOW), pitch_pix=14.0)
    assert len(first[0]) >= 95
    assert len(np.unique(first[1], axis=0)) == len(first[1])
    moved = find_spots(make_mask((5.0, -6.0), seed=2)[0], np.zeros(SHAPE, bool), **HOW)
    second = number_spots(moved, pitch_pix=14.0, anchor=first)
    shared = {tuple(n): place for place, n in zip(*first, strict=True)}
    steps = [place - shared[tuple(n)] for place, n in zip(*second, strict=True) if tuple(n) in shared]
    assert len(steps) > 80
    assert np.abs(np.mean(steps, axis=0) - (5.0, -6.0)).max() < 0.7


def test_an_exposure_without_the_mask_is_refused():
    flat = np.random.default_rng(3).normal(500, 5, SHAPE).astype(np.float32)
    spots = find_spots(flat, np.zeros(SHAPE, bool), **HOW)
    with pytest.raises(ReductionError, match="pinholes found, expected a grid: was the mask in"):
        number_spots(spots, pitch_pix=14.0)
    with pytest.raises(ReductionError, match="no pixel of the pinhole exposure"):
        find_spots(flat, np.ones(SHAPE, bool), **HOW)
