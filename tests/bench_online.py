"""Measure how soon a cube is there: `python tests/bench_online.py [--modes lenslets slices] [--folder /fast/disk]`.

Bar: 60 s from the last read of a full frame to its cube less the sky, Level 1 included (`quality: online`), and less
than 3 GiB in each step. The commands are those of the workflow with its settings, each a process of its own, on files
of a simulated ramp: 4096 x 4096 pixels, 112 x 128 lenslets of 400 columns, or 88 slices of 45 spaxels, a sky of OH
lines whose cube is there, all references. Snakemake's own time is left out. Files take 4 GB, and are deleted.
"""

import argparse
import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import conftest  # noqa: F401, makes the library importable
import numpy as np
from bench_ifs import OH, simulate_lenslets, simulate_slices
from ramps import write_ramp, write_references
from spectra import KEYWORDS, REFERENCE, write_manifest

from drs import product
from drs.plan import options
from drs.schema import load_yaml

REPO = Path(__file__).resolve().parents[1]
CONFIG = load_yaml(REPO / "config/config.yaml")
LISTED = ("skip_steps", "chi_square", "seeing", "seeing_maximum_arcsec")  # of fit_ramp: no plain options
BIAS_DN, GAIN, READ_NOISE_E = 1000.0, 3.04, 9.0
BORDER_PIX, N_CHANNEL = 4, 64
TIMES = {"EXPDTST": "2024-09-25T06:00:00.000", "EXPDTEND": "2024-09-25T06:05:00.000"}
MODES = {"lenslets": ("LENSLET", 0.009, "extract_cube"), "slices": ("SLICER", 0.05, "extract_slices")}
SIMULATED = {"lenslets": simulate_lenslets, "slices": simulate_slices}
HAVE_UNIT = ("SCI", "ERR", "WAVESOL", "EDGES")
LEFT_OUT = ("EXPTIME", "NREADS", "DATALVL", "DATAQUAL", "RA", "DEC", "PA", "SEMID", "PROGNUM", "OBSNUM")


def parse_arguments():
    """Return what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=["lenslets"])
    parser.add_argument("--reads", type=int, default=32)
    parser.add_argument("--turns", type=int, default=2, help="the first may compile")
    parser.add_argument("--part", type=int, default=1, help="a quarter of the frame: 4")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; default: that of temporary files")
    parser.add_argument("--quality", choices=["online", "full"], default="online")
    return parser.parse_args()


def write_files(folder, mode, part, n_read):
    """Write ramp, rate of the sky, references of both levels and their manifests."""
    first, sky, geometry, wavelength_um = SIMULATED[mode](part)
    header = KEYWORDS | TIMES | {"INSTMODE": MODES[mode][0], "SCALE": MODES[mode][1]}
    shape = first.rate.shape
    write_level1_references(folder, shape)
    write_reads(folder / "ramp.fits", first.rate, n_read, header)
    arrays = {"SCI": sky.rate, "ERR": sky.error, "DQ": sky.dq}
    rate = product.Product(header | {"IMTYPE": "SKY", "EXPNUM": 2}, arrays, {"SCI": "electron/s", "ERR": "electron/s"})
    product.write(folder / "sky.fits", rate)
    contents = {"dark": ("DarkModel", {"SCI": 0 * sky.rate, "ERR": 0 * sky.error, "DQ": sky.dq}, "electron/s")}
    if mode == "lenslets":
        n_column = wavelength_um.shape[1]
        size = wavelength_um.shape[0] // 128, 128
        rectmat = np.ascontiguousarray(geometry.profile.transpose(2, 1, 0)).reshape(-1, n_column, *size)
        offsets = np.stack([geometry.first_row, geometry.first_column]).reshape(2, *size).astype(np.int32)
        wavesol = {"WAVESOL": wavelength_um.T.reshape(n_column, *size).astype(np.float32), "OFFSETS": offsets}
        contents["rectmat"] = ("RectificationModel", {"RECTMAT": rectmat, "OFFSETS": offsets}, "")
    else:
        flat = {"SCI": np.ones(shape, np.float32), "ERR": np.zeros(shape, np.float32), "DQ": sky.dq}
        contents["trace"] = ("TraceModel", flat | {"EDGES": geometry.astype(np.float32)}, "")
        wavesol = {"WAVESOL": np.moveaxis(wavelength_um, 2, 0).astype(np.float32)}
    contents["wavesol"] = ("WavelengthModel", wavesol, "um")
    write_level2_references(folder, contents, header)


def write_reads(path, rate, n_read, header):
    """Write a ramp of a rate (e-/s) that is read every 2.2 s, with a border of reference pixels."""
    random, step_s = np.random.default_rng(1), 70.0 / n_read
    rate = np.maximum(rate, 0)
    rate[:BORDER_PIX], rate[-BORDER_PIX:], rate[:, :BORDER_PIX], rate[:, -BORDER_PIX:] = 0, 0, 0, 0
    reads, signal, spread = np.empty((1, n_read, *rate.shape), np.uint16), 0 * rate, np.sqrt(rate * step_s)
    for k in range(n_read):
        signal += rate * step_s + spread * random.standard_normal(rate.shape, np.float32)
        noisy = signal + np.float32(READ_NOISE_E) * random.standard_normal(rate.shape, np.float32)
        reads[0, k] = np.rint(noisy / np.float32(GAIN) + np.float32(BIAS_DN)).clip(0, 65535)
    times = {"EXPMJDST": 60578.25, "NREADS": n_read, "NGROUPS": 1, "DATALVL": 0, "DATAMODL": "RampModel"}
    times_s = step_s * (1.0 + np.arange(n_read))[np.newaxis]
    write_ramp(path, reads, times_s, **header | times | {"IMTYPE": "SCI", "EXPNUM": 1})


def write_level1_references(folder, shape):
    """Write the references of the detector and their manifest, manifest.json."""
    even = {"saturation": 50000.0, "bias": BIAS_DN, "gain": GAIN, "readnoise": READ_NOISE_E}
    maps = {name: np.full(shape, value, np.float32) for name, value in even.items()}
    curve = np.stack([np.full(shape, value, np.float32) for value in (0.0, 1.0, 0.0, 0.0)])
    manifest = write_references(folder, **maps, nonlin=curve, dq=np.zeros(shape, np.uint32))
    manifest.write_text(manifest.read_text().replace('"INSTRUME": "Liger"', '"INSTRUME": "IRIS"'))


def write_level2_references(folder, contents, header):
    """Write references of spectra, type -> (model, arrays, unit), and their manifest in a folder of its own."""
    place, paths = folder / "cache/references/ligeriri/iris", {}
    place.mkdir(parents=True)
    for kind, (model, arrays, unit) in contents.items():
        keywords = {key: value for key, value in header.items() if key not in (*LEFT_OUT, *TIMES)}
        units = {name: "pix" if name == "EDGES" else unit for name in arrays if name in HAVE_UNIT}
        paths[kind] = place / f"iris_ifs_{kind}_20240101t000000_0.0.1.fits"
        keywords |= REFERENCE | {"DATAMODL": model, "REFTYPE": kind.upper()}
        product.write(paths[kind], product.Product(keywords, arrays, units))
    (folder / "level2").mkdir()
    write_manifest(folder / "level2", paths)


def run_script(name, given):
    """Run a command with options, as a shell has them; return its wall and CPU time in s and its peak bytes."""
    command = [sys.executable, REPO / "tests/measure_command.py", sys.executable, REPO / "scripts" / f"{name}.py"]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    run = subprocess.run([*map(str, command), *shlex.split(given)], stdout=subprocess.PIPE, env=environment, check=True)
    return np.array(json.loads(run.stdout))


def make_rate(folder):
    """Run fit_ramp as the workflow does."""
    settings = {key: value for key, value in CONFIG["fit_ramp"].items() if key not in LISTED}
    places = {"ramp": folder / "ramp.fits", "manifest": folder / "manifest.json", "output": folder / "rate.fits"}
    readout = {"border_pix": BORDER_PIX, "n_channel": N_CHANNEL, "cache": folder, "night_cache": folder}
    return run_script("fit_ramp", options(settings | readout | places))


def make_cube(folder, mode, rate, output, quality, sky=None):
    """Run extract_cube or extract_slices as the workflow does."""
    step = MODES[mode][2]
    settings = {key: value for key, value in CONFIG[step].items() if key not in ("sky", "method")}
    if mode == "lenslets":
        settings["method"] = {"online": "iterations", "full": "chi-square"}[quality]
    manifest = folder / "level2/manifest.json"
    places = {"rate": rate, "manifest": manifest, "output": output, "lines": OH, "night_cache": folder / "none"}
    places |= {"instrument": REPO / "config/instruments/iris.yaml", "cache": folder / "cache"}
    places |= {"sky_method": "cube" if sky else "none"} | ({"sky": sky} if sky else {})
    if sky and mode == "slices":
        places |= {"sky_rate": folder / "sky.fits", "sky_manifest": manifest}
    return run_script(step, options(settings | places))


def measure(folder, mode, turns, quality):
    """Return step -> (wall s, CPU s, peak bytes) of the last of some turns."""
    make_cube(folder, mode, folder / "sky.fits", folder / "sky_cube.fits", quality)
    for _ in range(turns):
        found = {"fit_ramp": make_rate(folder)}
        made = make_cube(folder, mode, folder / "rate.fits", folder / "cube.fits", quality, folder / "sky_cube.fits")
        found[MODES[mode][2]] = made
    return found


def main():
    """Print a table."""
    given = parse_arguments()
    for mode in given.modes:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            folder = Path(name)
            writer = multiprocessing.get_context("spawn").Process(
                target=write_files, args=(folder, mode, given.part, given.reads)
            )
            writer.start()
            writer.join()
            found = measure(folder, mode, given.turns, given.quality)
            cube = product.read(folder / "cube.fits", models="IFUCubeModel")
            shape = " x ".join(map(str, cube.arrays["SCI"].shape))
        for step, (wall, cpu, memory) in found.items():
            print(f"{mode}, {step}: {wall:.1f} s, CPU {cpu:.1f} s, peak {memory / 2**30:.2f} GiB")
        total = sum(own[0] for own in found.values())
        print(f"{mode}: from the last read to the cube ({shape}), quality {given.quality}: {total:.1f} s (bar 60)")


if __name__ == "__main__":
    main()
