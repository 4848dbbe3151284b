"""make_dq: bad pixels of a simulated detector: 99 % found, 1 % false; each unfit input."""

import numpy as np
import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth
from ramps import KEYWORDS

from drs import product
from drs.dq import Flag
from make_dq import main

SHAPE = (136, 168)
TIMES_S, LONG_TIMES_S = make_times(8, 10.0), make_times(16, 10.0)
OPTIONS = {"useafter": "2026-03-01T00:00:00", "minimum": 5, "minimum_flat": 3, "clip_sigma": 5, "threshold_sigma": 15}
OPTIONS |= {"hot_minimum_e_per_s": 20, "dead_response": 0.2, "low_response": 0.5, "minimum_signal_e_per_s": 5}
OPTIONS |= {"maximum_dark_dn_per_s": 2.0, **READOUT}
FRACTIONS = {"dead_fraction": 0.01, "hot_fraction": 0.01, "telegraph_fraction": 0.02, "noisy_fraction": 0.02}


def write_rate(path, detector, light, exposure_s, seed):
    """Write a Level 1 rate of the detector, with the noise that it would have; return its path."""
    rng, rate = np.random.default_rng(seed), detector.rate(light + np.zeros(SHAPE))
    error = np.sqrt(12 * 81 / 8 / exposure_s**2 + rate / exposure_s)
    arrays = {"SCI": rate + rng.normal(0, 1, SHAPE) * error, "ERR": error}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    facts = {"DATAMODL": "ImagerModel", "DATALVL": 1, "EXPTIME": exposure_s, "INSTERA": "0.0.1", "READMODE": "DEFAULT"}
    units = {"SCI": "electron/s", "ERR": "electron/s"}
    product.write(path, product.Product(KEYWORDS | facts, {**arrays, "DQ": np.zeros(SHAPE, np.uint32)}, units))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return (folder, detector, raw darks of two lengths, their rates, flat rates, manifest)."""
    folder = tmp_path_factory.mktemp("dq")
    detector = make_world(SHAPE, without=("ipc",), **FRACTIONS)
    detector.coeffs[2:, 60, 70] = 0
    ramps = write_exposures(folder, detector, TIMES_S, n=5, imtype="DARK")
    ramps += write_exposures(folder, detector, LONG_TIMES_S, n=2, imtype="DARK", first=11)
    rates = [write_rate(folder / f"rate{k}.fits", detector, 0.0, 70.0, k) for k in range(7)]
    flats = [write_rate(folder / f"flat{k}.fits", detector, 500.0, 70.0, 20 + k) for k in range(4)]
    manifest = write_truth(folder / "refs", detector, "gain", "nonlin")
    nonlin = product.read(folder / "refs/nonlin.fits")
    assert nonlin.arrays["DQ"].shape == SHAPE
    return folder, detector, ramps, rates, flats, manifest


def make(run, world, tmp_path, **changes):
    """Return (result, path of the map)."""
    folder, _, ramps, rates, flats, manifest = world
    places = {"manifest": manifest, "cache": folder, "night_cache": folder, "output": tmp_path / "dq.fits"}
    return run(main, **{"ramp": ramps, "rate": rates, "flat": flats, **places, **OPTIONS, **changes}), (
        tmp_path / "dq.fits"
    )


def test_99_percent_are_found_and_1_percent_is_false(run, world, tmp_path):
    result, path = make(run, world, tmp_path)
    assert result.exit_code == 0, result.output
    found, detector = product.read(path, models="DQModel").arrays["DQ"], world[1]
    for flag in (Flag.HOT, Flag.DEAD, Flag.TELEGRAPH, Flag.UNRELIABLE_SLOPE):
        truth, marked = detector.dq & flag != 0, found & flag != 0
        assert truth.sum() > 100
        assert (marked & truth).sum() >= 0.99 * truth.sum(), flag.name
        assert (marked & ~truth).sum() <= 0.01 * truth.sum() + 1, flag.name
    warm, rate = found & Flag.WARM != 0, detector.dark_e_per_s
    clear = (detector.dq == 0) & (rate > 2.5)
    assert warm[clear].mean() > 0.99
    assert not warm[detector.active & (rate < 0.5)].any()
    assert not found[~detector.active].any()
    made = product.read(path)
    assert made.keywords["Q_HOT"] == pytest.approx(0.01, abs=0.003)
    assert made.keywords["SUBARRAY"] == "GENERIC"


def test_unfit_input_is_refused(run, world, tmp_path):
    _, detector, ramps, rates, flats, _ = world
    result, path = make(run, world, tmp_path, ramp=ramps[:4], mark_refusal=True)
    assert result.exit_code == 0
    assert "4 usable dark exposures, at least 5 needed" in product.read(path).refusal
    result, _ = make(run, world, tmp_path, flat=flats[:2])
    assert "2 usable flat exposures, at least 3 needed" in result.output
    result, _ = make(run, world, tmp_path, flat=[*flats, rates[0]])
    assert "rate0.fits" in result.output
    assert "was the lamp on?" in result.output
    lit = write_exposures(tmp_path, detector, TIMES_S, n=1, imtype="DARK", light=100.0, first=21)
    result, _ = make(run, world, tmp_path, ramp=[*ramps, *lit])
    assert "DARK_21.fits" in result.output
    assert "is light on them?" in result.output
