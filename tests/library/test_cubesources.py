"""Sources of a cube: of its light, of its lines, each once; noise and what the sky leaves are none."""

import numpy as np
import pytest
from cubefiles import STARS, render_stars, write_cube

from drs import product
from drs.cubesources import find_sources

SHAPE = (40, 26, 31)
BINS = np.arange(SHAPE[0])
LIMITS = {"threshold_sigma": 5.0, "radius_pix": 4.0}


def make_cube(folder, *, line=0.0, sky=0.0, number=1):
    """Return the cube of stars, of which the faintest place has a line and no light, and a line in all spaxels."""
    profile = np.exp(-0.5 * ((BINS - 22) / 1.3) ** 2) / (1.3 * np.sqrt(2 * np.pi))
    (y, x, _) = STARS[2]
    galaxy = render_stars(stars=[(y, x, 1.0)], shape=SHAPE)
    values = render_stars(stars=STARS[:2], shape=SHAPE) + galaxy * (line * (profile - profile.mean()))[:, None, None]
    values = values + (sky * profile)[:, None, None]
    path = write_cube(folder / f"{number}.fits", number, values, grid_um=1.6 + BINS * 2e-4)
    return product.read(path)


@pytest.mark.parametrize("lines", [True, False])
def test_a_source_of_a_line_alone_comes_last(tmp_path, lines):
    found = find_sources(make_cube(tmp_path, line=3000.0), lines=lines, **LIMITS)
    expected = [star[:2] for star in STARS[: 3 if lines else 2]]
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_a_source_with_light_and_a_line_is_one(tmp_path):
    cube = make_cube(tmp_path)
    profile = 1 + 2.0 * np.exp(-0.5 * ((BINS - 12) / 1.3) ** 2)
    cube.arrays["SCI"] *= profile[:, np.newaxis, np.newaxis].astype(np.float32)
    np.testing.assert_allclose(find_sources(cube, lines=True, **LIMITS), [star[:2] for star in STARS[:2]], atol=0.2)


@pytest.mark.parametrize("number", range(1, 5))
def test_a_line_of_the_sky_that_is_left_is_no_source(tmp_path, number):
    found = find_sources(make_cube(tmp_path, sky=10.0, number=number), lines=True, **LIMITS)
    assert len(found) == 2
