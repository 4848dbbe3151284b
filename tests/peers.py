"""The codes that the benchmark compares, each behind the same call, and the process that measures one of them.

`python tests/peers.py CODE FOLDER [--rows N] [--turns N] [--source PATH]` runs one code on the ramp of a folder and
prints one line of JSON. Each code imports what it needs itself: every interpreter has only some of the packages.

A code is a function of a ramp that returns a call; the call takes the reads to a rate in e-/s, its error in e-/s, and
the differences found to hold a jump (n_difference, ny, nx), or None. Settings are those that each project ships, but
that growth of saturation and neighbours of jumps are off: they flag reads that hold nothing wrong here.
"""

import argparse
import functools
import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
from known_ramps import MAPS, STEP_S, cut_ramp, load_ramp

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
WARM_UP_ROWS = 8
NAMES = ("DO_NOT_USE", "SATURATED", "JUMP_DET", "AD_FLOOR", "CHARGELOSS", "PERSISTENCE")  # of a read: 8 bits
PIXEL_NAMES = ("NO_GAIN_VALUE", "NO_SAT_CHECK", "NO_LIN_CORR", "UNRELIABLE_SLOPE", "REFERENCE_PIXEL")
FLAGS = {"GOOD": 0} | {name: 1 << bit for bit, name in enumerate(NAMES)}
FLAGS |= {name: 1 << bit for bit, name in enumerate(PIXEL_NAMES, start=16)}
BLOCK_ROWS = 64  # as `fit_ramp` takes them by itself, at most


def read_memory(ramp):
    """Read the memory of a ramp once, the limit of every code."""
    return lambda: (ramp.reads.max(), None, None)


def read_settings():
    """Return the settings of this library's fit that the workflow ships."""
    import yaml

    return yaml.safe_load((SCRIPTS.parent / "config" / "config.yaml").read_text())["fit_ramp"]


def ours(ramp, *, method, threshold=None, details=False):
    """Reduce a ramp with this library: calibration, jumps and fit by blocks of rows, then the photon noise.

    The blocks are those that `drs.raw` and `drs.detector` hand out. The jumps are kept on request only; the workflow
    does not keep them.
    """
    sys.path.insert(0, str(SCRIPTS))
    from drs.chain import make_chain
    from drs.detector import build_maps
    from drs.ramp import Search, fit_ramp
    from drs.raw import BLOCK_BYTES
    from drs.signal import calibrate_reads
    from drs.variance import estimate_poisson_variance

    settings = read_settings()
    options = {"method": method, "n_coadd": settings["n_coadd"]}
    options["search"] = Search(threshold or settings["jump_threshold_sigma"])
    maps = build_maps(ramp.rate.shape, **{name: getattr(ramp, name) for name in MAPS})
    reads, chain, shape = ramp.reads[np.newaxis], make_chain(ramp.times_s[np.newaxis]), ramp.rate.shape
    blocks = []
    step = min(BLOCK_ROWS, BLOCK_BYTES // reads[:, :, 0].nbytes)
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        blocks.append((rows, np.ascontiguousarray(reads[:, :, rows]), maps.cut(rows)))

    def call():
        rate, factor, var_rnoise = (np.empty(shape, np.float32) for _ in range(3))
        unusable, found = np.empty(shape, bool), np.empty((len(ramp.reads) - 1, *shape), np.uint8) if details else None
        for rows, reads_dn, part in blocks:
            signal = calibrate_reads(reads_dn, part)
            fit = fit_ramp(signal.signal_e, chain, part.read_variance_e2, **options)
            rate[rows], factor[rows], var_rnoise[rows] = fit.rate, fit.photon_factor, fit.var_rnoise
            unusable[rows] = (fit.dq | signal.dq) & 1 != 0
            if details:
                found[:, rows] = fit.found
            del signal, fit  # so that the next block takes their memory
        photons = estimate_poisson_variance(rate, factor, var_rnoise, unusable, box_pix=settings["noise_box_pix"])
        return rate, np.sqrt(photons + var_rnoise), found

    return call


def calibrate_with_stcal(ramp):
    """Return the signal in DN and the flags of reads and pixels: saturation, bias, linearity."""
    from stcal.linearity.linearity import linearity_correction
    from stcal.saturation.saturation import flag_saturated_pixels

    data = ramp.reads[np.newaxis].astype(np.float32)
    flags, pixel_flags = np.zeros(data.shape, np.uint8), np.zeros(ramp.rate.shape, np.uint32)
    nothing = np.zeros_like(pixel_flags)
    maps = ramp.saturation_dn.copy(), nothing.copy(), 65535, FLAGS  # it writes into its arguments
    flags, pixel_flags = flag_saturated_pixels(data, flags, pixel_flags, *maps, n_pix_grow_sat=0)[:2]
    data -= ramp.bias_dn
    maps = ramp.nonlin_coefficients.copy(), nothing, FLAGS
    data, pixel_flags, _ = linearity_correction(data, flags, pixel_flags, *maps)
    return data, flags, pixel_flags


def fit_with_stcal(ramp, data, flags, pixel_flags, algorithm):
    """Return the rate, its error and the jumps of `ramp_fit_data`; its read noise is that of two reads, in DN."""
    from stcal.ramp_fitting.ramp_fit import ramp_fit_data
    from stcal.ramp_fitting.ramp_fit_class import RampData

    ramp_data = RampData()
    ramp_data.set_arrays(data, flags, pixel_flags, np.zeros_like(ramp.rate))
    ramp_data.set_meta(name="NIRCAM", frame_time=STEP_S, group_time=STEP_S, groupgap=0, nframes=1)
    ramp_data.algorithm = algorithm
    ramp_data.set_dqflags(FLAGS)
    ramp_data.start_row, ramp_data.num_rows = 0, data.shape[2]
    gain = ramp.gain_e_per_dn
    noise = np.sqrt(np.float32(2)) * ramp.read_noise_e / gain
    image, _, _ = ramp_fit_data(ramp_data, False, noise, gain.copy(), algorithm, "optimal", "none")
    return image["slope"] * gain, image["err"] * gain, ramp_data.groupdq[0, 1:] & FLAGS["JUMP_DET"]


def stcal_chain(ramp):
    """Reduce a ramp as the JWST pipeline: saturation, linearity, two-point jumps, OLS_C."""
    from stcal.jump.jump import detect_jumps_data
    from stcal.jump.jump_class import JumpData

    def call():
        data, flags, pixel_flags = calibrate_with_stcal(ramp)
        noise = np.sqrt(np.float32(2)) * ramp.read_noise_e / ramp.gain_e_per_dn
        jumps = JumpData(gain2d=ramp.gain_e_per_dn, rnoise2d=noise, dqflags=FLAGS)
        jumps.init_arrays_from_arrays(data, flags, pixel_flags)
        jumps.nframes, jumps.dt_group, jumps.n_reads_groupdiff = 1, np.ones(1), np.full(1, 2.0)
        jumps.flag_4_neighbors, jumps.max_cores = False, "none"
        flags, pixel_flags, _, _ = detect_jumps_data(jumps)
        return fit_with_stcal(ramp, data, flags, pixel_flags, "OLS_C")

    return call


def stcal_likely(ramp):
    """Fit a ramp with the likelihood of stcal and its jumps; saturation and linearity are done before."""
    data, flags, pixel_flags = calibrate_with_stcal(ramp)
    return lambda: fit_with_stcal(ramp, data, flags.copy(), pixel_flags.copy(), "LIKELY")


def load_module(path):
    """Return a module from a file that is not installed."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fitramp(ramp, *, source):
    """Fit a ramp with the code of Brandt (2024), row by row as he does; saturation and linearity are done before."""
    code = load_module(Path(source) / "fitramp.py")
    data, flags = calibrate_with_numpy(ramp)
    differences = np.diff(data, axis=0) / STEP_S
    usable = (~flags[1:]).astype(np.uint8)
    covariance = code.Covar(list(ramp.times_s))

    def call():
        rate, error, found = np.empty_like(ramp.rate), np.empty_like(ramp.rate), np.empty(differences.shape, bool)
        for y, noise in enumerate(ramp.read_noise_e):
            d, use = differences[:, y], usable[:, y].copy()
            use, guess = code.mask_jumps(d, covariance, noise, diffs2use=use)
            fit = code.fit_ramps(d, covariance, noise, diffs2use=use, countrateguess=guess * (guess > 0))
            rate[y], error[y], found[:, y] = fit.countrate, fit.uncert, use != usable[:, y]
        return rate, error, found

    return call


def calibrate_with_numpy(ramp):
    """Return the signal (n_read, ny, nx) in e- and where a read is saturated."""
    x = ramp.reads - ramp.bias_dn
    signal = sum(c * x**k for k, c in enumerate(ramp.nonlin_coefficients)) * ramp.gain_e_per_dn
    return signal, np.maximum.accumulate(ramp.reads >= ramp.saturation_dn, axis=0)


def reference_implementation(ramp, *, source):
    """Correct and fit a ramp with the numba functions of liger_iris_pipeline, in its order of axes; no flags, no jumps.

    Its files are loaded one by one, because the package imports the whole JWST pipeline.
    """
    folder = Path(source) / "liger_iris_pipeline" / "readout"
    fit = load_module(folder / "fit_ramp_numba.py").fit_ramps_ols
    correct = load_module(folder / "nonlinear_correction_numba.py").correct_nonlinearity
    reads = np.ascontiguousarray(np.moveaxis(ramp.reads, 0, -1))[:, :, np.newaxis]
    coefficients = np.ascontiguousarray(np.moveaxis(ramp.nonlin_coefficients, 0, -1))
    times_s = ramp.times_s[np.newaxis].astype(np.float32)

    def call():
        signal = correct(reads - ramp.bias_dn[..., np.newaxis, np.newaxis], coefficients)
        slope, error = fit(times_s, signal)
        return slope * ramp.gain_e_per_dn, error * ramp.gain_e_per_dn, None

    return call


CODES = {
    "limit": read_memory,
    "likelihood": functools.partial(ours, method="likelihood"),
    "ols": functools.partial(ours, method="ols"),
    "stcal_chain": stcal_chain,
    "stcal_likely": stcal_likely,
    "fitramp": fitramp,
    "reference_implementation": reference_implementation,
}


def read_status(name):
    """Return an entry of the memory of this process in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(code, folder, rows, turns):
    """Return walls and CPU times in seconds, peak memory in bytes above that of a warm process, and the call."""
    code(cut_ramp(load_ramp(folder, WARM_UP_ROWS), slice(None)))()  # compiles, loads libraries
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
    before, walls, cpus = read_status("VmRSS"), [], []
    call = code(load_ramp(folder, rows))
    for _ in range(turns):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"walls": walls, "cpus": cpus, "memory": read_status("VmHWM") - before}


def main():
    """Measure one code; write rate, error and jumps beside the ramp on request."""
    parser = argparse.ArgumentParser()
    parser.add_argument("code", choices=CODES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, help="use the first rows only")
    parser.add_argument("--turns", type=int, default=0)
    parser.add_argument("--source", help="checkout of a code that is not installed")
    parser.add_argument("--threshold", type=float, help="of a jump, for this library")
    parser.add_argument("--results", type=Path, help="write rate, error and jumps to this file")
    arguments = parser.parse_args()
    options = {name: getattr(arguments, name) for name in ("source", "threshold") if getattr(arguments, name)}
    code = functools.partial(CODES[arguments.code], **options)
    report = measure(code, arguments.folder, arguments.rows, arguments.turns) if arguments.turns else {}
    if arguments.results:
        options = {"details": True} if arguments.code in ("likelihood", "ols") else {}
        rate, error, found = code(load_ramp(arguments.folder, arguments.rows), **options)()
        np.savez(arguments.results, rate=rate, error=error, found=np.empty(0, "u1") if found is None else found)
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
