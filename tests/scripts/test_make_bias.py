"""make_bias: level and reset noise of a simulated detector; too few frames, light on them."""

import numpy as np
import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth

from drs import product
from make_bias import main

SHAPE = (72, 136)
TIMES_S = make_times(2, 1.5)
OPTIONS = {"useafter": "2026-03-01T00:00:00", "minimum": 5, "clip_sigma": 5, "maximum_dark_dn_per_s": 20, **READOUT}


def make(run, tmp_path, detector, frames):
    """Return the result and the path of the bias."""
    places = {"cache": tmp_path, "night_cache": tmp_path, "output": tmp_path / "bias.fits"}
    manifest = write_truth(tmp_path / "refs", detector, "dq")
    return run(main, ramp=frames, manifest=manifest, **places, **OPTIONS), tmp_path / "bias.fits"


def test_level_error_and_reset_noise(run, tmp_path):
    detector = make_world(SHAPE)
    frames = write_exposures(tmp_path, detector, TIMES_S, n=12, imtype="BIAS")
    result, path = make(run, tmp_path, detector, frames)
    assert result.exit_code == 0, result.output
    made, good = product.read(path, models="BiasModel", unit="DN"), detector.active & (detector.dq == 0)
    difference = made.arrays["SCI"] - detector.bias_dn
    assert abs(np.median(difference[good])) < 3  # drift of the pedestal: 1.2 DN after 1.5 s in each frame
    pull = ((difference - np.median(difference[good])) / made.arrays["ERR"])[good]
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.15)  # of 12 frames: of Student's t, 1.05
    assert made.keywords["Q_KTC"] == pytest.approx(25 / 3.04, rel=0.02)
    assert made.keywords["Q_SETS"] == 12


def test_unfit_frames_are_refused(run, tmp_path):
    detector = make_world((40, 72))
    frames = write_exposures(tmp_path, detector, TIMES_S, n=4, imtype="BIAS")
    result, _ = make(run, tmp_path, detector, frames)
    assert "4 usable bias exposures, at least 5 needed" in result.output
    frames += write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="BIAS", light=900.0, first=9)
    result, _ = make(run, tmp_path, detector, frames)
    assert "BIAS_9.fits" in result.output
    assert "is light on them?" in result.output
