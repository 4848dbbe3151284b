"""write_preview on products written by drs.product."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from drs import product
from drs.dq import Flag
from drs.errors import ReductionError
from drs.preview import BAD, COLOURS, INK
from drs.wcs import build_wcs
from write_preview import main

SHAPE = (60, 84)
KEYWORDS = {
    "TELESCOP": "Keck I", "INSTRUME": "Liger", "DETECTOR": "IMG", "IMTYPE": "SCI", "SEMID": "2024B", "PROGNUM": "P123",
    "OBSNUM": "008", "EXPDTST": "2024-09-24T05:00:00.000", "EXPTIME": 60.0, "FILTER": "H", "DATALVL": 2,
    "DATAMODL": "ImagerModel", "DATAQUAL": "GOOD",
}  # fmt: skip
UNITS = {"SCI": "electron/s", "ERR": "electron/s"}
DETECTOR = {"scale_arcsec": 0.01, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


@pytest.fixture
def image():
    values = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
    dq = np.zeros(SHAPE, np.uint32)
    dq[50, 10] = Flag.DO_NOT_USE
    arrays = {"SCI": values, "ERR": np.ones(SHAPE, np.float32), "DQ": dq}
    return product.Product(KEYWORDS, arrays, UNITS, build_wcs(150.0, 2.0, 30.0, DETECTOR, SHAPE))


def run(tmp_path, size=84):
    output = tmp_path / "quicklook" / "image.png"
    options = ["--product", str(tmp_path / "image.fits"), "--max-size-pix", str(size), "--output", str(output)]
    return CliRunner().invoke(main, options), output


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def count(pixels, index):
    return np.count_nonzero((pixels == COLOURS[index]).all(axis=2))


def test_level_2_has_y_up_bad_pixels_and_a_compass(tmp_path, image):
    product.write(tmp_path / "image.fits", image)
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    pixels = read(output)
    assert pixels.shape == (*SHAPE, 3)
    assert pixels[59 - 50, 10].tolist() == list(COLOURS[BAD])
    assert count(pixels, INK) > 50


def test_level_1_has_no_compass(tmp_path, image):
    image = product.Product({**KEYWORDS, "DATALVL": 1}, image.arrays, UNITS, image.wcs)
    product.write(tmp_path / "image.fits", image)
    assert count(read(run(tmp_path)[1]), INK) == 0


def test_a_rate_of_spectra_is_shown(tmp_path, image):
    keywords = {**KEYWORDS, "DATALVL": 1, "DATAMODL": "IFUImageModel", "DETECTOR": "IFS", "INSTMODE": "LENSLET"}
    product.write(tmp_path / "image.fits", product.Product(keywords, image.arrays, UNITS))
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    pixels = read(output)
    assert (pixels.shape, count(pixels, INK)) == ((*SHAPE, 3), 0)


def test_a_large_image_is_averaged_and_bytes_are_stable(tmp_path, image):
    product.write(tmp_path / "image.fits", image)
    first = run(tmp_path, 30)[1].read_bytes()
    output = run(tmp_path, 30)[1]
    assert output.read_bytes() == first
    assert read(output).shape == (20, 28, 3)


def test_refused_product_gets_a_placeholder(tmp_path, image):
    with product.mark_refusal(tmp_path / "image.fits", image, mark=True):
        raise ReductionError("no dark reference")
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert read(output).shape == (200, 320, 3)


def test_a_file_that_is_no_product_is_refused(tmp_path):
    (tmp_path / "image.fits").write_text("SIMPLE")
    result, output = run(tmp_path)
    assert result.exit_code == 1
    assert "cannot be read as a product" in result.output
    assert not output.exists()


def test_a_cube_is_shown_by_its_white_light_with_a_compass(image, tmp_path):
    arrays = {name: np.repeat(array[np.newaxis], 5, axis=0) for name, array in image.arrays.items()}
    arrays["DQ"][:3, 20, 30] = Flag.DO_NOT_USE
    wcs = build_wcs(150.0, 2.0, 30.0, DETECTOR, SHAPE) | {"WCSAXES": 3, "CTYPE3": "WAVE", "CUNIT3": "um"}
    wcs |= {"CRVAL3": 1.6, "CRPIX3": 1.0, "CDELT3": 2e-4, "PC3_3": 1.0}
    product.write(tmp_path / "image.fits", product.Product(KEYWORDS | {"DATAMODL": "IFUCubeModel"}, arrays, UNITS, wcs))
    result, output = run(tmp_path)
    assert result.exit_code == 0, result.output
    picture = np.asarray(Image.open(output).convert("RGB"))
    assert picture.shape == (*SHAPE, 3)
    assert tuple(picture[SHAPE[0] - 1 - 20, 30]) == COLOURS[BAD]
    assert (picture == COLOURS[INK]).all(axis=2).any()
