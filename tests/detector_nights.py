"""Raw exposures of a simulated detector for the makers of its calibrations; the truth is its Detector."""

from functools import partial

import numpy as np
from ramps import write_ramp, write_references

from drs.simulation import cosmic, night
from drs.simulation.detector import make_detector, simulate_ramp
from drs.simulation.drift import make_drift
from drs.simulation.streams import make_stream

N_CHANNEL, BORDER_PIX = 4, 4
READOUT = {"n_channel": N_CHANNEL, "border_pix": BORDER_PIX}
FACTS = {**night.load_facts()[0]["instruments"]["IRIS"]["detector"], **READOUT}
NEVER = ("ipc", "unstable_pixels")


def make_world(shape, *, seed=1, without=NEVER, **physics):
    """Return a detector of the simulator."""
    return make_detector(shape, FACTS | physics, stream=partial(make_stream, seed, "detector"), without=without)


def take(detector, light, times_s, number, *, without=(), hits_per_cm2_s=0.0):
    """Return the reads (n_group, n_read, ny, nx) of exposure `number` of light in e-/s, a number or an image."""
    stream, shape = partial(make_stream, 7, number), detector.dq.shape
    hits = cosmic.make_hits(times_s, shape, rate_per_cm2_s=hits_per_cm2_s, pixel_um=10.0, stream=stream("cosmic_rays"))
    hits = hits[detector.active[hits["Y"], hits["X"]]]
    drift = make_drift(times_s, shape, FACTS, stream=stream, without=without)
    rate = detector.rate(light + np.zeros(shape))
    return simulate_ramp(rate, times_s, detector, hits=hits, drift=drift, stream=stream, without=without)


def make_times(n_read, step_s, n_group=1):
    """Return equally spaced times, (n_group, n_read)."""
    return np.tile(step_s * np.arange(1.0, n_read + 1.0), (n_group, 1))


def write_exposures(folder, detector, times_s, *, n, imtype, light=0.0, first=1, **keywords):
    """Write `n` exposures as Level 0 files; return their paths."""
    paths = []
    for number in range(first, first + n):
        reads = take(detector, light, times_s, f"{imtype}{number}")
        facts = {
            "IMTYPE": imtype,
            "EXPNUM": number,
            "INSTERA": "0.0.1",
            "READMODE": "DEFAULT",
            "EXPDTST": f"2026-03-01T05:{number:02d}:00.000",
            **keywords,
        }
        paths.append(write_ramp(folder / f"{imtype}_{number}.fits", reads, times_s, **facts))
    return paths


def write_truth(folder, detector, *kinds):
    """Write the true references of some types, and the manifest that names them; return its path."""
    maps = {
        "dq": detector.dq,
        "saturation": detector.threshold_dn,
        "bias": detector.bias_dn,
        "nonlin": detector.coeffs,
        "gain": detector.gain_e_per_dn,
        "readnoise": detector.read_noise_e,
    }
    folder.mkdir(exist_ok=True)
    write_references(folder, **{kind: maps[kind] for kind in kinds})
    return folder / "manifest.json"
