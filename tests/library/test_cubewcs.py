"""Coordinates of a cube as a product."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drs import product
from drs.cubewcs import assign_wcs
from drs.errors import ReductionError

INSTRUMENT = {"latitude_deg": 19.8, "longitude_deg": -155.5}
FIELD = {"scale_arcsec": 0.05, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
KEYWORDS = {"DATAMODL": "IFUCubeModel", "RA": 150.0, "DEC": 2.0, "PA": 37.0, "EXPDTST": "2024-09-25T06:00:00"}
GRID_UM = 1.6 + 6e-4 * np.arange(20)


def test_the_pointing_is_in_the_middle_of_the_field_and_wavelengths_in_the_bins():
    cube = product.Product(KEYWORDS, {"SCI": np.zeros((20, 5, 14), np.float32)})
    made = assign_wcs(cube, INSTRUMENT, FIELD, GRID_UM)
    ra, dec, wave_m = WCS(made.wcs).wcs_pix2world([[6.5, 2.0, 7.0]], 0)[0]
    assert (ra, dec) == (pytest.approx(150.0), pytest.approx(2.0))
    assert wave_m == pytest.approx(1e-6 * GRID_UM[7])
    assert 0 < abs(made.keywords["BARYCORR"]) < 31
    assert made.keywords["S_WCS"] == "COMPLETE"
    later = product.Product(KEYWORDS | {"EXPDTMID": "2025-03-25T06:00:00"}, cube.arrays)
    assert assign_wcs(later, INSTRUMENT, FIELD, GRID_UM).keywords["BARYCORR"] != made.keywords["BARYCORR"]


def test_a_cube_without_pointing_is_refused():
    cube = product.Product({key: KEYWORDS[key] for key in KEYWORDS if key != "PA"}, {"SCI": np.zeros((20, 5, 14))})
    with pytest.raises(ReductionError, match="no PA in the header"):
        assign_wcs(cube, INSTRUMENT, FIELD, GRID_UM)
