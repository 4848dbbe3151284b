"""Raw reads to signals: saturation, bias, reference pixels, non-linearity, gain; NaN marks a read not usable."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from drs.dq import Flag

SATURATED, DROPOUT = np.uint32(Flag.SATURATED), np.uint32(Flag.DROPOUT)
LANE = 512  # neighbouring pixels that go through all steps together, from the nearest cache


class Signal(NamedTuple):
    """Calibrated reads.

    `signal_e` float32 (n_group, n_read, ny, nx), NaN where a read is not usable; `dq` uint32 (ny, nx), the flags of
    the maps with SATURATED, or DROPOUT where a read was not finite; `onset` int32 (n_group, ny, nx), the first
    saturated read of a group, n_read where there is none.
    """

    signal_e: np.ndarray
    dq: np.ndarray
    onset: np.ndarray


def calibrate_reads(reads_dn, maps, *, column_dn=None, row_dn=None, lead=None, grow_pix=0):
    """Return the signal of every read in electrons.

    A raw read at or above the saturation threshold, or at the end of the converter's range, and all later ones of its
    group are not usable, nor are those of the pixels around. A read that is an average ends before the last of its
    reads would be saturated. The signal x above the bias and the reference pixels' offsets is corrected to
    sum_k c_k x^k (DN), then multiplied by the gain.

    Parameters
    ----------
    reads_dn : ndarray, uint16 or float32, (n_group, n_read, ny, nx)
        Raw reads; those that are not finite are not usable.
    maps : PixelMaps
        Calibration of these pixels.
    column_dn : ndarray, float32, (n_group, n_read, nx), optional
        Offset of each column in each read, DN.
    row_dn : ndarray, float32, (n_group, n_read, ny), optional
        Offset of each row in each read, DN.
    lead : ndarray, float32, (n_group, n_read), optional
        How much later the last one of the averaged reads is than their mean, in steps from the read before.
    grow_pix : int, optional
        Pixels around a saturated one, in x and y, that end with it. Of a cut-out, as many rows at its edges are not
        final.

    Returns
    -------
    Signal
    """
    if reads_dn.ndim != 4 or reads_dn.shape[2:] != maps.dq.shape:
        raise ValueError(f"reads {reads_dn.shape} and maps {maps.dq.shape} do not fit each other")
    n_group, n_read, ny, nx = reads_dn.shape
    column_dn = np.zeros((n_group, n_read, nx), np.float32) if column_dn is None else column_dn
    row_dn = np.zeros((n_group, n_read, ny), np.float32) if row_dn is None else row_dn
    if column_dn.shape != (n_group, n_read, nx) or row_dn.shape != (n_group, n_read, ny):
        raise ValueError(f"offsets {column_dn.shape} and {row_dn.shape} do not fit reads {reads_dn.shape}")
    lead = np.zeros((n_group, n_read), np.float32) if lead is None else lead
    ceiling = np.float32(np.inf if reads_dn.dtype.kind == "f" else np.iinfo(reads_dn.dtype).max)
    coefficients = _complete_polynomial(maps.nonlin_coefficients)
    maps = maps._replace(saturation_dn=np.minimum(maps.saturation_dn, ceiling), nonlin_coefficients=coefficients)
    signal_e, dq = np.empty(reads_dn.shape, np.float32), maps.dq.copy()
    onset = np.zeros((n_group, ny, nx), np.int32)
    offsets = np.ascontiguousarray(column_dn), np.ascontiguousarray(row_dn), lead
    _calibrate_rows_kernel(np.ascontiguousarray(reads_dn), maps, offsets, signal_e, dq, onset)
    if grow_pix > 0:
        bad = maps.dq & np.uint32(Flag.DO_NOT_USE) != 0  # a hot pixel saturates by itself
        _grow_saturation_kernel(onset, bad, grow_pix, signal_e, dq)
    return Signal(signal_e, dq, onset)


def _complete_polynomial(coefficients):
    """Return at least c_0 and c_1 of a polynomial; without any it is x itself."""
    n_coeff, *image = coefficients.shape
    rest = np.zeros((max(2 - n_coeff, 0), *image), np.float32)
    rest[-1:] = n_coeff == 0
    return np.concatenate([coefficients, rest]) if n_coeff < 2 else coefficients


@njit(cache=True, error_model="numpy")
def _subtract_bias_kernel(raw, levels, offsets, ended, lost, x):
    """Write the signal above bias and offsets of one read of a lane; note saturation and reads that are no number.

    What is noted is as wide as the signal, so that the compiler takes the same number of pixels of everything.
    """
    saturation, bias = levels
    column, row = offsets
    for i in range(raw.size):
        value = np.float32(raw[i])
        nothing = value - value  # NaN for infinite values too
        ended[i] |= np.int32(value >= saturation[i]) & np.int32(nothing == 0)
        lost[i] |= np.int32(nothing != 0)
        x[i] = value - bias[i] - (column[i] + row) + nothing


@njit(cache=True, error_model="numpy")
def _end_early_kernel(pair, lead, saturation, ended):
    """End the pixels of a lane of which the last one of the averaged reads is saturated."""
    earlier, raw = pair
    for i in range(raw.size):
        value = np.float32(raw[i])
        ended[i] |= np.int32(value + (value - np.float32(earlier[i])) * lead >= saturation[i])


@njit(cache=True, error_model="numpy")
def _start_polynomial_kernel(highest, second, x, total):
    """First step of Horner's rule on a lane."""
    for i in range(x.size):
        total[i] = highest[i] * x[i] + second[i]


@njit(cache=True, error_model="numpy")
def _continue_polynomial_kernel(coefficient, x, total):
    """One more step of Horner's rule on a lane."""
    for i in range(x.size):
        total[i] = total[i] * x[i] + coefficient[i]


@njit(cache=True, error_model="numpy")
def _scale_gain_kernel(gain, ended, signal, onset):
    """Turn the signal of one read of a lane from DN to e-, NaN from saturation on; count the reads before it."""
    for i in range(signal.size):
        signal[i] = np.float32(np.nan) if ended[i] else signal[i] * gain[i]
        onset[i] += np.int32(1) - ended[i]


@njit(cache=True, error_model="numpy")
def _flag_lane_kernel(ended, lost, dq):
    """Flag the pixels of a lane that saturate, and those with reads that are no number."""
    for i in range(dq.size):
        dq[i] |= (SATURATED if ended[i] else np.uint32(0)) | (DROPOUT if lost[i] else np.uint32(0))


@njit(cache=True, error_model="numpy")
def _calibrate_lane_kernel(reads, maps, offsets, place, work, signal, onset):
    """Calibrate a lane of a group: fill `signal`, add to `onset`; leave what ended and what is lost in `work`."""
    group, y, a, b = place
    (column, row, lead), (ended, lost, x) = offsets, work
    levels, coefficients = (maps.saturation_dn[y, a:b], maps.bias_dn[y, a:b]), maps.nonlin_coefficients
    n_coeff, gain, first = len(coefficients), maps.gain_e_per_dn[y, a:b], onset[group, y, a:b]
    ended[:] = 0
    for read in range(reads.shape[1]):
        raw = reads[group, read, y, a:b]
        if read > 0 and lead[group, read] > 0:
            _end_early_kernel((reads[group, read - 1, y, a:b], raw), lead[group, read], levels[0], ended)
        _subtract_bias_kernel(raw, levels, (column[group, read, a:b], row[group, read, y]), ended, lost, x)
        out = signal[group, read, y, a:b]
        _start_polynomial_kernel(coefficients[n_coeff - 1, y, a:b], coefficients[n_coeff - 2, y, a:b], x, out)
        for k in range(n_coeff - 3, -1, -1):
            _continue_polynomial_kernel(coefficients[k, y, a:b], x, out)
        _scale_gain_kernel(gain, ended, out, first)


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _calibrate_rows_kernel(reads, maps, offsets, signal, dq, onset):
    """Calibrate rows of reads (n_group, n_read, ny, nx), lane by lane; fill `signal`, add to `dq` and `onset`."""
    n_group, _, ny, nx = reads.shape
    column, row, lead = offsets
    width = min(LANE, nx)
    for y in prange(ny):
        for start in range(0, nx, width):
            a, b = start, min(start + width, nx)
            ended, lost = np.empty(b - a, np.int32), np.zeros(b - a, np.int32)
            work = ended, lost, np.empty(b - a, np.float32)
            for group in range(n_group):
                _calibrate_lane_kernel(reads, maps, (column, row, lead), (group, y, a, b), work, signal, onset)
                _flag_lane_kernel(ended, lost, dq[y, a:b])


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _grow_saturation_kernel(onset, bad, grow, signal, dq):
    """End (in place) every pixel of `signal` with the first good one that saturates within `grow` rows and columns."""
    n_group, ny, nx = onset.shape
    n_read = signal.shape[1]
    for y in prange(ny):
        first = np.empty(nx, np.int32)
        for group in range(n_group):
            first[:] = n_read
            for k in range(max(y - grow, 0), min(y + grow + 1, ny)):
                for x in range(nx):
                    first[x] = first[x] if bad[k, x] else min(first[x], onset[group, k, x])
            for x in range(nx):
                end = onset[group, y, x]
                for k in range(max(x - grow, 0), min(x + grow + 1, nx)):
                    end = min(end, first[k])
                if end < onset[group, y, x]:
                    dq[y, x] |= SATURATED
                    signal[group, end : onset[group, y, x], y, x] = np.nan
