"""measure_sources: the catalogue of an image, of a refused one, and bad options."""

import numpy as np
import pytest
from astropy.table import Table

from drs import product
from drs.wcs import build_wcs
from measure_sources import main

DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
OPTIONS = {"source_threshold_sigma": 5, "aperture_pix": "[2, 4]", "ring_pix": "[5, 8]", "psf_fit": False}


def write(write_rate):
    y, x = np.indices((24, 31))
    star = 5000 / (2 * np.pi * 1.2) * np.exp(-((y - 11.3) ** 2 + (x - 14.8) ** 2) / 2.4)
    return write_rate(star, 1, level=2, wcs=build_wcs(150.0, 2.0, 0.0, DETECTOR, (24, 31)))


def test_a_star_is_measured(run, write_rate, tmp_path):
    result = run(main, mosaic=write(write_rate), output=tmp_path / "cat.ecsv", **OPTIONS)
    assert result.exit_code == 0, result.output
    table = Table.read(tmp_path / "cat.ecsv")
    assert len(table) == 1
    assert (table["x_pix"][0], table["y_pix"][0]) == pytest.approx((14.8, 11.3), abs=0.01)
    assert table["flux_2"][0] == pytest.approx(5000, abs=4 * table["flux_2_error"][0] + 5)
    assert table.meta["UNIT"] == "electron/s"


def test_a_refused_mosaic_has_an_empty_catalogue(run, write_rate, tmp_path):
    path = write(write_rate)
    with product.mark_refusal(path, product.read(path), mark=True):
        raise product.ReductionError("no overlap")
    result = run(main, mosaic=path, output=tmp_path / "cat.ecsv", **OPTIONS)
    assert result.exit_code == 0, result.output
    assert "REFUSED: no overlap" in (tmp_path / "cat.ecsv").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aperture_pix": "[4, 2]"}, "[4, 2] is no list of ascending radii"),
        ({"ring_pix": "[5, 6, 7]"}, "ring_pix is [5, 6, 7]: expected two radii"),
        ({"aperture_pix": "3"}, "3 is not a JSON list"),
    ],
)
def test_radii_that_are_none_are_refused(run, write_rate, tmp_path, changes, message):
    result = run(main, mosaic=write(write_rate), output=tmp_path / "cat.ecsv", **OPTIONS | changes)
    assert result.exit_code != 0
    assert message in result.output
