"""make_gain: the gain of a simulated detector from raw flats and darks, with coupling; each unfit input."""

import numpy as np
import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth

from drs import product
from make_gain import main

SHAPE = (104, 136)
TIMES_S, DARK_TIMES_S = make_times(9, 8.0), make_times(7, 10.0)
OPTIONS = {"useafter": "2026-03-01T00:00:00", "minimum": 4, "minimum_dark": 3, "minimum_signal_dn": 1000}
OPTIONS |= {"maximum_saturated": 0.1, "maximum_dark_dn_per_s": 1.0, **READOUT}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return (folder, detector with coupling, flats of two levels, darks, manifest)."""
    folder = tmp_path_factory.mktemp("gain")
    detector = make_world(SHAPE, without=("unstable_pixels",))
    flats = write_exposures(folder, detector, TIMES_S, n=4, imtype="PTC", light=900.0)
    flats += write_exposures(folder, detector, TIMES_S, n=3, imtype="PTC", light=300.0, first=11)
    darks = write_exposures(folder, detector, DARK_TIMES_S, n=4, imtype="DARK")
    return folder, detector, flats, darks, write_truth(folder / "refs", detector, "dq", "saturation", "bias", "nonlin")


def make(run, world, tmp_path, **changes):
    """Return (result, path of the gain)."""
    folder, _, flats, darks, manifest = world
    places = {"manifest": manifest, "cache": folder, "night_cache": folder, "output": tmp_path / "gain.fits"}
    return run(main, **{"ramp": flats, "dark": darks, **places, **OPTIONS, **changes}), tmp_path / "gain.fits"


def test_gain_of_a_coupled_detector_is_right_to_1_percent(run, world, tmp_path):
    result, path = make(run, world, tmp_path)
    assert result.exit_code == 0, result.output
    gain, detector = product.read(path, models="GainModel", unit="electron/DN"), world[1]
    good = detector.active & (detector.dq == 0)
    ratio = (gain.arrays["SCI"] / detector.gain_e_per_dn)[good]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    pull = ((gain.arrays["SCI"] - detector.gain_e_per_dn) / gain.arrays["ERR"])[good]
    assert abs(np.median(pull)) < 2
    assert gain.keywords["Q_COUPL"] == pytest.approx(0.005, abs=0.002)
    assert abs(gain.keywords["Q_TREND"]) < 0.03
    assert gain.keywords["Q_SETS"] == 2
    assert gain.keywords["REFTYPE"] == "GAIN"
    assert {"R_NONLIN", "R_BIAS"} <= set(gain.keywords)


def test_too_few_flats_are_refused_and_marked(run, world, tmp_path):
    result, path = make(run, world, tmp_path, ramp=world[2][:2], mark_refusal=True)
    assert result.exit_code == 0, result.output
    assert "2 usable flat exposures, at least 4 needed" in product.read(path).refusal
    result, _ = make(run, world, tmp_path, dark=world[3][:1])
    assert "1 usable dark exposures, at least 3 needed" in result.output


def test_a_cut_flat_is_left_out_and_named(run, world, tmp_path):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(world[2][0].read_bytes()[:5000])
    result, path = make(run, world, tmp_path, ramp=[cut, *world[2][1:]])
    assert result.exit_code == 0, result.output
    assert any(line.startswith("left out: cut.fits") for line in product.read(path).history)


def test_unfit_light_is_refused_and_named(run, world, tmp_path):
    _, detector, flats, darks, _ = world
    off = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="PTC", light=0.0, first=21)
    result, _ = make(run, world, tmp_path, ramp=[*flats, *off])
    assert "PTC_21.fits" in result.output
    assert "was the lamp on?" in result.output
    full = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="PTC", light=15000.0, first=22)
    result, _ = make(run, world, tmp_path, ramp=[*flats, *full])
    assert "PTC_22.fits" in result.output
    assert "these flats are saturated" in result.output
    result, _ = make(run, world, tmp_path, dark=[*darks, flats[0]])
    assert "PTC_1.fits" in result.output
    assert "is light on them?" in result.output
    unlike = write_exposures(tmp_path, detector, make_times(5, 9.0), n=1, imtype="PTC", light=500.0, first=23)
    result, _ = make(run, world, tmp_path, ramp=[flats[0], flats[4], *unlike], minimum=3)
    assert "no two flats are equal" in result.output


def test_mixed_configurations_are_refused(run, world, tmp_path):
    _, detector, flats, _, _ = world
    fast = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="PTC", light=900.0, first=31, READMODE="FAST")
    result, _ = make(run, world, tmp_path, ramp=[*flats, *fast])
    assert "mixed configuration: READMODE is 'DEFAULT' in PTC_1.fits" in result.output
    dark = write_exposures(tmp_path, detector, DARK_TIMES_S, n=3, imtype="DARK", first=32, READMODE="FAST")
    result, _ = make(run, world, tmp_path, dark=dark)
    assert "mixed configuration, PTC_1.fits and DARK_32.fits: READMODE DEFAULT and FAST" in result.output
