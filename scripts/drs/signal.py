"""Raw reads to signals: saturation, bias, non-linearity, gain; NaN marks a read that cannot be used."""

import numpy as np
from numba import njit, prange

from drs.dq import Flag

SATURATED, DROPOUT = np.uint32(Flag.SATURATED), np.uint32(Flag.DROPOUT)


def calibrate_reads(reads_dn, maps):
    """Return the signal of every read in electrons.

    A raw read at or above the saturation threshold and all later ones of its group are not usable. The signal x
    above the bias is corrected to sum_k c_k x^k (DN), then multiplied by the gain.

    Parameters
    ----------
    reads_dn : ndarray, uint16 or float32, (n_group, n_read, ny, nx)
        Raw reads; those that are not finite are not usable.
    maps : PixelMaps
        Calibration of these pixels.

    Returns
    -------
    signal_e : ndarray, float32, (n_group, n_read, ny, nx)
        NaN where a read is not usable.
    dq : ndarray, uint32, (ny, nx)
        Flags of the maps, with SATURATED, or DROPOUT where a read was not finite.
    """
    if reads_dn.ndim != 4 or reads_dn.shape[2:] != maps.dq.shape:
        raise ValueError(f"reads {reads_dn.shape} and maps {maps.dq.shape} do not fit each other")
    signal_e, dq = np.empty(reads_dn.shape, np.float32), maps.dq.copy()
    _calibrate_rows_kernel(np.ascontiguousarray(reads_dn), maps, signal_e, dq)
    return signal_e, dq


@njit(cache=True, error_model="numpy")
def _subtract_bias_kernel(raw, saturation, bias, live, signal, dq):
    """Write the signal above the bias of one read of a row; note saturation and reads that are no number."""
    for i in range(raw.size):
        value = np.float32(raw[i])
        nothing = value - value  # NaN for infinite values too
        live[i] &= not (value >= saturation[i] and nothing == 0)
        dq[i] |= (np.uint32(0) if live[i] else SATURATED) | (DROPOUT if nothing != 0 else np.uint32(0))
        signal[i] = value - bias[i] + nothing


@njit(cache=True, error_model="numpy")
def _start_polynomial_kernel(coefficient, signal, x):
    """Move the signal of a row to x, and put the highest coefficient in its place."""
    for i in range(signal.size):
        x[i] = signal[i]
        signal[i] = coefficient[i]


@njit(cache=True, error_model="numpy")
def _continue_polynomial_kernel(coefficient, x, signal):
    """One step of Horner's rule on a row."""
    for i in range(signal.size):
        signal[i] = signal[i] * x[i] + coefficient[i]


@njit(cache=True, error_model="numpy")
def _scale_gain_kernel(gain, live, signal):
    """Turn the signal of one read of a row from DN to e-; NaN from saturation on."""
    for i in range(signal.size):
        signal[i] = signal[i] * gain[i] if live[i] else np.float32(np.nan)


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _calibrate_rows_kernel(reads, maps, signal, dq):
    """Calibrate rows of reads (n_group, n_read, ny, nx); fill `signal` and add to `dq`."""
    n_group, n_read, ny, nx = reads.shape
    n_coeff = maps.nonlin_coefficients.shape[0]
    for y in prange(ny):
        live, x = np.empty(nx, np.bool_), np.empty(nx, np.float32)
        for group in range(n_group):
            live[:] = True
            for read in range(n_read):
                out = signal[group, read, y]
                raw = reads[group, read, y]
                _subtract_bias_kernel(raw, maps.saturation_dn[y], maps.bias_dn[y], live, out, dq[y])
                if n_coeff > 0:
                    _start_polynomial_kernel(maps.nonlin_coefficients[n_coeff - 1, y], out, x)
                for k in range(n_coeff - 2, -1, -1):
                    _continue_polynomial_kernel(maps.nonlin_coefficients[k, y], x, out)
                _scale_gain_kernel(maps.gain_e_per_dn[y], live, out)
