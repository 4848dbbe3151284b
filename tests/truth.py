"""How well a reduced simulated night agrees with its truth: `python tests/truth.py NIGHT` prints the table.

A pull is (product - truth) / ERR: mean 0 and width 1 where the errors hold.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry
from photutils.psf import fit_2dgaussian

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import truth_calibrations
import truth_slicer
from truth_ifs import format_table as format_cubes

from drs import product

DETECTORS = [("IRIS", "IMG1"), ("IRIS", "IMG2"), ("Liger", "IMG")]
APERTURE_PIX, RING_PIX = 8, (10, 14)
BOX_PIX = 7
FAINTEST_E_PER_S = 500  # stars below are not measured to 0.5 %


class Star(NamedTuple):
    """A star of a mosaic: light in an aperture over the true one, the error of that, distance from the true place."""

    ratio: float
    error: float
    offset_pix: float


def read_rows(night):
    """Return the accepted rows of the night table."""
    rows = json.loads((night / "plan/night.json").read_text())["rows"]
    return [row for row in rows if row["status"] == "accepted"]


def science_rows(night, instrument, detector):
    """Return the science exposures of a detector."""
    wanted = (instrument, detector, "science")
    rows = read_rows(night)
    return [row for row in rows if (row["keys"]["INSTRUME"], row["keys"]["DETECTOR"], row["kind"]) == wanted]


def read_product(night, level, row):
    """Return a product of one exposure."""
    return product.read(night / f"level{level}/{row['obs']}_LVL{level}_{row['exp']}.fits", unit="electron/s")


def read_truth(night, row):
    """Return (scene, sky level) of an exposure, e-/s."""
    with fits.open(night / "truth" / f"{row['file'].split('.fits')[0]}_truth.fits") as hdus:
        return hdus["SCENE"].data, hdus[0].header["SKYLEVEL"]


def measure_level1(night, instrument, detector):
    """Return the pulls of all unflagged pixels of a detector's rates."""
    with fits.open(night / "truth" / f"{instrument.lower()}_{detector.lower()}_detector.fits") as hdus:
        flat, dark, bad = (hdus[name].data for name in ("FLAT", "DARK", "BAD"))
    pulls = []
    for row in science_rows(night, instrument, detector):
        arrays, (scene, _) = read_product(night, 1, row).arrays, read_truth(night, row)
        good = (arrays["DQ"] == 0) & (bad == 0)
        pulls.append(((arrays["SCI"] - scene * flat - dark) / arrays["ERR"])[good])
    return np.concatenate(pulls)


def measure_level2(night, instrument, detector):
    """Return the pulls of the blank pixels of a detector's images."""
    pulls = []
    for row in science_rows(night, instrument, detector):
        arrays, (scene, sky) = read_product(night, 2, row).arrays, read_truth(night, row)
        blank = (arrays["DQ"] == 0) & (scene < 1.02 * sky)
        pulls.append((arrays["SCI"] - (scene - sky))[blank] / arrays["ERR"][blank])
    return np.concatenate(pulls)


def read_mosaic(night, instrument, detector):
    """Return the Level 3 mosaic of a detector."""
    (path,) = (night / "level3").glob(f"*_{instrument}_{detector}_*_LVL3.fits")
    return product.read(path, models="ImagerModel", unit="electron/s")


def measure_level3(night, instrument, detector):
    """Return the pulls of the blank pixels of a detector's mosaic that three images cover."""
    difference, error, blank, _ = _compare_mosaic(night, instrument, detector)
    return difference[blank] / error[blank]


def measure_apertures(night, instrument, detector):
    """Return the pulls of blank square apertures of a mosaic, their errors with the correlation of the noise."""
    difference, error, blank, correlation = _compare_mosaic(night, instrument, detector)
    pulls = []
    for y in range(0, blank.shape[0] - BOX_PIX, BOX_PIX):
        for x in range(0, blank.shape[1] - BOX_PIX, BOX_PIX):
            box = (slice(y, y + BOX_PIX), slice(x, x + BOX_PIX))
            if blank[box].all():
                pulls.append(difference[box].sum() / (correlation * np.sqrt((error[box] ** 2).sum())))
    return np.array(pulls)


def _compare_mosaic(night, instrument, detector):
    """Return (mosaic - truth, its errors, where sky is blank and three images cover it, correlation of the noise)."""
    mosaic = read_mosaic(night, instrument, detector)
    arrays = mosaic.arrays
    light, weight = np.zeros(arrays["SCI"].shape), np.zeros(arrays["SCI"].shape)
    for row in science_rows(night, instrument, detector):
        scene, sky = read_truth(night, row)
        _add_nearest(light, weight, scene - sky, read_product(night, 2, row).wcs, mosaic.wcs)
    light /= np.maximum(weight, 1)
    blank = (arrays["DQ"] & 1 == 0) & (arrays["CON"] >= 3) & (weight > 0) & (light < 0.01 * sky)
    return arrays["SCI"] - light, arrays["ERR"], blank, mosaic.keywords["NOISCORR"]


def _add_nearest(total, weight, values, wcs, grid):
    """Add an image to a sum on another grid, each pixel to its nearest one."""
    y, x = np.indices(values.shape)
    place = WCS(grid).wcs_world2pix(*WCS(wcs).wcs_pix2world(x.ravel(), y.ravel(), 0), 0)
    index = [np.clip(np.rint(axis).astype(int), 0, n - 1) for axis, n in zip(place[::-1], total.shape, strict=True)]
    np.add.at(total, tuple(index), values.ravel())
    np.add.at(weight, tuple(index), 1)


def measure_stars(night, instrument, detector):
    """Return the isolated stars of a detector's mosaic, against the catalogue: flux in an aperture, fitted place."""
    mosaic = read_mosaic(night, instrument, detector)
    (path,) = (night / "truth").glob(f"{instrument.lower()}_{detector.lower()}_*_science_sources.ecsv")
    sources = Table.read(path)
    flux, values = np.array(sources["flux_e_per_s"]), mosaic.arrays["SCI"]
    x, y = WCS(mosaic.wcs).wcs_world2pix(sources["ra_deg"], sources["dec_deg"], 0)
    stars = []
    for k in np.flatnonzero((sources["kind"] == "star") & (flux >= FAINTEST_E_PER_S)):
        distance = np.hypot(x - x[k], y - y[k])
        crowded = (distance > 0) & (distance < 2 * APERTURE_PIX) & (flux > 0.005 * flux[k])
        inside = 14 < x[k] < values.shape[1] - 15 and 14 < y[k] < values.shape[0] - 15
        if inside and not crowded.any():
            stars.append(_measure_star(mosaic, (x[k], y[k]), flux[k]))
    return stars


def _measure_star(mosaic, place, flux):
    """Return one star."""
    values, error, correlation = mosaic.arrays["SCI"], mosaic.arrays["ERR"], mosaic.keywords["NOISCORR"]
    ring = CircularAnnulus(place, *RING_PIX).to_mask().get_values(values)
    aperture = CircularAperture(place, APERTURE_PIX)
    excess = np.nan_to_num(values - np.nanmedian(ring))
    table = aperture_photometry(excess, aperture, error=np.nan_to_num(error))
    fit = fit_2dgaussian(excess, xypos=[place], fit_shape=7, fix_fwhm=False, fwhm=2.6).results
    offset = np.hypot(fit["x_fit"][0] - place[0], fit["y_fit"][0] - place[1])
    sky_error = aperture.area * np.sqrt(np.pi / 2) * np.nanmedian(error) / np.sqrt(np.isfinite(ring).sum())
    noise = correlation * np.hypot(table["aperture_sum_err"][0], sky_error)
    true = flux * find_aperture_part()
    return Star(table["aperture_sum"][0] / true, noise / true, float(offset))


@cache
def find_aperture_part():
    """Return the part of a star's light in the aperture: Gaussians, widened by their pixels and by resampling."""
    psf = yaml.safe_load((Path(__file__).resolve().parents[1] / "config/presets.yaml").read_text())["psf"]
    outside = 0.0
    for name, fraction in (("core", psf["core_fraction"]), ("halo", 1 - psf["core_fraction"])):
        variance = (psf[f"{name}_fwhm_pix"] / 2.3548) ** 2 + 1 / 12 + 1 / 6
        outside += fraction * np.exp(-(APERTURE_PIX**2) / (2 * variance))
    return 1 - outside


PULLS = {
    "Level 1, all pixels": measure_level1,
    "Level 2, blank sky": measure_level2,
    "Level 3, blank sky": measure_level3,
    "Level 3, 7 x 7 pix": measure_apertures,
}


def format_table(night):
    """Return the figures of a night as text."""
    detectors = [name for name in DETECTORS if (night / "truth" / f"{'_'.join(name).lower()}_detector.fits").exists()]
    if not detectors and truth_slicer.has_slices(night):
        return truth_slicer.format_table(night)
    if not detectors and any((night / "level3").glob("*_IFS_*.fits")):
        return format_cubes(night)
    if not any((night / "level3").glob("*.fits")) and (text := truth_calibrations.format_table(night)):
        return text
    if not detectors or not any((night / "level3").glob("*.fits")):
        return f"{night} has no mosaic, cube or calibration to compare: reduce a simulated night"
    lines = [f"{'detector':<10} {'pulls of':<24} {'n':>8} {'mean':>8} {'width':>7} {'largest':>8}"]
    for detector in detectors:
        for name, measure in PULLS.items():
            pulls = measure(night, *detector)
            numbers = f"{pulls.size:>8} {pulls.mean():>+8.4f} {pulls.std():>7.4f} {np.abs(pulls).max():>8.2f}"
            lines.append(f"{' '.join(detector):<10} {name:<24} {numbers}")
    titles = f"{'flux ratio - 1':>16} {'its error':>10} {'chi-square':>10} {'largest offset [pix]':>22}"
    lines.append(f"{'detector':<10} {'stars':>6} {titles}")
    for detector in detectors:
        stars = measure_stars(night, *detector)
        ratio, error = (np.array([getattr(star, name) for star in stars]) for name in ("ratio", "error"))
        bias, chi_square = np.average(ratio, weights=error**-2) - 1, np.mean(((ratio - 1) / error) ** 2)
        farthest = max(star.offset_pix for star in stars)
        lines.append(
            f"{' '.join(detector):<10} {len(stars):>6} {bias:>+16.4%} {np.sum(error**-2) ** -0.5:>10.4%} "
            f"{chi_square:>10.2f} {farthest:>22.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(format_table(Path(sys.argv[1])) + "\n")
