"""The spectrum of a source from the rows of a slice, with the weights of Horne (1986, PASP 98, 609).

The rows are independent of each other and on one wavelength grid: cut out by `drs.slicer.take_rows`, and resampled
along the wavelength alone. The profile is a function of the position along the slice, so that a source that wanders
over the rows with the curvature of the slice is sampled ever finer.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from scipy.interpolate import BSpline

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import weigh

DEAD = np.uint32(Flag.DO_NOT_USE)
LEAST_COVERAGE = 0.5  # of the profile, by samples that are kept: less and the bin has no value
LEAST_PART = 1e-3  # of the profile, in a row whose flags the spectrum gets
MOST_TURNS = 8  # of profile and rejection
START_SLACK, SLACK = 0.2, 0.02  # of the light at the peak: errors of the first and the fitted profile, not rejected
PROFILE_SIGMA = 0.3  # of a coefficient that no data tell


class Extracted(NamedTuple):
    """A spectrum, (bin): `flux`, `error` float32, `dq` uint32; `profile` float64 (row, bin); `n_rejected` int."""

    flux: np.ndarray
    error: np.ndarray
    dq: np.ndarray
    profile: np.ndarray
    n_rejected: int


def extract_profile(flux, error, dq, position, *, knot_spacing=1.0, order=1, clip_sigma=5.0):
    """Return the Extracted spectrum of a source from independent rows of one wavelength per bin (Horne 1986).

    The profile is a cubic spline of the position with coefficients that are polynomials of the bin, fitted to the rows
    over the spectrum, of sum 1; the flux is sum(P D / V) / sum(P^2 / V), its variance
    1 / sum(P^2 / V). Samples off the profile by more than `clip_sigma` are left out, the worst of each bin at a time.

    Parameters
    ----------
    flux, error : ndarray, float32, (row, bin)
        Without sky. The errors should not follow the noise of the flux, or the faint is weighted up.
    dq : ndarray, uint32, (row, bin)
    position : ndarray, float64, (row, bin)
        Of the centre of the row along the slice, spaxels.
    knot_spacing : float, optional
        Of the spline, spaxels.
    order : int, optional
        Of the change of the profile along the bins.
    clip_sigma : float, optional

    Raises
    ------
    ReductionError
        No light to see a profile by.
    """
    if not flux.shape == error.shape == dq.shape == position.shape:
        raise ValueError(f"flux {flux.shape}, error {error.shape}, dq {dq.shape}, position {position.shape}")
    usable, weight = weigh(flux, error, dq)
    if not usable.any():
        raise ReductionError("no usable sample to extract a spectrum from")
    data = np.where(usable, flux, 0).astype(float)
    profile = _start_profile(data, usable, position)
    spectrum, _, kept = _add_rows(data, weight, profile, (usable, clip_sigma, START_SLACK))
    basis = _make_splines(position, knot_spacing, usable)
    for _ in range(MOST_TURNS):
        profile = _fit_profile(data, np.where(kept, weight, 0), spectrum, (basis, order))
        before = kept
        spectrum, information, kept = _add_rows(data, weight, profile, (kept, clip_sigma, SLACK))
        if (kept == before).all():
            break
    # Bins of which most of the profile is missing say nothing.
    known = (information > 0) & (np.where(kept, profile, 0).sum(axis=0) >= LEAST_COVERAGE)
    value = np.where(known, spectrum, np.nan).astype(np.float32)
    sigma = np.sqrt(np.divide(1.0, information, out=np.full(known.size, np.nan), where=known)).astype(np.float32)
    joined = np.bitwise_or.reduce(np.where(profile > LEAST_PART, dq & ~DEAD, 0), axis=0)
    flags = np.where(known, joined, joined | DEAD).astype(np.uint32)
    return Extracted(value, sigma, flags, profile, int((usable & ~kept).sum()))


def _start_profile(data, usable, position):
    """Return a first profile (row, bin): medians of the part of the light at each half spaxel, which no hit moves."""
    total = data.sum(axis=0)
    bright = usable & (total > 0)
    if not bright.any():
        raise ReductionError("no light to see a profile by: take a brighter source, or sum the slice")
    part, place = (data / np.where(total > 0, total, 1))[bright], position[bright]
    index = np.floor(2 * (place - place.min())).astype(int)
    groups = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    at = np.array([place[group].mean() for group in groups if group.size])
    profile = np.interp(position, at, [max(0.0, np.median(part[group])) for group in groups if group.size])
    return profile / np.maximum(profile.sum(axis=0), 1e-300)


def _add_rows(data, weight, profile, clip):
    """Return the spectrum, its information (1 / variance), and the samples kept: the worst of a bin goes first."""
    kept, clip_sigma, slack = clip
    kept = kept.copy()
    for _ in range(data.shape[0]):
        used = np.where(kept, weight, 0)
        information = (used * profile**2).sum(axis=0)
        total = (used * profile * data).sum(axis=0)
        spectrum = np.divide(total, information, out=np.zeros(total.size), where=information > 0)
        allowed = clip_sigma**2 * (1 + weight * (slack * spectrum * profile.max(axis=0)) ** 2)
        away = np.where(kept, (data - spectrum * profile) ** 2 * weight / allowed, 0)
        worst = (away > 1) & (away == away.max(axis=0))
        if not worst.any():
            break
        kept &= ~worst
    return spectrum, information, kept


def _make_splines(position, spacing, usable):
    """Return cubic B-splines over the positions that are used: matrix, (term, row, bin), and where those are."""
    low, high = position[usable].min(), position[usable].max()
    n = max(1, int(np.ceil((high - low) / spacing)))
    knots = np.concatenate([np.full(3, low), np.linspace(low, high, n + 1), np.full(3, high)])
    design = BSpline.design_matrix(np.clip(position, low, high).ravel(), knots, 3)
    return design.tocsc(), (n + 3, *position.shape), (position >= low) & (position <= high)


def _fit_profile(data, weight, spectrum, model):
    """Return the profile (row, bin) that explains the data by the spectrum."""
    (design, (n_term, *shape), inside), order = model
    along = legendre.legvander(np.linspace(-1, 1, shape[1]), order)
    scale = (np.sqrt(weight) * spectrum).ravel()
    columns = [
        design.multiply((scale * np.broadcast_to(factor, shape).ravel())[:, np.newaxis]).tocsc() for factor in along.T
    ]
    normal = np.block([[(one.T @ other).toarray() for other in columns] for one in columns])
    right = np.concatenate([one.T @ (np.sqrt(weight) * data).ravel() for one in columns])
    normal += np.eye(len(normal)) / PROFILE_SIGMA**2
    coefficients = np.linalg.solve(normal, right).reshape(order + 1, n_term)
    profile = sum((design @ own).reshape(shape) * factor for own, factor in zip(coefficients, along.T, strict=True))
    # Not clipped at zero: what noise leaves of it in the wings would take light from the core.
    profile *= inside
    return profile / profile.sum(axis=0)
