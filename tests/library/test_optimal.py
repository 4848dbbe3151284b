"""A star in a slice: its flux with errors that hold, hits, dead rows."""

import numpy as np
import pytest

from drs.dq import Flag
from drs.errors import ReductionError
from drs.optimal import extract_profile
from drs.simulation.slices import REDUCED, map_wavelength, place_edges, render_slices
from drs.slicer import take_rows
from drs.wavegrid import make_grid, resample_spectra

SHAPE = (96, 130)
EDGES = place_edges(REDUCED, SHAPE, np.arange(SHAPE[1]))
WAVELENGTH = map_wavelength(REDUCED, SHAPE)
STEP = REDUCED.dispersion_um
GRID = make_grid(1.600, 1.660, STEP)
LINE = REDUCED.wavelength_um + 3.3e-3


def make_star(*, noise, seed=1, where=6.3, width=1.2):
    """Return images of a star in slice 2, its true flux per bin and the rows of the slice."""

    def light(slice_, position, wavelength_um):
        profile = np.exp(-0.5 * ((position - where) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        spectrum = 300 * (1 + 5 * (wavelength_um - 1.63)) + 400 * np.exp(-0.5 * ((wavelength_um - LINE) / 4e-3) ** 2)
        return (slice_ == 2) * profile * spectrum / STEP

    frame = render_slices(REDUCED, SHAPE, light)
    error = np.sqrt(noise**2 + np.maximum(frame, 0) / 20)
    rate = frame + np.random.default_rng(seed).normal(size=SHAPE) * error
    images = rate.astype(np.float32), error.astype(np.float32), np.zeros(SHAPE, np.uint32)
    truth = 300 * (1 + 5 * (GRID - 1.63)) + 400 * np.exp(-0.5 * ((GRID - LINE) / 4e-3) ** 2)
    return images, truth


def extract_star(images, **options):
    rows = take_rows(*images, EDGES[2], WAVELENGTH[2])
    resampled = resample_spectra(*rows[:4], GRID)
    position = np.stack([np.interp(GRID, *pair) for pair in zip(rows.wavelength_um, rows.position, strict=True)])
    return extract_profile(*resampled[:3], position, **options), position


def test_a_star_is_extracted_with_its_flux_and_errors():
    pulls, sums = [], []
    for seed in range(25):
        images, truth = make_star(noise=2.0, seed=seed)
        found, _ = extract_star(images)
        pulls.append((found.flux - truth) / found.error)
        sums.append(np.sum(found.flux) / truth.sum())
        assert not found.dq.any()
    assert np.mean(sums) == pytest.approx(1, abs=0.003)  # measured 0.9995; the bar is 0.5 %
    assert np.std(pulls) == pytest.approx(1, abs=0.03)
    rows = take_rows(*images, EDGES[2], WAVELENGTH[2])
    plain = np.sqrt(np.where(rows.dq == 0, rows.error.astype(float) ** 2, 0).sum(axis=0)).mean()
    assert found.error.mean() < 0.8 * plain


def test_hits_and_dead_rows_of_a_star_are_left_out():
    images, truth = make_star(noise=2.0)
    clean, _ = extract_star(images)
    rate, _, dq = (image.copy() for image in images)
    y, x = int(EDGES[2].mean()), 65
    rate[y, x - 20] += 2000
    dq[y, x] = Flag.DO_NOT_USE | Flag.DEAD
    dq[y - 8 : y + 9, x + 20] = Flag.DO_NOT_USE
    dq[y - 8 : y + 9, x + 21] = Flag.DO_NOT_USE
    rate[y - 8 : y + 9, x + 20 : x + 22] = np.nan
    found, _ = extract_star((rate, images[1], dq))
    assert 1 <= found.n_rejected <= 6
    lost = np.isnan(found.flux)
    assert 1 <= lost.sum() <= 3
    pulls = ((found.flux - truth) / found.error)[~lost]
    assert np.abs(pulls).max() < 5
    assert np.abs((found.flux - clean.flux) / clean.error)[~lost].max() < 5
    assert (found.dq[lost] & Flag.DO_NOT_USE).all()
    assert (found.dq & Flag.DEAD > 0).sum() in (1, 2, 3)


def test_refused():
    nothing = np.zeros((9, 40), np.float32)
    with pytest.raises(ReductionError, match="no usable sample"):
        extract_profile(nothing, nothing, nothing.astype(np.uint32), nothing)
    with pytest.raises(ReductionError, match="no light to see a profile by"):
        extract_profile(nothing, nothing + 1, nothing.astype(np.uint32), np.indices((9, 40))[0] + 0.0)
