"""How well the calibrations of a simulated night agree with its truth: presets `calibrations` and `optics`.

Figures are of good pixels; those of maps are medians of made over true, widths are those of pulls.
"""

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from runs import REPO
from stars import true_psf

from drs import product
from drs.schema import load_yaml
from drs.simulation import scene
from drs.sourcelist import list_sources
from drs.wcs import measure_area

FACTS = load_yaml(REPO / "config/presets.yaml")
DETECTOR = "iris_img1"
SIGNALS = (0.3, 0.6, 0.9)  # parts of saturation where linearity is compared


def find_made(night, kind):
    """Return the path of the calibration of a kind, or None."""
    return next(iter(sorted((night / "calibrations").glob(f"{DETECTOR}_{kind}_*.fits"))), None)


def read_made(night, kind):
    """Return the calibration of a kind; it must be one that was not refused."""
    made = product.read(find_made(night, kind))
    assert made.refusal is None, made.refusal
    return made


def read_truth(night):
    """Return the maps of the detector, and where its pixels are good."""
    with fits.open(night / f"truth/{DETECTOR}_detector.fits") as hdus:
        maps = {hdu.name: hdu.data.astype(float) for hdu in hdus[1:]}
    return maps, (maps["BAD"] == 0) & (maps["ACTIVE"] > 0)


def correct(coefficients, x):
    """Return linear signals by a polynomial, (n, ny, nx) from the lowest order."""
    return sum(layer * x**k for k, layer in enumerate(coefficients))


def measure_pulls(made, truth, good):
    """Return the errors of a map over what it says they are."""
    used = good & (made.arrays["DQ"] == 0)
    return (made.arrays["SCI"] - truth)[used] / made.arrays["ERR"][used]


def measure_ratio(night, kind, name):
    """Return the median of a made map over the true one, less 1."""
    maps, good = read_truth(night)
    return float(np.median((read_made(night, kind).arrays["SCI"] / maps[name])[good]) - 1)


def measure_bias(night):
    """Return the level of the bias less the true one, DN, and the width of its pulls."""
    maps, good = read_truth(night)
    made = read_made(night, "bias")
    return float(np.median((made.arrays["SCI"] - maps["BIAS"])[good])), float(
        measure_pulls(made, maps["BIAS"], good).std()
    )


def measure_saturation(night):
    """Return the largest error of a saturation threshold, as a part of it."""
    maps, good = read_truth(night)
    return float(np.abs(read_made(night, "saturation").arrays["SCI"] / maps["THRESHOLD"] - 1)[good].max())


def measure_linearity(night):
    """Return the medians of corrected over true linear signals, less 1, at each of SIGNALS."""
    maps, good = read_truth(night)
    made = read_made(night, "nonlin")
    used = good & (made.arrays["DQ"] == 0)
    x = [part * (maps["THRESHOLD"] - maps["BIAS"]) for part in SIGNALS]
    ratios = [correct(made.arrays["COEFFS"], values) / correct(maps["COEFFS"], values) for values in x]
    return [float(np.median(ratio[used]) - 1) for ratio in ratios]


def measure_dark(night):
    """Return the pulls of the dark."""
    maps, good = read_truth(night)
    return measure_pulls(read_made(night, "dark"), maps["DARK"], good)


def measure_bad_pixels(night):
    """Return the part of the bad pixels that was found, and the good ones called bad, as a part of all pixels."""
    maps, _ = read_truth(night)
    active, truth = maps["ACTIVE"] > 0, maps["BAD"].astype(np.uint32)
    bad, found = (truth & 1 > 0) & active, (read_made(night, "dq").arrays["DQ"] & 1 > 0) & active
    return float(found[bad].mean()), float((found & (truth == 0)).sum() / active.sum())


def measure_flat(night):
    """Return the median of made over true response, less 1, and the width of the pulls."""
    maps, good = read_truth(night)
    response = maps["FLAT"] * maps["AREA"]
    made, truth = read_made(night, "flat"), response / np.median(response[good])
    level = np.median((made.arrays["SCI"] / truth)[good & (made.arrays["DQ"] == 0)])
    return float(level - 1), float(measure_pulls(made, truth * level, good).std())


def measure_distortion(night, which=0):
    """Return the rms of what a distortion leaves, pix, without a common shift; the first is that of a mask."""
    path = sorted((night / "calibrations").glob(f"{DETECTOR}_distortion_*.fits"))[which]
    made = product.read(path)
    assert made.refusal is None, made.refusal
    made = made.arrays
    ny, nx = made["DX"].shape
    y, x = np.mgrid[1 : ny + 1, 1 : nx + 1].astype(float)
    geometry = {"size_x_pix": nx, "size_y_pix": ny, "distortion": FACTS["distortion"]}
    ideal = scene.undistort(x, y, geometry)
    left = [made[name] - (true - own) for name, true, own in zip(("DX", "DY"), ideal, (x, y), strict=True)]
    return float(np.sqrt(np.mean([np.var(part) for part in left])))


def find_unit(night):
    """Return what the flat, 1 in the median, makes of 1 e-/s: the median area of sky that pixels see."""
    maps, good = read_truth(night)
    return float(np.median((maps["FLAT"] * maps["AREA"])[good]) / np.median(maps["FLAT"][good]))


def measure_zero_point(night):
    """Return the error of the zero point, mag, and that over what it says it is."""
    keywords = read_made(night, "flux").keywords
    error = keywords["PHOTZP"] - FACTS["zero_point_mag"] - 2.5 * np.log10(find_unit(night))
    return error, error / keywords["PHOTZPE"]


def measure_psf(night):
    """Return the largest error of the point-spread function over its peak, and the width of its pulls in the core."""
    made = read_made(night, "psf")
    (radius_pix,) = [float(value) for step, name, value in made.parameters if (step, name) == ("psf", "radius_pix")]
    truth = true_psf(radius_pix, made.keywords["PSFOVER"])
    error, near = made.arrays["SCI"] - truth, truth > 1e-3 * truth.max()
    return float(np.abs(error).max() / truth.max()), float((error / made.arrays["ERR"])[near].std())


def measure_psf_fluxes(night):
    """Return fitted over true fluxes of the stars in Level 2 images of standard and PSF stars, less 1; their pulls.

    Fluxes times the area of a star's pixel: the flat has divided by it.
    """
    psf = read_made(night, "psf")
    how = {
        "source_threshold_sigma": 5.0,
        "aperture_pix": [3.0, 8.0],
        "ring_pix": [16.0, 24.0],
        "noise_correlation": 1.0,
    }
    how["psf_fit"] = psf.arrays["SCI"], psf.keywords["PSFOVER"]
    ratios, pulls = [], []
    for kind, field in (("FLUX", "flux-star"), ("PSF", "psf-star")):
        (places,) = (Table.read(path) for path in (night / "truth").glob(f"*_{field}_positions.ecsv"))
        (sources,) = (Table.read(path) for path in (night / "truth").glob(f"*_{field}_sources.ecsv"))
        for path in sorted((night / "level2").glob(f"*_{kind}_LVL2_*.fits")):
            image = product.read(path)
            found = list_sources(image.image, WCS(image.wcs), **how)
            found = found[found["flags"] == 0]
            own = places[places["exposure"] == image.keywords["EXPNUM"]]
            apart = np.hypot(*(np.subtract.outer(np.array(own[a]) - 1, np.array(found[a])) for a in ("x_pix", "y_pix")))
            true, made = np.nonzero(apart < 1)
            area = measure_area(image.wcs, np.array(found["x_pix"])[made], np.array(found["y_pix"])[made])
            flux = np.array(sources["flux_e_per_s"])[true] * find_unit(night) / area
            ratios += list(np.array(found["psf_flux"])[made] / flux - 1)
            pulls += list((np.array(found["psf_flux"])[made] - flux) / np.array(found["psf_flux_error"])[made])
    return np.array(ratios), np.array(pulls)


def format_psf(night):
    """Return the figures of a point-spread function as text."""
    ratios, pulls = measure_psf_fluxes(night)
    # what all fluxes have in common is the error of the PSF's scale
    single = float(np.mean((pulls - np.median(pulls)) ** 2))
    text = "largest error {:.2%} of the peak, width of pulls {:.2f}".format(*measure_psf(night))
    return f"{text}; fluxes of {ratios.size} stars {np.median(ratios):+.3%} off, chi-square {single:.2f} about that"


def format_table(night):
    """Return the figures of the calibrations that a night has, as text."""
    level, lines = "{:+.3%}".format, []
    for kind, name in (("gain", "GAIN"), ("readnoise", "READNOISE")):
        if find_made(night, kind):
            lines.append(f"{kind}: median over truth - 1 {level(measure_ratio(night, kind, name))}")
    for kind, format_figures in FIGURES.items():
        if find_made(night, kind):
            lines.append(f"{kind}: {format_figures(night)}")
    return "\n".join(lines)


FIGURES = {
    "bias": lambda night: "level {:+.2f} DN, width of pulls {:.3f} (Student's t)".format(*measure_bias(night)),
    "saturation": lambda night: f"largest error {measure_saturation(night):.3%}",
    "nonlin": lambda night: " ".join(
        f"{error:+.3%} at {part:.0%}" for part, error in zip(SIGNALS, measure_linearity(night), strict=True)
    ),
    "dq": lambda night: "{:.1%} of bad pixels found, {:.3%} of all are false".format(*measure_bad_pixels(night)),
    "dark": lambda night: f"pulls: median {np.median(measure_dark(night)):+.3f}, width {measure_dark(night).std():.3f}",
    "flat": lambda night: "median over truth - 1 {:+.3%}, width of pulls {:.3f}".format(*measure_flat(night)),
    "distortion": lambda night: "{:.4f} (pinholes) {:.4f} (stars) pix rms".format(
        *(measure_distortion(night, which) for which in (0, -1))
    ),
    "psf": format_psf,
    "flux": lambda night: "zero point {:+.4f} mag off, {:+.1f} sigma".format(*measure_zero_point(night)),
}
