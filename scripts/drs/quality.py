"""Quality numbers of an image: its background, whether its errors hold, its flags, and how sharp its sources are."""

import warnings
from typing import NamedTuple

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from drs.dq import Flag

MAD_TO_SIGMA = 1.4826
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
NO_SKY = Flag.DO_NOT_USE | Flag.NON_SCIENCE | Flag.REFERENCE_PIXEL
MINIMUM_SOURCE_PIXELS = 5
SOURCE_MARGIN_PIX = 9
N_ITERATION = 2
# The FWHM is that of the brightest sources: the faint ones add time and noise, not information.
MAX_FITTED_SOURCES = 30
CORE_FWHM = 0.75
ARCSEC_PER_DEG = 3600.0


class Background(NamedTuple):
    """Median, robust scatter and median error of the background, in the image's unit, and the pixels' number.

    `noise_over_error` is the scatter of the values in units of each pixel's own error: 1 where the errors hold, in a
    mosaic of uneven depth too. The numbers are NaN without any pixel.
    """

    median: float
    noise: float
    error: float
    noise_over_error: float
    n_pixels: int


class Sources(NamedTuple):
    """Number of sources, and the median full width at half maximum of the bright ones (NaN without any)."""

    n_sources: int
    fwhm_pix: float


def find_unusable(values, error, dq):
    """Return True where an image has no value to use, shape of the image."""
    if values.ndim != 2 or not values.shape == error.shape == dq.shape:
        shapes = f"{values.shape}, {error.shape}, {dq.shape}"
        raise ValueError(f"values, error and dq must be images (ny, nx) of one shape, got {shapes}")
    return (dq & np.uint32(NO_SKY) != 0) | ~np.isfinite(values) | ~np.isfinite(error)


def measure_background(values, error, masked):
    """Return the background of an image: median, scatter (1.4826 times the median absolute deviation), errors.

    Parameters
    ----------
    values, error : ndarray, float32, (ny, nx)
    masked : ndarray, bool, (ny, nx)
        Pixels that are unusable or belong to a source.

    Returns
    -------
    Background
    """
    pixels, errors = values[~masked].astype(np.float64), error[~masked].astype(np.float64)
    if pixels.size == 0:
        return Background(np.nan, np.nan, np.nan, np.nan, 0)
    median, known = np.median(pixels), errors > 0
    ratio = _measure_scatter((pixels[known] - median) / errors[known]) if known.any() else np.nan
    return Background(float(median), _measure_scatter(pixels), float(np.median(errors)), ratio, int(pixels.size))


def _measure_scatter(pixels):
    """Return 1.4826 times the median absolute deviation, the standard deviation where the values are normal."""
    return float(MAD_TO_SIGMA * np.median(np.abs(pixels - np.median(pixels))))


def measure_percentiles(values, unusable):
    """Return percentile -> value of the usable pixels, in the image's unit; empty without any."""
    if unusable.all():
        return {}
    levels = np.percentile(values[~unusable].astype(np.float64), PERCENTILES)
    return {str(percentile): float(level) for percentile, level in zip(PERCENTILES, levels, strict=True)}


def measure_flags(dq):
    """Return flag name -> fraction of the pixels that carry it, for the flags that occur."""
    counts = {flag.name: np.count_nonzero(dq & np.uint32(flag)) for flag in Flag}
    return {name: count / dq.size for name, count in counts.items() if count}


def find_sources(values, error, unusable, *, source_threshold_sigma):
    """Return the segments of an image's sources, None without any.

    A source is a group of at least five connected pixels, each above the background by `source_threshold_sigma`
    times the larger of the background's scatter and the pixel's own error. The background is measured again
    outside the sources of the first pass.

    Parameters
    ----------
    values, error : ndarray, float32, (ny, nx)
    unusable : ndarray, bool, (ny, nx)
    source_threshold_sigma : float

    Returns
    -------
    segments : photutils.segmentation.SegmentationImage or None
    """
    from photutils.segmentation import detect_sources  # 0.8 s to import; only Levels 2 and 3 have sources
    from photutils.utils.exceptions import NoDetectionsWarning

    masked, segments = unusable, None
    for _ in range(N_ITERATION):
        sky = measure_background(values, error, masked)
        if not np.isfinite(sky.noise):
            return None
        threshold = sky.median + source_threshold_sigma * np.maximum(sky.noise, np.where(unusable, 0.0, error))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoDetectionsWarning)  # an empty field is an answer
            segments = detect_sources(np.where(unusable, sky.median, values), threshold, MINIMUM_SOURCE_PIXELS)
        if segments is None:
            return None
        masked = unusable | segments.make_source_mask(size=SOURCE_MARGIN_PIX)
    return segments


def measure_sources(values, unusable, segments, sky):
    """Return the number of sources and the median FWHM of the brightest, by round Gaussians fitted to their cores.

    A source counts for the FWHM when its core (a square of three half widths) lies in the image and is free
    of unusable pixels: a saturated core has no width.

    Parameters
    ----------
    values : ndarray, float32, (ny, nx)
    unusable : ndarray, bool, (ny, nx)
    segments : photutils.segmentation.SegmentationImage or None
        Result of `find_sources`.
    sky : float
        Background, in the unit of `values`.

    Returns
    -------
    Sources
    """
    from photutils.psf import fit_fwhm  # slow to import, as above
    from photutils.segmentation import SourceCatalog

    if segments is None:
        return Sources(0, np.nan)
    excess = np.where(unusable, 0.0, values - sky)
    catalog = SourceCatalog(excess, segments, mask=unusable)
    x_pix, y_pix = np.atleast_1d(catalog.x_centroid), np.atleast_1d(catalog.y_centroid)
    widths = np.atleast_1d(catalog.fwhm.value)
    if not np.isfinite(widths).any():
        return Sources(int(segments.n_labels), np.nan)
    guess = float(np.nanmedian(widths))
    half = max(2, int(np.ceil(CORE_FWHM * guess)))
    peaks = np.nan_to_num(np.atleast_1d(catalog.max_value))
    bright = [k for k in np.argsort(-peaks, kind="stable") if _is_whole(unusable, x_pix[k], y_pix[k], half)]
    places = [(x_pix[k], y_pix[k]) for k in bright[:MAX_FITTED_SOURCES]]
    if not places:
        return Sources(int(segments.n_labels), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # a fit that fails gives a width that is left out below
        fwhm = fit_fwhm(excess, xypos=places, fwhm=guess, fit_shape=2 * half + 1)
    fwhm = fwhm[np.isfinite(fwhm) & (fwhm < 2 * (2 * half + 1))]
    return Sources(int(segments.n_labels), float(np.median(fwhm)) if fwhm.size else np.nan)


def _is_whole(unusable, x_pix, y_pix, half):
    """Return True where the square of 2 `half` + 1 pixels about a place is in the image and free of bad pixels."""
    if not np.isfinite([x_pix, y_pix]).all():
        return False
    x, y = round(x_pix), round(y_pix)
    core = unusable[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
    return core.shape == (2 * half + 1, 2 * half + 1) and not core.any()


def measure_quality(values, error, dq, *, source_threshold_sigma=None):
    """Return the quality numbers of an image.

    Parameters
    ----------
    values, error : ndarray, float32, (ny, nx)
        Values and their 1-sigma errors, in one unit.
    dq : ndarray, uint32, (ny, nx)
    source_threshold_sigma : float, optional
        Threshold of the source detection; without it no source is sought, as in a calibration.

    Returns
    -------
    dict
        `median`, `noise`, `error` of the background and `n_background` (its pixels), `noise_over_error` (near 1
        where the errors hold), `percentiles`, `flags`, `usable_fraction`, and `n_sources` and `fwhm_pix` (both None
        where no source was sought). What cannot be measured is None.
    """
    unusable = find_unusable(values, error, dq)
    segments = None
    if source_threshold_sigma is not None:
        segments = find_sources(values, error, unusable, source_threshold_sigma=source_threshold_sigma)
    masked = unusable if segments is None else unusable | segments.make_source_mask(size=SOURCE_MARGIN_PIX)
    sky = measure_background(values, error, masked)
    sources = Sources(None, np.nan)
    if source_threshold_sigma is not None:
        sources = measure_sources(values, unusable, segments, sky.median)
    return {
        "median": _or_none(sky.median),
        "noise": _or_none(sky.noise),
        "error": _or_none(sky.error),
        "noise_over_error": _or_none(sky.noise_over_error),
        "n_background": sky.n_pixels,
        "percentiles": {name: _or_none(level) for name, level in measure_percentiles(values, unusable).items()},
        "flags": {name: _or_none(fraction) for name, fraction in measure_flags(dq).items()},
        "usable_fraction": _or_none(1 - np.count_nonzero(unusable) / unusable.size),
        "n_sources": sources.n_sources,
        "fwhm_pix": _or_none(sources.fwhm_pix),
    }


def _or_none(value):
    """Return a number with six significant digits, the same on every machine; None for NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def pixel_scale_arcsec(wcs):
    """Return the side of a pixel, the geometric mean of both axes, from WCS keywords in deg; None without them."""
    if "CTYPE1" not in wcs:
        return None
    # Paper I of FITS WCS, section 2.1.2; in plain numbers, as astropy.wcs takes a third of the start of a script
    turn = [[wcs.get(f"PC{i}_{j}", float(i == j)) * wcs.get(f"CDELT{i}", 1.0) for j in (1, 2)] for i in (1, 2)]
    matrix = np.array([[wcs.get(f"CD{i}_{j}", turn[i - 1][j - 1]) for j in (1, 2)] for i in (1, 2)], float)
    return _or_none(np.sqrt(np.prod(np.hypot(*matrix))) * ARCSEC_PER_DEG)
