"""How well a reduced night of the simulated lenslet spectrograph agrees with its truth."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.polynomial import Legendre

from drs import product
from drs.airglow import LIMITS_UM, find_continuum
from drs.apertures import find_peaks
from drs.cube import find_wavelengths, fit_sky
from drs.cubefield import take_drift
from drs.cubesky import find_blank
from drs.dispersion import measure_drift as fit_source
from drs.schema import load_yaml
from drs.simulation.air import find_transmission
from drs.wavegrid import resample_spectra
from drs.whitelight import measure_noise, show_as_image

N_COLUMN = 48  # of the simulated lenslets
REPO = Path(__file__).resolve().parents[1]
SCIENCE = ("2024B-P123-009_IRIS_IFS_SCI", ("0001-00", "0002-00"))
EXPOSURES = SCIENCE[1]


def read_rows(night):
    """Return id -> row of the night table."""
    return {row["id"]: row for row in json.loads((night / "plan/night.json").read_text())["rows"]}


def find_science(night):
    """Return the `obs` of the night's science exposures."""
    return next(row["obs"] for row in read_rows(night).values() if row.get("kind") == "science")


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
    rows, obs, pairs = read_rows(night), find_science(night), []
    for exp in EXPOSURES:
        cube = product.read(night / f"level2/{obs}_LVL2_{exp}.fits", models="IFUCubeModel")
        truth = read_truth(night, rows[f"{obs}_{exp}"])
        light = resample_truth(truth, cube.wcs, len(cube.arrays["SCI"]))
        pairs.append((cube, light * find_scale(cube, read_facts())))
    return pairs


def find_scale(cube, facts):
    """Return the flux density of an electron per second of a bin of a cube, as simulated; 1 of one in electrons."""
    is_calibrated = cube.keywords.get("S_FLUXCL") == "COMPLETE"
    return facts["flux_density"] * facts["layout"]["dispersion_um"] / cube.wcs["CDELT3"] if is_calibrated else 1.0


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
    """Return (residual, that of one common factor, that of the sky cube as it is) of the sky lines.

    The rms of the mean spectrum over that of the lines. The second is what the sky cube leaves when all its lines are
    scaled alike.
    """
    rows, found = read_rows(night), []
    sky_row = next(row for row in rows.values() if row.get("kind") == "sky")
    sky = product.read(night / f"level2/{sky_row['obs']}_LVL2_{sky_row['exp']}.fits", models="IFUCubeModel")
    wave_um = find_wavelengths(sky)
    for cube, truth in compare_cubes(night):
        factors = next(json.loads(value) for step, name, value in cube.parameters if (step, name) == ("sky", "factors"))
        level = find_continuum(np.where(sky.image.unusable, np.nan, sky.arrays["SCI"]), sky.arrays["ERR"])
        inside = [(start <= wave_um) & (wave_um < stop) for start, stop in pairwise(LIMITS_UM)]
        own = np.ones(wave_um.size)
        for bins, factor in zip([bins for bins in inside if bins.any()], factors, strict=True):
            own[bins] = factor
        lines = own[:, None, None] * (sky.arrays["SCI"] - level[:, None, None])
        scale = find_scale(cube, read_facts())
        seen, truth = cube.arrays["SCI"] / scale, truth / scale
        image = cube.image._replace(rate=seen + level[:, None, None] + lines, error=cube.arrays["ERR"] / scale)
        blank = find_blank(image, fraction=0.25)
        alike, _ = fit_sky(image, sky.image, blank, wave_um, limits_um=(0.0, 9.0))
        plain = image.rate - sky.arrays["SCI"]
        left = seen - truth, image.rate - alike.rate - truth, plain - truth, lines
        mean = [np.nanmean(values, axis=(1, 2)) for values in left]
        bright = mean[-1] > 0.1 * mean[-1].max()
        *rest, light = (np.sqrt((values[bright] ** 2).mean()) for values in mean)
        found.append([rms / light for rms in rest])
    return np.mean(found, axis=0)


def compare_profiles(night):
    """Return the profiles of the night's matrix and of the truth in the same pixels, (row, column, ny, nx)."""
    (path,) = (night / "calibrations").glob("*_ifs_rectmat_*.fits")
    made = product.read(path, models="RectificationModel").arrays
    truth = read_truth(night, next(iter(read_rows(night).values())))
    n_row = len(made["RECTMAT"])
    moved = np.arange(n_row)[:, np.newaxis, np.newaxis] + made["OFFSETS"][0] - truth["OFFSETS"][0]
    inside = (moved >= 0) & (moved < n_row)
    place = np.where(inside, moved, 0)[:, np.newaxis]
    taken = np.take_along_axis(truth["RECTMAT"], np.broadcast_to(place, made["RECTMAT"].shape), axis=0)
    return made["RECTMAT"], np.where(inside[:, np.newaxis], taken, 0)


def read_facts():
    """Return the facts of the simulated lenslets (config/presets.yaml)."""
    return load_yaml(REPO / "config/presets.yaml")["presets"]["ifs"]["lenslets"]


def measure_lines(pairs):
    """Return (flux over that of the truth, distance in bins, part of the light in the field) of the galaxy's line."""
    (line,) = next(source["lines"] for source in read_facts()["sources"] if source["kind"] == "galaxy")
    found = []
    for cube, truth in pairs:
        away = find_wavelengths(cube) - line["wavelength_um"]
        inside = np.abs(away) < 1.5 * line["fwhm_um"]
        beside = ~inside & (np.abs(away) < 3 * line["fwhm_um"])
        usable = np.isfinite(cube.arrays["SCI"]).all(axis=0) & np.isfinite(truth).all(axis=0)
        lines = [_take_line(values[:, usable], inside, beside) for values in (cube.arrays["SCI"], truth)]
        centres = [(one * away[inside]).sum() / one.sum() / cube.wcs["CDELT3"] for one in lines]
        found.append((lines[0].sum() / lines[1].sum(), centres[0] - centres[1], lines[1].sum() / line["e_per_s"]))
    return found


def _take_line(values, inside, beside):
    """Return the light of a line (bin), of all spaxels, over the continuum beside it."""
    spectrum = values.sum(axis=1, dtype=float)
    return spectrum[inside] - spectrum[beside].mean()


def measure_absorption(night, pairs, facts):
    """Return the rms of the telluric correction over the true one, and of the star's spectrum over the true one.

    The correction less what is smooth, which is the response of the instrument.
    """
    (path,) = (night / "calibrations").glob("*_ifs_telluric_*.fits")
    made = product.read(path, models="TelluricModel").arrays
    ratio = made["SCI"][0] / find_transmission(facts["absorption"], made["WAVELENGTH"][0])
    spectra = []
    for cube, truth in pairs:
        image = np.nan_to_num(truth).mean(axis=0)
        star = image > 0.1 * image.max()
        spectra.append(cube.arrays["SCI"][:, star].sum(axis=1) / truth[:, star].sum(axis=1))
    mean, known = np.mean(spectra, axis=0), np.flatnonzero(np.isfinite(ratio))
    smooth = Legendre.fit(known, ratio[known], 3)(known)
    return float(np.std(ratio[known] / smooth)), float(np.nanstd(mean / np.nanmedian(mean)))


def measure_combined(night):
    """Return the light of the combined cube over that of its cubes, and its noise over its errors along spectra."""
    (path,) = (night / "level3").glob("*_IFS_*_LVL3.fits")
    combined = product.read(path, models="IFUCubeModel")
    light = [
        np.nansum(np.where(cube.image.unusable, 0, cube.arrays["SCI"]), dtype=float) for cube, _ in compare_cubes(night)
    ]
    whole = np.nan_to_num(combined.arrays["SCI"]) * combined.arrays["WHT"]  # what each cube saw, times its time
    time_s = combined.keywords["TOTTIME"] / combined.keywords["NCOMBINE"]
    noise = measure_noise(*(combined.arrays[name] for name in ("SCI", "ERR", "DQ")))
    return float(whole.sum(dtype=float) / time_s / np.sum(light)), noise


def measure_drifts(night):
    """Return how far the drifts of images are off the truth, spaxels: (that of the fibre, those of the cubes, Level 3).

    The most of any bin; of the combined cube what is left of the drift of its star, from the first third of the bins to
    the last.
    """
    known = read_facts()["drift"]
    (path,) = (night / "calibrations").glob("*_ifs_fibre_*.fits")
    found = [product.read(path, models="FibreModel").arrays["SCI"].T]
    parts = [known["optics"], np.add(known["optics"], known["air"]["science"])]
    paths = [night / f"level2/{find_science(night)}_LVL2_{exp}.fits" for exp in EXPOSURES]
    cubes = [product.read(path, models="IFUCubeModel") for path in paths]
    found += [take_drift(cube) for cube in cubes]
    off = []
    for drift, part in zip(found, [parts[0], parts[1], parts[1]], strict=True):
        along = np.linspace(-0.5, 0.5, len(drift))[:, np.newaxis] * (len(drift) - 1) / (N_COLUMN - 1)
        off.append(float(np.abs(drift - along * part).max()))
    (path,) = (night / "level3").glob("*_IFS_*_LVL3.fits")
    combined = product.read(path, models="IFUCubeModel")
    place = max(find_peaks(*show_as_image(combined).image[:2], show_as_image(combined).image.unusable,
                           threshold_sigma=10.0, radius_pix=3.0), key=lambda at: at[1] < 9)  # fmt: skip
    planes = (combined.arrays[name] for name in ("SCI", "ERR", "DQ"))
    return off[0], max(off[1:]), fit_source(*planes, place, order=1, radius_pix=4.0).largest_pix


def format_table(night):
    """Return the figures of a night of lenslets as text."""
    pairs = compare_cubes(night)
    made, truth = compare_profiles(night)
    pulls, (bias, error) = measure_pulls(pairs), measure_flux(pairs)
    residual, alike, plain = measure_sky_residual(night)
    correction, star = measure_absorption(night, pairs, read_facts())
    ratio, noise = measure_combined(night)
    rms = np.sqrt(np.mean((made - truth) ** 2)) / truth.max(axis=0).mean()
    fibre, drift, left = measure_drifts(night)
    lines = [
        f"profiles of lenslets: rms {rms:.3%} of their peak; throughput off by {_largest(made, truth):.2%} at most",
        f"cubes, Level 2: light - 1 {bias:+.3%} +- {error:.3%}",
        f"pulls: mean {pulls.mean():+.3f}, width {pulls.std():.3f}, largest {np.abs(pulls).max():.1f} of {pulls.size}",
        f"sky lines: {residual:.2%} of their rms is left, {alike:.1%} with one factor for all, {plain:.1%} plain",
        f"telluric: correction {correction:.2%} rms, spectrum of the star {star:.2%} rms",
        f"cube, Level 3: light over that of its cubes - 1 {ratio - 1:+.3%}; noise over error {noise:.3f}",
        f"drift with the wavelength: fibre {fibre:.3f}, cubes {drift:.3f} spaxels off; {left:.3f} left at Level 3",
    ]
    for (cube, _), (flux, away, _) in zip(pairs, measure_lines(pairs), strict=True):
        shift = f"flexure {cube.keywords['FRMSHIFT']:+.4f} +- {cube.keywords['FRMSHERR']:.4f} rows"
        lines.append(
            f"exposure {cube.keywords['EXPNUM']}: line flux - 1 {flux - 1:+.3%}, {away:+.4f} bins off; {shift};"
            f" lines of the sky {cube.keywords['WAVSHIFT']:+.4f} +- {cube.keywords['WAVSHERR']:.4f} columns off"
        )
    return "\n".join(lines)


def _largest(made, truth):
    """Return the largest error of a throughput."""
    return np.abs(made.sum(axis=0) / truth.sum(axis=0) - 1).max()
