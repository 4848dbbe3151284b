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
