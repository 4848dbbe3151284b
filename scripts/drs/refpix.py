"""Reference pixels of HxRG detectors: drifts of the electronics in every read, to the limit of their noise.

The border pixels see no light but follow the electronics. A read's border pixel is modelled as
    value = pixel's own level in this group (bias error, kTC noise) + frame + channel + parity + row + white noise:
channels are vertical bands of columns, each with its own output; odd and even columns of a channel drift apart; all
channels read a row together, so the 1/f noise of a row is common to them (Robberto 2014, JWST-STScI-003852; Rauscher
et al. 2017, PASP 129, 105003).

Rates need differences between the reads of a group only, so all of this is fitted to the deviations from each
pixel's mean over the group, which are free of kTC noise; the mean itself, needed to a few DN by the non-linearity, is
a median. Top and bottom rows give channels and parities (every channel has the same rows, so row noise
cancels), side columns give frame and rows. The part of each component that its noise explains is left out:
channels and parities are shrunk by their scatter in all reads (empirical Bayes; Efron & Morris 1973, JASA 68, 117),
rows by a Wiener filter, S / (S + N) per band of spatial frequency, with the spectrum of all reads (weights that
depend on frequency: Rauscher et al. 2017; left and right as two streams: Rauscher et al. 2022, JATIS 8, 028002).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, gammaincinv

from drs.dq import Flag
from drs.errors import ReductionError
from drs.shrinkage import cell_variance, estimate_spreads, filter_profiles, shrink_cells

UNFIT = np.uint32(Flag.BAD_REF_PIXEL | Flag.DEAD | Flag.HOT)
DIGITISATION_DN = 12**-0.5  # no noise is taken to be less
CLIP_SIGMA = 5.0
NOISY = 2.0  # a pixel with more variance than this times what chance allows is left out
STUCK = 1e-6  # ... and with less than this of the typical variance, where there are
MIN_STUCK_READS = 5  # reads enough to tell
N_ROUND = 2  # of alternating means; they only exchange the imbalance that pixels left out make


class Offsets(NamedTuple):
    """What to subtract from every read: raw - bias - column_dn[g, r, x] - row_dn[g, r, y].

    `column_dn` float32 (n_group, n_read, nx); `row_dn` float32 (n_group, n_read, ny), mean 0 over the rows;
    `variance_dn2` float32 (n_group, n_read), the mean variance that the noise of the reference pixels adds to a read
    of a pixel, without what is common to all reads of a group; `present` bool (n_group, n_read), False for a read
    without any finite reference pixel: it has offsets of 0, and its drift is not known.
    """

    column_dn: np.ndarray
    row_dn: np.ndarray
    variance_dn2: np.ndarray
    present: np.ndarray


class ReferencePixels:
    """The border of all reads of a ramp, gathered block by block."""

    def __init__(self, shape, *, border_pix, n_channel, usable=None):
        """Prepare for a ramp.

        Parameters
        ----------
        shape : tuple
            (n_group, n_read, ny, nx)
        border_pix : int
            Width of the border of reference pixels.
        n_channel : int
            Output channels: vertical bands of nx / n_channel columns.
        usable : ndarray, bool, (n_group, n_read), optional
            False for reads that say nothing; their offsets are 0.

        Raises
        ------
        ReductionError
            If the channels do not fit the columns, or the border leaves no pixel that sees light.
        """
        n_group, n_read, ny, nx = shape
        if n_channel < 1 or nx % (2 * n_channel):
            raise ReductionError(
                f"{n_channel} output channels for {nx} columns: expected channels of one even number of columns; "
                "correct n_channel of the detector"
            )
        if border_pix < 1 or 2 * border_pix >= min(ny, nx):
            raise ReductionError(
                f"a border of {border_pix} reference pixels on each side of {ny} x {nx} (ny, nx) pixels: expected 1 or "
                "more, and pixels that see light between; correct border_pix of the detector, or skip this step"
            )
        self.shape, self.border_pix, self.n_channel = tuple(shape), border_pix, n_channel
        self._ends = np.full((n_group, n_read, 2 * border_pix, nx), np.nan, np.float32)
        self._sides = np.full((n_group, n_read, 2 * border_pix, ny), np.nan, np.float32)
        self._seen = np.zeros(ny, bool)
        self._lost = np.zeros((n_group, n_read), bool) if usable is None else ~usable

    def add(self, rows, reads, maps_rows):
        """Keep the border pixels of a block of rows, less their bias.

        Parameters
        ----------
        rows : slice
            Rows of the detector.
        reads : ndarray, uint16 or float32, (n_group, n_read, n_row, nx)
            Raw reads of these rows, DN.
        maps_rows : PixelMaps
            Calibration of these rows: `bias_dn` and `dq`.
        """
        ny, nx = self.shape[2:]
        here, border = np.arange(ny)[rows], self.border_pix
        if reads.shape != (*self.shape[:2], here.size, nx) or maps_rows.dq.shape != reads.shape[2:]:
            raise ValueError(f"reads {reads.shape}, maps {maps_rows.dq.shape} and rows {rows} do not fit {self.shape}")
        columns = np.r_[:border, nx - border : nx]
        level = np.where(maps_rows.dq[:, columns] & UNFIT, np.float32(np.nan), maps_rows.bias_dn[:, columns])
        self._sides[..., here] = np.swapaxes(reads[..., columns] - level, -1, -2)
        for i in np.flatnonzero((here < border) | (here >= ny - border)):
            line = here[i] if here[i] < border else here[i] - ny + 2 * border
            level = np.where(maps_rows.dq[i] & UNFIT, np.float32(np.nan), maps_rows.bias_dn[i])
            self._ends[..., line, :] = reads[..., i, :] - level
        self._seen[here] = True

    def estimate(self, *, smoothing_rows):
        """Return the offsets of every read.

        Parameters
        ----------
        smoothing_rows : int
            Row structure finer than this is left alone: of the cosine modes over the rows, ny / smoothing_rows are
            corrected at most, which lets as much noise through as a running mean of as many rows.

        Returns
        -------
        Offsets

        Raises
        ------
        ReductionError
            If a group has no good reference pixel, or `smoothing_rows` is not positive.
        """
        if smoothing_rows < 1:
            raise ReductionError(f"smoothing_rows is {smoothing_rows}, expected 1 or more")
        if not self._seen.all():
            raise ValueError(f"{np.count_nonzero(~self._seen)} of {self._seen.size} rows were not added")
        self._ends[self._lost], self._sides[self._lost] = np.nan, np.nan
        nx, channel = self.shape[3], (self.n_channel, self.shape[3] // self.n_channel // 2, 2)
        present = np.isfinite(self._ends).any(axis=(2, 3)) | np.isfinite(self._sides).any(axis=(2, 3))
        ends = _fit_border(self._ends, present, channel)
        sides = _fit_border(self._sides, present, (self.shape[2], 1, 1))
        unusable = ~(ends.good.any(axis=(1, 2)) | sides.good.any(axis=(1, 2))) & ~self._lost.all(axis=1)
        if unusable.any():
            raise ReductionError(
                f"no good reference pixel in group {np.flatnonzero(unusable)[0] + 1} of {unusable.size}: all of "
                f"the border of {self.border_pix} pixels are flagged or not finite; correct the dq reference or "
                "border_pix, or skip this step"
            )
        levels = _estimate_levels(ends, sides, channel)
        cells, rows, variance = _combine(ends, sides, present, smoothing_rows)
        column = np.broadcast_to((cells + levels)[..., np.newaxis, :], (*present.shape, *channel))
        column = column.reshape(*present.shape, nx) * present[..., np.newaxis]
        return Offsets(column.astype(np.float32), rows.astype(np.float32), variance.astype(np.float32), present)


class _Border(NamedTuple):
    """Two ends or sides, fitted as lines + cells: `lines` (n_group, n_read, n_line), mean over the cells included.

    `cells` (n_group, n_read, n_cell, n_parity) are sets of columns along the lines (a channel's odd or even ones; a
    single row), `counts` their pixels, mean 0 over those with any. `line_counts` like `lines`; `noise_dn2` of one pixel
    in one read; `level` and `good` (n_group, n_line, length): mean over the reads, and where it is usable; `rest`
    and `use` (n_group, n_read, n_line, length): deviations less lines, and which were used.
    """

    lines: np.ndarray
    cells: np.ndarray
    line_counts: np.ndarray
    counts: np.ndarray
    noise_dn2: float
    level: np.ndarray
    good: np.ndarray
    rest: np.ndarray
    use: np.ndarray


def _fit_border(values_dn, present, cell_shape):
    """Return the fit of the deviations of border pixels (n_group, n_read, n_line, length) from their means."""
    n_present = present.sum(axis=1)
    there = present[:, :, np.newaxis, np.newaxis]
    good = (np.isfinite(values_dn) | ~there).all(axis=1) & (n_present > 0)[:, np.newaxis, np.newaxis]
    dev = np.where(good[:, np.newaxis] & there, values_dn, 0.0).astype(np.float64)
    level = dev.sum(axis=1) / np.maximum(n_present, 1)[:, np.newaxis, np.newaxis]
    dev = (dev - level[:, np.newaxis]) * there
    use = np.broadcast_to(good[:, np.newaxis] & there, dev.shape)
    lines = _median(dev, use, axis=-1)
    first = dev - lines[..., np.newaxis]
    cells = _median(_to_cells(first, cell_shape), _to_cells(use, cell_shape), axis=-1)
    first -= _spread(cells, cell_shape)
    first -= _median(first, use, axis=-1)[..., np.newaxis]  # lines again: the first ones had the scatter of the cells
    use = _clip(dev, first, use, n_present)
    for _ in range(N_ROUND):
        lines, line_counts = _mean(dev - _spread(cells, cell_shape), use, axis=-1)
        cells, counts = _mean(_to_cells(dev - lines[..., np.newaxis], cell_shape), _to_cells(use, cell_shape), axis=-1)
    shift = _mean(cells, counts > 0, axis=(-1, -2))[0]
    cells, lines = (cells - shift[..., np.newaxis, np.newaxis]) * (counts > 0), lines + shift[..., np.newaxis]
    rest = dev - lines[..., np.newaxis]
    residual = (rest - _spread(cells, cell_shape)) * use
    free = line_counts.sum(axis=-1) - (line_counts > 0).sum(axis=-1) - (counts > 0).sum(axis=(-1, -2)) + 1
    share = 1 - 1 / np.maximum(n_present, 1)  # of a read's noise is left by the subtraction of the mean of reads
    free = (np.maximum(free, 0) * share[:, np.newaxis] * present).sum()
    noise = max((residual * residual).sum() / max(free, 1), DIGITISATION_DN**2)
    return _Border(lines, cells, line_counts, counts, noise, level, good, rest, use)


def _to_cells(array, cell_shape):
    """Return (..., n_line, length) as (..., n_cell, n_parity, pixels of the cell)."""
    *leading, n_line, _ = array.shape
    n_cell, n_repeat, n_parity = cell_shape
    array = array.reshape(*leading, n_line, n_cell, n_repeat, n_parity)
    array = np.moveaxis(array, (-3, -1, -4, -2), (-4, -3, -2, -1))
    return array.reshape(*leading, n_cell, n_parity, n_line * n_repeat)


def _spread(cells, cell_shape):
    """Return values of cells (..., n_cell, n_parity) along the lines: (..., 1, length)."""
    *leading, n_cell, n_parity = cells.shape
    along = np.broadcast_to(cells[..., np.newaxis, :], (*leading, n_cell, cell_shape[1], n_parity))
    return along.reshape(*leading, 1, -1)


def _median(values, use, axis):
    """Return the median of the values in use, 0 where there is none."""
    ordered = np.sort(np.where(use, values, np.inf), axis=axis)
    n = np.expand_dims(use.sum(axis=axis), axis)
    middle = [np.take_along_axis(ordered, np.maximum((n - i) // 2, 0), axis) for i in (1, 0)]
    return np.where(n > 0, np.where(n > 0, middle[0], 0) / 2 + np.where(n > 0, middle[1], 0) / 2, 0).squeeze(axis)


def _mean(values, use, axis):
    """Return mean (0 where there is none) and number of the values in use."""
    n = use.sum(axis=axis)
    return (values * use).sum(axis=axis) / np.maximum(n, 1), n


def _clip(dev, residual, use, n_present):
    """Return what to use: no pixel that is noisy in its group or stuck, no single outlier."""
    use = use.copy()
    for group in np.flatnonzero(n_present > 1):
        good, free = use[group].any(axis=0), n_present[group] - 1
        if good.any():
            square = (residual[group] ** 2).sum(axis=0) / free
            typical = max(np.median(square[good]), DIGITISATION_DN**2)
            # chi-square: 1e-5 above, over its median; scipy.stats says the same, but its import takes half of a start
            limit = NOISY * chdtri(free, 1e-5) / (2 * gammaincinv(free / 2, 0.5))
            good &= square <= limit * typical
            if n_present[group] >= MIN_STUCK_READS:
                good &= (dev[group] ** 2).sum(axis=0) >= STUCK * free * np.median(square[good])
            use[group] &= good
    if use.any():
        sigma = max(1.4826 * np.median(np.abs(residual[use])), DIGITISATION_DN)
        use &= np.abs(residual) <= CLIP_SIGMA * sigma
    return use


def _estimate_levels(ends, sides, channel):
    """Return the level of every cell over the reads of a group, (n_group, 1, n_channel, 2)."""
    levels, goods = (
        np.concatenate([getattr(part, name).reshape(len(part.good), -1) for part in (ends, sides)], axis=1)
        for name in ("level", "good")
    )
    frame = _median(levels, goods, axis=1)[:, np.newaxis, np.newaxis]
    deviations, good = _to_cells(ends.level - frame, channel), _to_cells(ends.good, channel)
    cells = _median(deviations, good, axis=-1)
    frame = frame + _mean(cells, good.any(axis=-1), axis=(-1, -2))[0][:, np.newaxis, np.newaxis]
    scatter = np.abs(deviations - cells[..., np.newaxis])[good]
    noise = max(1.4826 * np.median(scatter) if scatter.size else 0.0, DIGITISATION_DN) ** 2
    variance = _variances(noise * np.pi / 2, good.sum(axis=-1))  # of a median
    cells = shrink_cells(cells, variance, estimate_spreads(cells, variance, 1.0))
    return (cells + frame)[:, np.newaxis]


def _variances(noise_dn2, counts):
    """Return the variance of means of so many pixels, infinite for none."""
    return np.where(counts > 0, noise_dn2 / np.maximum(counts, 1), np.inf)


def _combine(ends, sides, present, smoothing_rows):
    """Return cells (n_group, n_read, n_channel, 2), rows (n_group, n_read, ny) and the variance that they add."""
    free = np.maximum(present.sum(axis=1) - 1, 0).sum()  # reads, less one mean per group
    variance = _variances(ends.noise_dn2, ends.counts)
    spreads = estimate_spreads(ends.cells, variance, free / max(present.sum(), 1))
    cells = shrink_cells(ends.cells, variance, spreads)
    counts = sides.line_counts
    weights = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    frame, sources = _estimate_frame(ends, sides, cells, weights)
    rows, row_variance = _filter_rows(sides, free, smoothing_rows)
    typical = 1 / np.maximum((1 / variance)[present].mean(axis=0), 1e-300)
    added = cell_variance(typical, spreads, sources[present].mean(axis=0)) + row_variance
    border = _variances(sides.noise_dn2, counts.sum(axis=-1)), _variances(ends.noise_dn2, ends.line_counts.sum(axis=-1))
    own = np.where(np.isfinite(border[0]), *border)
    return cells + frame[..., np.newaxis, np.newaxis], rows, np.where(present, added + own, 0)


def _estimate_frame(ends, sides, cells, weights):
    """Return the frame's mean (n_group, n_read) and the weights (n_group, n_read, n_channel, 2) of cells taken off.

    It is the weighted mean of the side columns without their channel and parity; where there is none, of the ends.
    """
    n_channel, length = cells.shape[-2], ends.good.shape[-1]
    n_line = weights.shape[-1]
    columns = np.r_[: n_line // 2, length - n_line // 2 : length]
    sources = np.zeros(cells.shape)
    for line, column in enumerate(columns):
        sources[..., column // (length // n_channel), column % 2] += weights[..., line]
    frame = (sides.lines * weights).sum(axis=-1) - (cells * sources).sum(axis=(-1, -2))
    n_end = ends.line_counts
    other = (ends.lines * n_end).sum(axis=-1) / np.maximum(n_end.sum(axis=-1), 1)
    return np.where(weights.any(axis=-1), frame, other), sources


def _filter_rows(sides, free, smoothing_rows):
    """Return the rows' part (n_group, n_read, ny) of the offsets, and the noise variance that it adds."""
    rows, counts, border = sides.cells[..., 0], sides.counts[..., 0], sides.rest.shape[2] // 2
    if free < 1 or not counts.any():
        return np.zeros(rows.shape), 0.0
    halves, n_half = _mean(*(np.stack([a[:, :, :border], a[:, :, border:]]) for a in (sides.rest, sides.use)), axis=-2)
    halves = np.stack([_fill_gaps(*half) for half in zip(halves, n_half, strict=True)])
    white = sides.noise_dn2 * (1 / counts[counts > 0]).mean()
    white_half = sides.noise_dn2 * sum((1 / n[n > 0]).mean() if n.any() else 0 for n in n_half) / 4
    complete = (n_half.any(axis=-1) | ~counts.any(axis=-1)).all()
    profiles = _fill_gaps(rows, counts)
    return filter_profiles(profiles, halves if complete else None, (white, white_half), free, finest=smoothing_rows)


def _fill_gaps(profiles, counts):
    """Return profiles (n_group, n_read, ny), interpolated where there is nothing to measure them, and their mean 0."""
    filled, measured = profiles.copy(), counts > 0
    for index in np.argwhere(measured.any(axis=-1) & ~measured.all(axis=-1)):
        known = measured[*index]
        filled[*index][~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), profiles[*index][known])
    return filled - filled.mean(axis=-1, keepdims=True)
