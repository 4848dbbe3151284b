"""write_maps: colours and the line of a cube, one without a line, a refused one."""

import io

import numpy as np
import pytest
from cubefiles import render_stars, write_cube
from PIL import Image

from drs import product
from write_maps import main

SHAPE = (40, 9, 12)
GRID_UM = 1.63 + 2e-4 * np.arange(40)


@pytest.mark.parametrize(("line", "other", "width"), [(4000.0, 0.0, 2), (4000.0, 900.0, 3), (0.0, 0.0, 1)])
def test_a_cube_has_its_maps(run, tmp_path, caplog, line, other, width):
    caplog.set_level("INFO")
    profile, again = (np.exp(-0.5 * ((np.arange(40) - k) / 1.5) ** 2) for k in (18, 30))
    star = render_stars(stars=[(4.2, 6.1, 1.0)], shape=SHAPE)
    values = star * (300.0 + line * profile + other * again)[:, np.newaxis, np.newaxis]
    path = write_cube(tmp_path / "cube.fits", 1, values, grid_um=GRID_UM)
    result = run(main, cube=path, max_size_pix=120, output=tmp_path / "maps.png")
    assert result.exit_code == 0, result.output
    assert ("line, 1.633" in caplog.text) == (line > 0)
    with Image.open(io.BytesIO((tmp_path / "maps.png").read_bytes())) as picture:
        assert picture.size[0] // 120 == width


def test_a_refused_cube_has_a_placeholder(run, tmp_path):
    path = write_cube(tmp_path / "cube.fits", 1, np.zeros(SHAPE), grid_um=GRID_UM)
    with product.mark_refusal(path, product.read(path), mark=True):
        raise product.ReductionError("no matrix")
    result = run(main, cube=path, max_size_pix=120, output=tmp_path / "maps.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
