"""Sky of spectra: emission lines of OH scaled by family, after Davies (2007, MNRAS 375, 1099).

The lines of OH that come from one vibrational transition rise and fall together, by 10 per cent within minutes; those
of different transitions do not. So a sky spectrum taken at another time is scaled family by family: each family has its
own stretch of wavelength, and its factor is that which leaves the least of its lines in the spectrum of the object's
field. Continua vary more slowly and are taken as they are. Lines of the object stand out from the rest of a family
after scaling, and are left out of the fit.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from drs.errors import ReductionError

# Limits of the vibrational transitions, um in vacuum: Davies (2007), section 3.
LIMITS_UM = (
    0.780, 0.824, 0.873, 0.926, 0.964, 1.014, 1.067, 1.125, 1.196, 1.252, 1.289,
    1.400, 1.472, 1.5543, 1.6356, 1.7253, 1.840, 1.957, 2.095, 2.300, 2.460,
)  # fmt: skip
CONTINUUM_BINS = 41  # over which a continuum is the median of what is between lines
LEAST_BINS = 5  # with lines, of a family that is scaled
LINE_SIGMA = 5.0  # of the sky spectrum: bins above it have lines
TURNS = 10
CLIP_SIGMA = 3.0


class Scale(NamedTuple):
    """One family: limits um, `factor` and its `error`, bins with lines, bins left out; factor 1 where too few."""

    start_um: float
    stop_um: float
    factor: float
    error: float
    n_bin: int
    n_rejected: int


def separate_lines(spectrum, usable):
    """Return the lines of a spectrum (bin), 0 where not usable, and its continuum, a running median between them.

    The median is taken three times, each time without the bins that stand out of the one before.
    """
    between, continuum = usable.copy(), np.zeros(spectrum.shape)
    if not usable.any():
        return continuum, continuum
    for _ in range(3):
        continuum = _running_median(np.where(between, spectrum, np.nan))
        rest = np.where(usable, spectrum - continuum, 0)
        scatter = 1.4826 * np.median(np.abs(rest[between])) if between.any() else 0.0
        between = usable & (rest < 3 * scatter) if scatter > 0 else between
    return rest, continuum


def _running_median(spectrum):
    """Return the median over CONTINUUM_BINS bins around each, NaN left out; nearest values where there is none."""
    half = CONTINUUM_BINS // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(spectrum, half, constant_values=np.nan), CONTINUUM_BINS)
    known = np.isfinite(windows).any(axis=1)
    median = np.full(spectrum.shape, np.nan)
    median[known] = np.nanmedian(windows[known], axis=1)
    place = np.arange(median.size)
    return ndimage.gaussian_filter1d(np.interp(place, place[known], median[known]), half / 4, mode="nearest")


def fit_scales(field, field_error, sky, sky_error, wavelength_um):
    """Return the factor of each family of OH lines in a field's spectrum over those of a sky spectrum.

    Parameters
    ----------
    field, field_error : ndarray, float, (bin)
        Spectrum of the object's field (best: the median of its spaxels), and its noise; NaN where unknown.
    sky, sky_error : ndarray, float, (bin)
        The same of the sky's.
    wavelength_um : ndarray, float, (bin)
        Rising.

    Returns
    -------
    list of Scale
        Of the families within the spectrum.

    Raises
    ------
    ReductionError
        Spectra without a common bin.
    """
    usable = np.isfinite(field) & np.isfinite(field_error) & np.isfinite(sky) & np.isfinite(sky_error)
    if not usable.any():
        raise ReductionError("sky and object have no wavelength in common: take a sky of this configuration")
    own, _ = separate_lines(np.where(usable, field, 0.0), usable)
    other, _ = separate_lines(np.where(usable, sky, 0.0), usable)
    scales = []
    for start, stop in pairwise(LIMITS_UM):
        inside = (wavelength_um >= start) & (wavelength_um < stop)
        if inside.any():
            bins = inside & usable & (other > LINE_SIGMA * sky_error)
            noise2 = field_error[bins] ** 2, sky_error[bins] ** 2
            scales.append(Scale(start, stop, *_fit_factor(own[bins], other[bins], *noise2)))
    return scales


def _fit_factor(own, other, own_variance, other_variance):
    """Return the factor between lines, its error, the number of bins and that of those left out."""
    if own.size < LEAST_BINS:
        return 1.0, np.inf, own.size, 0
    kept, factor = np.ones(own.size, bool), float(np.median(own / other))
    for _ in range(TURNS):
        weight = kept / (own_variance + factor**2 * other_variance)
        factor = float((weight * own * other).sum() / (weight * other**2).sum())
        rest = own - factor * other
        scatter = max(1.4826 * np.median(np.abs(rest[kept])), 1e-12)
        sigma = np.maximum(np.sqrt(own_variance + factor**2 * other_variance), scatter)
        new = np.abs(rest) < CLIP_SIGMA * sigma
        if new.sum() < LEAST_BINS or (new == kept).all():
            break
        kept = new
    weight = kept / sigma**2
    return factor, float((weight * other**2).sum() ** -0.5), own.size, int((~kept).sum())


def scale_sky(sky, lines, scales, wavelength_um):
    """Return a sky with its lines scaled: continuum plus the factor of each family times its lines.

    Parameters
    ----------
    sky : ndarray, float32, (bin, ...)
        A spectrum or a cube.
    lines : ndarray, float, (bin, ...)
        Its lines, from `separate_lines`.
    scales : list of Scale
    wavelength_um : ndarray, float, (bin)
    """
    factor = scale_of_bins(scales, wavelength_um).reshape(-1, *[1] * (sky.ndim - 1))
    return (sky + (factor - 1) * lines).astype(np.float32)


def scale_of_bins(scales, wavelength_um):
    """Return the factor of every bin (float64), 1 outside the families."""
    factor = np.ones(wavelength_um.shape)
    for scale in scales:
        factor[(wavelength_um >= scale.start_um) & (wavelength_um < scale.stop_um)] = scale.factor
    return factor
