"""Cubes of one field on a grid: places of first spaxels, whole spaxels, wavelengths, turned cubes."""

import numpy as np
import pytest
from astropy.wcs import WCS
from cubefiles import SHAPE, render_stars, write_cube

from drs import product
from drs.cubefield import Rows, place_cubes
from drs.errors import ReductionError

SHIFTS = ((0.0, 0.0), (2.4, -1.3), (-1.6, 2.7))
NAMES = ["a", "b", "c"]
OPTIONS = {"offsets": "header", "max_offset_pix": 5.0}


@pytest.fixture
def cubes(tmp_path):
    """Return three cubes."""
    paths = [
        write_cube(tmp_path / f"{k}.fits", k, render_stars(shift), shift=shift) for k, shift in enumerate(SHIFTS, 1)
    ]
    return [product.read(path) for path in paths]


@pytest.mark.parametrize("integer", [False, True])
def test_first_spaxels_and_coordinates(cubes, integer):
    field = place_cubes(cubes, NAMES, integer=integer, **OPTIONS)
    wanted = np.rint(SHIFTS) if integer else np.array(SHIFTS)
    np.testing.assert_allclose(np.diff(field.grid.shifts, axis=0), np.diff(wanted, axis=0), atol=1e-3)
    assert (field.grid.shifts >= 0).all()
    assert all(np.ceil(shift + SHAPE[1:]).max() <= max(field.grid.shape) for shift in field.grid.shifts)
    y, x = field.grid.shifts[0]
    here = WCS(field.wcs).wcs_pix2world([[x, y, 0]], 0)[0]
    assert here == pytest.approx(WCS(cubes[0].wcs).wcs_pix2world([[0, 0, 0]], 0)[0], abs=1e-10)
    assert field.kept == [0, 1, 2]


def test_a_cube_far_away_is_left_out(cubes, tmp_path):
    far = product.read(write_cube(tmp_path / "far.fits", 9, render_stars(), shift=(90.0, 0.0)))
    field = place_cubes([*cubes, far], [*NAMES, "far"], integer=False, **OPTIONS)
    assert field.kept == [0, 1, 2]
    assert field.left_out == ["left out: far: overlaps no other image; correct its RA and DEC in exposures.yaml"]


def test_refused(cubes, tmp_path):
    short = product.read(write_cube(tmp_path / "short.fits", 9, render_stars(shape=(9, *SHAPE[1:]))))
    with pytest.raises(ReductionError, match=r"a has 12 bins from 1\.633000 um, short 9 bins"):
        place_cubes([cubes[0], short], ["a", "short"], integer=False, **OPTIONS)
    turned = product.read(write_cube(tmp_path / "turned.fits", 9, render_stars(), pa_deg=5.0))
    with pytest.raises(ReductionError, match=r"turned is turned or scaled against the first cube by 1\.\d+ spaxels"):
        place_cubes([cubes[0], turned], ["a", "turned"], integer=False, **OPTIONS)


def test_rows_of_an_array():
    array = np.arange(12).reshape(4, 3)
    assert Rows(array).shape == (4, 3)
    np.testing.assert_array_equal(Rows(array).read(slice(1, 3)), array[1:3])
