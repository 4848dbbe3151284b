"""One slice of JWST/NIRSpec with its line lamp: alignment of the lines, and the wavelength map of ESA.

The lamp is a Fabry-Perot whose lines are not in any list: six broad (22 to 41 columns), skew lines. What is known of
them is taken from the map at ONE place, the middle of the slice; that all other places and columns follow is the test.
"""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from drs.dq import Flag
from drs.lines import find_lines
from drs.slicer import extract_columns, rectify_frame
from drs.traces import place_traces, trace_slices
from drs.wavegrid import make_grid
from drs.wavesol import solve_wavelengths

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "realdata" / "jwst_nirspec_slicer_trace"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real data in {FOLDER}")

UNRELIABLE = 0b1011_1110_0000_1100  # of the quality flags: no value, bad, or open
N_POSITION = 10
FWHM_PIX = 30
STEP_UM = 6.379e-4  # README of the data
LINE_COLUMNS = 46, 186, 359, 573, 840, 1178


@pytest.fixture(scope="module")
def exposure():
    """Return rate, error, dq, and the map of ESA: wavelength, um, and slit position, NaN outside."""
    with fits.open(next(FOLDER.glob("*SMOS*.fits"))) as hdus:
        rate, quality, variance, wavelength, place = (
            hdus[name].data for name in ("DATA1", "QUALITY1", "VAR1", "LAMBDA1", "SLITY1")
        )
    inside = np.isfinite(wavelength) & (wavelength > 0)
    dq = np.where((quality & UNRELIABLE > 0) | ~(variance > 0), Flag.DO_NOT_USE, 0).astype(np.uint32)
    images = rate.astype(np.float32), np.sqrt(np.maximum(variance, 0)).astype(np.float32), dq
    return images, np.where(inside, wavelength * 1e6, np.nan).astype(float), np.where(inside, place, np.nan)


@pytest.fixture(scope="module")
def edges(exposure):
    """Return the edges of the slice; light that leaks through open shutters hides them before column 800."""
    rate, _, dq = exposure[0]
    dq = dq.copy()
    dq[:, :800] = Flag.DO_NOT_USE
    traces = trace_slices(rate, dq, [[9.0, 37.0]], n_block=48, order=2, most_offset_pix=6)
    assert traces.rms_pix.max() < 0.04
    return place_traces(traces, np.arange(rate.shape[1]))


@pytest.fixture(scope="module")
def solution(exposure, edges):
    """Return the wavelengths (position, column), from a straight guess that is off by 7 columns and 0.8 %."""
    images, known, _ = exposure
    columns = np.arange(known.shape[1])
    spectra = extract_columns(*images, edges, N_POSITION)
    lines = find_lines(*(array[0] for array in spectra[:3]), fwhm_pix=FWHM_PIX, least_sigma=8)
    centres = [np.median(lines.column[np.abs(lines.column - x) < 15]) for x in LINE_COLUMNS]
    listed = np.array([read_middle(known, edges[0], centre) for centre in centres])
    guess = 0.96405 + STEP_UM * (columns + 7 + 0.008 * (columns - columns.size / 2))
    found = solve_wavelengths(
        lines, (listed, np.ones(listed.size)), np.tile(guess, (N_POSITION, 1)), np.arange(N_POSITION),
        group=np.zeros(N_POSITION, int), orders=(1, 1),
    )  # fmt: skip
    return found, listed


def read_middle(known, edges, column):
    """Return the wavelength of the map in the middle of the slice at a column."""
    x = round(column)
    rows = np.flatnonzero(np.isfinite(known[:, x]))
    return np.interp(edges[:, x].mean(), rows, known[rows, x]) + (column - x) * STEP_UM


def test_the_edges_follow_those_of_esa(exposure, edges):
    place = exposure[2]
    for x in range(0, place.shape[1], 90):
        rows = np.flatnonzero(np.isfinite(place[:, x]))
        nominal = np.interp([-0.5, 0.5], place[rows[::-1], x], rows[::-1])[::-1]
        # The slice is lit a little beyond its nominal ends.
        np.testing.assert_allclose(edges[0, :, x] - nominal, [-0.38, 0.66], atol=0.12)


def test_the_wavelengths_are_those_of_the_map(exposure, edges, solution):
    _, known, place = exposure
    found, _ = solution
    position = (np.arange(known.shape[0])[:, np.newaxis] - edges[0, 0]) / (edges[0, 1] - edges[0, 0])
    position = position * N_POSITION - 0.5
    left = np.clip(np.floor(position).astype(int), 0, N_POSITION - 2)
    columns = np.arange(known.shape[1])
    low, high = (found.wavelength_um[left + k, columns] for k in (0, 1))
    away_nm = 1e3 * (low + (position - left) * (high - low) - known)[np.abs(place) < 0.5]
    assert np.sqrt(np.mean(away_nm**2)) < 0.1  # measured 0.080
    across = (found.wavelength_um[0] - found.wavelength_um[-1]).mean() / STEP_UM
    assert 0.9 < across < 1.3  # the tilt, over 9 of 10 positions: 7.3 to 8.1 A of 6.379 over the slice
    assert found.n_line.sum() > 45


def measure_offset(flux, template):
    """Return how far (bins) a line is from its template, and the error, by its light, level, slope and derivative."""
    ramp = np.linspace(-1, 1, template.size)
    basis = np.stack([template, np.ones(template.size), ramp, np.gradient(template)], axis=1)
    known = np.isfinite(flux)
    coefficients = np.linalg.lstsq(basis[known], flux[known], rcond=None)[0]
    scatter = np.std(flux[known] - basis[known] @ coefficients)
    inverse = np.linalg.inv(basis[known].T @ basis[known])
    return -coefficients[3] / coefficients[0], scatter * np.sqrt(inverse[3, 3]) / abs(coefficients[0])


def test_the_lines_align_over_the_slice(exposure, edges, solution):
    images, _, _ = exposure
    found, listed = solution
    grid = make_grid(0.97, 1.88, STEP_UM)
    rms = []
    for wavelength in (found.wavelength_um, np.tile(found.wavelength_um.mean(axis=0), (N_POSITION, 1))):
        flux = rectify_frame(*images, edges, wavelength[np.newaxis], grid).flux[0].astype(float)
        offsets = np.zeros((listed.size, N_POSITION, 2))
        for k, line in enumerate(listed):
            near = flux[:, np.abs(grid - line) < 22 * STEP_UM]
            template = np.nanmedian(near / np.nanmean(near, axis=1, keepdims=True), axis=0)
            offsets[k] = [measure_offset(own, template) for own in near]
        weight = 1 / offsets[:, :, 1] ** 2
        rms.append(np.std((offsets[:, :, 0] * weight).sum(axis=0) / weight.sum(axis=0)))
    assert rms[0] < 0.1  # columns; measured 0.042
    assert rms[1] > 0.3  # where the tilt is not taken out
