"""References of spectra: configurations, fields on the sky, wavelengths of traces."""

import numpy as np
import pytest
from nights import INSTRUMENTS

from drs.errors import ReductionError
from drs.product import Product
from drs.spectralrefs import check_configuration, find_field, find_order, match_slices, match_wavelengths

KEYS = {"INSTRUME": "IRIS", "DETECTOR": "IFS", "INSTMODE": "LENSLET", "FILTER": "HN3", "SCALE": 0.009, "GRATING": "a"}


def test_the_configuration_of_a_reference():
    check_configuration(KEYS, KEYS | {"EXPNUM": 3}, name="x")
    with pytest.raises(ReductionError, match=r"x is of SCALE = 0\.009, GRATING = a, the exposure of SCALE = 0\.004, G"):
        check_configuration(KEYS, KEYS | {"SCALE": 0.004, "GRATING": "b"}, name="x")
    check_configuration(KEYS | {"INSTERA": "0.0.1"}, KEYS, name="x")
    with pytest.raises(ReductionError, match=r"x is of INSTERA = 0\.0\.1, the exposure of INSTERA = 0\.0\.2: give one"):
        check_configuration(KEYS | {"INSTERA": "0.0.1"}, KEYS | {"INSTERA": "0.0.2"}, name="x")


def test_the_field_on_the_sky():
    field = find_field(INSTRUMENTS["IRIS"], KEYS)
    assert field == {"scale_arcsec": 0.009, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
    with pytest.raises(ReductionError, match=r"SCALE 0\.05 is none of LENSLET, which has 0\.004, 0\.009 arcsec"):
        find_field(INSTRUMENTS["IRIS"], KEYS | {"SCALE": 0.05})
    with pytest.raises(ReductionError, match=r"INSTMODE 'IMG' of IFS has no field .* LENSLET, SLICER"):
        find_field(INSTRUMENTS["IRIS"], KEYS | {"INSTMODE": "IMG"})


def test_the_order_of_slices():
    keys = KEYS | {"INSTMODE": "SLICER", "SCALE": 0.05}
    np.testing.assert_array_equal(find_order(INSTRUMENTS["IRIS"], keys, 4), range(4))
    field = INSTRUMENTS["IRIS"]["detectors"]["IFS"]["fields"]["SLICER"]
    staggered = {"detectors": {"IFS": {"fields": {"SLICER": field | {"slice_order": [3, 1, 4, 2]}}}}}
    np.testing.assert_array_equal(find_order(staggered, keys, 4), [1, 3, 0, 2])  # row 1 is the second slice, ...
    with pytest.raises(ReductionError, match="slice_order of SLICER names 4 slices, 1 to 4, the traces have 5"):
        find_order(staggered, keys, 5)


def test_wavelengths_are_of_the_traces_of_the_matrix():
    wavelength = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    offsets = np.zeros((2, 2, 3), np.int32)
    solution = Product({}, {"WAVESOL": wavelength, "OFFSETS": offsets})
    found = match_wavelengths(solution, offsets, (5, 2, 3))
    assert found.shape == (6, 5)
    np.testing.assert_array_equal(found[4], wavelength[:, 1, 1])
    with pytest.raises(ReductionError, match=r"is of \(5, 2, 3\) \(column, y, x\), the rectification matrix of \(6,"):
        match_wavelengths(solution, offsets, (6, 2, 3))
    with pytest.raises(ReductionError, match="count the columns of their traces from different places"):
        match_wavelengths(solution, offsets + 1, (5, 2, 3))
    moved = offsets + np.array([1, 0], np.int32)[:, np.newaxis, np.newaxis]
    np.testing.assert_array_equal(match_wavelengths(solution, moved, (5, 2, 3)), found)  # rows do not matter


def test_wavelengths_are_of_the_slices_of_the_traces():
    wavelength = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    trace = Product({}, {"EDGES": np.ones((2, 2, 5), np.float32)})
    edges, found = match_slices(Product({}, {"WAVESOL": wavelength}), trace)
    assert (edges.dtype, found.dtype, found.shape) == (np.float64, np.float64, (2, 3, 5))
    np.testing.assert_array_equal(found[1, 2], wavelength[:, 1, 2])
    for other in (np.ones((5, 3, 3), np.float32), np.ones((6, 2, 3), np.float32), np.ones((5, 2), np.float32)):
        with pytest.raises(ReductionError, match="the traces are of 2 slices on 5 columns: give those of one mode"):
            match_slices(Product({}, {"WAVESOL": other}), trace)
