"""make_distortion: a mask of pinholes gives the distortion of the detector to 0.02 pixel; no mask is refused."""

import json

import numpy as np
import pytest

from drs import product
from drs.simulation import scene
from make_distortion import main

SHAPE = (200, 216)
GEOMETRY = {"size_y_pix": 200, "size_x_pix": 216}
DISTORTED = GEOMETRY | {"distortion": {"cubic_pix": 2.0, "quadratic_pix": 0.8, "linear_pix": 0.4}}
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
OPTIONS = {"useafter": "2024-09-24T22:00:00", "minimum": 1, "order": 6, "pitch_pix": 12, "mask_error_pix": 0.05}
OPTIONS |= {"fwhm_pix": 2.7, "maximum_residual_pix": 0.5}


@pytest.fixture
def expose(references, tmp_path, write_rate):
    """Return a function that writes an exposure of a mask moved by some pixels, without dark: -> path."""
    manifest = json.loads(references[0].read_text())
    manifest["references"]["dark"].update(file=None, source="override", status="n/a", note="test", reason="off")
    references[0].write_text(json.dumps(manifest))
    header = product.read(write_rate(1.0)).keywords

    def write(number, shift, flux=4000.0):
        mask = np.random.default_rng(5)
        places = scene.place_pinholes(SHAPE, pitch_pix=12.0, error_pix=0.05, shift_pix=shift, stream=mask)
        light = scene.render_pinholes(DISTORTED, PSF, places, flux) * (flux > 0)
        response = 1 + 0.02 * np.random.default_rng(6).standard_normal(SHAPE)
        error = np.sqrt(light / 80 + 0.3)
        rate = light * response + np.random.default_rng(number).normal(0, error)
        arrays = {"SCI": rate.astype(np.float32), "ERR": error.astype(np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
        path = tmp_path / f"pinholes_{number}.fits"
        units = {"SCI": "electron/s", "ERR": "electron/s"}
        product.write(path, product.Product(header | {"IMTYPE": "PINHOLE", "EXPNUM": number}, arrays, units))
        return path

    return write


def test_distortion_from_moved_masks(expose, combine, tmp_path):
    shifts = [(0, 0), (5, 1), (-1.5, 5), (-5, -4), (4, -5)]
    paths = [expose(k, shift) for k, shift in enumerate(shifts, 1)]
    result = combine(main, paths, tmp_path / "distortion.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "distortion.fits", models="DistortionModel")
    y, x = np.mgrid[1 : SHAPE[0] + 1, 1 : SHAPE[1] + 1].astype(float)
    ideal = scene.undistort(x, y, DISTORTED)
    left = [made.arrays[name] - (true - own) for name, true, own in zip(("DX", "DY"), ideal, (x, y), strict=True)]
    assert np.sqrt(np.mean([np.var(part) for part in left])) < 0.02
    assert made.arrays["SCI"].max() > 1.5
    assert (made.keywords["REFTYPE"], made.keywords["USEAFTER"]) == ("DISTORTION", "2024-09-24T22:00:00")
    facts = {name: json.loads(value) for step, name, value in made.parameters if step == "distortion"}
    assert facts["mask_pix"] == pytest.approx(0.05, rel=0.3)


def test_exposures_without_the_mask_are_refused(expose, combine, tmp_path):
    result = combine(main, [expose(1, (0, 0), flux=0.0)], tmp_path / "x.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "pinholes found, expected a grid: was the mask in" in result.output
    result = combine(main, [expose(1, (0, 0))], tmp_path / "x.fits", **OPTIONS | {"pitch_pix": 10.0}, mark_refusal=True)
    assert result.exit_code == 0
    assert "off the pitch of 10.0 pix" in product.read(tmp_path / "x.fits").refusal
