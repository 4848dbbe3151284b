"""Tables of stars: columns, filters, systems, and what is refused."""

import numpy as np
import pytest
from astropy.table import Table

from drs.catalogue import read_catalogue
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
