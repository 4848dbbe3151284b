"""Time and memory of the mosaic of many large images: `python tests/bench_mosaic.py [--images 100] [--size 4096]`.

Four dithers of blank sky with noise and bad pixels, each under many names, through the command `combine_images` with
the settings of config/config.yaml. Bar: 100 images of 4096 x 4096 in less than 4 GiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "scripts"
sys.path[:0] = [str(SCRIPTS), str(HERE)]

import numpy as np
from fields import DETECTOR

from drs import product
from drs.schema import load_yaml
from drs.wcs import build_wcs

KEYWORDS = {"TELESCOP": "TMT", "INSTRUME": "IRIS", "DETECTOR": "IMG1", "FILTER": "H", "PUPIL": "CLEAR"}
KEYWORDS |= {"SEMID": "2024B", "PROGNUM": "P123", "OBSNUM": "008", "EXPTIME": 50.0, "NREADS": 8, "DATAQUAL": "GOOD"}
KEYWORDS |= {"INSTERA": "0.0.1", "READMODE": "DEFAULT", "SUBARRAY": "FULL", "RA": 150.0, "DEC": 2.0, "PA": 0.0}
SHIFTS_PIX = ((0, 0), (8.3, 3.1), (-6.7, 11.2), (4.4, -9.8))


def write_images(folder, count, size):
    """Return the paths of `count` Level 2 images, of which four differ."""
    rng, paths, units = np.random.default_rng(1), [], {"SCI": "electron/s", "ERR": "electron/s"}
    for k in range(count):
        path = folder / f"image{k}.fits"
        paths.append(path)
        if k >= len(SHIFTS_PIX):
            os.link(paths[k % len(SHIFTS_PIX)], path)
            continue
        dx, dy = (shift * DETECTOR["scale_arcsec"] / 3600 for shift in SHIFTS_PIX[k])
        values = rng.standard_normal((size, size), dtype=np.float32)
        bad = (rng.random((size, size), dtype=np.float32) < 0.005).astype(np.uint32)
        arrays = {"SCI": values, "ERR": np.ones((size, size), np.float32), "DQ": bad}
        times = {"EXPDTST": "2024-09-25T06:00:00.000", "EXPDTEND": "2024-09-25T06:00:50.000", "TOTTIME": 50.0}
        keywords = KEYWORDS | times | {"IMTYPE": "SCI", "DATAMODL": "ImagerModel", "DATALVL": 2, "EXPNUM": k + 1}
        wcs = build_wcs(150 + dx, 2 + dy, 0.0, DETECTOR, (size, size))
        product.write(path, product.Product(keywords, arrays, units, wcs=wcs))
    return paths


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=4096)
    options = parser.parse_args()
    settings = load_yaml(HERE.parent / "config" / "config.yaml")["combine_images"]
    with tempfile.TemporaryDirectory() as name:
        paths = write_images(Path(name), options.images, options.size)
        command = [sys.executable, str(SCRIPTS / "combine_images.py"), f"--output={name}/mosaic.fits"]
        command += [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        command += [f"--image={path}" for path in paths]
        measure = [sys.executable, str(HERE / "measure_command.py"), *command]
        run = subprocess.run(measure, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(run.stderr or run.stdout)
        wall, cpu, peak = json.loads(run.stdout.splitlines()[-1])
        mosaic = product.read(f"{name}/mosaic.fits", models="ImagerModel")
        inner = slice(32, -32), slice(32, -32)
        pulls = mosaic.arrays["SCI"][inner] / mosaic.arrays["ERR"][inner]
    print(f"{options.images} images of {options.size} x {options.size}, {os.cpu_count()} cores")
    print(f"{wall:.0f} s, CPU {cpu:.0f} s, peak {peak / 2**20:.0f} MiB; {mosaic.keywords['NCOMBINE']} images used")
    # the same noise in each copy of a dither: pulls are too wide by the root of the number of copies
    print(f"pulls of four dithers: {np.nanstd(pulls) / np.sqrt(options.images / len(SHIFTS_PIX)):.3f}")


if __name__ == "__main__":
    main()
