"""Extraction of lenslets beside the iterations that OSIRIS takes: scatter and cross-talk on the same frames.

`python tests/bench_ifs.py --methods` prints the table. OSIRIS weights all pixels alike (Krabbe et al. 2004); its online
reduction takes 4 to 25 iterations, the other one 40. Spectra are as close as those of the full array, 2.4 rows.
"""

from typing import NamedTuple

import numpy as np

from drs.lenslet import Matrix, extract_spectra
from drs.simulation.lenslets import Layout, make_profiles, place_traces, render_spectra

LAYOUT = Layout(
    ny=6, nx=9, pitch_pix=15.0, rise_pix=2.4, n_column=61, n_row=9, tilt_pix=0.8, curvature_pix=0.3,
    wavelength_um=1.6374, dispersion_um=2e-4, fwhm_pix=1.9, wing_fraction=0.05, wing_fwhm_pix=4.5,
)  # fmt: skip
SHAPE = (128, 224)
NOISE_E_PER_S, TIME_S, N_FRAME = 0.3, 100.0, 6
METHODS = {"chi-square": (True, 0), "10 iterations": (False, 10), "40 iterations": (False, 40)}  # weighted, iterations
WIDER = 1.1  # core of the profiles over that of the matrix


class Score(NamedTuple):
    """`scatter` of spectra about the truth, e-/s rms; light in other spectra over that of the one that is lit, most of
    any column: `crosstalk` with the known matrix, `perturbed` with profiles that are 10 % wider.
    """

    scatter: float
    crosstalk: float
    perturbed: float


def score_methods():
    """Return method -> Score."""
    traces = place_traces(LAYOUT, SHAPE)
    exact, wide = (make_profiles(LAYOUT, traces, fwhm_factor=factor) for factor in (1.0, WIDER))
    matrix = Matrix(exact.astype(np.float32), traces.first_row, traces.first_column)
    whole = find_whole(matrix)
    return {
        name: Score(
            measure_scatter(matrix, traces, whole, method),
            *(measure_crosstalk(matrix, profiles, traces, whole, method) for profiles in (exact, wide)),
        )
        for name, method in METHODS.items()
    }


def find_whole(matrix):
    """Return which samples have their whole profile on the frame, (lenslet, column) bool."""
    columns = matrix.first_column[:, np.newaxis] + np.arange(matrix.profile.shape[1])
    rows = matrix.first_row[:, np.newaxis]
    return (columns >= 0) & (columns < SHAPE[1]) & (rows >= 0) & (rows + matrix.profile.shape[2] <= SHAPE[0])


def extract(frame, sigma, matrix, method):
    """Return the spectra of a frame by one of METHODS."""
    is_weighted, iterations = method
    error = sigma if is_weighted else np.full_like(sigma, np.median(sigma))
    return extract_spectra(frame, error, np.zeros(SHAPE, np.uint32), matrix, iterations=iterations).flux


def measure_scatter(matrix, traces, whole, method):
    """Return the scatter of spectra of stars on a sky with a bright line."""
    random, rest = np.random.default_rng(3), []
    light = random.uniform(5, 20, (len(matrix.profile), 1)) * np.ones(LAYOUT.n_column)
    light[::5] *= 60
    light += 800 * np.exp(-0.5 * ((np.arange(LAYOUT.n_column) - 30) / 1.2) ** 2)
    frame = render_spectra(light, matrix.profile.astype(float), traces, SHAPE)
    sigma = np.sqrt(NOISE_E_PER_S**2 + frame / TIME_S).astype(np.float32)
    for _ in range(N_FRAME):
        noisy = (frame + sigma * random.normal(size=SHAPE)).astype(np.float32)
        rest.append((extract(noisy, sigma, matrix, method) - light)[whole])
    return float(np.sqrt(np.mean(np.square(rest))))


def measure_crosstalk(matrix, profiles, traces, whole, method):
    """Return the light in the spectra beside one that is lit alone, over its own: the most of any column."""
    light, lit = np.zeros(matrix.profile.shape[:2]), 25
    light[lit] = 1000.0
    frame = render_spectra(light, profiles, traces, SHAPE).astype(np.float32)
    sigma = np.sqrt(NOISE_E_PER_S**2 + np.maximum(frame, 0) / TIME_S).astype(np.float32)
    flux = np.where(whole, extract(frame, sigma, matrix, method), 0)
    return float(np.abs(np.delete(flux, lit, axis=0)).max() / 1000.0)
