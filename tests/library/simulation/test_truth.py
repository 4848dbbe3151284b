"""Truth files read back."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from drs.simulation import truth
from drs.simulation.cosmic import HIT, SNOWBALL
from drs.simulation.drift import Drift


def test_cosmic_image_is_the_sum_of_the_hits(tmp_path):
    hits = np.array([(0, 1, 2, 5, 100.0), (1, 0, 2, 5, 50.0), (0, 3, 0, 6, 7.0)], dtype=HIT)
    scene = np.arange(28.0).reshape(4, 7)
    snowballs = np.array([(0, 3, 1.5, 2.0, 7.5, 900.0)], dtype=SNOWBALL)
    drift = Drift(np.arange(21.0).reshape(1, 3, 7), np.arange(12.0).reshape(1, 3, 4))
    truth.write_exposure(tmp_path / "a.fits", scene, hits, snowballs, drift, {"SKYLEVEL": 6.0})
    with fits.open(tmp_path / "a.fits") as hdus:
        assert hdus["COSMIC"].data[2, 5] == 150.0
        assert hdus["COSMIC"].data[0, 6] == 7.0
        assert hdus["COSMIC"].data.sum() == 157.0
        assert np.array_equal(hdus["SCENE"].data, scene)
        assert hdus["HITS"].data["READ"].tolist() == [1, 0, 3]
        assert hdus[0].header["SKYLEVEL"] == 6.0
        assert hdus["SNOWBALLS"].data["RADIUS_PIX"].tolist() == [7.5]
        assert np.array_equal(hdus["DRIFT_COLUMN"].data, drift.column_dn)
        assert np.array_equal(hdus["DRIFT_ROW"].data, drift.row_dn)
        assert hdus["DRIFT_ROW"].header["BUNIT"] == "DN"


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    truth.write_table(tmp_path / "a.ecsv", [], truth.SOURCE_COLUMNS)
    assert Table.read(tmp_path / "a.ecsv").colnames == list(truth.SOURCE_COLUMNS)


def test_a_table_has_units(tmp_path):
    rows = [{"file": "a.fits", "exposure": 3, "source": 1, "x_pix": 2.25, "y_pix": 7.5}]
    truth.write_table(tmp_path / "a.ecsv", rows, truth.POSITION_COLUMNS)
    table = Table.read(tmp_path / "a.ecsv")
    assert table["x_pix"].unit == "pix"
    assert table["x_pix"][0] == 2.25
