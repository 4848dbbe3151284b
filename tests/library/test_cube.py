"""Sky of cubes as products: which sky is taken, and what the header says."""

from dataclasses import replace

import numpy as np
import pytest

from drs.cube import subtract_sky
from drs.errors import ReductionError
from drs.product import Product

SHAPE = (24, 4, 5)
WCS = {"CRVAL3": 1.6, "CDELT3": 2e-4, "CRPIX3": 1.0}


def make_cube(scale=1.0, imtype="SCI", seed=1):
    """Return a cube of a sky line and noise."""
    line = scale * (10 + 300 * np.exp(-0.5 * ((np.arange(SHAPE[0]) - 9) / 1.5) ** 2))
    rate = line[:, np.newaxis, np.newaxis] + np.random.default_rng(seed).normal(0, 1, SHAPE)
    arrays = {"SCI": rate.astype(np.float32), "ERR": np.ones(SHAPE, np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
    return Product({"DATAMODL": "IFUCubeModel", "IMTYPE": imtype}, arrays, {"SCI": "electron/s"}, WCS)


def test_a_sky_cube_is_scaled():
    less = subtract_sky(make_cube(1.2), make_cube(seed=2), sky_method="cube", blank_fraction=0.5)
    left = less.arrays["SCI"].mean(axis=(1, 2))
    np.testing.assert_allclose(left, 2.0, atol=1.5)  # the continuum, of which there is 20 % more
    assert left.mean() == pytest.approx(2.0, abs=0.3)
    assert any(line.startswith("sky: lines of 1.5543 to 1.6356 um times 1.19") for line in less.history), less.history
    assert less.keywords["SKYFROM"] == "sky cube"
    assert less.keywords["S_SKYSUB"] == "COMPLETE"


def test_a_refused_sky_gives_way_to_blank_spaxels():
    refused = make_cube()
    refused = replace(refused, keywords=refused.keywords | {"DATAQUAL": "BAD"}, history=("REFUSED: cloud",))
    less = subtract_sky(make_cube(), refused, sky_method="cube", blank_fraction=0.5)
    assert less.keywords["SKYFROM"] == "blank spaxels"


@pytest.mark.parametrize(("imtype", "reason"), [("SKY", "sky exposure"), ("SCI", "by configuration")])
def test_no_sky_is_said(imtype, reason):
    kept = subtract_sky(make_cube(imtype=imtype), None, sky_method="none", blank_fraction=0.5)
    assert kept.keywords["S_SKYSUB"] == f"SKIPPED: {reason}"


def test_a_sky_of_other_wavelengths_is_refused():
    other = replace(make_cube(), wcs=WCS | {"CRVAL3": 1.6001})
    with pytest.raises(ReductionError, match="another wavelength grid or field"):
        subtract_sky(make_cube(), other, sky_method="cube", blank_fraction=0.5)
