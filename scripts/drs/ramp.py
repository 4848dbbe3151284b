"""Ramps to rates: the fit of every pixel's chain of reads, and the search for jumps.

Let d_j be the differences of neighbouring reads of a ramp, dt_j their times, r^2 the variance of a read and a the
rate. Their covariance is tridiagonal (Brandt 2024a, PASP 136, 045004, eq. 12 to 17),
    C_jj = 2 r^2 + a (dt_j - 2 c),    C_j,j+1 = -r^2 + a c                                                  (1)
with c = 0 unless a read is an average (`drs.chain`). The generalised least-squares rate and its variance are
    a = dt^T C^-1 d / dt^T C^-1 dt,   var(a) = 1 / dt^T C^-1 dt                                             (2)
Any estimate here is linear, a = sum_j w_j d_j with sum_j w_j dt_j = 1, and has
    VAR_RNOISE = r^2 sum (w_j - w_j-1)^2 (with w = 0 beyond both ends of a segment)
    VAR_POISSON = a sum [w_j^2 (dt_j - 2 c) + 2 c w_j w_j+1]                                                (3)
- `likelihood` takes w of (2). C needs a rate: the mean of the differences first, then that of (2), and (2) again. The
  covariance of a nearly optimal estimate with any unbiased one is the same, so the noise of this rate does not bias
  the result to first order (the bias that Brandt 2024a, section 5, removes afterwards).
- `ols` is the least-squares line of each segment, `mcds` the mean of its last less that of its first n_coadd reads
  (Fowler sampling), `cds` is n_coadd = 1: optimal for read noise alone, and so are the weights of the segments.

A jump in d_j is one more parameter. It lowers chi-square by (Brandt 2024b, PASP 136, 045005)
    z_j^2 / (q_j - u_j^2 / dt^T C^-1 dt),   z = C^-1 (d - a dt),  u = C^-1 dt,  q_j = (C^-1)_jj             (4)
which is the square of a standard normal deviate: the best test there is. C^-1 is applied by one recursion
forwards (pivots p, reduced d and dt: y and s) and one backwards, for lanes of neighbouring pixels that the compiler
vectorises. Pixels with a jump, and those with gaps, go in batches through the same formulas. No sum is reordered,
so the result does not depend on the number of threads or on the blocks.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.chain import Plan
from drs.dq import Flag
from drs.errors import ReductionError
from drs.ramp_lanes import fit_rows
from drs.ramp_pixels import fit_pixels

METHODS = ("likelihood", "ols", "mcds", "cds")
N_COADD = {"likelihood": -1, "ols": 0, "cds": 1}
NEVER = 1e15  # sigma
MAX_LANE_READS = 1000
JUMP_DET, UNUSABLE = np.uint32(Flag.JUMP_DET), np.uint32(Flag.DO_NOT_USE)


class Search(NamedTuple):
    """What counts as a jump.

    A jump has a significance of at least `threshold_sigma`, the noise being that of the ramp and `flicker` times the
    light of a difference: from the ground, the light of a star in a pixel changes with the seeing. A jump of
    `strong_sigma` is STRONG (the neighbours got some of its charge), one of `large_e` electrons is LARGE (transients
    follow).
    """

    threshold_sigma: float
    flicker: float = 0.0
    strong_sigma: float = np.inf
    large_e: float = np.inf


class RampFit(NamedTuple):
    """Result of a fit; arrays (ny, nx) but for `found`.

    `rate` float32 e-/s; `var_rnoise` float32 (e-/s)^2; `photon_factor` float32 1/s, the variance by photon noise
    per rate; `chi_square` float32, per degree of freedom, of a constant rate, NaN where unknown; `dq` uint32,
    JUMP_DET or DO_NOT_USE; `n_reads` int32, reads used. Without a value: NaN, DO_NOT_USE. `found` uint8
    (n_group * n_read - 1, ny, nx): JUMP, STRONG, LARGE where a jump is in the difference that begins with a read.
    """

    rate: np.ndarray
    var_rnoise: np.ndarray
    photon_factor: np.ndarray
    chi_square: np.ndarray
    dq: np.ndarray
    n_reads: np.ndarray
    found: np.ndarray


def fit_ramp(signal_e, chain, read_variance_e2, *, method, n_coadd=1, search=None, chi_square=False):
    """Fit the rate of every pixel of a ramp.

    Parameters
    ----------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
        Signal of each read; NaN where a read is not usable.
    chain : Chain
        The reads to use, from `drs.chain.make_chain`.
    read_variance_e2 : ndarray, float32, (ny, nx)
        Variance of one read (before averaging) by read noise and digitisation.
    method : str
        'likelihood', 'ols', 'mcds' or 'cds'.
    n_coadd : int
        Reads averaged at each end by 'mcds'; a segment with fewer than twice as many uses half of its reads.
    search : Search, optional
        None is no search for jumps.
    chi_square : bool, optional
        False leaves `chi_square` NaN where neither method nor search gives it for nothing.

    Returns
    -------
    RampFit
    """
    options = {"method": method, "n_coadd": n_coadd, "search": search}
    plan = _make_plan(signal_e, chain, read_variance_e2, **options, chi_square=chi_square)
    signal_e, image = np.ascontiguousarray(signal_e), read_variance_e2.shape
    fit, hit = [np.zeros(image, dtype) for dtype in ("f4", "f4", "f4", "f4", "i4")], np.zeros(image, bool)
    found = np.zeros((max(np.prod(signal_e.shape[:2]) - 1, 0), *image), np.uint8)
    if plan.times.size > MAX_LANE_READS:  # single precision is not enough for the recursions
        pixels, nothing = tuple(np.indices(image).reshape(2, -1)), np.full(image, np.nan, np.float32)
        single, hits = fit_pixels(signal_e, read_variance_e2, plan, pixels, nothing, found=found)
        fit, hit = [values.reshape(image) for values in single], hits.reshape(image)
    elif plan.times.size:
        fit_rows(signal_e, read_variance_e2, plan, tuple(fit), found, hit)
    dq = np.where(hit, JUMP_DET, np.uint32(0))
    return _finish(fit, dq, found, read_variance_e2 / chain.n_average)


def refit_ramp(signal_e, chain, read_variance_e2, rate, excluded, pixels, **options):
    """Fit some pixels again without the excluded differences, and search the rest of their ramps for jumps.

    Parameters
    ----------
    rate : ndarray, float32, (ny, nx)
        Result of `fit_ramp`, to begin with; NaN where there is none.
    excluded : ndarray, bool, (n_group * n_read - 1, ny, nx)
        True where the difference that begins with a read is left out.
    pixels : tuple of ndarray, (n_pixel)
        y and x.
    signal_e, chain, read_variance_e2, **options
        As in `fit_ramp`: `method`, `n_coadd`, `search`.

    Returns
    -------
    RampFit
        One-dimensional, JUMP_DET in all; `found` is empty.
    """
    plan = _make_plan(signal_e, chain, read_variance_e2, **options, chi_square=True)
    fit, _ = fit_pixels(signal_e, read_variance_e2, plan, pixels, rate, excluded=excluded)
    none = np.zeros((excluded.shape[0], 0), np.uint8)
    return _finish(fit, np.full(pixels[0].size, JUMP_DET), none, read_variance_e2[pixels] / chain.n_average)


def _finish(fit, dq, found, read_variance_e2):
    """Return a RampFit from rate, read factor, photon factor, chi-square and reads used; NaN where there is no rate."""
    rate, read_factor, photon_factor, _, _ = fit
    flat = [array.reshape(-1) for array in (*fit, dq)]
    _finish_kernel(read_variance_e2.reshape(-1), *flat)
    return RampFit(rate, read_factor, photon_factor, fit[3], dq, fit[4], found)


@njit(cache=True, error_model="numpy", parallel=True)
def _finish_kernel(read_variance, rate, read_factor, photon_factor, chi_square, n_reads, dq):
    """Turn (in place) read factors into variances, and pixels without a rate into NaN, DO_NOT_USE."""
    nothing = np.float32(np.nan)
    for i in prange(rate.size):
        variance = read_factor[i] * read_variance[i]
        usable = read_factor[i] > 0 and np.isfinite(rate[i] + variance + photon_factor[i])
        rate[i], read_factor[i] = (rate[i], variance) if usable else (nothing, nothing)
        photon_factor[i] = photon_factor[i] if usable else nothing
        chi_square[i] = chi_square[i] if usable else nothing
        n_reads[i] = n_reads[i] if usable else 0
        dq[i] |= np.uint32(0) if usable else UNUSABLE


def _make_plan(signal_e, chain, read_variance_e2, *, method, n_coadd=1, search=None, chi_square):
    """Return the plan of a fit, its arguments checked."""
    if signal_e.shape[:2] != chain.shape or signal_e.shape[2:] != read_variance_e2.shape:
        found = f"signal {signal_e.shape}, chain {chain.shape}, variance {read_variance_e2.shape}"
        raise ValueError(f"{found} do not fit each other")
    if method not in METHODS:
        raise ReductionError(f"method '{method}' is none of {', '.join(METHODS)}")
    if n_coadd < 1:
        raise ReductionError(f"n_coadd is {n_coadd}, expected 1 or more")
    coadd = N_COADD.get(method, n_coadd)
    solve = method == "likelihood" or search is not None or chi_square
    search = Search(NEVER) if search is None else Search(*map(float, search))
    return Plan(*chain[:5], chain.n_average, chain.shape[1], coadd, solve, *search)
