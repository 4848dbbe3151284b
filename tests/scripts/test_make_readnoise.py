"""make_readnoise: the noise of a read from raw darks, per channel and pixel; darks with light; a refused gain."""

import numpy as np
import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth

from drs import product
from drs.errors import ReductionError
from make_readnoise import main

SHAPE = (72, 136)
TIMES_S = make_times(8, 10.0)
OPTIONS = {"useafter": "2026-03-01T00:00:00", "minimum": 5, "maximum_dark_dn_per_s": 1.0, **READOUT}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return (folder, detector, darks, manifest)."""
    folder = tmp_path_factory.mktemp("noise")
    detector = make_world(SHAPE)
    darks = write_exposures(folder, detector, TIMES_S, n=6, imtype="DARK")
    return folder, detector, darks, write_truth(folder / "refs", detector, "dq", "gain")


def make(run, world, tmp_path, **changes):
    """Return (result, path of the read noise)."""
    folder, _, darks, manifest = world
    places = {"manifest": manifest, "cache": folder, "night_cache": folder, "output": tmp_path / "noise.fits"}
    return run(main, **{"ramp": darks, "gain": folder / "refs/gain.fits", **places, **OPTIONS, **changes}), (
        tmp_path / "noise.fits"
    )


def test_read_noise_is_right_to_2_percent(run, world, tmp_path):
    result, path = make(run, world, tmp_path)
    assert result.exit_code == 0, result.output
    noise, detector = product.read(path, models="ReadNoiseModel", unit="electron"), world[1]
    good = detector.active & (detector.dq == 0)
    truth = detector.read_noise_e
    assert np.median((noise.arrays["SCI"] / truth)[good]) == pytest.approx(1.0, abs=0.01)
    columns = np.arange(SHAPE[1]) * READOUT["n_channel"] // SHAPE[1]
    for k in range(READOUT["n_channel"]):
        here = good & (columns == k)
        assert np.sqrt((noise.arrays["SCI"][here] ** 2).mean() / (truth[here] ** 2).mean()) == pytest.approx(
            1, abs=0.02
        )
    pull = ((noise.arrays["SCI"] - truth) / noise.arrays["ERR"])[good]
    assert abs(pull.mean()) < 0.2
    assert pull.std() == pytest.approx(1.0, abs=0.15)
    # shrunk: nearer to the truth than the scatter of the pixels, 10 %, and than the estimates, 11 %
    assert np.std((noise.arrays["SCI"] / truth)[good]) < 0.09
    assert noise.keywords["Q_RNOISE"] == pytest.approx(9.0, rel=0.02)


def test_unfit_input_is_refused(run, world, tmp_path):
    folder, detector, darks, _ = world
    lit = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="DARK", light=60.0, first=21)
    result, path = make(run, world, tmp_path, ramp=[*darks, *lit], mark_refusal=True)
    assert result.exit_code == 0
    assert "DARK_21.fits" in product.read(path).refusal
    result, _ = make(run, world, tmp_path, ramp=darks[:4])
    assert "4 usable dark exposures, at least 5 needed" in result.output
    short = write_exposures(tmp_path, detector, make_times(2, 10.0), n=1, imtype="DARK", first=22)
    result, _ = make(run, world, tmp_path, ramp=[*darks, *short])
    assert "DARK_22.fits 2; 3 or more are needed" in result.output
    refused, gain = tmp_path / "refused.fits", product.read(folder / "refs/gain.fits")
    with product.mark_refusal(refused, gain, mark=True):
        raise ReductionError("the lamp was off")
    result, _ = make(run, world, tmp_path, gain=refused)
    assert "refused.fits was refused: the lamp was off" in result.output
