"""Drizzle: real data with the answer of DrizzlePac, the drizzle package, exact areas, conservation, windows."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from drizzle.resample import Drizzle
from hypothesis import given, settings
from hypothesis import strategies as st

from drs.drizzling import KERNELS, drizzle_rows
from drs.pixelmap import build_map, find_rows, locate_rows

REAL = Path(__file__).resolve().parents[3] / "shared" / "realdata" / "drizzle_wfc3ir_kernels"
SHAPE, OUT = (23, 41), (40, 60)


def turned_map(angle_deg=7.0, scale=1.0, move=(9.3, 11.7)):
    """Return a map that turns, stretches and moves."""
    c, s = scale * np.cos(np.radians(angle_deg)), scale * np.sin(np.radians(angle_deg))
    return build_map(lambda x, y: (c * x - s * y + move[0], s * x + c * y + move[1]), SHAPE)


def make_frame(seed=1):
    rng = np.random.default_rng(seed)
    values, variance = rng.normal(5, 2, SHAPE).astype("f4"), rng.uniform(1, 2, SHAPE).astype("f4")
    return values, variance, (rng.random(SHAPE) > 0.1).astype("f4") * 50


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("pixfrac", [1.0, 0.6])
def test_it_is_the_drizzle_of_the_package(kernel, pixfrac):
    pixelmap, (values, variance, weight) = turned_map(), make_frame()
    pixmap = np.moveaxis(locate_rows(pixelmap, slice(0, SHAPE[0])), 0, -1)
    theirs = Drizzle(kernel=kernel, fillval="0", fillval2="0", out_shape=OUT, disable_ctx=True)
    theirs.add_image(
        values, 1.0, np.ascontiguousarray(pixmap), data2=variance, weight_map=weight, pixfrac=pixfrac, in_units="cps"
    )
    sums, _ = drizzle_rows((values, variance, weight), pixelmap, (0, 0, *OUT), kernel=kernel, pixfrac=pixfrac)
    np.testing.assert_allclose(sums[1], theirs.out_wht, rtol=1e-4, atol=1e-2)
    whole = sums[1] > 1
    np.testing.assert_allclose((sums[0][whole] / sums[1][whole]), theirs.out_img[whole], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sums[2][whole] / sums[1][whole] ** 2, theirs.out_img2[0][whole], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not REAL.exists(), reason="the real data are not here")
@pytest.mark.parametrize(("kernel", "tolerance"), [("point", 0.0), ("square", 1e-3), ("turbo", 1e-3)])
def test_a_real_image_of_hst_is_as_drizzlepac_made_it(kernel, tolerance):
    with fits.open(REAL / "test_drizzlepac_flt.fits") as hdus:
        values, weight = hdus["SCI"].data.astype("f4"), (hdus["DQ"].data & ~784 == 0).astype("f4")
    places = fits.getdata(REAL / "test_drizzlepac_pixmap.fits").astype(float).reshape(-1, 2)
    y, x = (axis.ravel() for axis in np.indices(values.shape))

    def powers(x, y):
        return np.stack([(x / 5 - 1) ** i * (y / 5 - 1) ** j for i in range(4) for j in range(4 - i)], axis=-1)

    fit = np.linalg.lstsq(powers(x, y), places, rcond=None)[0]
    pixelmap = build_map(lambda x, y: (powers(x, y) @ fit).T, values.shape)
    found = locate_rows(pixelmap, slice(0, 11))
    np.testing.assert_allclose(found.reshape(2, -1), places.T, atol=1e-8)
    sums, _ = drizzle_rows((values, values * 0, weight), pixelmap, (0, 0, 10, 11), kernel=kernel)
    result = np.divide(sums[0], sums[1], out=np.zeros((10, 11)), where=sums[1] > 0)
    expected = fits.getdata(REAL / f"reference_drizzlepac_{kernel}_drz_sci.fits")
    difference = np.abs(result - expected)
    assert difference.max() <= tolerance
    assert np.median(difference) < 1e-5


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("pixfrac", [1.0, 0.4])
def test_every_drop_is_spread_whole(kernel, pixfrac):
    values, variance, weight = make_frame()
    sums, _ = drizzle_rows((values, variance, weight), turned_map(), (0, 0, *OUT), kernel=kernel, pixfrac=pixfrac)
    good = weight > 0
    assert sums[4].sum() == pytest.approx(good.sum(), rel=1e-9)
    assert sums[0].sum() == pytest.approx((values * weight).sum(dtype=float), rel=1e-6)
    assert sums[3].sum() == pytest.approx((variance * weight**2).sum(dtype=float), rel=1e-6)


def test_quarters_of_a_pixel():
    pixelmap = build_map(lambda x, y: (x + 2.5, y + 3.25), SHAPE)
    values = np.zeros(SHAPE, "f4")
    values[4, 7] = 8
    one = np.ones(SHAPE, "f4")
    sums, _ = drizzle_rows((values, one, one), pixelmap, (0, 0, *OUT))
    np.testing.assert_allclose(sums[0][7:9, 9:11], [[3, 3], [1, 1]])
    assert np.count_nonzero(np.abs(sums[0]) > 1e-12) == 4


@settings(deadline=None, max_examples=25)
@given(
    angle=st.floats(-180, 180),
    step=st.integers(1, 17),
    kernel=st.sampled_from(list(KERNELS)),
    scale=st.floats(0.7, 1.4),
)
def test_any_window_has_the_same_bytes(angle, step, kernel, scale):
    pixelmap, frame = turned_map(angle, scale, (30.3, 21.7)), make_frame()
    flags = np.where(frame[2] == 0, np.uint32(4), np.uint32(0))
    whole, dq = drizzle_rows(frame, pixelmap, (0, 0, *OUT), kernel=kernel, pixfrac=0.9, flags=flags)
    for first in range(0, OUT[0], step):
        n_row = min(step, OUT[0] - first)
        rows = find_rows(pixelmap, first, first + n_row)
        cut = [plane[rows] for plane in frame]
        window = (rows.start, first, n_row, OUT[1])
        sums, part = drizzle_rows(cut, pixelmap, window, kernel=kernel, pixfrac=0.9, flags=flags[rows])
        np.testing.assert_array_equal(sums, whole[:, first : first + n_row])
        np.testing.assert_array_equal(part, dq[first : first + n_row])


def test_planes_of_different_shapes_are_refused():
    values, variance, weight = make_frame()
    with pytest.raises(ValueError, match="expected one"):
        drizzle_rows((values, variance[1:], weight), turned_map(), (0, 0, *OUT))
