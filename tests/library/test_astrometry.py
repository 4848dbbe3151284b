"""Coordinates tied to a catalogue: truth in shift, rotation, scale and distortion, and each outcome without match."""

import numpy as np
import pytest
from astropy.wcs import WCS
from fields import DETECTOR, star_image

from drs.astrometry import Search, tie_coordinates
from drs.distortion import add_distortion
from drs.errors import ReductionError
from drs.offsets import find_stars
from drs.wcs import build_wcs

SHAPE, MAS_PER_PIX = (300, 380), 4.0
SEARCH = Search(60.0, 0.5, False, 3)


def true_wcs(dec=20.0, pa=37.0, distorted=False):
    """Return the coordinates of an image far from its axis."""
    wcs = build_wcs(150.0, dec, pa, DETECTOR | {"centre_x_arcsec": 8.792, "centre_y_arcsec": 8.792}, SHAPE)
    y, x = np.indices(SHAPE) / 380
    return add_distortion(wcs, 2.0 * x**2 - y * x, 1.5 * y**2 + x)[0] if distorted else wcs


def observe(wcs, n=40, seed=1):
    """Return the stars found in an image, and the catalogue of a field half as wide again."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.25, 1.25, (2, n * 9 // 4)) * np.array([[SHAPE[1]], [SHAPE[0]]])
    flux = 10 ** rng.uniform(2.3, 4.5, x.size)
    image = star_image(SHAPE, x, y, flux, 2.6) + rng.normal(0, 1.0, SHAPE)
    ra, dec = WCS(wcs).all_pix2world(x, y, 0)
    mag = 25 - 2.5 * np.log10(flux)
    found = find_stars(image, np.ones(SHAPE), np.zeros(SHAPE, bool))
    return found, np.stack([ra, dec, mag])


def move(wcs, east=0.0, north=0.0, turn_deg=0.0, scale=1.0):
    """Return wrong coordinates: moved in arcsec, turned, of another scale."""
    angle, pc = np.deg2rad(turn_deg), np.array([[wcs["PC1_1"], wcs["PC1_2"]], [wcs["PC2_1"], wcs["PC2_2"]]])
    pc = pc @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wrong = {f"PC{i}_{j}": pc[i - 1, j - 1] / scale for i in (1, 2) for j in (1, 2)}
    east_deg = east / 3600 / np.cos(np.deg2rad(wcs["CRVAL2"]))
    return wcs | wrong | {"CRVAL1": wcs["CRVAL1"] + east_deg, "CRVAL2": wcs["CRVAL2"] + north / 3600}


def distance_pix(wcs, truth):
    """Return how far off coordinates are, pixels, at the corners and in the middle."""
    x, y = (axis.ravel() for axis in np.meshgrid([0, SHAPE[1] / 2, SHAPE[1] - 1], [0, SHAPE[0] / 2, SHAPE[0] - 1]))
    sky = WCS(wcs).all_pix2world(x, y, 0)
    return np.hypot(*(np.stack(WCS(truth).all_world2pix(*sky, 0)) - (x, y)))


@pytest.mark.parametrize(
    ("dec", "distorted", "wrong", "fit_scale"),
    [
        (20.0, False, {"east": 0.15, "north": -0.1}, False),
        (82.0, True, {"east": -0.05, "north": 0.12, "turn_deg": 0.03}, False),
        (-60.0, True, {"east": 0.02, "turn_deg": -0.004, "scale": 1.0005}, True),
    ],
)
def test_coordinates_are_right_to_hundredths_of_a_pixel(dec, distorted, wrong, fit_scale):
    truth = true_wcs(dec, distorted=distorted)
    stars, catalogue = observe(truth)
    tie = tie_coordinates(
        move(truth, **wrong), SHAPE, stars, catalogue, noise=1.0, search=SEARCH._replace(fit_scale=fit_scale)
    )
    assert distance_pix(move(truth, **wrong), truth).max() > 2
    assert distance_pix(tie.wcs, truth).max() < 0.02
    assert tie.n_stars >= 25
    assert tie.rms_mas < 0.05 * MAS_PER_PIX
    assert tie.error_mas < 0.01 * MAS_PER_PIX
    assert tie.scale == pytest.approx(wrong.get("scale", 1.0) if fit_scale else 1.0, abs=3e-5)


def test_what_moved_is_told_east_and_north():
    truth = true_wcs(pa=0.0)
    stars, catalogue = observe(truth)
    tie = tie_coordinates(move(truth, east=0.1, north=-0.06), SHAPE, stars, catalogue, noise=1.0, search=SEARCH)
    assert (tie.east_mas, tie.north_mas) == pytest.approx((-100, 60), abs=0.3)
    turned = build_wcs(150.0, 20.0, 0.1, DETECTOR, SHAPE)
    truth = build_wcs(150.0, 20.0, 0.3, DETECTOR, SHAPE)
    stars, catalogue = observe(truth)
    tie = tie_coordinates(turned, SHAPE, stars, catalogue, noise=1.0, search=SEARCH)
    assert tie.rotation_deg == pytest.approx(0.2, abs=0.003)


def test_the_error_of_the_shift_holds():
    truth, pulls = true_wcs(), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        places, flux = rng.uniform(20, 280, (2, 30)), np.full(30, 500.0)
        sky = WCS(truth).all_pix2world(*places, 0)
        stars = np.stack([*(places + rng.normal(0, 0.05, places.shape)), flux])
        tie = tie_coordinates(truth, SHAPE, stars, np.stack([*sky, flux]), noise=1.0, search=SEARCH._replace(deg=0))
        off = np.stack(WCS(truth).all_world2pix(*WCS(tie.wcs).all_pix2world(*places, 0), 0)) - places
        pulls.extend(off.mean(axis=1) * MAS_PER_PIX / tie.error_mas)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.2)


def test_outliers_and_stars_that_the_catalogue_lacks_do_not_matter():
    truth = true_wcs()
    stars, catalogue = observe(truth)
    catalogue = catalogue[:, ::2]
    catalogue[1, ::7] += 0.5 * 0.004 / 3600
    tie = tie_coordinates(move(truth, east=0.1), SHAPE, stars, catalogue, noise=1.0, search=SEARCH)
    assert distance_pix(tie.wcs, truth).max() < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"wrong": {"north": 5 * 3600}},
            r"no star of the catalogue in the field: the nearest is 5 deg from RA 149",
        ),
        ({"wrong": {"north": 0.5}}, r"of \d+ stars in the image and \d+ of the catalogue too few agree within 60 pix"),
        ({"seed": 9}, "too few agree"),
        ({"n": 2}, "2 stars in the image, at least 3 needed"),
        ({"minimum": 90}, "stars in the image, at least 90 needed"),
        ({"kept": 2}, "2 stars of the catalogue in its field, at least 3 needed"),
    ],
)
def test_without_match_the_reason_is_told(change, message):
    truth = true_wcs()
    stars, catalogue = observe(truth)
    other = observe(truth, seed=change.get("seed", 1))[1]
    near = np.argsort(np.abs(catalogue[:2] - np.median(catalogue[:2], axis=1)[:, None]).max(axis=0))
    other = other[:, near[: change["kept"]]] if "kept" in change else other
    search = SEARCH._replace(minimum=change.get("minimum", 3))
    with pytest.raises(ReductionError, match=message):
        tie_coordinates(
            move(truth, **change.get("wrong", {})), SHAPE, stars[:, : change.get("n")], other, noise=1.0, search=search
        )
