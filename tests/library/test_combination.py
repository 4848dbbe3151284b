"""Mosaics of known dithers: errors, stars, hits, methods, and the same bytes for any tile."""

import numpy as np
import pytest
from astropy.wcs import WCS
from fields import Rows, combine_field, make_field, star_image

from drs.combination import open_member
from drs.dq import Flag
from drs.errors import ReductionError
from drs.pixelmap import build_map

METHODS = [{"method": "exact"}, {"method": "drizzle", "pixfrac": 0.8}, {"method": "shift"}]


def sums_of_stars(field, values, half=6):
    """Return the flux in boxes about the stars."""
    boxes = [(round(y), round(x)) for x, y, _ in field.stars.T]
    return np.array([values[y - half : y + half + 1, x - half : x + half + 1].sum() for y, x in boxes])


def count_frames(field, shape):
    """Return how many images see each pixel of a mosaic, by their nearest pixels."""
    y, x = np.indices(field.shape)
    seen = np.zeros(field.shape, int)
    for header in field.headers:
        u, v = WCS(header).wcs_world2pix(*WCS(field.grid).wcs_pix2world(x.ravel(), y.ravel(), 0), 0)
        seen += ((u > 1) & (v > 1) & (u < shape[1] - 2) & (v < shape[0] - 2)).reshape(field.shape)
    return seen


@pytest.mark.parametrize("changes", METHODS, ids=lambda changes: changes["method"])
def test_any_tile_has_the_same_bytes(changes):
    field = make_field(4, (61, 83), hits=20, pa=0.02)
    whole, *facts = combine_field(field, tile_rows=1000, **changes)
    for tile_rows in (1, 7, 32):
        arrays, *others = combine_field(field, tile_rows=tile_rows, **changes)
        assert others == facts
        for name in whole:
            np.testing.assert_array_equal(arrays[name], whole[name])


@pytest.mark.parametrize("changes", METHODS, ids=lambda changes: changes["method"])
def test_blank_sky_has_pulls_of_width_one(changes):
    field = make_field(6, seed=4, pa=0.05, hits=30)
    arrays, correlation, _ = combine_field(field, **changes)
    light = star_image(field.shape, *field.stars, 4.5)  # wide, to keep away from stars
    # a drop may touch a pixel that two images see: nothing is judged there
    minimum = 4 if changes["method"] == "drizzle" else 3
    blank = (light < 0.05) & (arrays["CON"] >= minimum) & np.isfinite(arrays["SCI"])
    pulls = (arrays["SCI"] / arrays["ERR"])[blank]
    assert pulls.size > 5000
    assert abs(pulls.mean()) < 4 * correlation / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1.0, abs=0.03)
    boxes, errors = (
        [
            array[y : y + 7, x : x + 7]
            for y in range(0, field.shape[0] - 7, 7)
            for x in range(0, field.shape[1] - 7, 7)
            if blank[y : y + 7, x : x + 7].all()
        ]
        for array in (arrays["SCI"], arrays["ERR"])
    )
    sums = np.array([box.sum() / np.sqrt((error**2).sum()) for box, error in zip(boxes, errors, strict=True)])
    # 7 x 7 boxes have most, not all, of what wide apertures have
    assert sums.std() == pytest.approx(correlation, rel=0.05 + 4 / np.sqrt(2 * sums.size))


def test_hits_go_wherever_they_fall():
    field = make_field(5, seed=5, fwhm=1.8, spacing=36)
    rng, seen, gone = np.random.default_rng(6), count_frames(field, (150, 190)), []
    struck = []
    for arrays, header in zip(field.images, field.headers, strict=True):
        y, x = (rng.integers(0, length, 100) for length in arrays["SCI"].shape)
        arrays["SCI"][y, x] += arrays["ERR"][y, x] * 10 ** rng.uniform(1, 3.5, 100)
        u, v = WCS(field.grid).wcs_world2pix(*WCS(header).wcs_pix2world(x, y, 0), 0)
        place = np.rint(v).astype(int), np.rint(u).astype(int)
        struck.append((place, (arrays["DQ"][y, x] == 0) & (seen[place] >= 3)))
    arrays, _, _ = combine_field(field)
    for place, counted in struck:
        gone.extend((arrays["DQ"][place] & Flag.OUTLIER != 0)[counted])
    assert len(gone) > 300
    assert np.mean(gone) >= 0.98


@pytest.mark.parametrize("n", [3, 4, 6])
def test_stars_of_undersampled_images_keep_their_cores(n):
    """FWHM of 1.8 pixels, as of IRIS in Y: 200 stars, bad pixels on some of them."""
    field = make_field(n, seed=5, fwhm=1.8, spacing=12)
    clipped, _, n_rejected = combine_field(field)
    kept, _, none = combine_field(field, clip_sigma=0)
    assert none == 0
    assert n_rejected < 2e-5 * n * 150 * 190
    cores = [(round(y), round(x)) for x, y, _ in field.stars.T]
    ratios = np.array([clipped["SCI"][place] / kept["SCI"][place] for place in cores])
    assert len(ratios) > 100
    assert np.abs(ratios - 1).max() < 1e-3


@pytest.mark.parametrize("changes", METHODS[:2], ids=lambda changes: changes["method"])
@pytest.mark.parametrize("fwhm", [1.8, 2.6])
def test_stars_keep_their_flux_and_its_error(changes, fwhm):
    """300 isolated stars up to a signal over noise of 5000, bad pixels in every image."""
    field = make_field(6, (330, 430), seed=7, fwhm=fwhm, bad=0.003, spacing=20)
    arrays, correlation, _ = combine_field(field, **changes)
    error = correlation * np.sqrt(sums_of_stars(field, arrays["ERR"].astype(float) ** 2)) / field.stars[2]
    # the edge of an image through a star is another matter: UNEVEN of its source
    good = np.isfinite(error) & (sums_of_stars(field, (count_frames(field, (330, 430)) < 6).astype(int)) == 0)
    ratio = sums_of_stars(field, np.nan_to_num(arrays["SCI"])) / field.stars[2]
    bias = np.average(ratio[good], weights=error[good] ** -2) - 1
    assert good.sum() > 200
    assert abs(bias) < 2e-4
    assert np.mean(((ratio - 1) / error)[good] ** 2) == pytest.approx(1, abs=0.1 + 3 * np.sqrt(2 / good.sum()))


def test_a_bad_pixel_in_the_core_of_a_star_is_estimated_and_not_counted():
    field = make_field(5, seed=2, bad=0, spacing=24)
    whole, _, _ = combine_field(field)
    header, grid = WCS(field.headers[2]), WCS(field.grid)
    u, v = np.rint(header.wcs_world2pix(*grid.wcs_pix2world(*field.stars[:2], 0), 0)).astype(int)
    for name, value in (("DQ", 1), ("SCI", np.nan)):
        field.images[2][name][v, u] = value
    arrays, _, _ = combine_field(field)
    place = np.rint(grid.wcs_world2pix(*header.wcs_pix2world(u, v, 0), 0)).astype(int)[::-1]
    place = tuple(place[:, whole["CON"][tuple(place)] == 5])
    assert place[0].size > 20
    assert (arrays["CON"][place] == 4).all()
    assert (arrays["WHT"][place] < 0.9 * whole["WHT"][place]).all()
    assert (arrays["DQ"][place] & Flag.FLUX_ESTIMATED > 0).all()
    assert (arrays["ERR"][place] > whole["ERR"][place]).all()
    error = np.sqrt(sums_of_stars(field, arrays["ERR"].astype(float) ** 2))
    change = sums_of_stars(field, arrays["SCI"].astype(float) - whole["SCI"])
    assert np.nanmean((change / error) ** 2) < 2
    assert abs(np.nanmedian(change / field.stars[2])) < 0.002


def test_a_wide_gap_and_a_saturated_pixel_are_not_filled():
    field = make_field(4, seed=3, bad=0)
    field.images[1]["DQ"][40:60, 50:90] = 1
    field.images[2]["DQ"][80, 70] = Flag.SATURATED | Flag.DO_NOT_USE
    arrays, _, _ = combine_field(field)
    assert (arrays["DQ"] & Flag.FLUX_ESTIMATED).sum() == 0
    assert (arrays["CON"] == 3).sum() > 700


def test_the_weight_of_a_pixel_does_not_follow_its_light():
    shape = (40, 47)
    planes = {"SCI": np.ones(shape, "f4"), "ERR": np.ones(shape, "f4"), "DQ": np.zeros(shape, "u4")}
    planes["NREADS"] = np.where(np.arange(40)[:, np.newaxis] < 20, 11, 6) * np.ones(
        shape, np.uint16
    )  # saturated later on
    planes = {name: Rows(array) for name, array in planes.items()}
    member = open_member(planes, build_map(lambda x, y: (x, y), shape), 50.0)
    np.testing.assert_array_equal(member.read(slice(0, 40))[2], 50)


def test_a_masked_image_is_no_member():
    shape = (40, 47)
    planes = {"SCI": np.ones(shape, "f4"), "ERR": np.ones(shape, "f4"), "DQ": np.ones(shape, "u4")}
    planes = {name: Rows(array) for name, array in planes.items()}
    assert open_member(planes, build_map(lambda x, y: (x, y), shape), 50.0) is None


def test_a_turned_image_cannot_be_shifted():
    with pytest.raises(ReductionError, match=r"turned or distorted by .* {method: exact}"):
        combine_field(make_field(3, (61, 83), pa=3.0), method="shift")


def test_flags_of_the_nearest_used_pixel_reach_the_mosaic():
    field = make_field(3, (61, 83), bad=0, pa=0)
    field.images[0]["DQ"][20, 30] = Flag.SATURATED
    field.images[0]["DQ"][25, 30] = Flag.HOT | Flag.DO_NOT_USE
    arrays, _, _ = combine_field(field)
    x, y = WCS(field.grid).wcs_world2pix(*WCS(field.headers[0]).wcs_pix2world(30, 20, 0), 0)
    assert np.argwhere(arrays["DQ"] & Flag.SATURATED).tolist() == [[round(float(y)), round(float(x))]]
    assert not (arrays["DQ"] & Flag.HOT).any()
