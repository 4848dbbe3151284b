"""Offsets: of stars to a hundredth of a pixel, of structure by correlation, of tables; and nothing from noise."""

import numpy as np
import pytest
from astropy.table import Table
from fields import star_image

from drs.errors import ReductionError
from drs.offsets import correlate, find_stars, match_stars, place_headers, read_offsets

SHAPE = (120, 150)
RNG = np.random.default_rng(8)
PLACES = np.stack([RNG.uniform(15, 135, 25), RNG.uniform(15, 105, 25)])
FLUX = 10 ** RNG.uniform(2.5, 4.5, 25)


def observe(dx, dy, noise=1.0, seed=1):
    values = star_image(SHAPE, PLACES[0] - dx, PLACES[1] - dy, FLUX, 2.5)
    return values + np.random.default_rng(seed).normal(0, noise, SHAPE)


def stars_of(values, noise=1.0):
    return find_stars(values, np.full(SHAPE, noise), ~np.isfinite(values))


@pytest.mark.parametrize(("dx", "dy"), [(0.37, -0.81), (9.5, 6.2), (-14.1, 3.0)])
def test_stars_give_the_offset_to_hundredths(dx, dy):
    offset = match_stars(stars_of(observe(dx, dy, seed=2)), stars_of(observe(0, 0)), max_offset_pix=20)
    assert offset.n_stars >= 10
    assert (offset.x_pix, offset.y_pix) == pytest.approx((dx, dy), abs=0.02)
    assert offset.error_pix < 0.02


def test_a_bad_pixel_moves_a_star_by_less_than_its_hole():
    y, x = np.mgrid[20:100:20, 22:104:20] + np.array([0.2, -0.35])[:, None, None]
    image = star_image((120, 125), x.ravel(), y.ravel(), np.full(x.size, 5000.0), 2.6)
    bad = np.zeros(image.shape, bool)
    for k, (j, i) in enumerate(zip(y.ravel(), x.ravel(), strict=True)):
        bad[round(j) + k % 3 - 1, round(i) + k // 3 % 3 - 1] = True
    found = find_stars(np.where(bad, np.nan, image), np.ones(image.shape), bad)
    apart = np.hypot(found[0][:, None] - x.ravel(), found[1][:, None] - y.ravel()).min(axis=1)
    assert apart.size == x.size
    assert apart.max() < 0.08
    assert np.median(apart) < 0.03


def test_three_stars_are_enough_though_their_places_have_errors():
    reference = np.array([[20.0, 80.0, 50.0], [30.0, 40.0, 90.0], [9.0, 8.0, 7.0]])
    stars = reference - np.array([[5.0], [-3.0], [0.0]])
    stars[:2] += [[-0.12, 0.02, 0.0], [0.0, 0.0, 0.107]]
    offset = match_stars(stars, reference, max_offset_pix=20)
    assert offset.n_stars == 3
    assert (offset.x_pix, offset.y_pix) == pytest.approx((5, -3), abs=0.05)


def test_an_offset_beyond_the_limit_is_not_found():
    assert match_stars(stars_of(observe(30, 0, seed=2)), stars_of(observe(0, 0)), max_offset_pix=10) is None


def test_stars_of_another_field_do_not_match():
    others = np.random.default_rng(5).uniform(0, 120, (3, 40))
    assert match_stars(others, np.random.default_rng(6).uniform(0, 120, (3, 40)), max_offset_pix=20) is None


def test_there_are_no_stars_in_noise_or_in_a_masked_image():
    noise = np.random.default_rng(3).normal(0, 1, SHAPE)
    assert stars_of(noise).shape == (3, 0)
    assert stars_of(noise * np.nan).shape == (3, 0)


def test_a_smooth_nebula_is_aligned_by_correlation():
    y, x = np.indices(SHAPE)

    def nebula(dx, dy, seed):
        u, v = x + dx, y + dy
        light = 3 * np.exp(-((u - 70) ** 2 + (v - 60) ** 2) / 400) * (1 + np.sin(u / 6) * np.cos(v / 5))
        return light + np.random.default_rng(seed).normal(0, 0.5, SHAPE)

    image = nebula(3.4, -2.3, 1)
    image[40, 50] = np.nan
    offset = correlate(image, nebula(0, 0, 2), max_offset_pix=12)
    assert (offset.x_pix, offset.y_pix) == pytest.approx((3.4, -2.3), abs=0.2)
    assert correlate(np.full(SHAPE, np.nan), image, max_offset_pix=12) is None


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_offset(seed):
    rng = np.random.default_rng(seed)
    assert correlate(rng.normal(size=SHAPE), rng.normal(size=SHAPE), max_offset_pix=15) is None


def write(path, **columns):
    Table(columns).write(path, format="ascii.ecsv")
    return path


def test_tables_are_read_and_bad_ones_refused(tmp_path):
    good = {"expnum": [3, 4], "east_arcsec": [0.0, 0.1], "north_arcsec": [0.0, -0.2]}
    assert read_offsets(write(tmp_path / "a.ecsv", **good)) == {3: (0.0, 0.0), 4: (0.1, -0.2)}
    with pytest.raises(ReductionError, match="no column north_arcsec"):
        read_offsets(write(tmp_path / "b.ecsv", expnum=[1], east_arcsec=[0.0]))
    with pytest.raises(ReductionError, match="once, with two numbers"):
        read_offsets(write(tmp_path / "c.ecsv", **good | {"expnum": [3, 3]}))
    (tmp_path / "d.ecsv").write_text("expnum\n1\n")
    with pytest.raises(ReductionError, match="cannot be read as ECSV"):
        read_offsets(tmp_path / "d.ecsv")


def test_headers_are_moved_to_the_dithers_of_a_table():
    headers = [{"CRVAL1": 150.0, "CRVAL2": 60.0}, {"CRVAL1": 9.0, "CRVAL2": 9.0}]
    moved = place_headers(headers, [1, 2], {1: (5.0, 1.0), 2: (41.0, 37.0)})
    assert moved[0] == pytest.approx(headers[0])
    assert moved[1]["CRVAL1"] == pytest.approx(150 + 0.02, abs=1e-5)
    assert moved[1]["CRVAL2"] == pytest.approx(60.01, abs=1e-5)
    with pytest.raises(ReductionError, match="no row of EXPNUM 2"):
        place_headers(headers, [1, 2], {1: (0.0, 0.0)})
