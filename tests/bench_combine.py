"""Time of sky + combine + resample of dithered images beside plain astropy, ccdproc, reproject and drizzle.

`python tests/bench_combine.py [--size 4096] [--frames 9] [--peers PYTHON] [--codes NAME ...]` makes the images, runs
every code on them in a process of its own (the peers with the Python of requirements-bench.lock), and prints wall and
CPU time, peak memory, and how well the result agrees with the truth. Every code reads the same arrays, subtracts the
sky of each image, puts all on the first one's pixels, and combines them with outliers rejected.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
SKY_E_PER_S, NOISE_E_PER_S = 60.0, 1.2
HITS_PER_MEGAPIXEL = 300


def make_images(folder, n_frame, size):
    """Write images (n, ny, nx), their errors, flags and WCS: stars, sky, noise, hits, bad pixels."""
    sys.path[:0] = [str(REPO / "scripts"), str(HERE)]
    from fields import DETECTOR, star_image

    from drs.wcs import build_wcs

    rng, shape = np.random.default_rng(1), (size, size + 16)
    headers, n_hit = [], int(HITS_PER_MEGAPIXEL * shape[0] * shape[1] / 1e6)
    stars = rng.uniform(30, size - 30, (2, max(size // 8, 10)))
    flux = 10 ** rng.uniform(3, 5, stars.shape[1])
    from astropy.wcs import WCS

    for k in range(n_frame):
        dx, dy = rng.uniform(-20, 20, 2) if k else (0.0, 0.0)
        header = build_wcs(150 + dx * 0.004 / 3600, 2 + dy * 0.004 / 3600, 0.0, DETECTOR, shape)
        headers.append(header)
        world = WCS(headers[0]).wcs_pix2world(*stars, 0)
        values = star_image(shape, *WCS(header).wcs_world2pix(*world, 0), flux, 2.6)
        values += SKY_E_PER_S + NOISE_E_PER_S * rng.standard_normal(shape, dtype=np.float32)
        values[tuple(rng.integers(0, length, n_hit) for length in shape)] += 300
        np.save(folder / f"values{k}.npy", values.astype(np.float32))
        np.save(folder / f"bad{k}.npy", rng.random(shape, dtype=np.float32) < 0.002)
    (folder / "facts.json").write_text(json.dumps({"headers": headers, "stars": stars.tolist(), "flux": flux.tolist()}))


def load(folder):
    """Return values, bad pixels and headers of the images."""
    headers = json.loads((folder / "facts.json").read_text())["headers"]
    values = [np.load(folder / f"values{k}.npy") for k in range(len(headers))]
    return values, [np.load(folder / f"bad{k}.npy") for k in range(len(headers))], headers


def ours(folder):
    """Combine with this library, as the command does, sky included."""
    sys.path[:0] = [str(REPO / "scripts"), str(HERE)]
    from fields import SETTINGS, Rows

    from drs.combination import PLANES, WORKING, combine, open_member
    from drs.mosaic import plan_grid
    from drs.pixelmap import map_image
    from drs.planes import open_planes
    from drs.sky import measure_sky

    values, bad, headers = load(folder)
    grid, shape = plan_grid(headers, [image.shape for image in values])

    def call():
        members = []
        for image, unusable, header in zip(values, bad, headers, strict=True):
            sky = measure_sky(image, unusable, source_threshold_sigma=3.0).level
            error = np.full(image.shape, NOISE_E_PER_S, np.float32)
            planes = {"SCI": image - np.float32(sky), "ERR": error, "DQ": unusable.astype(np.uint32)}
            pixelmap = map_image(header, grid, image.shape)
            members.append(open_member({name: Rows(plane) for name, plane in planes.items()}, pixelmap, 50.0))
        with open_planes(shape, PLANES | WORKING) as spool:
            combine(members, shape, SETTINGS, spool)
            return spool.read("SCI", slice(None)), grid

    return call


def subtract_sky(values, bad):
    """Return images less their sky, by astropy's clipped statistics, NaN where bad."""
    from astropy.stats import sigma_clipped_stats

    made = []
    for image, unusable in zip(values, bad, strict=True):
        _, median, _ = sigma_clipped_stats(image, mask=unusable, sigma=3.0, maxiters=5)
        made.append(np.where(unusable, np.float32(np.nan), image - np.float32(median)))
    return made


def clip_and_combine(images):
    """Return the mean of images on one grid, clipped by ccdproc at 5 sigma of the MAD about the median."""
    from astropy.nddata import CCDData
    from astropy.stats import mad_std
    from ccdproc import Combiner

    combiner = Combiner([CCDData(image, unit="electron/s", mask=~np.isfinite(image)) for image in images])
    combiner.sigma_clipping(low_thresh=5, high_thresh=5, func=np.ma.median, dev_func=mad_std)
    return np.ma.filled(combiner.average_combine().data, np.nan)


def reproject_chain(folder, *, exact):
    """Combine with reproject and ccdproc."""
    from astropy.wcs import WCS

    values, bad, headers = load(folder)

    def call():
        from reproject import reproject_exact, reproject_interp

        grid = WCS(headers[0])
        shape = values[0].shape
        resample = reproject_exact if exact else reproject_interp
        images = []
        for image, header in zip(subtract_sky(values, bad), headers, strict=True):
            images.append(resample((image, WCS(header)), grid, shape_out=shape, return_footprint=False))
        return clip_and_combine(images), headers[0]

    return call


def drizzle_chain(folder):
    """Combine with drizzle (each image on its own, then ccdproc), pixel maps by astropy."""
    from astropy.wcs import WCS

    values, bad, headers = load(folder)

    def call():
        from drizzle.resample import Drizzle

        grid, shape, images = WCS(headers[0]), values[0].shape, []
        y, x = np.indices(shape)
        for image, header in zip(subtract_sky(values, bad), headers, strict=True):
            places = grid.all_world2pix(*WCS(header).all_pix2world(x.ravel(), y.ravel(), 0), 0)
            pixmap = np.stack([axis.reshape(shape) for axis in places], axis=-1)
            good = np.isfinite(image)
            drizzle = Drizzle(kernel="square", fillval="NaN", out_shape=shape, disable_ctx=True)
            weight = good.astype(np.float32)
            drizzle.add_image(np.where(good, image, 0), 1.0, pixmap, weight_map=weight, pixfrac=1.0, in_units="cps")
            images.append(drizzle.out_img)
        return clip_and_combine(images), headers[0]

    return call


CODES = {
    "ours": ours,
    "drizzle + ccdproc": drizzle_chain,
    "reproject_interp + ccdproc": lambda folder: reproject_chain(folder, exact=False),
    "reproject_exact + ccdproc": lambda folder: reproject_chain(folder, exact=True),
}


def score(folder, values, header):
    """Return the scatter of blank pixels and the median ratio of the fluxes of stars to the truth."""
    from astropy.wcs import WCS

    facts = json.loads((folder / "facts.json").read_text())
    world = WCS(facts["headers"][0]).wcs_pix2world(*facts["stars"], 0)
    x, y = (np.rint(axis).astype(int) for axis in WCS(header).wcs_world2pix(*world, 0))
    sums = [values[b - 6 : b + 7, a - 6 : a + 7].sum() for a, b in zip(x, y, strict=True)]
    values = values.copy()
    for a, b in zip(x, y, strict=True):
        values[max(b - 12, 0) : b + 13, max(a - 12, 0) : a + 13] = np.nan
    inner = values[40:-40, 40:-40]
    return {
        "scatter": float(1.4826 * np.nanmedian(np.abs(inner - np.nanmedian(inner)))),
        "flux": float(np.nanmedian(np.array(sums) / facts["flux"])),
        "hits": int(np.nansum(inner > 10 * NOISE_E_PER_S)),
    }


def measure(code, folder):
    """Run one code twice (the first compiles) and print its figures as JSON."""
    call, best = CODES[code](folder), None
    for _ in range(2 if code == "ours" else 1):
        wall, cpu = time.perf_counter(), time.process_time()
        values, header = call()
        best = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall": best[0], "cpu": best[1], "peak_mib": peak, **score(folder, values, header)}))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--peers", default=str(REPO / ".venv-bench" / "bin" / "python"))
    parser.add_argument("--codes", nargs="+", default=list(CODES), choices=list(CODES))
    parser.add_argument("--measure", nargs=2, metavar=("CODE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure[0], Path(options.measure[1]))
    with tempfile.TemporaryDirectory() as name:
        make_images(Path(name), options.frames, options.size)
        print(f"{options.frames} images of {options.size} x {options.size + 16}, {os.cpu_count()} cores")
        columns = f"{'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'scatter':>8} {'flux':>8} {'hits left':>9}"
        print(f"{'code':<28} {columns}")
        for code in options.codes:
            python = sys.executable if code == "ours" else options.peers
            command = [python, __file__, "--measure", code, name]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"{code:<28} not run: {run.stderr.strip().splitlines()[-1]}")
                continue
            f = json.loads(run.stdout.splitlines()[-1])
            numbers = f"{f['wall']:>8.1f} {f['cpu']:>8.1f} {f['peak_mib']:>9.0f}"
            print(f"{code:<28} {numbers} {f['scatter']:>8.4f} {f['flux']:>8.4f} {f['hits']:>9}")
    return None


if __name__ == "__main__":
    main()
