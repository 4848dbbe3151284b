"""make_object_mask and the iterative sky of calibrate_image, against the truth of a field with an extended galaxy."""

import json
from pathlib import Path

import numpy as np
import pytest
from dithers import Field, make_field, make_geometry
from images import LEFT_OUT

import calibrate_image
from drs import product
from make_object_mask import main

SKY = {"sky_frames": 8, "sky_minimum": 3, "sky_offset_pix": 4}
SEEN = (0, 2, 4, 6, 8)
MASK = {"n_pass": 3, "threshold_sigma": 3, "growth": 0.5}


@pytest.fixture
def field(references, tmp_path, write_rate):
    """Return a function that writes a field: -> its files, options of the commands, and its truth."""
    manifest = json.loads(references[0].read_text())
    for entry in manifest["references"].values():
        entry.update(file=None, source="override", status="n/a", note="test", reason="switched off")
    references[0].write_text(json.dumps(manifest))
    header = product.read(write_rate(1.0)).keywords

    def write(**options):
        made = make_field(**options)
        ny, nx = made.rates[0].shape
        detector = {key: value for key, value in make_geometry((ny, nx)).items() if not key.startswith("size")}
        instrument = tmp_path / "instrument.yaml"
        instrument.write_text(json.dumps({"detectors": {"IMG1": detector}}))
        paths = []
        for k, (rate, variance) in enumerate(zip(made.rates, made.variances, strict=True), 1):
            dq = np.zeros(rate.shape, np.uint32)
            dq[k, 3 * k] = 1
            arrays = {"SCI": rate, "ERR": np.sqrt(variance), "DQ": dq}
            keywords = dict(zip(("RA", "DEC", "PA"), made.pointings[k - 1], strict=True))
            keywords |= {"EXPNUM": k, "EXPMJDST": 60000.0 + k / 1440, "EXPDTST": f"2024-09-25T06:{k:02d}:00.000"}
            paths.append(tmp_path / f"rate_{k}.fits")
            units = {"SCI": "electron/s", "ERR": "electron/s"}
            product.write(paths[-1], product.Product(header | keywords, arrays, units))
        caches = {"cache": references[1], "night_cache": tmp_path, "instrument": instrument}
        return paths, caches, made

    return write


def make_mask(run, references, tmp_path, paths, caches, **options):
    """Run make_object_mask."""
    files = {"rate": paths, "manifest": [references[0]] * len(paths), "output": tmp_path / "mask.fits"}
    return run(main, **files, **caches, **MASK, **SKY | options)


def calibrate(run, references, tmp_path, paths, caches, number, method="iterative"):
    """Run calibrate_image on exposure `number` (from 0); return its product."""
    options = {"rate": paths[number], "manifest": references[0], "sky_method": method, "source_threshold_sigma": 3}
    if method == "iterative":
        options |= {"mask": tmp_path / "mask.fits", "dither": paths, "dither_manifest": [references[0]] * len(paths)}
    result = run(calibrate_image.main, **options, **caches, **SKY, **LEFT_OUT, output=tmp_path / "image.fits")
    assert result.exit_code == 0, result.output
    return product.read(tmp_path / "image.fits")


def measure_residuals(images, truth):
    """Return the mean left over of the sky in each image, relative to it, and the rms of what repeats in them."""
    blank = [light < 1e-3 * sky.mean() for light, sky in zip(truth.lights, truth.skies, strict=True)]
    left = [
        np.where(b & ~(im.arrays["DQ"] & 1 != 0), im.arrays["SCI"] - light, np.nan) / sky.mean()
        for im, light, sky, b in zip(images, truth.lights, truth.skies, blank, strict=True)
    ]
    means = np.array([np.nanmean(frame) for frame in left])
    blocks = np.stack([frame[:200, :200].reshape(10, 20, 10, 20).swapaxes(1, 2) for frame in left])
    free = np.isfinite(blocks).sum(axis=(0, 3, 4)) > 400
    return np.abs(means).max(), np.sqrt(np.mean(np.nanmean(blocks[:, free], axis=(0, 2, 3)) ** 2)), blank


def test_the_iterative_sky_of_a_field_with_a_galaxy_and_a_bright_star(field, run, references, tmp_path):
    paths, caches, truth = field(bright=1e6)
    result = make_mask(run, references, tmp_path, paths, caches)
    assert result.exit_code == 0, result.output
    mask = product.read(tmp_path / "mask.fits")
    assert 0.2 < mask.arrays["OBJECTS"][mask.arrays["CON"] > 0].mean() < 0.8
    truth = Field(*([part[k] for k in SEEN] for part in truth))
    images, medians = (
        [calibrate(run, references, tmp_path, paths, caches, k, method) for k in SEEN]
        for method in ("iterative", "median")
    )
    worst, structure, blank = measure_residuals(images, truth)
    _, of_median, _ = measure_residuals(medians, truth)
    assert worst < 1e-3
    assert structure < 1e-3
    assert of_median > 5 * structure
    pulls = []
    for image, light, b in zip(images, truth.lights, blank, strict=True):
        used = b & (image.arrays["DQ"] == 0)
        pulls.append(((image.arrays["SCI"] - light) / image.arrays["ERR"])[used])
    assert np.concatenate(pulls).std() == pytest.approx(1.0, abs=0.02)
    sky = {name: value for step, name, value in images[0].parameters if step == "sky"}
    assert (sky["method"], sky["n_frame"]) == ('"iterative"', "8")


def test_without_dithers_there_is_no_mask_and_the_median_stands_in(field, run, references, tmp_path):
    paths, caches, _ = field(n=5, shape=(64, 70), throw_pix=0.5)
    result = make_mask(run, references, tmp_path, paths, caches)
    assert result.exit_code == 1
    assert "has only 0 others that point 4.0 pixels or more away, at least 3 needed" in result.output
    result = make_mask(run, references, tmp_path, paths, caches, mark_refusal=True)
    assert result.exit_code == 0, result.output
    image = calibrate(run, references, tmp_path, paths, caches, 0)
    assert {name: value for step, name, value in image.parameters if step == "sky"}["method"] == '"median"'
    assert "sky: median in place of iterative: no objects were masked" in image.history[-1]


def test_three_exposures_are_too_few(field, run, references, tmp_path):
    paths, caches, _ = field(n=3, shape=(64, 70))
    result = make_mask(run, references, tmp_path, paths, caches)
    assert "3 usable dithered exposures, at least 4 needed" in result.output


def test_the_iterative_sky_needs_its_files(field, run, references, tmp_path):
    paths, caches, _ = field(n=4, shape=(64, 70))
    options = {"rate": paths[0], "manifest": references[0], "sky_method": "iterative", "source_threshold_sigma": 3}
    result = run(calibrate_image.main, **options, **caches, **SKY, **LEFT_OUT, output=Path(tmp_path, "x.fits"))
    assert "the iterative sky needs --mask and --dither" in result.output
