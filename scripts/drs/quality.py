"""Quality numbers of an image: its background, whether its errors hold, its flags, and how sharp its sources are."""

from typing import NamedTuple

import numpy as np

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
MAX_FIT_STEPS = 100
FIT_PRECISION_PIX = 1e-9
THIN_PIX2 = 1 / 12
SIGMA_TO_FWHM = np.sqrt(8 * np.log(2))
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
    segments : ndarray, int32, (ny, nx), or None
        Number of the source, from 1 on, that a pixel belongs to; 0 of none. As photutils.segmentation.detect_sources,
        whose import takes longer than all else that is done with a small image.
    """
    masked, segments = unusable, None
    for _ in range(N_ITERATION):
        sky = measure_background(values, error, masked)
        if not np.isfinite(sky.noise):
            return None
        threshold = sky.median + source_threshold_sigma * np.maximum(sky.noise, np.where(unusable, 0.0, error))
        segments = _label_groups(np.where(unusable, sky.median, values) > threshold)
        if not segments.any():
            return None
        masked = unusable | cover_sources(segments)
    return segments


def _label_groups(bright):
    """Return the numbers of groups of enough connected pixels, diagonal neighbours included."""
    from scipy import ndimage  # slow to import; only Levels 2 and 3 have sources

    groups, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    large = np.bincount(groups.ravel()) >= MINIMUM_SOURCE_PIXELS
    large[0] = False
    return (np.cumsum(large) * large).astype(groups.dtype)[groups]


def cover_sources(segments):
    """Return True in the sources of `find_sources` and in a margin around them."""
    from scipy import ndimage

    return ndimage.maximum_filter(segments > 0, size=SOURCE_MARGIN_PIX, mode="constant", cval=False)


def measure_sources(values, unusable, segments, sky):
    """Return the number of sources and the median FWHM of the brightest, by round Gaussians fitted to their cores.

    A source counts for the FWHM when its core (a square of three half widths) lies in the image and is free
    of unusable pixels: a saturated core has no width.

    Parameters
    ----------
    values : ndarray, float32, (ny, nx)
    unusable : ndarray, bool, (ny, nx)
    segments : ndarray, int32, (ny, nx), or None
        Result of `find_sources`.
    sky : float
        Background, in the unit of `values`.

    Returns
    -------
    Sources
    """
    if segments is None:
        return Sources(0, np.nan)
    n_sources, excess = int(segments.max()), np.where(unusable, 0.0, values - sky)
    x_pix, y_pix, widths, peaks = _measure_moments(excess, np.where(unusable, 0, segments), n_sources)
    if not np.isfinite(widths).any():
        return Sources(n_sources, np.nan)
    guess = float(np.nanmedian(widths))
    half = max(2, int(np.ceil(CORE_FWHM * guess)))
    bright = [k for k in np.argsort(-peaks, kind="stable") if _is_whole(unusable, x_pix[k], y_pix[k], half)]
    places = [(x_pix[k], y_pix[k]) for k in bright[:MAX_FITTED_SOURCES]]
    if not places:
        return Sources(n_sources, np.nan)
    fwhm = fit_widths(excess, np.array(places), guess_pix=guess, half_pix=half)
    fwhm = fwhm[np.isfinite(fwhm) & (fwhm < 2 * (2 * half + 1))]
    return Sources(n_sources, float(np.median(fwhm)) if fwhm.size else np.nan)


def _measure_moments(excess, segments, n_sources):
    """Return x, y, FWHM and peak of segments, the FWHM of the Gaussian with their second moments (NaN without light).

    A segment a pixel wide is taken to be 1/12 pix^2 wider, as often as it needs (SExtractor; Bertin & Arnouts 1996).
    """
    place = np.nonzero(segments)
    number, light = segments[place], excess[place]

    def total(weights):
        return np.bincount(number, weights, n_sources + 1)[1:]

    peaks = np.zeros(n_sources + 1)
    np.maximum.at(peaks, number, light)
    with np.errstate(invalid="ignore", divide="ignore"):
        y_pix, x_pix = (total(light * axis) / total(light) for axis in place)
        dy, dx = place[0] - y_pix[number - 1], place[1] - x_pix[number - 1]
        yy, xx, xy = (total(light * product) / total(light) for product in (dy * dy, dx * dx, dx * dy))
        while (thin := (xx * yy - xy**2 >= 0) & (xx * yy - xy**2 < THIN_PIX2**2)).any():
            xx, yy = xx + thin * THIN_PIX2, yy + thin * THIN_PIX2
        fwhm = np.where(xx * yy - xy**2 > 0, SIGMA_TO_FWHM * np.sqrt((xx + yy) / 2), np.nan)
    return x_pix, y_pix, fwhm, peaks[1:]


def fit_widths(excess, places, *, guess_pix, half_pix):
    """Return the FWHM of round Gaussians, integrated over pixels, that fit squares of an image best.

    Least squares by Levenberg and Marquardt for flux, place and width (Press et al. 2007, Numerical Recipes, 15.5), all
    squares at once.

    Parameters
    ----------
    excess : ndarray, float64, (ny, nx)
        Image less its background.
    places : ndarray, float64, (n, 2)
        x and y of the sources, 0-based pixels; their squares lie in the image.
    guess_pix : float
        First FWHM.
    half_pix : int
        Squares have 2 half_pix + 1 pixels a side.

    Returns
    -------
    fwhm : ndarray, float64, (n,)
        pix; NaN where the fit does not converge, or finds no light.
    """
    offsets, centres = np.arange(-half_pix, half_pix + 1), np.rint(places).astype(int)
    data = excess[(centres[:, 1, None] + offsets)[:, :, None], (centres[:, 0, None] + offsets)[:, None, :]]
    start = places - centres
    fitted = np.column_stack([data.sum(axis=(1, 2)), start, np.full(len(places), guess_pix / SIGMA_TO_FWHM)])
    damping, moved = np.full(len(places), 1e-3), np.ones(len(places), bool)
    model, slopes = _model_squares(fitted, offsets)
    for _ in range(MAX_FIT_STEPS):
        rest = data - model
        matrix, right = np.einsum("kijp,kijq->kpq", slopes, slopes), np.einsum("kijp,kij->kp", slopes, rest)
        scale = np.maximum(np.einsum("kpp->kp", matrix), 1e-300)
        matrix += np.eye(4) * (damping[:, None] * scale)[:, None]
        step = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
        tried = fitted + step
        tried[:, 3] = np.maximum(tried[:, 3], fitted[:, 3] / 3)
        new, new_slopes = _model_squares(tried, offsets)
        better = ((data - new) ** 2).sum(axis=(1, 2)) <= (rest**2).sum(axis=(1, 2))
        moved = np.where(better, np.abs(tried - fitted)[:, 1:].max(axis=1) > FIT_PRECISION_PIX, moved)
        fitted = np.where(better[:, None], tried, fitted)
        model = np.where(better[:, None, None], new, model)
        slopes = np.where(better[:, None, None, None], new_slopes, slopes)
        damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-12, 1e12)
        if not (moved | ~better).any():
            break
    return np.where(moved | (fitted[:, 0] <= 0), np.nan, SIGMA_TO_FWHM * fitted[:, 3])


def _model_squares(parameters, offsets):
    """Return the light of Gaussians (n, 4: flux, x, y, sigma) in squares (n, y, x), and its slopes (n, y, x, 4)."""
    from scipy.special import erf

    flux, *places, sigma = parameters.T[:, :, None]
    parts = []
    for place in reversed(places):  # y, x
        u = ((offsets - place)[..., None] + (-0.5, 0.5)) / sigma[..., None]
        bell = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        along = np.diff(erf(u / np.sqrt(2)) / 2, axis=-1)
        parts.append([g[..., 0] for g in (along, -np.diff(bell, axis=-1), -np.diff(u * bell, axis=-1))])
    (y, y_slope, y_broader), (x, x_slope, x_broader) = parts
    square, (flux, sigma) = "ki,kj->kij", (flux[..., None], sigma[..., None])
    shape = np.einsum(square, y, x)
    broader = np.einsum(square, y_broader, x) + np.einsum(square, y, x_broader)
    slopes = [np.einsum(square, y, x_slope), np.einsum(square, y_slope, x), broader]
    return flux * shape, np.stack([shape, *(flux / sigma * slope for slope in slopes)], axis=-1)


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
    masked = unusable if segments is None else unusable | cover_sources(segments)
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
