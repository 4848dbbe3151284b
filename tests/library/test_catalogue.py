"""Tables of stars: columns, filters, systems, and what is refused."""

import numpy as np
import pytest
from astropy.table import Table

from drs.catalogue import move_to_date, read_catalogue
from drs.errors import ReductionError


def write(path, meta=None, **columns):
    """Write an ECSV table."""
    Table(columns, meta=meta or {}).write(path, format="ascii.ecsv")
    return path


def test_stars_of_a_filter(tmp_path):
    columns = {"ra_deg": [1.0, 2.0, np.nan], "dec_deg": [3.0, 4.0, 5.0], "mag": [10.0, 11.0, 12.0]}
    stars = read_catalogue(
        write(tmp_path / "a.ecsv", {"system": "AB"}, **columns, filter=["Y", "H", "Y"]), filter_name="Y"
    )
    assert (stars.ra_deg.tolist(), stars.mag.tolist(), stars.system) == ([1.0], [10.0], "AB")
    assert np.isnan(stars.mag_error).all()
    stars = read_catalogue(write(tmp_path / "b.ecsv", ra_deg=[1.0], dec_deg=[2.0]), filter_name="Y")
    assert (np.isnan(stars.mag).all(), stars.system) == (True, "VEGA")


def test_gaia_rows_move_to_the_date_of_an_exposure(tmp_path):
    columns = {"ra": [10.0, 359.9999999], "dec": [60.0, 0.0], "ref_epoch": [2016.0, 2016.0], "mag": [9.0, 8.0]}
    table = Table(columns | {"pmra": [1000.0, 100.0], "pmdec": np.ma.array([-500.0, 1.0], mask=[False, True])})
    table["ra"].unit, table["pmra"].unit = "deg", "mas/yr"
    table.write(tmp_path / "gaia.ecsv")
    stars = move_to_date(read_catalogue(tmp_path / "gaia.ecsv"), "2026-01-01T00:00:00")
    assert (stars.ra_deg[0] - 10.0) * 0.5 * 3.6e6 == pytest.approx(10000, rel=2e-5)
    assert (stars.dec_deg - [60.0, 0.0]) * 3.6e6 == pytest.approx([-5000, 0], rel=1e-4)
    assert stars.ra_deg[1] == pytest.approx(1000 / 3.6e6, abs=2e-7)
    still = read_catalogue(write(tmp_path / "still.ecsv", ra_deg=[0.1], dec_deg=[2.0], filter=["Y"]))
    assert move_to_date(still, "2030-01-01").ra_deg == pytest.approx([0.1])
    radians = Table({"ra": [np.pi], "dec": [0.5]})
    radians["ra"].unit = radians["dec"].unit = "rad"
    radians.write(tmp_path / "radians.ecsv")
    assert read_catalogue(tmp_path / "radians.ecsv").ra_deg == pytest.approx([180.0])


def test_what_is_no_catalogue_is_refused(tmp_path):
    text = tmp_path / "text.ecsv"
    text.write_text("nothing")
    with pytest.raises(ReductionError, match="cannot be read as a table of stars"):
        read_catalogue(text, filter_name="Y")
    with pytest.raises(ReductionError, match="has no column dec_deg"):
        read_catalogue(write(tmp_path / "c.ecsv", ra_deg=[1.0]), filter_name="Y")
    with pytest.raises(ReductionError, match="no star with a place in filter K"):
        read_catalogue(write(tmp_path / "d.ecsv", ra_deg=[1.0], dec_deg=[2.0], filter=["Y"]), filter_name="K")
    with pytest.raises(ReductionError, match="system 'ST'"):
        read_catalogue(write(tmp_path / "e.ecsv", {"system": "ST"}, ra_deg=[1.0], dec_deg=[2.0]), filter_name="K")
    with pytest.raises(ReductionError, match="proper motions without epoch"):
        read_catalogue(write(tmp_path / "f.ecsv", ra_deg=[1.0], dec_deg=[2.0], pmra=[3.0]))
