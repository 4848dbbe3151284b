"""Maps of a cube: the brightest line with its light, cubes without one, colours."""

import numpy as np
import pytest

from drs.dq import Flag
from drs.linemap import find_continua, find_lines, split_colours

SHAPE = (60, 7, 11)
PEAK, SIGMA = 33.4, 1.6


def find_line(*planes):
    """Return the brightest line of a cube, None of none."""
    return next(iter(find_lines(*planes, most=1)), None)


def make_cube(line=800.0, seed=1):
    """Return (rate, error, dq): a galaxy with a line, a star without, noise of 1."""
    bins, y, x = np.indices(SHAPE)
    galaxy = np.exp(-0.5 * ((y - 2.2) ** 2 + (x - 7.3) ** 2) / 1.3**2)[0]
    star = np.exp(-0.5 * ((y - 4.6) ** 2 + (x - 2.1) ** 2) / 0.7**2)[0]
    profile = np.exp(-0.5 * ((bins - PEAK) / SIGMA) ** 2) / (SIGMA * np.sqrt(2 * np.pi))
    rate = line * galaxy / galaxy.sum() * profile + 20 * galaxy + (300 + 2 * bins) * star
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return (rate + noise).astype(np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.uint32)


def test_the_line_has_its_light_where_it_is():
    line = find_line(*make_cube())
    assert line.first < PEAK - SIGMA < PEAK + SIGMA < line.last
    assert line.last - line.first < 8
    inside = (np.arange(SHAPE[0]) >= line.first) & (np.arange(SHAPE[0]) <= line.last)
    profile = np.exp(-0.5 * ((np.arange(SHAPE[0]) - PEAK) / SIGMA) ** 2)
    expected = 800.0 * profile[inside].sum() / profile.sum()
    sigma = float(np.sqrt((line.image.error**2).sum()))
    assert line.image.rate.sum() == pytest.approx(expected, abs=4 * sigma)
    assert np.unravel_index(np.argmax(line.image.rate), SHAPE[1:]) == (2, 7)
    assert abs(line.image.rate[4:6, 1:4].sum()) < 5 * line.image.error[4, 2] * np.sqrt(6)  # the star has no line


@pytest.mark.parametrize(("second", "away"), [(400.0, 14), (500.0, -7), (0.0, 14)])
def test_lines_are_apart_and_each_is_found_once(second, away):
    rate, error, dq = make_cube(line=6000.0)  # so bright that its feet are many sigma too
    profile = np.exp(-0.5 * ((np.arange(SHAPE[0]) - PEAK - away) / SIGMA) ** 2) / (SIGMA * np.sqrt(2 * np.pi))
    rate[:, 1:3, 3:5] += (second / 4 * profile)[:, np.newaxis, np.newaxis].astype(np.float32)  # of another source
    lines = find_lines(rate, error, dq, most=3)
    assert len(lines) == (2 if second else 1)
    assert lines[0].first < PEAK < lines[0].last
    if second:
        assert lines[1].first < PEAK + away < lines[1].last
        assert lines[1].image.rate[1:3, 3:5].sum() > 0.7 * second
        assert lines[0].first > lines[1].last or lines[1].first > lines[0].last
    assert len(find_lines(rate, error, dq, most=1)) == 1


def test_errors_of_the_map_hold():
    maps = [find_line(*make_cube(seed=k)) for k in range(60)]
    bins = {(line.first, line.last) for line in maps}
    same = [line for line in maps if (line.first, line.last) == max(bins, key=lambda b: b[1] - b[0])]
    scatter = np.std([line.image.rate[0, 0] for line in maps]) / np.mean([line.image.error[0, 0] for line in maps])
    assert same
    assert scatter == pytest.approx(1.0, abs=0.3)


def test_a_cube_without_a_line_has_none():
    assert find_line(*make_cube(line=0.0)) is None
    rate, error, dq = make_cube()
    assert find_line(rate, error, dq | np.uint32(Flag.DO_NOT_USE)) is None


def test_spaxels_without_a_value_have_none():
    rate, error, dq = make_cube()
    rate[33, 2, 6], dq[:, 0, 3] = np.nan, Flag.DO_NOT_USE
    line = find_line(rate, error, dq)
    assert {tuple(place) for place in np.argwhere(np.isnan(line.image.rate))} == {(2, 6), (0, 3)}
    images, gaps = split_colours(rate, error, dq)
    assert np.argwhere(gaps).tolist() == [[0, 3]]
    assert images.shape == (3, *SHAPE[1:])


def test_red_is_the_longest():
    images, _ = split_colours(*make_cube())
    assert images[0, 5, 2] > images[1, 5, 2] > images[2, 5, 2]  # the star is red
    assert images[1, 2, 7] > images[0, 2, 7]  # the line is in the middle


def test_a_continuum_is_that_between_lines():
    continua = find_continua(make_cube()[0])
    assert continua.shape == SHAPE
    assert continua[33, 2, 7] == pytest.approx(20 * 0.97, abs=2.0)
