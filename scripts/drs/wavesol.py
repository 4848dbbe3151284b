"""Wavelengths of spectra from the lines of a lamp, without a hand.

The lines found in all spectra (`drs.lines`) are compared with the list of the lamp at every shift and stretch of a
guess that can be: where most of them are on a line of the list is where the spectra are. A wrong lamp has no such
place: lists moved out of reach (decoys) do as well. From there Legendre polynomials over (column, place of the
spectrum) are fitted to the difference from the guess, with less and less tolerance, and then, slice by slice or
spectrum by spectrum, to what remains. Lines off by more than 4 sigma are left out.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.polynomial import legendre

from drs.errors import ReductionError

FLAGS = {"cache": True, "error_model": "numpy"}
SHIFT_STEP_PIX = 0.5
SEARCH_TOLERANCE_PIX = 1.5
TOLERANCES_PIX = 3.0, 2.0, 1.2, 0.8, 0.5
OWN_TOLERANCE_PIX = 1.0  # of a line from the first fit, to be in that of its slice
TABLE_STEP_PIX = 0.1
MOST_SEARCHED = 4000  # lines; more make the search slower and no surer
MOST_LISTED = 3  # lines of the list, of the lines in a spectrum: the brightest
LEAST_MATCHED = 0.6  # of the lines found
N_DECOY = 7
LEAST_OVER_DECOYS = 1.3
CLIP_SIGMA = 4.0
LEAST_ERROR_PIX = 0.01  # of a line: what profiles and lists leave
LINES_PER_TERM = 5  # of a fit to a slice or spectrum


class Solution(NamedTuple):
    """Wavelengths of spectra.

    `wavelength_um` float64 (spectrum, column); `rms_pix` float64 (spectrum) of lines about it, NaN without any;
    `n_line`, `n_rejected` int64 (spectrum); `rms_all_pix`, `matched` (of the lines found) and `shift_pix`, `stretch`
    of the guess: float; `global_um` the wavelengths of the first fit to all spectra.
    """

    wavelength_um: np.ndarray
    rms_pix: np.ndarray
    n_line: np.ndarray
    n_rejected: np.ndarray
    rms_all_pix: float
    matched: float
    shift_pix: float
    stretch: float
    global_um: np.ndarray


class Check(NamedTuple):
    """Lines (of airglow) against a solution: their mean offset and its error, columns, and how many they are."""

    offset_pix: float
    error_pix: float
    n_line: int


class _Found(NamedTuple):
    """Lines with the guess: arrays (line) of spectrum, column, error, guessed wavelength and local dispersion, um."""

    spectrum: np.ndarray
    column: np.ndarray
    error_pix: np.ndarray
    guess_um: np.ndarray
    step_um: np.ndarray


def solve_wavelengths(lines, line_list, guess_um, place, *, group=None, orders=(3, 2), most=(10.0, 0.01)):
    """Return the Solution of spectra.

    Parameters
    ----------
    lines : drs.lines.Lines
        Found in the spectra of a lamp.
    line_list : (ndarray, ndarray)
        Wavelengths (um, vacuum) and relative intensities of the lamp's lines.
    guess_um : ndarray, float64, (spectrum, column)
        From the design: right to `most`, and bent by at most about 2 columns.
    place : ndarray, float64, (spectrum, n)
        Where each spectrum is: (slice, position in it) or (x, y) of its lenslet; any scale. n is 1 or 2.
    group : ndarray, int, (spectrum), optional
        Spectra with one fit of their own: the slice of each, or every spectrum its own (the default).
    orders : (int, int), optional
        Of the polynomials in the column and, total, in the place.
    most : (float, float), optional
        Shift, columns, and relative error of the dispersion of the guess.

    Raises
    ------
    ReductionError
        Fewer lines than the fit needs, or lines that do not match the list: the wrong lamp, or guess.
    """
    n_spectrum, n_column = guess_um.shape
    place = _scale_places(np.asarray(place, float).reshape(n_spectrum, -1))
    found = _take_guess(lines, guess_um)
    listed = _choose_listed(line_list, found, guess_um, most)
    shift, stretch = _search_match(found, listed, n_column, most)
    u = 2 * found.column / (n_column - 1) - 1
    basis = _make_basis(u, place[found.spectrum], orders)
    coefficients, target, kept = _fit_global(found, listed, basis, (shift, stretch, u, n_column), orders[0] + 3)
    matched = float(kept.mean())
    if matched < LEAST_MATCHED:
        raise ReductionError(
            f"{matched:.0%} of {kept.size} lines are on lines of the list, at least {LEAST_MATCHED:.0%} are needed:"
            " check the lamp, its list and the guess of the wavelengths"
        )
    own = np.arange(n_spectrum) if group is None else np.unique(group, return_inverse=True)[1]
    extra, away, kept = _fit_groups(target - basis @ coefficients, (found, u, place, own, n_column, orders))
    step = np.gradient(guess_um, axis=1)
    first = guess_um + _evaluate_global(coefficients, place, n_column, orders) * step
    return Solution(
        first + extra * step, *_summarise(away, kept, found.spectrum, n_spectrum), matched, shift, stretch, first
    )


def check_wavelengths(lines, line_list, wavelength_um, *, tolerance_pix=2.0, limit_pix=None):
    """Return the Check of a solution by other lines: positive where they are at higher columns than it says.

    The lines of a wavelength are averaged over the spectra, and their scatter gives the error, so that errors of the
    list are in it.

    Raises
    ------
    ReductionError
        Fewer than three lines; an offset beyond `limit_pix` by more than its error explains (3 sigma).
    """
    found = _take_guess(lines, wavelength_um)
    wavelength = np.sort(np.asarray(line_list[0], float))
    nearest = wavelength[_find_nearest(wavelength, found.guess_um)]
    away = (found.guess_um - nearest) / found.step_um
    close = np.abs(away) < tolerance_pix
    at, index = np.unique(nearest[close], return_inverse=True)
    means = np.array([np.median(away[close][index == k]) for k in range(at.size)])
    keep = _clip_means(means)
    n = int(keep.sum())
    if n < 3:
        raise ReductionError(f"{n} lines to check the wavelengths by, at least 3 are needed: take a longer exposure")
    check = Check(float(means[keep].mean()), float(means[keep].std(ddof=1) / np.sqrt(n)), n)
    if limit_pix is not None and abs(check.offset_pix) > limit_pix + 3 * check.error_pix:
        raise ReductionError(
            f"lines are {check.offset_pix:+.3f} +- {check.error_pix:.3f} columns off the wavelengths, at most"
            f" {limit_pix:g} are allowed: take an arc nearer in time, or the last good solution"
        )
    return check


def _clip_means(means):
    """Return which of the means of lines are not outliers."""
    keep = np.ones(means.size, bool)
    for _ in range(5):
        if not keep.any():
            break
        middle = np.median(means[keep])
        width = max(1.4826 * np.median(np.abs(means[keep] - middle)), LEAST_ERROR_PIX)
        keep = np.abs(means - middle) <= CLIP_SIGMA * width
    return keep


def _scale_places(place):
    """Return places scaled to -1 to 1 along each axis."""
    low, high = place.min(axis=0), place.max(axis=0)
    return np.where(high > low, 2 * (place - low) / np.where(high > low, high - low, 1) - 1, 0.0)


def _take_guess(lines, guess_um):
    """Return the _Found of lines: the guess interpolated at them."""
    n_column = guess_um.shape[1]
    known = np.isfinite(guess_um).all(axis=1)[lines.spectrum]
    spectrum, column, error = lines.spectrum[known], lines.column[known], lines.error_pix[known]
    left = np.clip(np.floor(column).astype(int), 0, n_column - 2)
    low, high = guess_um[spectrum, left], guess_um[spectrum, left + 1]
    # The second difference, so that a curved guess is not cut by chords.
    inner = np.clip(left, 1, n_column - 2)
    bend = guess_um[spectrum, inner + 1] - 2 * guess_um[spectrum, inner] + guess_um[spectrum, inner - 1]
    part = column - left
    return _Found(spectrum, column, error, low + part * (high - low) - bend * part * (1 - part) / 2, high - low)


def _find_nearest(rising, values):
    """Return the index of the nearest of `rising` to each value."""
    right = np.clip(np.searchsorted(rising, values), 1, max(1, rising.size - 1))
    right = np.minimum(right, rising.size - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(values - rising[left]) <= np.abs(rising[right] - values), left, right)


def _choose_listed(line_list, found, guess_um, most):
    """Return the wavelengths, rising, of the brightest lines of the list that can be in the spectra."""
    wavelength, intensity = (np.asarray(values, float) for values in line_list)
    margin = (most[0] + most[1] * guess_um.shape[1]) * np.nanmedian(np.abs(np.diff(guess_um, axis=1)))
    near = (wavelength > np.nanmin(guess_um) - margin) & (wavelength < np.nanmax(guess_um) + margin)
    lit = np.unique(found.spectrum)
    typical = found.spectrum.size / max(1, lit.size)
    if near.sum() < 4 or typical < 3:
        raise ReductionError(
            f"{near.sum()} lines of the list and {typical:.1f} a spectrum: too few to match, check the lamp"
        )
    bright = np.argsort(-intensity[near], kind="stable")[: max(8, int(MOST_LISTED * typical))]
    return np.sort(wavelength[near][bright])


def _search_match(found, listed, n_column, most):
    """Return the shift (columns) and stretch of the guess at which most lines are on lines of the list."""
    # Whole spectra: every n-th line might always be the same one.
    lit = np.unique(found.spectrum)
    lit = lit[:: max(1, int(np.ceil(found.spectrum.size / MOST_SEARCHED)))]
    chosen = np.flatnonzero(np.isin(found.spectrum, lit))
    step = np.median(np.abs(found.step_um))
    reach = most[0] + most[1] * n_column / 2 + 2
    start = found.guess_um.min() - reach * step
    grid = np.arange(start, found.guess_um.max() + reach * step, TABLE_STEP_PIX * step)
    half = (n_column - 1) / 2
    shifts = np.arange(-most[0], most[0] + 1e-9, SHIFT_STEP_PIX)
    n_stretch = int(np.ceil(most[1] * half / SHIFT_STEP_PIX))
    stretches = np.linspace(-most[1], most[1], 2 * n_stretch + 1)
    x = np.sign(np.median(found.step_um)) * (found.column[chosen] - half)
    at = (found.guess_um[chosen] - start) / (TABLE_STEP_PIX * step)
    scores, span = [], grid[-1] - grid[0]
    for k in range(N_DECOY + 1):
        moved = np.sort((listed - grid[0] + k * span / (N_DECOY + 1)) % span + grid[0]) if k else listed
        away = np.abs(grid - moved[_find_nearest(moved, grid)]) / step
        table = np.maximum(0, 1 - (away / SEARCH_TOLERANCE_PIX) ** 2)
        score = np.zeros((shifts.size, stretches.size))
        _search_kernel(table, at, x, (shifts, stretches), score)
        scores.append(score)
    best = [score.max() for score in scores]
    if best[0] < LEAST_OVER_DECOYS * max(best[1:]):
        raise ReductionError(
            f"the lines match the list no better than lists of no lamp ({best[0] / max(best[1:]):.2f} times, at least"
            f" {LEAST_OVER_DECOYS} is needed): check the lamp and the guess of the wavelengths"
        )
    i, j = np.unravel_index(np.argmax(scores[0]), scores[0].shape)
    return float(shifts[i]), float(stretches[j])


@njit(**FLAGS)
def _search_kernel(table, at, x, tries, score):
    """Fill the mean score of lines at every shift and stretch; `at` is in steps of the table, a tenth of a column."""
    shifts, stretches = tries
    for i in range(shifts.size):
        for j in range(stretches.size):
            total = 0.0
            for n in range(at.size):
                k = int(at[n] + (shifts[i] + stretches[j] * x[n]) / TABLE_STEP_PIX + 0.5)
                if 0 <= k < table.size:
                    total += table[k]
            score[i, j] = total / at.size


def _list_terms(orders, n_axis):
    """Return the degrees (term, 3): column to orders[0], both places to a total of orders[1], fewer where both vary."""
    most_second = orders[1] if n_axis > 1 else 0
    return np.array(
        [
            (i, j, k)
            for i in range(orders[0] + 1)
            for j in range(orders[1] + 1)
            for k in range(min(most_second, orders[1] - j) + 1)
            if i == 0 or j + k <= max(1, orders[1] - i + 1)
        ]
    )


def _take_across(place, orders):
    """Return the Legendre products of the places alone, (spectrum, term)."""
    terms = _list_terms(orders, place.shape[1])
    product = legendre.legvander(place[:, 0], orders[1])[:, terms[:, 1]]
    return product * (legendre.legvander(place[:, 1], orders[1])[:, terms[:, 2]] if place.shape[1] > 1 else 1)


def _make_basis(u, place, orders):
    """Return the Legendre products (line, term) of lines."""
    along = legendre.legvander(u, orders[0])[:, _list_terms(orders, place.shape[1])[:, 0]]
    return along * _take_across(place, orders)


def _solve_clipped(basis, target, error, kept):
    """Return coefficients of the weighted fit, and what is kept of it by 4 sigma."""
    weight = 1 / np.hypot(error, LEAST_ERROR_PIX)
    for _ in range(8):
        scaled = basis[kept] * weight[kept, np.newaxis]
        normal, right = scaled.T @ scaled, scaled.T @ (target[kept] * weight[kept])
        coefficients = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
        away = np.abs(target - basis @ coefficients) * weight
        width = max(1.0, 1.4826 * np.median(away[kept]))
        new = kept & (away < CLIP_SIGMA * width)
        if (new == kept).all():
            break
        kept = new
    return coefficients, kept


def _fit_global(found, listed, basis, start, least):
    """Return coefficients (columns), the targets of the lines and which are kept, of `least` wavelengths or more."""
    shift, stretch, u, n_column = start
    sign = np.sign(np.median(found.step_um))
    model = sign * shift + stretch * u * (n_column - 1) / 2
    for tolerance in TOLERANCES_PIX:
        at = found.guess_um + model * found.step_um
        nearest = listed[_find_nearest(listed, at)]
        target = (nearest - found.guess_um) / found.step_um
        kept = np.abs(target - model) < tolerance
        if kept.sum() < 2 * basis.shape[1] or np.unique(nearest[kept]).size < least:
            raise ReductionError(
                f"{kept.sum()} lines of {np.unique(nearest[kept]).size} wavelengths are on lines of the list, too few"
                f" for {basis.shape[1]} terms: check lamp, list and guess, or take lower orders"
            )
        coefficients, kept = _solve_clipped(basis, target, found.error_pix, kept)
        model = basis @ coefficients
    return coefficients, target, kept


def _evaluate_global(coefficients, place, n_column, orders):
    """Return the fit (spectrum, column), in columns."""
    degree = _list_terms(orders, place.shape[1])[:, 0]
    series = (_take_across(place, orders) * coefficients) @ (degree[:, np.newaxis] == np.arange(orders[0] + 1))
    return series @ legendre.legvander(np.linspace(-1, 1, n_column), orders[0]).T


def _fit_groups(remains, problem):
    """Fit what remains in each group: (its fit (spectrum, column), what remains then, lines kept)."""
    found, u, place, own, n_column, orders = problem
    extra, away, kept = np.zeros((own.size, n_column)), remains.copy(), np.abs(remains) < OWN_TOLERANCE_PIX
    for members, part in zip(_split_by(own, own.max() + 1), _split_by(own[found.spectrum], own.max() + 1), strict=True):
        n, order = int(kept[part].sum()), (orders[0], min(orders[1], 2))
        if members.size == 1:
            order = min(orders[0], n // LINES_PER_TERM - 1), 0
        if order[0] < 0 or n < LINES_PER_TERM * (order[0] + 1) * (order[1] + 1):
            continue
        basis = _make_basis(u[part], place[found.spectrum[part], -1:], order)
        coefficients, kept[part] = _solve_clipped(basis, remains[part], found.error_pix[part], kept[part])
        away[part] = remains[part] - basis @ coefficients
        extra[members] = _evaluate_global(coefficients, place[members, -1:], n_column, order)
    return extra, away, kept


def _split_by(group, n_group):
    """Return the indices of the members of every group."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=n_group))[:-1])


def _summarise(away, kept, spectrum, n_spectrum):
    """Return rms, lines kept and lines left out of every spectrum, and the rms of all lines kept."""
    n_line = np.bincount(spectrum[kept], minlength=n_spectrum)
    n_rejected = np.bincount(spectrum[~kept], minlength=n_spectrum)
    total = np.bincount(spectrum[kept], away[kept] ** 2, minlength=n_spectrum)
    rms = np.sqrt(np.divide(total, n_line, out=np.full(n_spectrum, np.nan), where=n_line > 0))
    return rms, n_line, n_rejected, float(np.sqrt(np.mean(away[kept] ** 2)))
