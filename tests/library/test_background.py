"""Which exposure is which, and objects blanked where the mask of the field has them; the rest is the commands' test."""

import numpy as np
from images import make_image

from drs.background import blank_objects, is_same_exposure
from drs.product import Product
from drs.registration import plan_field
from drs.wcs import build_wcs

SHAPE = (40, 50)
DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


def test_an_exposure_is_known_by_its_identity():
    header = {"SEMID": "2024B", "PROGNUM": "P1", "OBSNUM": "008", "EXPNUM": 3, "DETECTOR": "IMG1", "IMTYPE": "SCI"}
    assert is_same_exposure(header, header | {"OBJECT": "other"})
    assert not is_same_exposure(header, header | {"EXPNUM": 4})
    assert not is_same_exposure(header, header | {"SUBARRID": 1})


def test_objects_of_the_field_are_blanked():
    wcs = build_wcs(150.0, 10.0, 0.0, DETECTOR, SHAPE)
    grid, shape = plan_field([wcs], [SHAPE])
    objects = np.zeros(shape, np.uint8)
    y, x = 10 + round(grid["CRPIX2"] - wcs["CRPIX2"]), 20 + round(grid["CRPIX1"] - wcs["CRPIX1"])
    objects[y, x] = 1
    mask = Product({}, {"OBJECTS": objects}, wcs=grid)
    image = make_image(5.0, 1.0, SHAPE, DO_NOT_USE=(3, 4))
    blank = blank_objects(image, mask, wcs)
    assert sorted(map(tuple, np.argwhere(np.isnan(blank)).tolist())) == [(3, 4), (10, 20)]
    assert np.nanmax(blank) == 5.0
