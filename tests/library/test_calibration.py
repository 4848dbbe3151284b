"""Calibrations of an exposure: cut to a subarray, applied in order."""

import numpy as np
import pytest
from images import SHAPE, make_image

from drs import product
from drs.calibration import calibrate, cut, explain_absence, with_references
from drs.errors import ReductionError


def make_exposure(shape, **keywords):
    """Return an exposure of a shape."""
    return product.Product(keywords, {"SCI": np.zeros(shape, np.float32)})


def test_dark_first_then_flat():
    result = calibrate(make_image(10.5), {"dark": make_image(0.5), "flat": make_image(2.0, 0.0)})
    assert result.rate[0, 0] == 5.0
    assert calibrate(make_image(10.5), {"dark": make_image(0.5)}).rate[0, 0] == 10.0


def test_a_subarray_gets_its_part():
    reference = make_image(np.arange(54.0).reshape(SHAPE))
    window = make_exposure((2, 3), SUBARRAY="CUSTOM", SUBSTRT1=4, SUBSTRT2=2)
    part = cut(reference, window, name="dark")
    np.testing.assert_array_equal(part.rate, reference.rate[1:3, 3:6])
    assert part.dq.shape == (2, 3)


def test_a_calibration_of_another_detector_is_refused():
    with pytest.raises(ReductionError, match="flat x has shape"):
        cut(make_image(), make_exposure((20, 30), SUBARRAY="FULL"), name="flat x")


def test_the_references_of_a_manifest_are_named():
    entry = {"status": "found", "keyword": "R_DARK", "file": "iris_dark.fits"}
    manifest = {"context": {"name": "ligeriri_0001.pmap"}, "crds_version": "14", "references": {"dark": entry}}
    named = with_references(make_exposure((2, 3)), manifest)
    assert named.keywords == {
        "CRDS_CTX": "ligeriri_0001.pmap",
        "CRDS_VER": "14",
        "R_DARK": "iris_dark.fits",
        "R_PARS": "N/A",
    }


def test_why_there_is_no_reference():
    manifest = {"references": {"telluric": {"status": "n/a", "reason": "no rmap", "source": ""}}}
    assert explain_absence(manifest, "telluric") == "no telluric reference"
    assert explain_absence(manifest, "dark") == "not for this kind of exposure"
