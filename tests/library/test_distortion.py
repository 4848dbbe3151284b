"""Distortion from pinholes whose places are in error: against truth, moved masks, and the SIP that follows from it."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from drs.distortion import add_distortion, fit_distortion, fit_field, list_terms, map_distortion
from drs.errors import ReductionError
from drs.simulation import scene
from drs.wcs import build_wcs

SHAPE = (480, 512)
GEOMETRY = {"size_y_pix": 480, "size_x_pix": 512, "scale_arcsec": 0.004, "rotation_deg": 0.0}
GEOMETRY |= {"centre_x_arcsec": 8.792, "centre_y_arcsec": -8.792}
DISTORTION = {"cubic_pix": 4.0, "quadratic_pix": 1.5, "linear_pix": 0.8}
HOW = {"pitch_pix": 16.0, "order": 6, "mask_error_pix": 0.1, "centroid_error_pix": 0.01}


def observe(shifts, *, pitch=16.0, error=0.1, noise=0.005, turn_deg=(0.0,), seed=2):
    """Return the spots of a mask in exposures with shifts (and rotations), and their numbers."""
    random, exposures = np.random.default_rng(seed), []
    count = 18
    j, i = (axis.ravel() for axis in np.mgrid[-count : count + 1, -count : count + 1])
    errors = error * random.standard_normal((2, i.size))
    turns = np.radians(np.resize(turn_deg, len(shifts)))
    for (dx, dy), turn in zip(shifts, turns, strict=True):
        x, y = pitch * i + errors[0], pitch * j + errors[1]
        x, y = 256.5 + dx + x * np.cos(turn) - y * np.sin(turn), 240.5 + dy + x * np.sin(turn) + y * np.cos(turn)
        x, y = scene.distort(x, y, GEOMETRY | {"distortion": DISTORTION})
        places = np.stack([x, y], axis=1) + noise * random.standard_normal((x.size, 2))
        inside = (places > 4).all(axis=1) & (places[:, 0] < 509) & (places[:, 1] < 477)
        exposures.append((places[inside], np.stack([i, j], axis=1)[inside]))
    return exposures


def true_maps():
    """Return (DX, DY) that remove the distortion."""
    y, x = np.mgrid[1 : SHAPE[0] + 1, 1 : SHAPE[1] + 1].astype(float)
    ideal = scene.undistort(x, y, GEOMETRY | {"distortion": DISTORTION})
    return ideal[0] - x, ideal[1] - y


def measure_error(solution):
    """Return the rms of a component of the fitted distortion less the truth, a shift apart."""
    differences = [found - true for found, true in zip(map_distortion(solution), true_maps(), strict=True)]
    return np.sqrt(np.mean([np.var(difference) for difference in differences]))


def test_moved_masks_give_the_distortion_to_two_hundredths_of_a_pixel():
    shifts = [(0, 0), (7.5, 0), (0, 7.5), (-7.5, -7.5), (5, -6)]
    moved = fit_distortion(observe(shifts), SHAPE, **HOW)
    single = fit_distortion(observe(shifts[:1]), SHAPE, **HOW)
    assert measure_error(moved) < 0.015
    assert measure_error(single) < 0.03
    assert moved.residual_pix == pytest.approx(0.005, rel=0.25)
    assert moved.mask_pix == pytest.approx(0.1, rel=0.1)


def test_a_perfect_mask_gives_the_distortion_to_a_few_thousandths_and_a_turned_one_the_same():
    assert measure_error(fit_distortion(observe([(0, 0)], error=0.0), SHAPE, **HOW)) < 2e-3
    turned = observe([(0, 0), (3, 4)], error=0.0, turn_deg=(0.05, -0.05))
    assert measure_error(fit_distortion(turned, SHAPE, **HOW)) < 5e-3


def test_a_spot_that_is_none_is_clipped():
    exposures = observe([(0, 0)], error=0.0)
    exposures[0][0][::97] += 2.0
    assert measure_error(fit_distortion(exposures, SHAPE, **HOW)) < 3e-3


def test_too_few_pinholes_are_refused():
    places, numbers = observe([(0, 0)])[0]
    with pytest.raises(ReductionError, match="40 pinholes for 27 terms of order 6: at least 54 needed"):
        fit_distortion([(places[:40], numbers[:40])], SHAPE, **HOW)
    assert len(list_terms(6)) == 27


@pytest.mark.parametrize("pa_deg", [0.0, 37.0, 90.0, 180.0])
@pytest.mark.parametrize("corner", [(1, 1), (101, 201)])
def test_sip_puts_stars_where_the_distortion_does(pa_deg, corner):
    dx, dy = true_maps()
    rows, columns = slice(corner[0] - 1, corner[0] + 199), slice(corner[1] - 1, corner[1] + 249)
    linear = build_wcs(150.0, 60.0, pa_deg, GEOMETRY, SHAPE, corner)
    made, error = add_distortion(linear, dx[rows, columns], dy[rows, columns])
    assert error < 1e-3
    header = fits.Header()
    header.update(made)
    wcs = WCS(fits.Header.fromstring(header.tostring()))  # as a file has it: numbers are cut to 20 characters
    y, x = np.array([1.0, 100.0, 200.0, 33.0]), np.array([1.0, 125.0, 3.0, 250.0])
    place = (150.0, 60.0, pa_deg), GEOMETRY | {"distortion": DISTORTION}
    ra, dec = scene.pixel_to_sky(x + corner[1] - 1, y + corner[0] - 1, *place)
    found = np.stack(wcs.all_pix2world(x, y, 1))
    offset = (found - [ra, dec]) * [[np.cos(np.radians(60))], [1]] * 3600 / 0.004
    assert np.abs(offset).max() < 3e-3
    back = np.stack(wcs.all_world2pix(ra, dec, 1))
    assert np.abs(back - [x, y]).max() < 3e-3
    assert np.abs(np.stack(wcs.sip_foc2pix(*np.stack(wcs.sip_pix2foc(x, y, 1)), 1)) - [x, y]).max() < 0.05


def test_sip_of_a_small_detector_far_from_the_axis():
    """The axis is 2200 pixels away: a polynomial about it would lose its digits."""
    far = np.mgrid[0:60, 0:80] / 60
    linear = build_wcs(10.0, -20.0, 12.0, GEOMETRY, (60, 80))
    dx, dy = 0.5 * far[1] ** 3 - 0.2 * far[0], 0.4 * far[0] ** 2 * far[1]
    made, error = add_distortion(linear, dx, dy)
    assert error < 1e-3
    assert made["CTYPE1"] == "RA---TAN-SIP"
    x, y = np.array([5, 70]), np.array([50, 8])
    found = WCS(made).all_pix2world(x, y, 0)
    expected = WCS(linear).wcs_pix2world(x + dx[y, x], y + dy[y, x], 0)
    np.testing.assert_allclose(found, expected, atol=1e-3 * 0.004 / 3600)


def test_no_distortion_changes_no_place():
    linear = build_wcs(10.0, 20.0, 30.0, GEOMETRY, SHAPE)
    made, error = add_distortion(linear, np.zeros(SHAPE), np.zeros(SHAPE))
    assert error < 1e-6
    x, y = np.array([3.0, 400.0]), np.array([470.0, 11.0])
    np.testing.assert_allclose(WCS(made).all_pix2world(x, y, 1), WCS(linear).all_pix2world(x, y, 1), atol=1e-11)


def test_stars_of_a_catalogue_give_the_distortion_with_each_pointing_free():
    random, exposures = np.random.default_rng(4), []
    ideal = random.uniform((-300, -280), (300, 280), (240, 2))
    catalogued = ideal + 0.02 * random.standard_normal(ideal.shape)
    catalogued[:6] += 1.5  # stars that move
    for dx, dy in [(0, 0), (9, -8), (-7, 9), (8, 7)]:
        x, y = scene.distort(ideal[:, 0] + 256.5 + dx, ideal[:, 1] + 240.5 + dy, GEOMETRY | {"distortion": DISTORTION})
        places = np.stack([x, y], axis=1) + 0.01 * random.standard_normal(ideal.shape)
        inside = np.flatnonzero((places > 1).all(axis=1) & (places[:, 0] < 512) & (places[:, 1] < 480))
        exposures.append((places[inside], catalogued[inside] + (3.0, -2.0), inside))
    how = {"order": 6, "catalogue_error_pix": 0.02, "centroid_error_pix": 0.01}
    solution = fit_field(exposures, SHAPE, **how)
    assert measure_error(solution) < 0.02
    assert solution.residual_pix == pytest.approx(0.01, rel=0.25)
    assert solution.mask_pix == pytest.approx(0.02, rel=0.2)
    n_moved = sum(np.count_nonzero(own < 6) for *_, own in exposures)
    assert n_moved <= sum(len(own) for *_, own in exposures) - solution.n_spot < n_moved + 24  # some beside them
    with pytest.raises(ReductionError, match=r"40 places of stars for 27 terms of order 6: at least 54 needed"):
        fit_field([tuple(part[:40] for part in exposures[0])], SHAPE, **how)
