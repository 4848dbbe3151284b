"""make_dark: the mean of darks, too few, a refused member, a mixed configuration."""

import numpy as np
import pytest

from drs import product
from make_dark import main

OPTIONS = {
    "useafter": "2024-09-24T22:00:00",
    "minimum": 5,
    "clip_sigma": 5,
    "hot_threshold_sigma": 15,
    "maximum_rate_e_per_s": 2,
}


def test_five_darks_make_a_dark_model(run, write_rate, tmp_path):
    rate = np.full((24, 31), 0.1)
    rate[3, 7] = 50.0
    paths = [write_rate(rate, k, "DARK") for k in range(1, 6)]
    with_hit = np.array(rate)
    with_hit[10, 20] += 500
    paths.append(write_rate(with_hit, 6, "DARK"))
    result = run(main, rate=paths, output=tmp_path / "dark.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    dark = product.read(tmp_path / "dark.fits", models="DarkModel", unit="electron/s")
    assert dark.arrays["SCI"][10, 20] < 2
    assert np.median(dark.arrays["SCI"]) == pytest.approx(0.1, abs=0.05)
    assert np.median(dark.arrays["ERR"]) == pytest.approx(0.5 / np.sqrt(6), rel=1e-3)
    assert np.argwhere(dark.arrays["DQ"]).tolist() == [[3, 7]]
    expected = {"REFTYPE": "DARK", "USEAFTER": "2024-09-24T22:00:00", "NCOMBINE": 6, "TOTTIME": 300.0}
    assert expected.items() <= dark.keywords.items()


def test_darks_of_a_spectrograph_combine_whatever_their_mode(run, write_rate, tmp_path):
    facts = {"DATAMODL": "IFUImageModel", "DETECTOR": "IFS"}
    modes = ("LENSLET", "SLICER")
    paths = [write_rate(0.1, k, "DARK", INSTMODE=modes[k % 2], **facts) for k in range(1, 6)]
    result = run(main, rate=paths, output=tmp_path / "dark.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    dark = product.read(tmp_path / "dark.fits", models="DarkModel", unit="electron/s")
    assert (dark.keywords["DETECTOR"], dark.keywords["NCOMBINE"]) == ("IFS", 5)
    assert "INSTMODE" not in dark.keywords


def test_too_few_are_refused_and_the_bad_member_is_named(run, write_rate, tmp_path):
    paths = [write_rate(0.1, k, "DARK") for k in range(1, 5)]
    bad = product.read(write_rate(0.1, 5, "DARK"))
    with product.mark_refusal(tmp_path / "DARK_1_5.fits", bad, mark=True):
        raise product.ReductionError("the ramp is cut")
    paths.append(tmp_path / "DARK_1_5.fits")
    result = run(main, rate=paths, output=tmp_path / "dark.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "4 usable dark exposures, at least 5 needed (left out: DARK_1_5.fits: the ramp is cut)" in result.output
    assert not (tmp_path / "dark.fits").exists()
    marked = run(main, rate=paths, output=tmp_path / "dark.fits", mark_refusal=True, **OPTIONS)
    assert marked.exit_code == 0
    assert "4 usable dark" in product.read(tmp_path / "dark.fits").refusal


def test_a_refused_member_is_left_out_and_named_in_the_history(run, write_rate, tmp_path):
    paths = [write_rate(0.1, k, "DARK") for k in range(1, 7)]
    with product.mark_refusal(paths[2], product.read(paths[2]), mark=True):
        raise product.ReductionError("the ramp is cut")
    result = run(main, rate=paths, output=tmp_path / "dark.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    dark = product.read(tmp_path / "dark.fits")
    assert "left out: DARK_1_3.fits: the ramp is cut" in dark.history
    assert dark.keywords["NCOMBINE"] == 5


def test_quality_numbers_are_in_the_header(run, write_rate, tmp_path):
    rate = np.full((24, 31), 0.1)
    rate[3, 7] = 50.0
    result = run(main, rate=[write_rate(rate, k, "DARK") for k in range(1, 7)], output=tmp_path / "d.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    found = product.read(tmp_path / "d.fits").keywords
    assert found["Q_DARK"] == pytest.approx(0.1, abs=0.05)
    assert found["Q_DARKSC"] == pytest.approx(0.5 / np.sqrt(6), rel=0.15)
    assert found["Q_HOT"] == pytest.approx(1 / (24 * 31), rel=1e-4)


def test_a_dark_with_light_on_it_is_refused_and_named(run, write_rate, tmp_path):
    paths = [write_rate(0.1, k, "DARK") for k in range(1, 6)] + [write_rate(6.0, 6, "DARK")]
    result = run(main, rate=paths, output=tmp_path / "dark.fits", mark_refusal=True, **OPTIONS)
    assert result.exit_code == 0
    refusal = product.read(tmp_path / "dark.fits").refusal
    assert "DARK_1_6.fits 6" in refusal
    assert "expected at most 2.0: is light on them?" in refusal
