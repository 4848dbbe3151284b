"""Alignment: which images are kept, where they are put, on which grid."""

import numpy as np
import pytest
from fields import DETECTOR, Rows, make_field

from drs.alignment import align
from drs.errors import ReductionError
from drs.product import Product
from drs.wcs import build_wcs

KEYWORDS = {"EXPTIME": 50.0, "TOTTIME": 100.0}


def make_products(n=3, shape=(100, 130)):
    field = make_field(n, shape, spacing=24)
    members = zip(field.images, field.headers, strict=True)
    return [
        Product(KEYWORDS | {"EXPNUM": k}, {name: Rows(array) for name, array in arrays.items()}, wcs=header)
        for k, (arrays, header) in enumerate(members)
    ]


def align_them(products, **options):
    names = [f"image{k}" for k in range(len(products))]
    return align(products, names, **{"offsets": "header", "max_offset_pix": 12} | options)


def test_right_headers_need_no_offsets_and_measured_ones_agree():
    products = make_products()
    plain, measured = align_them(products), align_them(products, offsets="measured")
    assert plain.kept == measured.kept == [0, 1, 2]
    assert [member.time_s for member in plain.members] == [100.0] * 3
    for offset in measured.offsets[1:]:
        assert offset.method == "stars"
        assert np.hypot(offset.x_pix, offset.y_pix) < 5 * offset.error_pix + 0.01


def test_a_wrong_header_is_put_right():
    products = make_products()
    wrong = products[2].wcs | {"CRPIX1": products[2].wcs["CRPIX1"] + 4.3}
    products[2] = Product(products[2].keywords, products[2].arrays, wcs=wrong)
    offset = align_them(products, offsets="measured").offsets[2]
    assert (offset.x_pix, offset.y_pix) == pytest.approx((4.3, 0), abs=0.05)


def test_an_image_elsewhere_is_left_out():
    products = make_products()
    far = build_wcs(150.0, 7.0, 0.0, DETECTOR, (100, 130))
    products[1] = Product(products[1].keywords, products[1].arrays, wcs=far)
    aligned = align_them(products)
    assert aligned.kept == [0, 2]
    assert aligned.left_out == ["left out: image1: overlaps no other image; correct its RA and DEC in exposures.yaml"]


def test_without_coordinates_nothing_is_aligned():
    products = make_products(2)
    products[1] = Product(products[1].keywords, products[1].arrays)
    with pytest.raises(ReductionError, match="no coordinates in image1"):
        align_them(products)
