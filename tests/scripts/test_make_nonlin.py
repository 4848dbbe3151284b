"""make_nonlin, after make_saturation: a simulated detector's correction; errors that hold; each unfit input."""

import numpy as np
import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth

import make_saturation
from drs import product
from drs.dq import Flag
from make_nonlin import main

SHAPE = (72, 136)
TIMES_S = make_times(20, 8.0)
COMMON = {"useafter": "2026-03-01T00:00:00", "minimum": 3, "maximum_saturated": 0.1, **READOUT}
OPTIONS = {"order": 3, "maximum_chi_square": 4.0, "minimum_signal_dn": 1000.0, **COMMON}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return (folder, detector with a pixel of its own kind, flats, manifest); the saturation is measured."""
    folder = tmp_path_factory.mktemp("nonlin")
    detector = make_world(SHAPE)
    detector.coeffs[2:, 40, 50] *= [-2.0, 6.0]  # of another shape than its neighbours
    flats = write_exposures(folder, detector, TIMES_S, n=5, imtype="SATFLAT", light=1100.0)
    return folder, detector, flats, write_truth(folder / "refs", detector, "dq", "bias")


@pytest.fixture(scope="module")
def saturation(world):
    """Return the path of the measured saturation."""
    from click.testing import CliRunner

    folder, _, flats, manifest = world
    words = [f"--ramp={path}" for path in flats] + [f"--manifest={manifest}", f"--output={folder / 'saturation.fits'}"]
    stated = {
        "cache": folder,
        "night-cache": folder,
        "threshold-of-well": 0.95,
        "minimum-full": 0.9,
        "minimum-signal-dn": 1000,
    }
    stated |= {key.replace("_", "-"): value for key, value in COMMON.items()}
    result = CliRunner().invoke(make_saturation.main, [*words, *(f"--{key}={value}" for key, value in stated.items())])
    assert result.exit_code == 0, result.output
    return folder / "saturation.fits"


def make(run, world, saturation, tmp_path, **changes):
    """Return (result, path of the correction)."""
    folder, _, flats, manifest = world
    places = {"manifest": manifest, "cache": folder, "night_cache": folder, "output": tmp_path / "nonlin.fits"}
    options = {"ramp": flats, "saturation": saturation, **places, **OPTIONS, **changes}
    return run(main, **options), tmp_path / "nonlin.fits"


def correct(coefficients, x):
    """Return the corrected signal."""
    return sum(c.astype(float) * x**k for k, c in enumerate(coefficients))


def test_the_correction_is_right_to_0_1_percent(run, world, saturation, tmp_path):
    result, path = make(run, world, saturation, tmp_path)
    assert result.exit_code == 0, result.output
    made, detector = product.read(path, models="NonlinearCorrectionModel"), world[1]
    coefficients, errors, flags = (made.arrays[name] for name in ("COEFFS", "COEFFS_ERR", "DQ"))
    assert flags[40, 50] == Flag.NO_LIN_CORR | Flag.NONLINEAR
    good = detector.active & (detector.dq == 0) & (flags == 0)
    assert good.sum() > 0.99 * (detector.active & (detector.dq == 0)).sum()
    for part in (0.3, 0.6, 0.9):
        x = part * (detector.threshold_dn.astype(float) - detector.bias_dn)
        found, truth = correct(coefficients, x), correct(detector.coeffs, x)
        ratio = (found / truth)[good]
        assert np.median(ratio) == pytest.approx(1.0, abs=0.001)
        # the photon noise of five ramps; uncorrected 5 % are lacking at the end
        assert ratio.std() < 0.0025
        error = sum(errors[k] * x**k for k in (2, 3))
        assert ((found - truth) / error)[good].std() == pytest.approx(1.0, abs=0.15)
    assert (coefficients[0] == 0).all()
    assert (coefficients[1] == 1).all()
    assert made.keywords["Q_NLCORR"] == pytest.approx(0.047, abs=0.005)


def test_the_threshold_is_that_of_the_wells(world, saturation):
    made, detector = product.read(saturation, models="SaturationModel", unit="DN"), world[1]
    good = detector.active & (detector.dq == 0)
    assert np.abs(made.arrays["SCI"] / detector.threshold_dn - 1)[good].max() < 0.002
    assert (made.arrays["DQ"][good] == 0).all()
    assert (made.arrays["DQ"][detector.dq & Flag.DEAD != 0] == Flag.NO_SAT_CHECK).all()
    assert made.keywords["Q_FULL"] > 0.99


def test_unfit_input_is_refused(run, world, saturation, tmp_path):
    _, detector, flats, _ = world
    result, path = make(run, world, saturation, tmp_path, ramp=flats[:2], mark_refusal=True)
    assert result.exit_code == 0
    assert "2 usable saturated flat exposures, at least 3 needed" in product.read(path).refusal
    off = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="SATFLAT", light=0.5, first=21)
    result, _ = make(run, world, saturation, tmp_path, ramp=[*flats, *off])
    assert "SATFLAT_21.fits" in result.output
    assert "was the lamp on?" in result.output
    bright = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="SATFLAT", light=20000.0, first=22)
    result, _ = make(run, world, saturation, tmp_path, ramp=[*flats, *bright])
    assert "take them with less light" in result.output
    short = write_exposures(tmp_path, detector, make_times(4, 8.0), n=1, imtype="SATFLAT", light=900.0, first=23)
    result, _ = make(run, world, saturation, tmp_path, ramp=[*flats, *short])
    assert "SATFLAT_23.fits 4; 6 or more are needed" in result.output
