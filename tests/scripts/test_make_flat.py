"""make_flat: response recovered, dark and lamp drift removed, lamp off refused."""

import json

import numpy as np
import pytest

from drs import product
from make_flat import main

OPTIONS = {
    "useafter": "2024-09-24T22:00:00",
    "minimum": 5,
    "clip_sigma": 5,
    "minimum_signal_e_per_s": 5,
    "minimum_response": 0.2,
    "maximum_saturated_fraction": 0.02,
    "source_threshold_sigma": 3,
}


def test_response_is_recovered(combine, write_rate, tmp_path):
    response = 1 + 0.1 * np.sin(np.arange(24 * 31).reshape(24, 31))
    response[4, 9] = 0.05
    paths = [
        write_rate(0.25 + response * level, k, "FLAT") for k, level in enumerate((4000, 4400, 3600, 4100, 5000), 1)
    ]
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    flat = product.read(tmp_path / "flat.fits", models="FlatModel", unit="")
    good = flat.arrays["DQ"] == 0
    assert np.argwhere(~good).tolist() == [[4, 9]]
    expected = response / np.median(response[good])
    pull = (flat.arrays["SCI"] - expected)[good] / flat.arrays["ERR"][good]
    assert pull.std() == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(flat.arrays["SCI"][good], expected[good], atol=5e-4)


def test_lamp_off_is_refused(combine, write_rate, tmp_path):
    paths = [write_rate(0.25 if k == 3 else 4000, k, "FLAT") for k in range(1, 6)]
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "FLAT_1_3.fits" in result.output
    assert "was the lamp on" in result.output


def test_a_changed_reference_is_refused(combine, write_rate, references, tmp_path):
    _, cache = references
    dark = next(cache.rglob("*dark*.fits"))
    dark.write_bytes(dark.read_bytes() + b" ")
    paths = [write_rate(4000, k, "FLAT") for k in range(1, 6)]
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "dark reference has changed" in result.output


def test_without_a_dark_by_configuration(combine, write_rate, references, tmp_path):
    manifest = json.loads(references[0].read_text())
    nothing = {"file": None, "source": "override", "status": "n/a", "note": "config.yaml", "reason": "switched off"}
    manifest["references"]["dark"].update(nothing)
    references[0].write_text(json.dumps(manifest))
    paths = [write_rate(4000, k, "FLAT") for k in range(1, 6)]
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    flat = product.read(tmp_path / "flat.fits")
    assert flat.keywords["S_DARK"] == "SKIPPED: by configuration"
    assert flat.history == ("override of dark: none by config.yaml",)


def test_accuracy_is_that_of_the_photons(combine, write_rate, tmp_path):
    """Eight flats of 0.5 % each give 0.18 %: nothing is lost to the scaling, the clipping or the dark."""
    response = 1 + 0.02 * np.random.default_rng(5).standard_normal((24, 31))
    paths = [write_rate(0.25 + response * 100 * (1 + 0.01 * k), k, "FLAT") for k in range(1, 9)]
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    flat = product.read(tmp_path / "flat.fits")
    left = flat.arrays["SCI"] / (response / np.median(response)) - 1
    assert left.std() < 0.002
    assert left.std() == pytest.approx(np.median(flat.arrays["ERR"]), rel=0.08)


def test_what_shines_with_the_lamp_off_is_subtracted(combine, write_rate, references, tmp_path):
    glow = np.linspace(0, 40, 31) * np.ones((24, 1))
    lamps = [write_rate(0.25 + 400 + glow, k, "FLAT") for k in range(1, 6)]
    offs = [write_rate(0.25 + glow, k, "FLATOFF") for k in range(1, 6)]
    result = combine(main, lamps, tmp_path / "flat.fits", **OPTIONS, off=offs, off_manifest=[references[0]] * 5)
    assert result.exit_code == 0, result.output
    flat = product.read(tmp_path / "flat.fits")
    columns = flat.arrays["SCI"].mean(axis=0)
    assert np.abs(columns - 1).max() < 5e-4
    assert np.median(flat.arrays["ERR"]) == pytest.approx(0.5 / 400 * np.sqrt(2 / 5), rel=0.1)
    result = combine(main, offs, tmp_path / "flat.fits", **OPTIONS, off=offs, off_manifest=[references[0]] * 5)
    assert "was the lamp on" in result.output


def test_a_saturated_flat_is_refused(combine, write_rate, tmp_path):
    paths = [write_rate(4000, k, "FLAT") for k in range(1, 6)]
    spoilt = product.read(paths[2])
    spoilt.arrays["DQ"][:12] |= 2
    product.write(paths[2], spoilt)
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "saturated pixels: FLAT_1_3.fits 50.0%; a flat may have 2.0%" in result.output


@pytest.mark.parametrize("imtype", ["TWIFLAT", "FLAT"])
def test_stars_of_a_twilight_flat_are_masked(combine, write_rate, tmp_path, imtype):
    y, x = np.mgrid[0:24, 0:31]
    paths = []
    for k in range(1, 8):
        star = 60 * np.exp(-((y - 3 * k) ** 2 + (x - 4 * k) ** 2) / 8)  # a wing of 1 e-/s escapes the clipping
        paths.append(write_rate(0.25 + 100 * (1 + 0.1 * k) * (1 + star / 100), k, imtype))
    result = combine(main, paths, tmp_path / "flat.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    flat = product.read(tmp_path / "flat.fits")
    near = sum(np.exp(-((y - 3 * k) ** 2 + (x - 4 * k) ** 2) / 8) for k in range(1, 8)) > 0.02
    bias = flat.arrays["SCI"][near].mean() - flat.arrays["SCI"][~near].mean()
    assert (abs(bias) < 5e-4) == (imtype == "TWIFLAT")
