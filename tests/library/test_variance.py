"""Photon noise of rates: unbiased over equal pixels, each pixel's own where the scene has structure."""

import numpy as np
import pytest

from drs.errors import ReductionError
from drs.variance import estimate_poisson_variance

SHAPE = (40, 60)


def make(rate, *, read_sigma=0.1, factor=0.04, seed=1, shape=SHAPE):
    """Return noisy rates of a scene, the photon factor and the read variance."""
    rate = np.broadcast_to(np.asarray(rate, float), shape)
    noise = np.random.default_rng(seed).normal(size=shape) * np.sqrt(read_sigma**2 + rate * factor)
    constants = (np.full(shape, value, np.float32) for value in (factor, read_sigma**2))
    return (rate + noise).astype(np.float32), *constants


def estimate(images, *, box_pix=7, excluded=None):
    excluded = np.zeros(images[0].shape, bool) if excluded is None else excluded
    return estimate_poisson_variance(*images, excluded, box_pix=box_pix)


def test_box_of_one_is_the_pixel_alone():
    images = make(0.3)
    expected = np.maximum(images[0], 0) * images[1]
    np.testing.assert_array_equal(estimate(images, box_pix=1), expected)


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0, 30.0])
def test_equal_pixels_get_the_noise_of_their_mean(rate):
    images = make(rate, shape=(200, 300))
    variance = estimate(images)
    total = images[2] + variance
    np.testing.assert_allclose(total.mean(), images[2][0, 0] + rate * images[1][0, 0], rtol=0.03)
    pull = (images[0] - rate) / np.sqrt(total)
    assert abs(pull.mean()) < 0.02
    assert abs(pull.std() - 1) < 0.03
    own = (images[0] - rate) / np.sqrt(images[2] + estimate(images, box_pix=1))
    assert own.mean() < -0.02 or rate == 30


def test_structure_keeps_the_rate_of_each_pixel():
    rate = np.random.default_rng(6).uniform(5.0, 500.0, SHAPE)
    images = make(rate, read_sigma=0.01, factor=0.001)
    np.testing.assert_allclose(estimate(images), images[0] * images[1], rtol=0.02)


def test_two_populations_keep_their_rates():
    rate = np.where(np.arange(SHAPE[1]) % 4 < 2, 5.0, 500.0) * np.ones(SHAPE)
    images = make(rate, read_sigma=0.01, factor=0.001)
    np.testing.assert_allclose(estimate(images), rate * images[1], rtol=0.08)  # 5 sigma of a faint pixel


def test_a_pixel_that_stands_out_keeps_its_rate():
    images = make(1.0)
    images[0][20, 30] = 40
    np.testing.assert_allclose(estimate(images)[20, 30], 40 * 0.04, rtol=1e-5)


def test_excluded_pixels_do_not_matter_to_others_but_get_a_variance():
    images = make(1.0)
    clean = estimate(images)
    excluded = np.zeros(SHAPE, bool)
    excluded[10, 12] = True
    without = estimate(images, excluded=excluded)
    images[0][10, 12] = 1e6
    with_hot = estimate(images, excluded=excluded)
    elsewhere = ~excluded
    np.testing.assert_array_equal(with_hot[elsewhere], without[elsewhere])
    assert with_hot[10, 12] == np.float32(1e6) * images[1][10, 12]
    assert np.isfinite(clean).all()


def shrink_one_by_one(rate, factor, read_variance, ordinary, half):
    """Lee's filter as it is written: every box summed by itself."""
    rates = np.empty(rate.shape)
    for y, x in np.ndindex(rate.shape):
        box = np.s_[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        values = rate[box][ordinary[box]].astype(float)
        mean, light = values.mean(), max(values.mean(), 0)
        noise = (read_variance[box][ordinary[box]] + factor[box][ordinary[box]] * light).mean()
        excess = max(values.var(ddof=1) - noise * (1 + 2 * np.sqrt(2 / (values.size - 1))), 0)
        alone = (rate[y, x] - mean) ** 2 > 9 * (read_variance[y, x] + factor[y, x] * light)
        part = 1 if alone else excess / (excess + noise)
        rates[y, x] = max(mean + part * (rate[y, x] - mean), 0)
    return rates * factor


@pytest.mark.parametrize("box_pix", [5, 7, 15])
def test_surroundings_are_the_box_around_each_pixel(box_pix):
    ys, xs = np.indices(SHAPE)
    rate = 5 + 0.5 * np.sin(ys / 5) * np.cos(xs / 7)
    images = make(rate, seed=4)
    images[0][:] = np.clip(images[0], rate - 0.6, rate + 0.6)  # 1.3 sigma: none stands out of its cell
    excluded = np.random.default_rng(5).random(SHAPE) < 0.05
    images[0][excluded] = 1e4
    images[1][:, ::3] *= 1.5
    expected = shrink_one_by_one(*images, ~excluded, box_pix // 2)
    np.testing.assert_allclose(estimate(images, box_pix=box_pix, excluded=excluded), expected, rtol=1e-5)


def test_pixels_without_rate_stay_without():
    images = make(1.0)
    images[0][5, 6] = np.nan
    variance = estimate(images)
    assert np.argwhere(np.isnan(variance)).tolist() == [[5, 6]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_small_images(shape):
    variance = estimate(make(2.0, shape=shape))
    assert variance.shape == shape
    assert (variance >= 0).all()


def test_refused():
    with pytest.raises(ReductionError, match="odd"):
        estimate(make(1.0), box_pix=4)
    with pytest.raises(ValueError, match="differ in shape"):
        estimate(make(1.0), excluded=np.zeros((3, 3), bool))


def test_warm_pixels_and_stars_do_not_make_their_surroundings_follow_their_noise():
    """One pixel in 50 is warm, 5 to 50 sigma: errors of the others must not be correlated with their rates."""
    images = make(0.1, shape=(300, 400))
    rng = np.random.default_rng(2)
    warm = rng.random(images[0].shape) < 0.02
    images[0][warm] += rng.uniform(0.6, 6, warm.sum())
    error = np.sqrt(images[2] + estimate(images, box_pix=15))[~warm]
    deviation = images[0][~warm] - 0.1
    assert abs(np.corrcoef(error, deviation)[0, 1]) < 0.3  # 0.96 with them
    assert abs((deviation / error).mean()) < 0.015
    assert abs((deviation / error).std() - 1) < 0.01


@pytest.mark.parametrize("part", [slice(0, 35), slice(35, 70), slice(105, 137)])
def test_parts_of_an_image_have_the_bits_of_the_whole(part):
    images = make(np.linspace(0, 90, 41), shape=(137, 41))
    padded = slice(max(part.start - 7, 0), min(part.stop + 7, 137))
    inside = slice(part.start - padded.start, part.stop - padded.start)
    alone = estimate(tuple(image[padded] for image in images))[inside]
    assert alone.tobytes() == estimate(images)[part].tobytes()
