"""How well a reduced night of the simulated lenslet spectrograph agrees with its truth."""

import json
from itertools import pairwise

import numpy as np
from astropy.io import fits

from drs import product
from drs.airglow import LIMITS_UM, find_continuum
from drs.cube import find_wavelengths, fit_sky
from drs.cubesky import find_blank
from drs.wavegrid import resample_spectra

SCIENCE = ("2024B-P123-009_IRIS_IFS_SCI", ("0001-00", "0002-00"))
EDGE_PIX = 2


def read_rows(night):
    """Return id -> row of the night table."""
    return {row["id"]: row for row in json.loads((night / "plan/night.json").read_text())["rows"]}


def read_truth(night, row):
    """Return {name: array} of the truth of a lenslet exposure: LIGHT, RECTMAT, OFFSETS, WAVESOL."""
    with fits.open(night / "truth" / f"{row['file'].removesuffix('.fits')}_cube.fits") as hdus:
        return {hdu.name: hdu.data.astype(hdu.data.dtype.newbyteorder("=")) for hdu in hdus[1:]}


def resample_truth(truth, wcs, n_wave):
    """Return the light of the truth on the grid of a cube, (n_wave, ny, nx)."""
    grid_um = wcs["CRVAL3"] + wcs["CDELT3"] * np.arange(n_wave)
    light, wavelength = (truth[name].reshape(len(truth[name]), -1).T for name in ("LIGHT", "WAVESOL"))
    ones, flags = np.ones(light.shape, np.float32), np.zeros(light.shape, np.uint32)
    bins = resample_spectra(light.astype(np.float32), ones, flags, wavelength.astype(float), grid_um)
    return bins.flux.T.reshape(n_wave, *truth["LIGHT"].shape[1:])


def compare_cubes(night):
    """Return [(Product, truth on its grid)] of the science exposures."""
    rows, pairs = read_rows(night), []
    for exp in SCIENCE[1]:
        cube = product.read(night / f"level2/{SCIENCE[0]}_LVL2_{exp}.fits", models="IFUCubeModel")
        truth = read_truth(night, rows[f"{SCIENCE[0]}_{exp}"])
        pairs.append((cube, resample_truth(truth, cube.wcs, len(cube.arrays["SCI"]))))
    return pairs


def measure_pulls(pairs):
    """Return the pulls of all samples that are usable and not flagged."""
    pulls = []
    for cube, truth in pairs:
        good = (cube.arrays["DQ"] == 0) & np.isfinite(cube.arrays["SCI"]) & np.isfinite(truth)
        pulls.append(((cube.arrays["SCI"] - truth) / cube.arrays["ERR"])[good])
    return np.concatenate(pulls)


def measure_flux(pairs):
    """Return (ratio - 1, its error) of the light of bright samples to the truth: the best factor."""
    top, bottom = 0.0, 0.0
    for cube, truth in pairs:
        good = (cube.arrays["DQ"] & 1 == 0) & np.isfinite(cube.arrays["SCI"]) & np.isfinite(truth)
        weight = np.where(good, 1 / cube.arrays["ERR"].astype(float) ** 2, 0)
        top += np.nansum(weight * cube.arrays["SCI"] * truth)
        bottom += np.nansum(weight * truth.astype(float) ** 2)
    return top / bottom - 1, bottom**-0.5


def measure_sky_residual(night):
    """Return (residual, that of one common factor) of the sky lines: rms of the mean spectrum over that of the lines.

    The second is what the sky cube leaves when all its lines are scaled alike.
    """
    rows, found = read_rows(night), []
    sky_row = next(row for row in rows.values() if row.get("kind") == "sky")
    sky = product.read(night / f"level2/{sky_row['obs']}_LVL2_{sky_row['exp']}.fits", models="IFUCubeModel")
    wave_um = find_wavelengths(sky)
    for cube, truth in compare_cubes(night):
        factors = next(json.loads(value) for step, name, value in cube.parameters if (step, name) == ("sky", "factors"))
        level = find_continuum(np.where(sky.image.unusable, np.nan, sky.arrays["SCI"]))
        inside = [(start <= wave_um) & (wave_um < stop) for start, stop in pairwise(LIMITS_UM)]
        own = np.ones(wave_um.size)
        for bins, factor in zip([bins for bins in inside if bins.any()], factors, strict=True):
            own[bins] = factor
        lines = own[:, None, None] * (sky.arrays["SCI"] - level[:, None, None])
        image = cube.image._replace(rate=cube.arrays["SCI"] + level[:, None, None] + lines)
        blank = find_blank(image, fraction=0.25)
        alike, _ = fit_sky(image, sky.image, blank, wave_um, limits_um=(0.0, 9.0))
        mean = [
            np.nanmean(values, axis=(1, 2))
            for values in (cube.arrays["SCI"] - truth, image.rate - alike.rate - truth, lines)
        ]
        bright = mean[2] > 0.1 * mean[2].max()
        rest, other, light = (np.sqrt((values[bright] ** 2).mean()) for values in mean)
        found.append((rest / light, other / light))
    return np.mean(found, axis=0)


def compare_profiles(night):
    """Return the profiles of the night's matrix and of the truth in the same pixels, (row, column, ny, nx)."""
    (path,) = (night / "calibrations").glob("iris_ifs_rectmat_*.fits")
    made = product.read(path, models="RectificationModel").arrays
    truth = read_truth(night, next(iter(read_rows(night).values())))
    n_row = len(made["RECTMAT"])
    moved = np.arange(n_row)[:, np.newaxis, np.newaxis] + made["OFFSETS"][0] - truth["OFFSETS"][0]
    inside = (moved >= 0) & (moved < n_row)
    place = np.where(inside, moved, 0)[:, np.newaxis]
    taken = np.take_along_axis(truth["RECTMAT"], np.broadcast_to(place, made["RECTMAT"].shape), axis=0)
    return made["RECTMAT"], np.where(inside[:, np.newaxis], taken, 0)
