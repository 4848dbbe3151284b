"""Ramps with a known answer for the benchmark: reads, true rates, cosmic rays, and the scores of a fit against them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

STEP_S, READ_NOISE_E, DARK_E_PER_S, SATURATION_DN = 1.5, 10.0, 0.05, 40000.0
HIT_SHARE, HIT_EXPONENT = 0.03, 2.5  # of the pixels; sizes up to 10**2.5 sigma
MAPS = ("bias_dn", "gain_e_per_dn", "read_noise_e", "saturation_dn", "nonlin_coefficients")
BINS = ((5, 6), (6, 8), (8, np.inf), (5, np.inf))  # sigma of a two-point difference


class KnownRamp(NamedTuple):
    """A ramp and what is in it; maps as `drs.detector.build_maps` takes them.

    `reads` uint16 (n_read, ny, nx) DN; `times_s` (n_read,); `bias_dn`, `gain_e_per_dn`, `read_noise_e`,
    `saturation_dn` (ny, nx) and `nonlin_coefficients` (4, ny, nx) float32; `rate` (ny, nx) e-/s, the true one;
    `hit` int16 (ny, nx), the difference with a cosmic ray or -1; `hit_sigma` its size in sigma of this difference.
    """

    reads: np.ndarray
    times_s: np.ndarray
    bias_dn: np.ndarray
    gain_e_per_dn: np.ndarray
    read_noise_e: np.ndarray
    saturation_dn: np.ndarray
    nonlin_coefficients: np.ndarray
    rate: np.ndarray
    hit: np.ndarray
    hit_sigma: np.ndarray


def make_ramp(n_read, size, *, seed=1):
    """Return a ramp of a field of stars on a sky with a gradient."""
    rng = np.random.default_rng(seed)
    shape = (size, size)
    rate = make_field(rng, shape)
    times_s = STEP_S * (1.0 + np.arange(n_read))
    gain = rng.normal(2.0, 0.04, shape).astype("f4")
    noise = np.sqrt(READ_NOISE_E**2 + gain**2 / 12)
    hit = np.where(rng.random(shape) < HIT_SHARE, rng.integers(0, n_read - 1, shape), -1).astype("i2")
    faint = rng.random(shape) < 0.5
    hit_sigma = np.where(faint, rng.uniform(3, 12, shape), 10 ** rng.uniform(0.5, HIT_EXPONENT, shape))
    hit_sigma = np.where(hit >= 0, hit_sigma, 0).astype("f4")
    hit_e = hit_sigma * np.sqrt(2 * noise**2 + rate * STEP_S)
    curve = rng.normal(7.5e-7, 4e-8, shape).astype("f4")  # 3 % at saturation
    coefficients = np.stack([0 * curve, 1 + 0 * curve, curve, 0 * curve])
    bias = rng.normal(1000, 50, shape).astype("f4")
    reads, signal = np.empty((n_read, *shape), np.uint16), np.zeros(shape)
    for k in range(n_read):
        signal += rng.poisson(rate * STEP_S) + np.where(hit == k - 1, hit_e, 0)
        x = np.sqrt(1 + 4 * curve * (signal / gain)) - 1
        raw = x / (2 * curve) + rng.standard_normal(shape, "f4") * READ_NOISE_E / gain + bias
        reads[k] = np.rint(raw).clip(0, 65535)
    maps = bias, gain, noise.astype("f4"), np.full(shape, SATURATION_DN, "f4"), coefficients
    return KnownRamp(reads, times_s, *maps, rate.astype("f4"), hit, hit_sigma)


def make_field(rng, shape, *, star_per_pix=1 / 500, box_pix=17):
    """Return rates in e-/s: a sky of 0.5 to 4, and Gaussian stars with peaks from 5 to 20000."""
    rate = np.full(shape, DARK_E_PER_S) + np.linspace(0.5, 4.0, shape[1])
    offset = np.arange(box_pix) - box_pix // 2
    star = np.exp(-0.5 * (offset**2 + offset[:, np.newaxis] ** 2) / 1.5**2)
    n_star = int(star_per_pix * rate.size)
    corners = rng.integers(0, np.array(shape) - box_pix + 1, (n_star, 2))
    for (y, x), peak in zip(corners, np.exp(rng.uniform(np.log(5), np.log(20000), n_star)), strict=True):
        rate[y : y + box_pix, x : x + box_pix] += peak * star
    return rate


def save_ramp(folder, ramp):
    """Write every array of a ramp to a file of its own."""
    for name, array in ramp._asdict().items():
        np.save(Path(folder) / f"{name}.npy", array)


def load_ramp(folder, rows=None):
    """Return the ramp of a folder, or its first rows, in memory."""
    arrays = {}
    for name in KnownRamp._fields:
        array = np.load(Path(folder) / f"{name}.npy", mmap_mode=None if rows is None else "r")
        arrays[name] = np.array(array if array.ndim == 1 else array[..., :rows, :]) if rows else array
    return KnownRamp(**arrays)


def cut_ramp(ramp, rows):
    """Return some rows of a ramp."""
    return KnownRamp(*(array if array.ndim == 1 else array[..., rows, :] for array in ramp))


def find_usable(ramp):
    """Return where both reads of a difference are below saturation, as all reads before: (n_difference, ny, nx)."""
    live = np.ones(ramp.rate.shape, bool)
    usable = np.empty((len(ramp.reads) - 1, *live.shape), bool)
    for k, read in enumerate(ramp.reads):
        live &= read < ramp.saturation_dn
        if k > 0:
            usable[k - 1] = live
    return usable


def bound_variance(rate, read_variance_e2, times_s, usable):
    """Return the least variance of an unbiased rate, (e-/s)^2: the Cramer-Rao bound; inf where nothing is usable.

    It is 1 / (dt^T C^-1 dt) with the intervals dt and the covariance of the usable differences at the true rate a,
    C_jj = a dt_j + 2 r^2, C_j,j+1 = -r^2 (Brandt 2024, PASP 136, 045004, section 2): an elimination from the first
    difference to the last, with nothing between two differences where one of them is not usable. What C itself
    tells of the rate is left out, as in every least-squares fit.
    """
    information, pivot, carried = np.zeros(rate.shape), np.full(rate.shape, np.inf), np.zeros(rate.shape)
    for dt, good in zip(np.diff(times_s), usable, strict=True):
        carried = dt + read_variance_e2 / pivot * carried
        pivot = rate * dt + 2 * read_variance_e2 - read_variance_e2**2 / pivot
        information += np.where(good, carried**2 / pivot, 0)
        pivot = np.where(good, pivot, np.inf)
    with np.errstate(divide="ignore"):
        return 1 / information


def score_rate(rate, error, truth, variance, pixels):
    """Return of some pixels: their number, bias in sigma of the bound, scatter over the bound, width of the pulls."""
    pixels = pixels & np.isfinite(rate) & np.isfinite(error) & (error > 0)
    deviation = (rate[pixels] - truth[pixels]) / np.sqrt(variance[pixels])
    pull = (rate[pixels] - truth[pixels]) / error[pixels]
    return deviation.size, deviation.mean(), deviation.std(), pull.std()


def score_fit(ramp, rate, error):
    """Return kind of pixels -> what `score_rate` returns, against the bound of the usable reads of each pixel."""
    usable, noise2 = find_usable(ramp), ramp.read_noise_e.astype("f8") ** 2
    n_usable = usable.sum(axis=0)
    whole, struck = n_usable == len(usable), ramp.hit >= 0
    known = usable & (np.arange(len(usable))[:, np.newaxis, np.newaxis] != ramp.hit)
    variance = bound_variance(ramp.rate.astype("f8"), noise2, ramp.times_s, known)
    kinds = {
        "clean": whole & ~struck,
        "hit by a cosmic ray": whole & struck,
        "saturated on the way": ~whole & ~struck & (n_usable >= 3),
    }
    return {kind: score_rate(rate, error, ramp.rate, variance, pixels) for kind, pixels in kinds.items()}


def score_jumps(ramp, found):
    """Return the share of jumps found per bin of BINS, and false positives per usable difference.

    The second of whole ramps without a cosmic ray, the third of such ramps that saturate on the way.
    """
    usable, y_x = find_usable(ramp), np.nonzero(ramp.hit >= 0)
    where = (ramp.hit[y_x], *y_x)
    seen, seen_sigma = found[where][usable[where]] != 0, ramp.hit_sigma[y_x][usable[where]]
    shares = [seen[(seen_sigma >= low) & (seen_sigma < high)].mean() for low, high in BINS]
    whole, calm, wrong = usable.all(axis=0), ramp.hit < 0, (found != 0) & usable
    false = [wrong[:, pixels].sum() / max(usable[:, pixels].sum(), 1) for pixels in (calm & whole, calm & ~whole)]
    return shares, *false
