"""Sky level among sources, and the subtraction of a sky frame."""

import numpy as np
import pytest
from astropy.stats import sigma_clip
from images import SHAPE, make_image

from drs.dq import Flag
from drs.errors import ReductionError
from drs.sky import SkyLevel, match_levels, measure_sky, subtract_frame, subtract_level


def star_field(level=20.0, noise=0.5, shape=(120, 140), n_star=25, seed=8):
    """Return an image of stars on a flat sky, and where their light is."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    stars = np.zeros(shape)
    for _ in range(n_star):
        y0, x0, flux = rng.uniform(5, shape[0] - 5), rng.uniform(5, shape[1] - 5), 10 ** rng.uniform(1.5, 4)
        stars += flux / (2 * np.pi * 1.5**2) * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * 1.5**2))
    return (level + stars + rng.normal(0, noise, shape)).astype(np.float32), stars


def test_the_level_of_a_large_image_is_that_of_its_clipped_pixels():
    rng = np.random.default_rng(5)
    rate = rng.normal(40, 3, (512, 640)).astype(np.float32)
    rate[::7, ::5] += rng.exponential(30, rate[::7, ::5].shape).astype(np.float32)
    unusable = rng.random(rate.shape) < 0.01
    rate[unusable] = np.nan
    sky = measure_sky(rate, unusable, source_threshold_sigma=1e9)
    kept = sigma_clip(rate[~unusable], sigma=3, maxiters=None, masked=False)
    assert sky.level == pytest.approx(np.median(kept), abs=0.002 * 3)
    assert sky.scatter == pytest.approx(kept.std(dtype=float), rel=0.002)


def test_sky_level_among_stars():
    rate, _ = star_field()
    sky = measure_sky(rate, np.zeros(rate.shape, bool), source_threshold_sigma=3)
    assert sky.level == pytest.approx(20.0, abs=0.02)
    assert sky.scatter == pytest.approx(0.5, rel=0.03)
    assert sky.level_error < 0.01


def test_bad_pixels_do_not_count():
    rate, _ = star_field()
    unusable = np.zeros(rate.shape, bool)
    unusable[::3] = True
    rate[::3] = np.nan
    sky = measure_sky(rate, unusable, source_threshold_sigma=3)
    assert sky.level == pytest.approx(20.0, abs=0.03)


def test_level_without_noise_and_sources_is_exact():
    sky = measure_sky(np.full((20, 30), 7.0, np.float32), np.zeros((20, 30), bool), source_threshold_sigma=3)
    assert sky.level == 7.0


def test_a_level_without_noise_among_outliers_of_all_sizes():
    rate = np.full((60, 70), 7.0, np.float32)
    rate.ravel()[::40] = 7 + 3.0 ** np.arange(105)[: rate.ravel()[::40].size].clip(max=30)
    sky = measure_sky(rate, np.zeros(rate.shape, bool), source_threshold_sigma=1e9)
    assert np.isfinite([sky.level, sky.level_error, sky.scatter]).all()
    assert sky.level == pytest.approx(7.0, abs=0.1)


def test_a_frame_without_sky_is_refused():
    with pytest.raises(ReductionError, match="no pixel is free"):
        measure_sky(np.ones((5, 6), np.float32), np.ones((5, 6), bool), source_threshold_sigma=3)


def test_subtraction_of_level_and_of_a_scaled_frame():
    image = make_image(30.0, 3.0)
    sky = measure_sky(np.full(SHAPE, 8.0, np.float32), np.zeros(SHAPE, bool), source_threshold_sigma=3)
    assert subtract_level(image, sky).rate[0, 0] == 22.0
    frame = make_image(10.0, 0.5, DO_NOT_USE=(2, 3))
    frame.rate[2, 3] = 1e6
    result = subtract_frame(image, frame, scale=2.0, offset=1.0, same_dark=False)
    assert (result.rate == 9.0).all()
    assert result.error[0, 0] == pytest.approx(np.hypot(3.0, 1.0))
    assert result.error[2, 3] == 3.0
    assert np.argwhere(result.dq & Flag.FLUX_ESTIMATED).tolist() == [[2, 3]]


def test_the_error_of_a_shared_dark_cancels_with_the_sky():
    rng = np.random.default_rng(12)
    dark_error, scale, n = 3.0, 0.9, 40_000
    shared = rng.normal(0, dark_error, n)
    image_values = 30 + rng.normal(0, 1.0, n) - shared
    frame_values = 10 + rng.normal(0, 0.5, n) - shared
    scatter = (image_values - scale * frame_values).std()
    var_dark = np.full(SHAPE, dark_error**2, np.float32)
    image = make_image(30.0, np.hypot(1.0, dark_error))._replace(var_dark=var_dark)
    frame = make_image(10.0, np.hypot(0.5, dark_error))._replace(var_dark=var_dark)
    result = subtract_frame(image, frame, scale=scale, offset=0.0, same_dark=True)
    assert result.error[0, 0] == pytest.approx(scatter, rel=0.02)
    apart = subtract_frame(image, frame, scale=scale, offset=0.0, same_dark=False)
    assert apart.error[0, 0] == pytest.approx(np.sqrt(1 + 9 + 0.81 * 9.25), rel=1e-5)


def test_levels_are_scaled_only_where_both_are_known():
    def sky(level, level_error):
        return SkyLevel(level, level_error, 1.0, np.zeros(SHAPE, bool))

    assert match_levels(sky(30.0, 0.1), sky(20.0, 0.1)) == (1.5, 0.0)
    assert match_levels(sky(0.02, 0.01), sky(0.001, 0.01)) == (1.0, pytest.approx(0.019))
    assert match_levels(sky(-0.02, 0.01), sky(20.0, 0.01)) == (1.0, pytest.approx(-20.02))


def test_an_empty_sky_frame_is_refused():
    frame = make_image(10.0)
    empty = frame._replace(dq=np.ones(SHAPE, np.uint32))
    with pytest.raises(ReductionError, match="no usable pixel"):
        subtract_frame(make_image(), empty, scale=1.0, offset=0.0, same_dark=False)
