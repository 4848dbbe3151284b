"""The chain of reads of an exposure: all groups one after another, and which differences of reads are ramps.

A difference of two neighbouring reads of the chain says something about the rate when both belong to one group
and no interval between them was left out. A stretch of such differences is a segment, so groups, left-out intervals
and jumps are one thing to a fit: the ends of segments.
"""

from typing import NamedTuple

import numpy as np

from drs.errors import ReductionError

JUMP, STRONG, LARGE = np.uint8(1), np.uint8(2), np.uint8(4)  # of a difference that holds a jump, see `drs.ramp.Search`


class Chain(NamedTuple):
    """The usable reads of an exposure, in order; n of them, n - 1 differences.

    `groups`, `reads` int64 (n): where each stands in (n_group, n_read); `times` float64 (n): seconds since the reset
    of its group, the mean time of a read that is an average; `live` bool (n - 1): the difference to the next read
    belongs to a ramp. `blur_s` and `n_average`: see `make_chain`. `shape`: (n_group, n_read).
    """

    groups: np.ndarray
    reads: np.ndarray
    times: np.ndarray
    live: np.ndarray
    blur_s: float
    n_average: int
    shape: tuple


class Plan(NamedTuple):
    """A chain and the options of a fit, as kernels take them.

    `n_read` of a group; `n_coadd` is 0 for ols, -1 for likelihood; `solve`: the likelihood of each ramp is needed.
    """

    groups: np.ndarray
    reads: np.ndarray
    times: np.ndarray
    live: np.ndarray
    blur: float
    n_average: int
    n_read: int
    n_coadd: int
    solve: bool
    threshold_sigma: float
    flicker: float
    strong_sigma: float
    large_e: float
    rounding_e2: float = 0.005  # variance of a float32 signal near 1e5 e-; keeps noiseless ramps free of jumps
    left_over: float = 1e-3  # of the weight of a jump, beside the rate; with less the two cannot be told apart


def make_chain(times_s, *, usable=None, poor=None, n_average=1, average_step_s=0.0):
    """Return the chain of reads of an exposure.

    The mean of N reads that follow each other in steps of delta has N times less variance by read noise, and its
    photon noise is that of a shorter ramp: cov(S_i, S_j) = rate t_i for i < j, but var(S_i) = rate (t_i - c), with
    t the mean time and c = delta (N^2 - 1) / (6 N) (Brandt 2024a, PASP 136, 045004, eq. 14 and 15, for equal steps).

    Parameters
    ----------
    times_s : ndarray, float64, (n_group, n_read)
        Time of each read since the reset of its group, increasing.
    usable : ndarray, bool, (n_group, n_read), optional
        False for reads that are left out; the reads before and after them are then neighbours.
    poor : ndarray, bool, (n_group, n_read), optional
        True where the interval that ends with a read is left out with the light it collected.
    n_average : int, optional
        Reads averaged into each stored one.
    average_step_s : float, optional
        Time between these.

    Returns
    -------
    Chain
        `blur_s` is c.
    """
    times_s = np.asarray(times_s, np.float64)
    if times_s.ndim != 2 or not (np.isfinite(times_s).all() and (np.diff(times_s) > 0).all()):
        raise ReductionError(f"times of shape {times_s.shape}: expected (n_group, n_read), increasing in each group")
    if n_average < 1 or average_step_s < 0:
        raise ReductionError(f"averages of {n_average} reads, {average_step_s} s apart: expected 1 or more, 0 or more")
    usable = np.ones(times_s.shape, bool) if usable is None else np.asarray(usable, bool)
    poor = np.zeros(times_s.shape, bool) if poor is None else np.asarray(poor, bool)
    if usable.shape != times_s.shape or poor.shape != times_s.shape:
        raise ValueError(f"times {times_s.shape}, usable {usable.shape} and poor {poor.shape} differ in shape")
    groups, reads = np.nonzero(usable)
    n_poor = np.cumsum(poor, axis=1)[groups, reads]
    live = (np.diff(groups) == 0) & (np.diff(n_poor) == 0)
    blur_s = average_step_s * (n_average**2 - 1) / (6 * n_average)
    times = times_s[groups, reads]
    if (np.diff(times)[live] <= 2 * blur_s).any():
        raise ReductionError(f"{n_average} reads {average_step_s} s apart do not fit between two stored reads")
    return Chain(groups, reads, times, live, float(blur_s), int(n_average), times_s.shape)
