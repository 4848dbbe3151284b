"""Sky of spectra: emission lines of OH scaled by family, after Davies (2007, MNRAS 375, 1099).

The lines of OH that come from one vibrational transition rise and fall together, by 10 per cent within minutes; those
of different transitions do not. So a sky taken at another time is scaled family by family: each family has its own
stretch of wavelength, and its factor is that which leaves the least of its lines in the object's field. Continua vary
more slowly and are taken as they are.

Spectra of field and sky are compared one by one, each with that of its own spaxel: a line falls on the bins of two
spaxels in different parts, and in both exposures alike. A median over spaxels would mix these parts.
"""

import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from drs.baseline import fit_baseline
from drs.errors import ReductionError

# Limits of the vibrational transitions, um in vacuum: Davies (2007), section 3.
LIMITS_UM = (
    0.780, 0.824, 0.873, 0.926, 0.964, 1.014, 1.067, 1.125, 1.196, 1.252, 1.289,
    1.400, 1.472, 1.5543, 1.6356, 1.7253, 1.840, 1.957, 2.095, 2.300, 2.460,
)  # fmt: skip
CONTINUUM_BINS = 80  # waves of a continuum that are as short keep half their height
LEAST_SIGNIFICANCE = 10.0  # of a family's lines, in sigma of their factor: less and they are not scaled
FACTORS = (0.2, 5.0)
TURNS = 10
CLIP_SIGMA = 5.0
LIKENESS = 0.05  # part of a line by which its shape may differ between field and sky


class Scale(NamedTuple):
    """One family: limits um, `factor` and its `error`, samples and those left out; factor 1 where lines are faint."""

    start_um: float
    stop_um: float
    factor: float
    error: float
    n_sample: int
    n_rejected: int


def find_continuum(spectra, error):
    """Return the continuum (bin), float64, below the lines of the median of spectra (bin, ...); NaN is unknown."""
    values, noise = (array.reshape(len(array), -1) for array in (spectra, error))
    known = np.isfinite(values) & np.isfinite(noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of bins without a value
        median, sigma = (np.nanmedian(np.where(known, plane, np.nan), axis=1) for plane in (values, noise))
    n = known.sum(axis=1)
    factor = np.sqrt(np.where(n > 2, np.pi / 2, 1.0) / np.maximum(n, 1))  # of a median's noise
    return fit_baseline(median, sigma * factor, period=CONTINUUM_BINS)


def fit_scales(field, field_error, sky, sky_error, wavelength_um, *, limits_um=LIMITS_UM):
    """Return the factor of each family of OH lines in a field's spectra over those of the sky's.

    Parameters
    ----------
    field, field_error : ndarray, float, (bin, ...)
        Spectra of the object's field (best: of its blank spaxels), and their noise; NaN where unknown.
    sky, sky_error : ndarray, float, (bin, ...)
        The same of the sky's, spectrum by spectrum.
    wavelength_um : ndarray, float, (bin)
        Rising.
    limits_um : tuple, optional
        Of the families.

    Returns
    -------
    list of Scale
        Of the families within the spectrum.

    Raises
    ------
    ReductionError
        Spectra without a common sample, or lines that are more than five times brighter or fainter.
    """
    planes = [array.reshape(len(array), -1) for array in (field, field_error, sky, sky_error)]
    known = np.logical_and.reduce([np.isfinite(plane) for plane in planes]) & (planes[1] > 0) & (planes[3] > 0)
    if not known.any():
        raise ReductionError("sky and object have no wavelength in common: take a sky of this configuration")
    levels = [find_continuum(np.where(known, plane, np.nan), noise) for plane, noise in (planes[:2], planes[2:])]
    scales = []
    for start, stop in pairwise(limits_um):
        inside = (wavelength_um >= start) & (wavelength_um < stop)
        if inside.any():
            used = known[inside]
            lines = [_take(plane[inside] - level[inside, np.newaxis], used)
                     for plane, level in zip(planes[::2], levels, strict=True)]  # fmt: skip
            noise2 = [_take(error[inside], used) ** 2 for error in planes[1::2]]
            scales.append(Scale(start, stop, *_fit_factor(*lines, *noise2, used)))
    _check_range(scales)
    return scales


def _take(values, used):
    """Return values (float64), 0 where they are not used."""
    return np.where(used, values, 0).astype(np.float64)


def _fit_factor(own, other, own_variance, other_variance, known):
    """Return the factor between lines, its error, the number of samples and that of those left out.

    Weighted least squares. Without the mean of each spectrum, so that a faint continuum of sources does not count;
    what the noise of the sky adds to its lines is taken out; samples that stand out are left out.
    """
    used, factor = known, 1.0
    for _ in range(TURNS):
        noise2 = np.where(known, own_variance + factor**2 * other_variance, 1.0)
        weight = used / noise2
        left, right = _without_mean(own, weight), _without_mean(other, weight)
        information = float((weight * (right**2 - other_variance)).sum())
        if information < LEAST_SIGNIFICANCE**2:
            return 1.0, np.inf, int(known.sum()), 0
        factor = float((weight * left * right).sum()) / information
        sigma2 = noise2 + (LIKENESS * factor * right) ** 2
        new = known & ((left - factor * right) ** 2 < CLIP_SIGMA**2 * sigma2)
        if (new == used).all():
            break
        used = new
    return factor, information**-0.5, int(known.sum()), int((known & ~used).sum())


def _without_mean(values, weight):
    """Return values (bin, spectrum) less the weighted mean of each spectrum."""
    total = weight.sum(axis=0)
    return values - (weight * values).sum(axis=0) / np.where(total > 0, total, 1)


def _check_range(scales):
    """Refuse factors that no airglow has."""
    for scale in scales:
        if not FACTORS[0] <= scale.factor <= FACTORS[1]:
            raise ReductionError(
                f"the sky lines of {scale.start_um:.4g} to {scale.stop_um:.4g} um are {scale.factor:.3g} times those "
                f"of the sky cube, expected {FACTORS[0]} to {FACTORS[1]}: take another sky exposure, or "
                "extract_cube: {sky: blank}"
            )


def scale_sky(sky, sky_error, continuum, scales, wavelength_um):
    """Return a sky and its error with its lines scaled: continuum plus the factor of each family times the rest.

    Parameters
    ----------
    sky, sky_error : ndarray, float32, (bin, ...)
        A spectrum or a cube.
    continuum : ndarray, float, (bin)
        From `find_continuum`.
    scales : list of Scale
    wavelength_um : ndarray, float, (bin)
    """
    shape = -1, *[1] * (sky.ndim - 1)
    factor, level = (array.reshape(shape) for array in (scale_of_bins(scales, wavelength_um), continuum))
    return (level + factor * (sky - level)).astype(np.float32), (factor * sky_error).astype(np.float32)


def scale_of_bins(scales, wavelength_um):
    """Return the factor of every bin (float64), 1 outside the families."""
    factor = np.ones(wavelength_um.shape)
    for scale in scales:
        factor[(wavelength_um >= scale.start_um) & (wavelength_um < scale.stop_um)] = scale.factor
    return factor
