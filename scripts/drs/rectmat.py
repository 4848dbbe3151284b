"""Rectification matrices: the profile of every lenslet's spectrum, from white-light scans.

In each exposure of a scan a mask lights one column of lenslets in several, so that no two lit spectra touch. In the
window of its trace, a lenslet's light is d(k, y) = S(k) f(k, y): the spectrum of the lamp times the profile, whose sum
over the rows is 1. The profile changes slowly along the trace, so each row of it is a Legendre series in the column k.
Spectrum and profile are fitted in turn, each by weighted least squares; pixels that stand out (cosmic rays, bad
pixels) are left out and the fit repeated. What the spectra of all lenslets have in common is the lamp; the rest is the
throughput of each lenslet, which scales its profile: spectra extracted with the matrix are those of equal lenslets.
"""

import warnings
from typing import NamedTuple

import numpy as np

from drs.errors import ReductionError
from drs.image import weigh

TURNS = 4  # of spectrum, profile and outliers
THROUGHPUT_ORDER = 3
LEAST_LIGHT_SIGMA = 5.0  # of a lenslet's whole spectrum: less and it is dark
CHUNK = 512  # lenslets fitted at a time
SMOOTHING = 15  # columns over which a lamp changes little
MODEL_ERROR = 0.05  # of the light of a column, of the first model


class Windows(NamedTuple):
    """The pixels of some traces (lenslet, column, row): `light`, `weight` float64; weight 0 where not usable."""

    light: np.ndarray
    weight: np.ndarray


class Profiles(NamedTuple):
    """Profiles of some lenslets.

    `profile` float32 (lenslet, column, row), its sum over the rows 1, NaN without light; `spectrum`, `spectrum_error`
    float64 (lenslet, column); `chi_square` float64 (lenslet), per degree of freedom; `rejected` int64 (lenslet), pixels
    left out as outliers.
    """

    profile: np.ndarray
    spectrum: np.ndarray
    spectrum_error: np.ndarray
    chi_square: np.ndarray
    rejected: np.ndarray


class Scan(NamedTuple):
    """What the scan of a lenslet array gives.

    `profile` float32 (lenslet, column, row), its sum over the rows 1, 0 where a lenslet is dark; `throughput` float64
    (lenslet, column), median 1, NaN where dark; `first_row`, `first_column` int64 (lenslet); `chi_square` float64
    (lenslet), per degree of freedom; `rejected` int64 (lenslet), pixels left out.
    """

    profile: np.ndarray
    throughput: np.ndarray
    first_row: np.ndarray
    first_column: np.ndarray
    chi_square: np.ndarray
    rejected: np.ndarray

    @property
    def lit(self):
        """Which lenslets have light, bool (lenslet)."""
        return np.isfinite(self.throughput).all(axis=1) & (self.profile.sum(axis=(1, 2)) > 0)


def cut_windows(rate, error, dq, first_row, first_column, size):
    """Return the Windows of traces on a frame; pixels beyond its edges are not usable.

    Parameters
    ----------
    rate, error : ndarray, float32, (ny, nx)
    dq : ndarray, uint32, (ny, nx)
    first_row, first_column : ndarray, int, (lenslet)
    size : tuple
        Columns and rows of a window.
    """
    usable, weight = weigh(rate, error, dq)
    columns = first_column[:, np.newaxis, np.newaxis] + np.arange(size[0])[:, np.newaxis]
    rows = first_row[:, np.newaxis, np.newaxis] + np.arange(size[1])
    on = (rows >= 0) & (rows < rate.shape[0]) & (columns >= 0) & (columns < rate.shape[1])
    place = np.clip(rows, 0, rate.shape[0] - 1), np.clip(columns, 0, rate.shape[1] - 1)
    return Windows(np.where(on & usable[place], rate[place], 0).astype(float), np.where(on, weight[place], 0))


def centre_windows(windows):
    """Return how many rows the light is from the middle of each window (lenslet): its median over the columns.

    0 where a lenslet is dark.
    """
    used = windows.weight > 0
    light = np.where(used, np.maximum(windows.light, 0), 0).sum(axis=1)
    rows = np.arange(light.shape[1]) - (light.shape[1] - 1) / 2
    total = light.sum(axis=1)
    noise = np.sqrt(np.where(used, 1 / np.where(used, windows.weight, 1), 0).sum(axis=(1, 2)))
    bright = total > LEAST_LIGHT_SIGMA * noise
    return np.where(bright, light @ rows / np.where(total > 0, total, 1), 0.0)


def fit_profiles(windows, *, order, clip_sigma):
    """Return the Profiles of lenslets that no other light overlaps.

    Parameters
    ----------
    windows : Windows
    order : int
        Of the Legendre series along the columns.
    clip_sigma : float
        Pixels further from the fit are left out.

    Raises
    ------
    ReductionError
        Fewer columns than coefficients.
    """
    n_lenslet, n_column, _ = windows.light.shape
    if n_column <= order + 1:
        raise ReductionError(f"{n_column} columns cannot be fitted to order {order}: take a lower order")
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, n_column), order)
    parts = [
        _fit_chunk(Windows(*(array[start : start + CHUNK] for array in windows)), basis, clip_sigma)
        for start in range(0, n_lenslet, CHUNK)
    ]
    return Profiles(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _fit_chunk(windows, basis, clip_sigma):
    """Return the Profiles of some lenslets."""
    light = windows.light
    weight, rejected = _reject_first(windows, basis, clip_sigma)
    profile = _normalise(np.where(weight > 0, np.maximum(light, 0), 0).sum(axis=1, keepdims=True) + 0 * light)
    for turn in range(TURNS):
        spectrum = _fit_spectrum(light, weight, profile)
        profile = _normalise(_fit_rows(light, weight, spectrum, basis))
        deviation2 = windows.weight * (light - spectrum[:, :, np.newaxis] * profile) ** 2
        if 0 < turn < TURNS - 1:
            out = (deviation2 > clip_sigma**2) & (windows.weight > 0)
            weight, rejected = np.where(out, 0, windows.weight), out.sum(axis=(1, 2))
    norm = (weight * profile**2).sum(axis=2)
    spectrum = np.divide((weight * profile * light).sum(axis=2), norm, out=np.full_like(norm, np.nan), where=norm > 0)
    sigma = np.sqrt(np.divide(1, norm, out=np.full_like(norm, np.nan), where=norm > 0))
    used = weight > 0
    freedom = used.sum(axis=(1, 2)) - light.shape[1] - basis.shape[1] * (light.shape[2] - 1)
    chi2 = np.where(used, deviation2, 0).sum(axis=(1, 2)) / np.maximum(freedom, 1)
    dark = ~(np.nansum(spectrum, axis=1) > LEAST_LIGHT_SIGMA * np.sqrt(np.nansum(sigma**2, axis=1)))
    profile[dark] = np.nan
    return Profiles(profile.astype(np.float32), spectrum, sigma, chi2, rejected)


def _reject_first(windows, basis, clip_sigma):
    """Return the weights without the pixels far from a first model, and how many (lenslet); a lamp is smooth."""
    used = windows.weight > 0
    light = np.where(used, windows.light, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns without a usable pixel
        row = _normalise(np.nan_to_num(np.nanmedian(light, axis=1, keepdims=True)))
        share = np.where(used, row, 0).sum(axis=2)
        spectrum = np.where(used, windows.light, 0).sum(axis=2) / np.where(share > 0, share, np.nan)
        level = np.nanmedian(np.lib.stride_tricks.sliding_window_view(_pad(spectrum), SMOOTHING, axis=1), axis=2)
    level = np.nan_to_num(level)[:, :, np.newaxis]
    profile = _normalise(_fit_rows(windows.light, windows.weight * (level > 0), level[:, :, 0], basis))
    model = level * np.minimum(profile, 2 * row + MODEL_ERROR)
    noise2 = 1 / np.where(used, windows.weight, 1) + (MODEL_ERROR * level) ** 2
    out = used & ((windows.light - model) ** 2 > clip_sigma**2 * noise2)
    return np.where(out, 0, windows.weight), out.sum(axis=(1, 2))


def _pad(spectrum):
    """Return spectra with NaN at both ends, for medians over SMOOTHING columns."""
    half = SMOOTHING // 2
    return np.pad(spectrum, ((0, 0), (half, half)), constant_values=np.nan)


def _fit_spectrum(light, weight, profile):
    """Return the spectrum (lenslet, column) of the best fit with a profile; 0 where there is nothing to fit."""
    norm = (weight * profile**2).sum(axis=2)
    return np.divide((weight * profile * light).sum(axis=2), norm, out=np.zeros_like(norm), where=norm > 0)


def _fit_rows(light, weight, spectrum, basis):
    """Return the profile (lenslet, column, row) whose rows are series of the basis; a row without data is 0."""
    amount = weight * spectrum[:, :, np.newaxis] ** 2
    normal = np.einsum("nkr,ki,kj->nrij", amount, basis, basis, optimize=True)
    right = np.einsum("nkr,ki->nri", weight * light * spectrum[:, :, np.newaxis], basis, optimize=True)
    scale = np.trace(normal, axis1=2, axis2=3)
    normal += (np.where(scale > 0, 1e-10 * scale, 1.0))[:, :, np.newaxis, np.newaxis] * np.eye(basis.shape[1])
    return np.einsum("nri,ki->nkr", np.linalg.solve(normal, right[..., np.newaxis])[..., 0], basis, optimize=True)


def _normalise(profile):
    """Return a profile without negative light whose sum over the rows is 1; 0 where there is none."""
    profile = np.maximum(profile, 0)
    total = profile.sum(axis=2, keepdims=True)
    return np.divide(profile, total, out=np.zeros_like(profile), where=total > 0)


def measure_throughput(spectrum, error):
    """Return the throughput of lenslets (lenslet, column), 1 in the median, smooth along the columns.

    Parameters
    ----------
    spectrum, error : ndarray, float64, (lenslet, column)
        Of one lamp; NaN where unknown.

    Raises
    ------
    ReductionError
        No spectrum has light.
    """
    lit = np.isfinite(spectrum).any(axis=1)
    if not lit.any():
        raise ReductionError("no lenslet of the scan has light: was the lamp on, and is the layout that of this mode?")
    level = np.full(len(spectrum), np.nan)
    level[lit] = np.nanmedian(spectrum[lit], axis=1)
    level /= np.nanmedian(level)
    lamp = np.full(spectrum.shape[1], np.nan)
    known = np.isfinite(spectrum[lit]).any(axis=0)
    lamp[known] = np.nanmedian(spectrum[lit][:, known] / level[lit, np.newaxis], axis=0)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, lamp.size), THROUGHPUT_ORDER)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio, weight = spectrum / lamp, (lamp / error) ** 2
    used = np.isfinite(ratio) & np.isfinite(weight) & (weight > 0)
    ratio, weight = np.where(used, ratio, 0), np.where(used, weight, 0)
    enough = used.sum(axis=1) > 2 * (THROUGHPUT_ORDER + 1)
    normal = np.einsum("nk,ki,kj->nij", weight, basis, basis, optimize=True)[enough]
    right = np.einsum("nk,ki->ni", weight * ratio, basis, optimize=True)[enough]
    throughput = np.full(spectrum.shape, np.nan)
    throughput[enough] = np.linalg.solve(normal, right[..., np.newaxis])[..., 0] @ basis.T
    return np.where(throughput > 0, throughput, np.nan)


def find_missing(positions, n_position):
    """Return the positions of the mask from 0 that a scan lacks, sorted; refuse one that there is not.

    Parameters
    ----------
    positions : collection of int
    n_position : int
    """
    wrong = sorted(set(positions) - set(range(n_position)))
    if wrong:
        raise ReductionError(
            f"there are no mask positions {wrong}, expected 0 to {n_position - 1}: correct the headers"
        )
    return sorted(set(range(n_position)) - set(positions))


def lit_lenslets(shape, position, n_position):
    """Return which lenslets (ny, nx), bool, a position of the mask lights: one column in `n_position`.

    As in the scans of Liger (liger_iris_sim, make_flatlamps): (i - j // 16 + 7) % 16 of 128 x 128 lenslets.
    """
    j, i = np.indices(shape)
    return (i - j // n_position + n_position // 2 - 1) % n_position == position


def fit_scan(frames, rectmat, offsets, *, n_position, profile_order, clip_sigma):
    """Return the Scan of a lenslet array.

    The places of the spectra are taken from an earlier matrix and moved by whole rows to where the light is.

    Parameters
    ----------
    frames : iterable of (int, Image)
        Position of the mask, from 0, and the frame less dark; read one by one.
    rectmat, offsets : ndarray
        Of an earlier RectificationModel, (n_row, n_column, ny, nx) and (2, ny, nx).
    n_position : int
    profile_order : int
        Of the Legendre series along the columns.
    clip_sigma : float

    Raises
    ------
    ReductionError
        No light.
    """
    n_row, n_column = rectmat.shape[:2]
    first_row, first_column = offsets.reshape(2, -1).astype(np.int64)
    shape, n = offsets.shape[1:], first_row.size
    if rectmat.shape[2:] != shape:
        raise ReductionError(f"matrix {rectmat.shape} and offsets {offsets.shape} do not fit each other")
    profile, spectrum, error = np.zeros((n, n_column, n_row), np.float32), *np.full((2, n, n_column), np.nan)
    chi_square, rejected = np.full(n, np.nan), np.zeros(n, np.int64)
    for position, frame in frames:
        lit = np.flatnonzero(lit_lenslets(shape, position, n_position))
        place = (first_column[lit], (n_column, n_row))
        windows = cut_windows(*frame[:3], first_row[lit], *place)
        first_row[lit] += np.rint(centre_windows(windows)).astype(np.int64)
        found = fit_profiles(
            cut_windows(*frame[:3], first_row[lit], *place), order=profile_order, clip_sigma=clip_sigma
        )
        profile[lit], spectrum[lit], error[lit], chi_square[lit], rejected[lit] = found
    spectrum[~np.isfinite(profile).all(axis=(1, 2))] = np.nan
    throughput = measure_throughput(spectrum, error)
    return Scan(np.nan_to_num(profile), throughput, first_row, first_column, chi_square, rejected)


def make_arrays(scan, shape):
    """Return {RECTMAT, OFFSETS} of a RectificationModel of (ny, nx) lenslets; dark ones have no light."""
    light = scan.profile * np.nan_to_num(scan.throughput)[:, :, np.newaxis]
    rectmat = light.transpose(2, 1, 0).reshape(light.shape[2], light.shape[1], *shape)
    offsets = np.stack([scan.first_row, scan.first_column]).reshape(2, *shape)
    return {"RECTMAT": np.ascontiguousarray(rectmat, np.float32), "OFFSETS": offsets.astype(np.int32)}
