"""How the image of a cube drifts with the wavelength: what the air and the optics disperse across the spaxels.

The light of a point source is fitted, in blocks of bins, by a round Gaussian on a level, integrated over the spaxels;
its places give the drift as Legendre polynomials of the bin, -1 to 1 from the first to the last, along y and x. It is 0
in the mean over all bins, so that coordinates measured in white light stay.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from scipy import optimize
from scipy.special import ndtr

from drs.errors import ReductionError
from drs.image import Image

N_BLOCK = 16
LEAST_BINS = 2  # of a block
LEAST_SEEN = 0.8  # of the spaxels of a source: slices begin at other wavelengths, rows are missing there, and move it
WIDTHS_PIX = 0.3, 6.0  # sigma of a source
CLIP_SIGMA, CLIP_TURNS = 5.0, 5
LEAST_ERROR_PIX = 0.005  # of a place: the image is no Gaussian
LEAST_SIGMA, LEAST_PIX = 3.0, 0.02  # rms and size of a drift that is more than none


class Drift(NamedTuple):
    """`coefficients` float64 (2, order + 1): y, x in spaxels; `error_pix` of the drift, mean over bins and axes;

    `rms_pix` of the blocks about it; `n_block` used; `width_pix`, median sigma of the source.
    """

    coefficients: np.ndarray
    error_pix: float
    rms_pix: float
    n_block: int
    width_pix: float

    @property
    def largest_pix(self):
        """Distance of the farthest bins from each other."""
        return measure_size(self.coefficients)


def measure_drift(rate, error, dq, place, *, order, radius_pix):
    """Return the Drift of a point source.

    Parameters
    ----------
    rate, error : ndarray, float32, (bin, y, x)
        Less the sky.
    dq : ndarray, uint32, (bin, y, x)
    place : (y, x)
        Of the source in white light, spaxels from 0.
    order : int
        Of the polynomials.
    radius_pix : float
        Of the spaxels about the place that are fitted.

    Raises
    ------
    ReductionError
        Too few blocks of bins show the source.
    """
    u, places, errors, widths = [], [], [], []
    whole = _find_whole(rate, error, dq, place, radius_pix)
    for part in np.array_split(np.arange(len(rate)), min(N_BLOCK, max(len(rate) // LEAST_BINS, 1))):
        block = part[whole[part]]
        fit = _fit_block(*(plane[block] for plane in (rate, error, dq)), place, radius_pix) if block.size else None
        if fit is not None:
            u.append(_scale_bins(block, len(rate)).mean())
            places.append(fit[0])
            errors.append(fit[1])
            widths.append(fit[2])
    if len(u) < order + 3:
        raise ReductionError(
            f"{len(u)} blocks of bins show the source, at least {order + 3} needed for its drift: it is too faint, or"
            " at the edge of the field"
        )
    u, places, errors = np.array(u), np.array(places), np.array(errors)
    fits = [_fit_clipped(u, places[:, axis], errors[:, axis], order) for axis in (0, 1)]
    coefficients = np.stack([_centre(coefficients, len(rate)) for coefficients, *_ in fits])
    kept = np.minimum(fits[0][3], fits[1][3])
    error_pix, rms_pix = (float(np.mean([fit[k] for fit in fits])) for k in (1, 2))
    return Drift(coefficients, error_pix, rms_pix, int(kept), float(np.median(widths)))


def _find_whole(rate, error, dq, place, radius_pix):
    """Return the bins (bin), bool, in which most spaxels of a source have a value."""
    y, x = np.indices(rate.shape[1:])
    near = np.hypot(y - place[0], x - place[1]) <= radius_pix
    seen = (~Image(rate, error, dq).unusable)[:, near].sum(axis=1)
    return seen >= max(LEAST_SEEN * seen.max(initial=0), 1)


def _scale_bins(bins, n_bin):
    """Return bins as -1 (the first) to 1 (the last)."""
    return 2 * np.asarray(bins, float) / max(n_bin - 1, 1) - 1


def _fit_block(rate, error, dq, place, radius_pix):
    """Return ((y, x), their errors, sigma) of the source in the mean of some bins; None where it is not seen."""
    usable = ~Image(rate, error, dq).unusable
    n = usable.sum(axis=0)
    divisor = np.maximum(n, 1)
    mean = np.where(usable, rate, 0).sum(axis=0, dtype=float) / divisor
    sigma = np.sqrt((np.where(usable, error, 0).astype(float) ** 2).sum(axis=0)) / divisor
    y, x = np.indices(mean.shape)
    near = (n == len(rate)) & (sigma > 0) & (np.hypot(y - place[0], x - place[1]) <= radius_pix)
    if near.sum() < 9:  # spaxels, of 5 values
        return None
    y, x, values, noise = y[near], x[near], mean[near], sigma[near]
    noise = np.maximum(noise, 1e-3 * np.abs(values).max())

    def miss(given):
        return (values - _render(y, x, given)) / noise

    level = float(np.median(values))
    guess = [values.max() - level, *place, 0.8, level]
    guess[0] *= 2 * np.pi * guess[3] ** 2
    span = [np.inf, radius_pix, radius_pix, 0, np.inf]
    low = [0, *(np.array(guess[1:3]) - span[1]), WIDTHS_PIX[0], -np.inf]
    high = [np.inf, *(np.array(guess[1:3]) + span[1]), WIDTHS_PIX[1], np.inf]
    if not guess[0] > 0:
        return None
    fit = optimize.least_squares(miss, guess, bounds=(low, high), x_scale=np.maximum(np.abs(guess), 0.1))
    variance = np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)) * max(1.0, 2 * fit.cost / max(near.sum() - 5, 1))
    if not fit.success or fit.x[0] < CLIP_SIGMA * np.sqrt(variance[0]):
        return None
    return fit.x[1:3], np.sqrt(variance[1:3]), fit.x[3]


def _render(y, x, given):
    """Return a round Gaussian of some total, place and sigma on a level, integrated over spaxels."""
    total, y0, x0, width, level = given
    parts = [ndtr((axis + 0.5 - at) / width) - ndtr((axis - 0.5 - at) / width) for axis, at in ((y, y0), (x, x0))]
    return total * parts[0] * parts[1] + level


def _fit_clipped(u, values, errors, order):
    """Return coefficients, error of the curve (mean over u), rms about it and the number of places that are kept."""
    basis, kept = legendre.legvander(u, order), np.ones(u.size, bool)
    weight = 1 / np.hypot(errors, LEAST_ERROR_PIX)
    for _ in range(CLIP_TURNS):
        scaled = basis[kept] * weight[kept, np.newaxis]
        coefficients = np.linalg.lstsq(scaled, values[kept] * weight[kept], rcond=None)[0]
        away = np.abs(values - basis @ coefficients) * weight
        new = away < CLIP_SIGMA * max(1.0, 1.4826 * float(np.median(away[kept])))
        if (new == kept).all() or new.sum() < order + 2:
            break
        kept = new
    freedom = max(int(kept.sum()) - order - 1, 1)
    covariance = np.linalg.pinv(scaled.T @ scaled) * max(1.0, float((away[kept] ** 2).sum()) / freedom)
    covariance = covariance[1:, 1:]  # the place itself is no drift
    error = float(np.sqrt(np.mean(np.einsum("ij,jk,ik->i", basis[:, 1:], covariance, basis[:, 1:]))))
    return coefficients, error, float(np.sqrt(np.mean((values - basis @ coefficients)[kept] ** 2))), kept.sum()


def _centre(coefficients, n_bin):
    """Return coefficients of a curve that is 0 in the mean over all bins."""
    mean = legendre.legval(_scale_bins(np.arange(n_bin), n_bin), coefficients).mean()
    return np.concatenate([[coefficients[0] - mean], coefficients[1:]])


def evaluate_drift(coefficients, n_bin):
    """Return the drift (bin, 2) of coefficients (2, n), (y, x) in spaxels."""
    u = _scale_bins(np.arange(n_bin), n_bin)
    return np.stack([legendre.legval(u, row) for row in np.asarray(coefficients, float)], axis=1)


def fit_drift(drift, order):
    """Return the coefficients (2, order + 1) of a drift (bin, 2), 0 in the mean; NaN is unknown.

    Raises
    ------
    ReductionError
        Fewer known bins than coefficients.
    """
    known = np.isfinite(drift).all(axis=1)
    if known.sum() < order + 2:
        raise ReductionError(f"a drift is known in {known.sum()} bins of the cube, at least {order + 2} needed")
    u = _scale_bins(np.arange(len(drift)), len(drift))
    fits = [legendre.legfit(u[known], drift[known, axis], order) for axis in (0, 1)]
    return np.stack([_centre(coefficients, len(drift)) for coefficients in fits])


def measure_size(coefficients, n_bin=64):
    """Return the distance, spaxels, of the bins that coefficients put farthest from each other."""
    places = evaluate_drift(coefficients, n_bin)
    return float(np.hypot(*(places[:, np.newaxis] - places[np.newaxis]).transpose(2, 0, 1)).max())


def is_significant(drift):
    """Say whether a Drift is more than none, by its error."""
    rms_pix = float(np.sqrt(np.mean(evaluate_drift(drift.coefficients, 64) ** 2)))
    return rms_pix > LEAST_SIGMA * drift.error_pix and drift.largest_pix > LEAST_PIX
