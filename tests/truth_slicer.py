"""How well a reduced night of the simulated slicer spectrograph agrees with its truth."""

import json

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from photutils.psf import fit_2dgaussian
from scipy.special import ndtr
from truth_ifs import find_scale, measure_absorption, resample_truth

from drs import product
from drs.schema import load_yaml
from drs.simulation import scene
from drs.simulation.night import REPO

SCIENCE = ("2024B-P123-009_IRIS_IFS_SCI", ("0001-00", "0002-00"))
FACTS = load_yaml(REPO / "config/presets.yaml")["presets"]["slicer"]
FIELD = load_yaml(REPO / "config/instruments/iris.yaml")["detectors"]["IFS"]["fields"]["SLICER"]  # and Liger's
BASE = (299.6125, 10.2236, 37.0)
BLANK = 1.0  # of the noise of a sample, that sources add at most
SIGMA_PIX = np.hypot(FACTS["slices"]["layout"]["fwhm_across_pix"] / scene.FWHM_PER_SIGMA, 1 / np.sqrt(12))
SMOOTHING = 4  # columns on either side
FITTED = (5, 5)  # spaxels
END = 1  # spaxel of a galaxy over the end of slices: light that spreads beyond the flat makes up for as if it were even
APERTURE = 3  # half a side, in spaxels


def has_slices(night):
    """Say whether a night has cubes of the simulated slicer."""
    return any((night / "calibrations").glob("*_ifs_trace_*.fits"))


def read_truth(night, row):
    """Return {name: array} of the truth of an exposure: LIGHT, EDGES, WAVESOL, THROUGHPUT."""
    with fits.open(night / "truth" / f"{row['file'].removesuffix('.fits')}_cube.fits") as hdus:
        return {hdu.name: hdu.data.astype(hdu.data.dtype.newbyteorder("=")) for hdu in hdus[1:]}


def read_science(night):
    """Return [(row, truth)] of the science exposures."""
    rows = {row["id"]: row for row in json.loads((night / "plan/night.json").read_text())["rows"]}
    found = [row for _, row in sorted(rows.items()) if row.get("kind") == "science"]
    return [(row, read_truth(night, row)) for row in found]


def compare_cubes(night):
    """Return [(Product, truth on its grid, NaN where the cube has no value)] of the science exposures."""
    pairs = []
    for row, truth in read_science(night):
        cube = product.read(night / f"level2/{row['obs']}_LVL2_{row['exp']}.fits", models="IFUCubeModel")
        scale = find_scale(cube, FACTS["slices"])
        if scale == 1:
            scale = find_response(night, truth)[:, np.newaxis, np.newaxis]
        truth["LIGHT"] = truth["LIGHT"] * scale
        light = resample_truth(truth, cube.wcs, len(cube.arrays["SCI"]))
        pairs.append((cube, np.where(np.isfinite(cube.arrays["SCI"]), light, np.nan)))
    return pairs


def find_response(night, truth):
    """Return the response (column) that the flat leaves in a cube: what all slices share is taken for the lamp's."""
    with fits.open(next((night / "truth").glob("*_ifs_detector.fits"))) as hdus:
        flat = hdus["FLAT"].data.astype(float)
    response, rows = np.full(flat.shape, np.nan), np.arange(len(flat))[:, np.newaxis]
    for (lower, upper), throughput in zip(truth["EDGES"], truth["THROUGHPUT"], strict=True):
        inside = (rows > lower) & (rows < upper)
        spread = ndtr((rows - lower) / SIGMA_PIX) * ndtr((upper - rows) / SIGMA_PIX)  # the ends of a slice are dim
        response[inside] = (throughput * flat * spread)[inside]
    near = [slice(max(x - SMOOTHING, 0), x + SMOOTHING + 1) for x in range(flat.shape[1])]
    return np.array([np.nanmedian(response[:, part]) for part in near])


def measure_edges(night):
    """Return the rows (slice, 2, column) by which the night's edges are off the truth."""
    (path,) = (night / "calibrations").glob("*_ifs_trace_*.fits")
    return product.read(path, models="TraceModel").arrays["EDGES"] - read_science(night)[0][1]["EDGES"]


def measure_wavelengths(night):
    """Return the columns (column, slice, position) by which the night's wavelengths are off the truth."""
    (path,) = (night / "calibrations").glob("*_ifs_wavesol_*.fits")
    truth = read_science(night)[0][1]["WAVESOL"]
    found = product.read(path, models="WavelengthModel").arrays["WAVESOL"]
    return (found - truth) / np.gradient(truth, axis=0)


def measure_pulls(pairs, left_out=None):
    """Return pulls of samples in which sources are below the noise, without some bins (bool)."""
    pulls = []
    for cube, truth in pairs:
        values, error, dq = (cube.arrays[name] for name in ("SCI", "ERR", "DQ"))
        good = (dq & 1 == 0) & np.isfinite(values) & np.isfinite(truth) & (truth < BLANK * error)
        if left_out is not None:
            good &= ~left_out[:, np.newaxis, np.newaxis]
        pulls.append(((values - truth) / error)[good])
    return np.concatenate(pulls)


def find_source(kind, scale_arcsec):
    """Return the facts of a source, and its place on the sky."""
    source = next(source for source in FACTS["slices"]["sources"] if source["kind"] == kind)
    layout = FACTS["slices"]["layout"]
    geometry = {
        "size_x_pix": layout["n_spaxel"],
        "size_y_pix": layout["n_slice"],
        "scale_arcsec": scale_arcsec,
        **FIELD,
    }
    return source, scene.pixel_to_sky(source["x"], source["y"], BASE, geometry)


def cut_box(pair, sky, *, end=0):
    """Return the cube and its truth around a place on the sky, and where in them (y, x) the coordinates have it.

    `end` spaxels at both ends of the slices are left out.
    """
    cube, truth = pair
    x, y, _ = WCS(cube.wcs).wcs_world2pix([[*sky, 1.637e-6]], 0)[0]
    low = max(round(y) - APERTURE, 0), max(round(x) - APERTURE, end)
    high = round(y) + APERTURE + 1, min(round(x) + APERTURE + 1, truth.shape[2] - end)
    found, expected = (plane[:, low[0] : high[0], low[1] : high[1]] for plane in (cube.arrays["SCI"], truth))
    return found, expected, (y - low[0], x - low[1])


def measure_star(pairs):
    """Return of each exposure (flux over that of the truth, y and x of its place from where the coordinates say)."""
    _, sky = find_source("star", pairs[0][0].keywords["SCALE"])
    results = []
    for pair in pairs:
        found, expected, (y, x) = cut_box(pair, sky)
        images = [np.nanmean(values, axis=0, dtype=float) for values in (found, expected)]
        centre = find_centre(images[0])
        results.append((np.nansum(images[0]) / np.nansum(images[1]), centre[0] - y, centre[1] - x))
    return results


def find_centre(image):
    """Return the (y, x) of a star in an image: that of a Gaussian, as a centroid is moved by the borders of a box."""
    y, x = np.unravel_index(np.nanargmax(image), image.shape)
    fit = fit_2dgaussian(np.nan_to_num(image), xypos=(x, y), fix_fwhm=False, fit_shape=FITTED).results
    return float(fit["y_fit"][0]), float(fit["x_fit"][0])


def measure_line(pairs):
    """Return of each exposure (flux of the galaxy's line over that of the truth, columns it is off)."""
    source, sky = find_source("galaxy", pairs[0][0].keywords["SCALE"])
    (line,) = source["lines"]
    results = []
    for cube, truth in pairs:
        wave_um = cube.wcs["CRVAL3"] + cube.wcs["CDELT3"] * np.arange(len(truth))
        away = np.abs(wave_um - line["wavelength_um"]) / cube.wcs["CDELT3"]
        inside, beside = away < 5, (away >= 6) & (away < 14)
        found, expected = (take_line(one, inside, beside) for one in cut_box((cube, truth), sky, end=END)[:2])
        centres = [(own * wave_um[inside]).sum() / own.sum() for own in (found, expected)]
        results.append((found.sum() / expected.sum(), (centres[0] - centres[1]) / cube.wcs["CDELT3"]))
    return results


def take_line(values, inside, beside):
    """Return the light of a line, bin by bin, over the continuum beside it."""
    spectrum = np.nansum(values.reshape(len(values), -1), axis=1, dtype=float)
    return spectrum[inside] - np.median(spectrum[beside])


def format_table(night):
    """Return the figures of a night as text."""
    pairs = compare_cubes(night)
    edges, wavelengths, pulls = measure_edges(night), measure_wavelengths(night), measure_pulls(pairs)
    air, star = measure_absorption(night, pairs, FACTS["slices"])
    lines = [
        f"edges of slices      rms {edges.std():.4f} pix, mean {edges.mean():+.4f}",
        f"wavelengths          rms {wavelengths.std():.4f} pix, mean {wavelengths.mean():+.4f}",
        f"telluric             correction {air:.2%} rms, spectrum of the star {star:.2%} rms",
        f"blank samples        {pulls.size} pulls, mean {pulls.mean():+.4f}, width {pulls.std():.4f}",
    ]
    own = [measure_pulls([pair]) for pair in pairs]  # the scale of the sky is common to the samples of an exposure
    told = ", ".join(f"{one.mean():+.4f} and {one.std():.4f}" for one in own)
    lines.append(f"of each exposure     mean and width {told}")
    for (ratio, dy, dx), (flux, away) in zip(measure_star(pairs), measure_line(pairs), strict=True):
        lines.append(
            f"star, line           flux {ratio - 1:+.3%}, place {np.hypot(dy, dx):.4f} spaxel;"
            f" flux {flux - 1:+.3%}, wavelength {away:+.4f} pix"
        )
    for cube, _ in pairs:
        keywords = cube.keywords
        lines.append(
            f"rows, columns off    {keywords['FRMSHIFT']:+.4f} +- {keywords['FRMSHERR']:.4f},"
            f" {keywords['WAVSHIFT']:+.4f} +- {keywords['WAVSHERR']:.4f},"
            f" NOISCORR {keywords['NOISCORR']:.3f}"
        )
    return "\n".join(lines)
