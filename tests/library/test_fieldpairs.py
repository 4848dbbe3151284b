"""Exposures of a star field against a catalogue: refraction taken out, what does not match left out."""

import numpy as np
import pytest
from nights import INSTRUMENTS
from stars import observe_stars

from drs.astrometry import Search
from drs.catalogue import Catalogue
from drs.errors import ReductionError
from drs.fieldpairs import pair_exposures
from drs.product import Product
from drs.refraction import Air
from drs.simulation import scene

SHAPE, POINTING = (150, 170), (299.6, 10.2, 20.0)
GEOMETRY = INSTRUMENTS["IRIS"]["detectors"]["IMG1"] | {"size_y_pix": 150, "size_x_pix": 170}
KEYWORDS = {"INSTRUME": "IRIS", "DETECTOR": "IMG1", "EXPDTST": "2024-09-25T08:30:00", "EXPMJDMD": 60578.36, "EXPNUM": 3}
KEYWORDS |= dict(zip(("RA", "DEC", "PA"), POINTING, strict=True)) | {"DATAMODL": "ImagerModel"}
SEARCH = Search(30.0, 0.1, False, 10)


@pytest.fixture(scope="module")
def field():
    """Return (exposure, catalogue) of 40 stars."""
    random = np.random.default_rng(3)
    x, y = scene.place_apart(40, SHAPE, separation=14, margin=5, stream=random)
    ra, dec = scene.pixel_to_sky(x, y, POINTING, GEOMETRY)
    flux, none = 10 ** random.uniform(3.3, 4.3, 40), np.full(40, np.nan)
    image = observe_stars(SHAPE, x - 1, y - 1, flux, seed=2)
    arrays = {"SCI": image.rate, "ERR": image.error, "DQ": image.dq}
    return Product(KEYWORDS, arrays), Catalogue(ra, dec, -2.5 * np.log10(flux), none, 0 * ra, 0 * ra, none, "AB")


def pair(field, members, *, air=None, minimum=1):
    """Return pairs and lines."""
    return pair_exposures(members, field[1], INSTRUMENTS["IRIS"], air=air, search=SEARCH, minimum=minimum)


def test_places_are_relative_to_the_middle_and_without_refraction_where_it_is_known(field):
    ((places, wanted, _),), left_out = pair(field, [field[0]])
    assert left_out == []
    assert len(places) > 30
    assert places - np.array([85.5, 75.5]) == pytest.approx(wanted, abs=0.2)
    ((_, stretched, _),), _ = pair(field, [field[0]], air=Air(615.0, 1.0))
    change = (stretched - wanted) / 75.0  # of the scale
    assert 1e-5 < np.abs(change).max() < 2e-3


def test_an_exposure_without_match_is_left_out_and_too_few_are_refused(field):
    exposure, _ = field
    masked = Product(KEYWORDS | {"EXPNUM": 4}, exposure.arrays | {"DQ": np.ones(SHAPE, np.uint32)})
    timeless = Product({k: v for k, v in KEYWORDS.items() if k != "EXPMJDMD"} | {"EXPNUM": 5}, exposure.arrays)
    pairs, left_out = pair(field, [exposure, masked, timeless], air=Air(615.0, 1.0))
    assert len(pairs) == 1
    assert left_out == [
        "left out: exposure 4: all pixels are masked",
        "left out: exposure 5: no EXPMJDMD in the header",
    ]
    with pytest.raises(
        ReductionError, match=r"1 exposures match the catalogue of stars, at least 2 needed \(exposure 4"
    ):
        pair(field, [exposure, masked], minimum=2)
