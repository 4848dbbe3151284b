"""Products: written and read back, checked against their schemas, atomic, byte for byte the same."""

import errno
import hashlib
import os
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from drs import dq, files, product
from drs.errors import ReductionError
from drs.planes import open_planes

KEYWORDS = {
    "TELESCOP": "TMT",
    "INSTRUME": "IRIS",
    "DETECTOR": "IMG1",
    "DATAMODL": "ImagerModel",
    "IMTYPE": "SCI",
    "SEMID": "2024B",
    "PROGNUM": "P123",
    "OBSNUM": "008",
    "EXPDTST": "2024-09-25T06:00:00.000",
    "EXPTIME": 10.0,
    "FILTER": "Y",
    "DATALVL": 1,
}
UNITS = {"SCI": "electron/s", "ERR": "electron/s"}


@pytest.fixture
def image():
    """Return a valid rate image."""
    rng = np.random.default_rng(2)
    arrays = {
        "SCI": rng.normal(size=(5, 7)).astype(np.float32),
        "ERR": np.ones((5, 7), np.float32),
        "DQ": np.full((5, 7), dq.Flag.REFERENCE_PIXEL, np.uint32),
    }
    return product.Product(KEYWORDS, arrays, UNITS)


def test_what_is_written_is_read_back(image, tmp_path):
    image = replace(image, wcs={"CTYPE1": "RA---TAN", "CRPIX1": 3.0, "PC1_1": 0.5}, history=("excluded once",))
    image = image.with_step("dark", scale=2.0).with_step("sky", skipped="by configuration")
    product.write(tmp_path / "a.fits", image)
    back = product.read(tmp_path / "a.fits", models="ImagerModel", unit="electron/s")
    for name, array in image.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == array.dtype
    assert back.keywords == image.keywords | {"DRSVER": product.VERSION}
    assert (back.wcs, back.units, back.history) == (image.wcs, image.units, image.history)
    assert back.parameters == (("dark", "scale", "2.0"),)
    assert back.keywords["S_SKYSUB"] == "SKIPPED: by configuration"


def test_history_that_no_card_can_hold(image, tmp_path):
    product.write(tmp_path / "a.fits", replace(image, history=("wheel\nstuck – seen\x1b", "x" * 100)))
    assert product.read(tmp_path / "a.fits").history[0] == "wheel stuck ? seen?"


def test_file_has_checksums_units_wcs_flags_and_provenance(image, tmp_path):
    raw = tmp_path / "raw.fits"
    raw.write_bytes(b"raw")
    image = replace(image, wcs={"CTYPE1": "RA---TAN", "CRPIX1": 3.0})
    product.write(tmp_path / "a.fits", image, inputs={"ramp": raw})
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI", "ERR", "DQ", "DQ_DEF", "PARAMETERS", "PROVENANCE"]
        assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)
        assert (hdus["SCI"].header["BUNIT"], hdus["DQ"].header["CRPIX1"]) == ("electron/s", 3.0)
        assert hdus["DQ_DEF"].data["NAME"][31] == "REFERENCE_PIXEL"
        assert hdus["DQ_DEF"].data["VALUE"][31] == 2**31
        row = hdus["PROVENANCE"].data[0]
        assert (row["ROLE"], row["FILE"], row["SHA256"]) == ("ramp", "raw.fits", hashlib.sha256(b"raw").hexdigest())
        assert hdus[0].header.comments["EXPTIME"].startswith("[s]")


def test_the_same_product_gives_the_same_bytes(image, tmp_path):
    for name in ("a.fits", "b.fits"):
        product.write(tmp_path / name, image)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda p: replace(p, arrays={**p.arrays, "SCI": p.arrays["SCI"].astype("f8")}),
            "SCI.dtype: 'float32' was exp",
        ),
        (lambda p: replace(p, arrays={**p.arrays, "SCI": p.arrays["SCI"][0]}), "SCI.ndim"),
        (lambda p: replace(p, arrays={**p.arrays, "ERR": p.arrays["ERR"][:4]}), "different shapes"),
        (lambda p: replace(p, arrays={"SCI": p.arrays["SCI"]}), "'ERR' is a required"),
        (lambda p: replace(p, arrays={**p.arrays, "EXTRA": p.arrays["SCI"]}), "'EXTRA' was unexpected"),
        (lambda p: replace(p, units={**p.units, "SCI": "DN/s"}), "SCI.unit"),
        (lambda p: replace(p, keywords={**p.keywords, "DETECTOR": "IMG9"}), "keywords.DETECTOR"),
        (lambda p: replace(p, keywords={**p.keywords, "DATAMODL": "Nonsense"}), "DATAMODL 'Nonsense'"),
    ],
)
def test_an_invalid_product_is_refused_and_leaves_the_old_file(image, tmp_path, change, text):
    path = tmp_path / "a.fits"
    product.write(path, image)
    before = path.read_bytes()
    with pytest.raises(ReductionError, match=text):
        product.write(path, change(image))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.fits"]


def test_wrong_model_unit_or_damaged_file_is_named(image, tmp_path):
    path = tmp_path / "a.fits"
    product.write(path, image)
    with pytest.raises(ReductionError, match="is a ImagerModel, not DarkModel or FlatModel"):
        product.read(path, models=("DarkModel", "FlatModel"))
    with pytest.raises(ReductionError, match="BUNIT of SCI is 'electron/s', expected 'DN'; convert"):
        product.read(path, unit="DN")
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ReductionError, match="cannot be read as a product"):
        product.read(path)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO, errno.ENOSPC])
def test_what_the_machine_does_is_no_refusal(image, tmp_path, monkeypatch, number):
    """A refused product is final, but what a disk did is over in the next run."""
    path, made = tmp_path / "a.fits", tmp_path / "b.fits"
    product.write(path, image)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(product.fits, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)), product.mark_refusal(made, image, mark=True):
        product.read(path)
    path.unlink()
    with pytest.raises(FileNotFoundError), product.mark_refusal(made, image, mark=True):
        product.read(path)
    assert not made.exists()


def test_a_changed_pixel_is_noticed(image, tmp_path):
    path = tmp_path / "a.fits"
    product.write(path, image)
    with fits.open(path) as hdus:
        offset = hdus["ERR"].fileinfo()["datLoc"]
    content = bytearray(path.read_bytes())
    content[offset + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReductionError, match="ERR do not agree with their DATASUM"):
        product.read(path)
    assert product.read(path, verify=False).arrays["SCI"].shape == (5, 7)


def test_data_is_an_alias_of_sci(image, tmp_path):
    product.write(tmp_path / "a.fits", image)
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus["SCI"].header["EXTNAME"] = "DATA"
        hdus.writeto(tmp_path / "b.fits")
    assert set(product.read(tmp_path / "b.fits").arrays) == {"SCI", "ERR", "DQ"}


def test_a_killed_write_leaves_the_old_file(image, tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    product.write(path, image)
    before = path.read_bytes()
    monkeypatch.setattr(files.os, "fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        product.write(path, replace(image, history=("other",)))
    assert path.read_bytes() == before


def test_a_refusal_is_marked_or_raised(image, tmp_path):
    path = tmp_path / "a.fits"
    with product.mark_refusal(path, image, mark=True):
        raise ReductionError("lamp off:\n exclude it")
    marked = product.read(path)
    assert marked.refusal == "lamp off: exclude it"
    assert marked.keywords["DATAQUAL"] == "BAD"
    assert np.isnan(marked.arrays["SCI"]).all()
    assert image.refusal is None
    with pytest.raises(ReductionError, match="lamp off"), product.mark_refusal(path, image, mark=False):
        raise ReductionError("lamp off")


def test_a_long_refusal_is_read_back_whole(image, tmp_path):
    reason = "no reference " * 30
    with product.mark_refusal(tmp_path / "a.fits", image, mark=True):
        raise ReductionError(reason)
    assert product.read(tmp_path / "a.fits").refusal == reason.strip()


LARGE = (397, 1053)


@pytest.fixture
def large():
    """Return a rate image of several pieces per plane, of all dtypes that a rate image has."""
    rng = np.random.default_rng(5)
    arrays = {
        "SCI": rng.normal(size=LARGE).astype(np.float32),
        "ERR": np.full(LARGE, np.nan, np.float32),
        "DQ": rng.integers(0, 2**32, LARGE, np.uint32),
        "NREADS": rng.integers(0, 2**16, LARGE, np.uint16),
    }
    return product.Product(KEYWORDS, arrays, UNITS)


@contextmanager
def move_to_planes(image):
    """Move the arrays of a product to a file."""
    arrays = image.arrays
    shape = arrays["SCI"].shape
    with open_planes(shape, {name: array.dtype for name, array in arrays.items()}) as spool:
        for name, array in arrays.items():
            spool.write(name, slice(None), array)
        yield replace(image, arrays={name: spool.plane(name) for name in arrays})


@pytest.mark.parametrize("shape", [(37, 53), LARGE])
def test_a_product_of_planes_has_the_bytes_of_one_of_arrays(large, tmp_path, shape):
    large = replace(large, arrays={name: array[: shape[0], : shape[1]] for name, array in large.arrays.items()})
    product.write(tmp_path / "arrays.fits", large)
    with move_to_planes(large) as planes:
        assert product.describe(planes) == product.describe(large)
        product.write(tmp_path / "planes.fits", planes)
    assert (tmp_path / "planes.fits").read_bytes() == (tmp_path / "arrays.fits").read_bytes()
    with fits.open(tmp_path / "planes.fits", checksum=True) as hdus:
        np.testing.assert_array_equal(hdus["DQ"].data, large.arrays["DQ"])


def test_planes_of_another_dtype_or_shape_are_refused(large, tmp_path):
    with move_to_planes(large) as planes:
        wrong = replace(planes, arrays={**planes.arrays, "SCI": planes.arrays["DQ"]})
        with pytest.raises(ReductionError, match=r"SCI.dtype: 'float32' was expected"):
            product.write(tmp_path / "a.fits", wrong)
        wrong = replace(planes, arrays={**planes.arrays, "ERR": np.zeros((3, 4), np.float32)})
        with pytest.raises(ReductionError, match="different shapes"):
            product.write(tmp_path / "a.fits", wrong)


def test_planes_are_never_whole_in_memory(large, tmp_path):
    with move_to_planes(large) as planes:
        product.write(tmp_path / "a.fits", planes)  # what is kept for good
        tracemalloc.start()
        product.write(tmp_path / "a.fits", planes)
        with product.open_product(tmp_path / "a.fits") as opened:
            opened.arrays["SCI"].read(slice(0, 8))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < large.arrays["SCI"].nbytes


def test_an_open_product_is_what_is_read(large, tmp_path):
    product.write(tmp_path / "a.fits", large.with_step("dark", scale=2.0), inputs={"ramp": __file__})
    whole = product.read(tmp_path / "a.fits")
    with product.open_product(tmp_path / "a.fits", models="ImagerModel") as opened:
        assert replace(opened, arrays={}) == replace(whole, arrays={})
        assert product.describe(opened) == product.describe(whole)
        for name, plane in opened.arrays.items():
            np.testing.assert_array_equal(plane.read(slice(100, 103)), whole.arrays[name][100:103])


def test_a_product_that_cannot_be_opened_is_named(image, tmp_path):
    path = tmp_path / "a.fits"
    product.write(path, image)
    with (
        pytest.raises(ReductionError, match="is a ImagerModel, not GainModel"),
        product.open_product(path, models="GainModel"),
    ):
        pass
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ReductionError, match="cannot be read as a product"), product.open_product(path):
        pass


REFERENCE = {
    "DATAMODL": "NonlinearCorrectionModel",
    "REFTYPE": "NONLIN",
    "USEAFTER": "2026-01-01T00:00:00",
    "PEDIGREE": "SIMULATION",
    "AUTHOR": "tests",
    "DESCRIP": "for tests",
    "INSTERA": "0.0.1",
    "DRSVER": product.VERSION,
}


def write_coefficients(path, shape, image_shape=(5, 7), **keywords):
    """Write non-linearity coefficients of some shape as another writer has them; return them."""
    coefficients = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    header = fits.Header()
    header.update({**KEYWORDS, **REFERENCE, **keywords})
    hdus = [fits.PrimaryHDU(header=header), fits.ImageHDU(coefficients, name="COEFFS")]
    hdus[1].header["BUNIT"] = "DN"
    fits.HDUList([*hdus, fits.ImageHDU(np.zeros(image_shape, np.uint32), name="DQ")]).writeto(path)
    return coefficients


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (5, 7, 3), (5, 7, 5)])
def test_coefficients_in_both_orders_of_axes(tmp_path, shape, suffix):
    path = tmp_path / f"a{suffix}"
    coefficients = write_coefficients(path, shape)
    expected = coefficients if shape[0] == 3 else np.moveaxis(coefficients, -1, 0)
    np.testing.assert_array_equal(product.read(path).arrays["COEFFS"], expected)
    with product.open_product(path) as opened:
        np.testing.assert_array_equal(opened.arrays["COEFFS"].read(slice(1, 4)), expected[:, 1:4])


@pytest.mark.parametrize(
    ("shape", "image_shape", "text"),
    [
        ((5, 5, 5), (5, 5), r"may be both \(n_coeff, ny, nx\) and \(ny, nx, n_coeff\)"),
        ((3, 7, 5), (5, 7), r"is neither \(n_coeff, ny, nx\) nor \(ny, nx, n_coeff\) with \(ny, nx\) = \(5, 7\)"),
    ],
)
def test_coefficients_of_which_the_order_is_not_known_are_refused(tmp_path, shape, image_shape, text):
    write_coefficients(tmp_path / "a.fits", shape, image_shape)
    with pytest.raises(ReductionError, match=text):
        product.read(tmp_path / "a.fits")
    with pytest.raises(ReductionError, match=text), product.open_product(tmp_path / "a.fits"):
        pass


def test_another_convention_of_coefficients_is_refused(tmp_path):
    write_coefficients(tmp_path / "a.fits", (3, 5, 7), NLCONV="LEGENDRE")
    with pytest.raises(ReductionError, match=r"keywords.NLCONV: 'LEGENDRE' is not one of \['POLYNOMIAL', 'FACTOR'\]"):
        product.read(tmp_path / "a.fits")
