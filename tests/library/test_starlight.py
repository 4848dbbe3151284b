"""The star of a cube: the brightest source, its place; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from cubefiles import GRID_UM, STARS, render_stars, write_cube

from drs import product
from drs.dq import Flag
from drs.errors import ReductionError
from drs.starlight import check_signal, take_star


def read(tmp_path, values):
    """Return a cube of these values."""
    return product.read(write_cube(tmp_path / "cube.fits", 1, values))


def test_the_brightest_source_is_taken(tmp_path):
    star = take_star(read(tmp_path, render_stars()), "cube.fits", GRID_UM, 5.0)
    assert star.place == pytest.approx(STARS[0][:2], abs=0.05)
    assert star.spectrum.flux.mean() == pytest.approx(STARS[0][2], rel=0.01)
    assert star.white.rate.shape == (26, 31)


def test_estimates_beside_bad_pixels_do_not_count(tmp_path):
    cube = read(tmp_path, render_stars())
    y, x = (round(place) for place in STARS[0][:2])
    values, flags = cube.arrays["SCI"].copy(), cube.arrays["DQ"].copy()
    values[4, y, x] *= 0.6  # the light of a pixel beside the core, scaled
    flags[4, y, x] |= np.uint32(Flag.FLUX_ESTIMATED)
    flux = take_star(replace(cube, arrays=cube.arrays | {"SCI": values, "DQ": flags}), "a", GRID_UM, 5.0).spectrum.flux
    assert flux[4] == pytest.approx(flux.mean(), rel=0.02)  # 0.95 of it without the flag
    flux = take_star(replace(cube, arrays=cube.arrays | {"SCI": values}), "a", GRID_UM, 5.0).spectrum.flux
    assert flux[4] < 0.96 * flux.mean()


def test_cubes_without_a_star_or_of_another_grid_are_refused(tmp_path):
    cube = read(tmp_path, render_stars(stars=()))
    with pytest.raises(ReductionError, match=r"cube\.fits shows no star"):
        take_star(cube, "cube.fits", GRID_UM, 5.0)
    with pytest.raises(ReductionError, match="another wavelength grid than the first"):
        take_star(cube, "cube.fits", GRID_UM + 1e-4, 5.0)


def test_a_faint_star_is_refused():
    check_signal(np.full(5, 60.0), np.ones(5), 50, step="make_telluric")
    with pytest.raises(ReductionError, match=r"40 times its noise in a bin, at least 50 needed.*lower make_telluric"):
        check_signal(np.full(5, 40.0), np.ones(5), 50, step="make_telluric")
    with pytest.raises(ReductionError, match="has 0 times its noise"):
        check_signal(np.full(5, np.nan), np.ones(5), 50, step="make_telluric")
