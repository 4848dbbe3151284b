"""Measure how long the frames of spectrographs take: `python tests/bench_ifs.py [--parts 4 2 1]`.

Bars: a full frame of lenslets (4096 x 4096, 112 x 128 lenslets, 400 columns) and one of a broad-band slicer (88 x 45)
to a cube less its sky in less than 20 s on two cores; time that grows as the number of spectra. A part of 4 is a
quarter of them. Times are the second of two runs: the first compiles; CPU is that of all cores, which other jobs
lengthen less. What is seen: a sky of OH lines, noise, a frame of the sky that has moved by a tenth of a pixel.
`--methods` prints accuracy: bars cross-talk < 0.3 %, 3 % with profiles 10 % wider, and better than iterations.
"""

import argparse
import resource
import time
from functools import partial
from pathlib import Path

import conftest  # noqa: F401, makes the library importable
import numpy as np
from extraction_methods import score_methods

from drs.arcs import measure_offset, shift_wavelengths
from drs.cube import fit_sky
from drs.cubesky import find_blank, subtract_cube
from drs.image import Image
from drs.lenslet import Matrix, extract_spectra, measure_shift, shift_matrix
from drs.shifting import shift_frame
from drs.simulation import slices
from drs.simulation.lenslets import Layout, make_profiles, place_traces, render_spectra
from drs.simulation.slicers import Slicer, tabulate
from drs.slicer import extract_columns, rectify_frame
from drs.traces import measure_shift as measure_rows
from drs.wavegrid import choose_grid, find_edges, resample_spectra

OH = Path(__file__).resolve().parents[1] / "config" / "lines" / "oh.ecsv"
SKY = {"continuum_e_per_s": 1.0, "brightest_e_per_s": 300.0}
LENSLETS = Layout(
    ny=112, nx=128, pitch_pix=31.0, rise_pix=2.4, n_column=400, n_row=11, tilt_pix=0.8, curvature_pix=0.3,
    wavelength_um=1.6374, dispersion_um=2e-4, fwhm_pix=1.9, wing_fraction=0.05, wing_fwhm_pix=4.5,
)  # fmt: skip
COLUMN_STEP, LENSLET_STEP, SLICE_STEP = 16, 4, 4  # those of config.yaml


def watch(times, what, function, *arguments, **options):
    """Return what a function returns; its seconds, of the clock and of all cores, are added to `times`."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = function(*arguments, **options)
    times[what] = times.get(what, 0.0) + np.array([time.perf_counter(), time.process_time()]) - start
    return result


def add_noise(frame, seed):
    """Return an Image of a frame, e-/s, with noise of 70 s."""
    sigma = np.sqrt(0.04 + np.maximum(frame, 0) / 70).astype(np.float32)
    noise = np.random.default_rng(seed).normal(size=frame.shape).astype(np.float32)
    return Image((frame + sigma * noise).astype(np.float32), sigma, np.zeros(frame.shape, np.uint32))


def simulate_lenslets(part):
    """Return (frame, frame of the sky, Matrix, wavelengths) of 1 / part of the lenslets."""
    layout = LENSLETS._replace(ny=LENSLETS.ny // part)
    shape = (4096 // part, 4096)
    traces = place_traces(layout, shape)
    profiles = make_profiles(layout, traces).astype(np.float32)
    table = tabulate(Slicer(slices.FULL._replace(wavelength_um=1.6374, dispersion_um=2e-4), None, shape), SKY, [OH])
    light = np.diff(np.interp(find_edges(traces.wavelength_um), *table), axis=1).astype(np.float32)
    frames = []
    for seed, shift in ((1, 0.1), (2, 0.0)):
        moved = traces._replace(centre_row=traces.centre_row + shift)
        frames.append(
            add_noise(render_spectra(light, make_profiles(layout, moved).astype(np.float32), traces, shape), seed)
        )
    return *frames, Matrix(profiles, traces.first_row, traces.first_column), traces.wavelength_um


def reduce_lenslets(simulated):
    """Return what -> seconds of a frame of lenslets to a cube less its sky (whose cube is there), and its samples."""
    frame, other, matrix, wavelength_um = simulated
    times, grid_um = {}, choose_grid(wavelength_um)
    measure = partial(measure_offset, fwhm_pix=2.1, most_pix=2.0)
    shape = grid_um.size, -1, LENSLETS.nx

    def extract(image, times):
        rows, _ = watch(times, "shift", measure_shift, *image[:3], matrix, column_step=COLUMN_STEP)
        spectra = watch(times, "extraction", extract_spectra, *image[:3], shift_matrix(matrix, rows))
        some = np.s_[::LENSLET_STEP]
        check = watch(times, "check", measure, [plane[some] for plane in spectra], wavelength_um[some], [OH])
        moved = shift_wavelengths(wavelength_um, check.offset_pix)
        bins = watch(times, "wavelengths", resample_spectra, *spectra, moved, grid_um)
        return Image(*(np.ascontiguousarray(array.T).reshape(shape) for array in bins[:3]))

    sky, cube = extract(other, {}), extract(frame, times)
    watch(times, "sky", subtract, cube, sky, grid_um)
    return times, wavelength_um.size


def subtract(cube, sky, grid_um):
    """Return a cube less a sky whose families of lines are scaled."""
    blank = find_blank(cube, fraction=0.25)
    return subtract_cube(cube, fit_sky(cube, sky, blank, grid_um)[0])


def simulate_slices(part):
    """Return (frame, frame of the sky, edges, wavelengths) of 1 / part of the slices."""
    layout = slices.FULL._replace(n_slice=slices.FULL.n_slice // part)
    shape = (4096 // part, 4096)
    edge_um, total = tabulate(Slicer(layout, None, shape), SKY, [OH])
    density = (edge_um[1:] + edge_um[:-1]) / 2, np.diff(total) / np.diff(edge_um)

    def see(slice_, position, wavelength_um):
        return np.interp(wavelength_um, *density)

    frames = []
    for seed, shift in ((1, (0.1, 0.15)), (2, (0.0, 0.0))):
        frames.append(add_noise(slices.render_slices(layout, shape, see, shift_pix=shift, oversample=1), seed))
    edges = slices.place_edges(layout, shape, np.arange(shape[1]))
    return *frames, edges, slices.map_wavelength(layout, shape)


def reduce_slices(simulated):
    """Return what -> seconds of a frame of slices to a cube less its sky (whose frame is there), and its samples."""
    frame, other, edges, wavelength_um = simulated
    times, n_column = {}, wavelength_um.shape[2]
    grid_um = choose_grid(wavelength_um.reshape(-1, n_column))
    rows, _ = watch(times, "rows", measure_rows, frame.rate, frame.dq, edges, spread_pix=0.7)
    some = np.s_[::SLICE_STEP]
    columns = watch(times, "columns", extract_columns, *frame[:3], edges[some], wavelength_um.shape[1])
    spectra = [array.reshape(-1, n_column) for array in columns[:3]]
    measure = partial(measure_offset, fwhm_pix=2.1, most_pix=2.0)
    check = watch(times, "columns", measure, spectra, wavelength_um[some].reshape(-1, n_column), [OH])
    moved = watch(times, "sky", shift_frame, *other[:3], rows, check.offset_pix)
    cubes = []
    for what, planes in (("rectification", frame[:3]), ("sky", moved)):
        bins = watch(times, what, rectify_frame, *planes, edges + rows, wavelength_um, grid_um)
        cubes.append(Image(*(np.ascontiguousarray(np.moveaxis(array, 2, 0)) for array in bins[:3])))
    watch(times, "sky", subtract, *cubes, grid_um)
    return times, wavelength_um.size


MODES = {"lenslets": (simulate_lenslets, reduce_lenslets), "slices": (simulate_slices, reduce_slices)}


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, nargs="+", default=[4, 2, 1])
    parser.add_argument("--methods", action="store_true", help="accuracy beside Gauss-Seidel iterations, then the end")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    options = parser.parse_args()
    if options.methods:
        for name, score in score_methods().items():
            print(f"{name:>14}: scatter {score.scatter:.3f} e-/s, cross-talk {score.crosstalk:.1e},"
                  f" with profiles 10 % wider {score.perturbed:.2%}")  # fmt: skip
        return
    for mode in options.modes:
        for part in options.parts:
            simulate, reduce = MODES[mode]
            simulated = simulate(part)
            reduce(simulated)
            times, n_sample = reduce(simulated)
            wall, cpu = sum(times.values())
            told = ", ".join(f"{what} {own[0]:.2f}" for what, own in times.items())
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{mode} 1/{part}: {wall:.2f} s ({told}), CPU {cpu:.2f} s,"
                  f" {cpu / n_sample * 1e9:.0f} ns of CPU per sample, at most {memory:.1f} GiB so far")  # fmt: skip


if __name__ == "__main__":
    main()
