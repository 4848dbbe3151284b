"""Our fits and non-linearity against those of the C library iris_readout (oirlab/iris_readout, src/drsrop.c).

The library is not needed: `iris_readout.json` holds reads and what its three functions mean by their formulas, made
once with exact fractions of plain Python and rounded once at the end, by no code of ours or of the library:
- `uptheramp`: slope of the least-squares line sum (t - <t>) (S - <S>) / sum (t - <t>)^2, times t_last - t_first;
- `mcds`: mean of the last less mean of the first `num_coadd` reads, in DN and not divided by a time;
- `nonlin_corr`: (1 + c0 + c1 x + c2 x^2 + c3 x^3 + c4 x^4) x of each read x; the coefficients are multiples of powers
  of two, so that they are exact in float32.

What is particular to the library, and not to be matched: reads and times are C integers (whole seconds; their
product overflows at 2^31); there is no bias, no gain, no flag and no error; saturated reads are used as any other;
`mcds` of more than half of the reads uses reads twice, where ours uses half of them at each end; `nonlin_corr` finds
read and coefficients of a pixel only if the image is square, takes its coefficients from transposed maps with rows of
2048 pixels, and ignores the origin of a subarray it is given.

With IRIS_READOUT_LIBRARY naming a shared library of that file, the functions themselves are compared on random reads.
"""

import ctypes
import json
import os
from pathlib import Path

import numpy as np
import pytest

from drs.chain import make_chain
from drs.detector import build_maps, make_polynomial
from drs.ramp import fit_ramp
from drs.signal import calibrate_reads

KNOWN = json.loads(Path(__file__).with_name("iris_readout.json").read_text())
LIBRARY = os.environ.get("IRIS_READOUT_LIBRARY")
STRIDE = 2048  # of its maps of coefficients
EPS = np.finfo(np.float32).eps
needs_library = pytest.mark.skipif(LIBRARY is None, reason="IRIS_READOUT_LIBRARY names no library")


def fit_known(reads, times_s, *, method, n_coadd=1):
    """Return our rate in DN/s: no bias, a gain of 1."""
    reads = np.asarray(reads, np.float32)[np.newaxis]
    maps = build_maps(reads.shape[2:])
    signal = calibrate_reads(reads, maps).signal_e
    chain = make_chain(np.asarray(times_s, float)[np.newaxis])
    return fit_ramp(signal, chain, maps.read_variance_e2, method=method, n_coadd=n_coadd).rate


def fit_uptheramp(reads, times_s):
    """Return what `uptheramp` means, of our `ols`."""
    return fit_known(reads, times_s, method="ols") * (times_s[-1] - times_s[0])


def fit_mcds(reads, times_s, n_coadd):
    """Return what `mcds` means, of our `mcds`."""
    rate = fit_known(reads, times_s, method="mcds", n_coadd=n_coadd)
    return rate * (np.mean(times_s[-n_coadd:]) - np.mean(times_s[:n_coadd]))


def correct_known(reads, coefficients):
    """Return what `nonlin_corr` means, of our non-linearity with coefficients of the FACTOR convention."""
    reads = np.asarray(reads, np.float32)[np.newaxis]
    polynomial = make_polynomial(np.asarray(coefficients, np.float32))
    return calibrate_reads(reads, build_maps(reads.shape[2:], nonlin_coefficients=polynomial)).signal_e[0]


def test_ols_times_the_total_time_is_uptheramp():
    expected = np.array(KNOWN["uptheramp"])
    ours = fit_uptheramp(KNOWN["reads_dn"], KNOWN["times_s"])
    np.testing.assert_allclose(ours, expected, rtol=2 * EPS)


@pytest.mark.parametrize("n_coadd", [1, 2, 3])
def test_mcds_times_its_time_is_mcds(n_coadd):
    expected = np.array(KNOWN["mcds"][str(n_coadd)])
    ours = fit_mcds(KNOWN["reads_dn"], KNOWN["times_s"], n_coadd)
    np.testing.assert_allclose(ours, expected, rtol=2 * EPS)


def test_cds_is_mcds_of_one_read():
    rate = fit_known(KNOWN["reads_dn"], KNOWN["times_s"], method="cds")
    total_s = KNOWN["times_s"][-1] - KNOWN["times_s"][0]
    np.testing.assert_allclose(rate * total_s, KNOWN["mcds"]["1"], rtol=2 * EPS)


def test_factor_coefficients_give_nonlin_corr():
    ours = correct_known(KNOWN["reads_dn"], KNOWN["factor_coefficients"])
    np.testing.assert_allclose(ours, KNOWN["nonlin_corr"], rtol=2 * EPS)


def test_factor_coefficients_of_zero_change_nothing():
    reads = np.array(KNOWN["reads_dn"])
    assert (correct_known(reads, np.zeros((5, *reads.shape[1:]))) == reads).all()


def call_library(name, reads, times_s, shape, *arguments):
    """Return the float32 result of one of its functions on reads of shape (n_read, ny, nx)."""
    function = getattr(ctypes.CDLL(LIBRARY), name)
    function.restype = ctypes.POINTER(ctypes.c_float)
    reads, times_s = reads.astype(np.intc), np.asarray(times_s, np.intc)
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_int)) for array in (reads, times_s)]
    result = function(*pointers, *map(ctypes.c_int, reads.shape), *arguments)
    return np.ctypeslib.as_array(result, shape).copy()


def make_random(shape):
    """Return reads near a line and their times."""
    rng = np.random.default_rng(3)
    times_s = np.cumsum(rng.integers(1, 9, shape[0]))
    slope = rng.uniform(0.5, 150, shape[1:])
    return 1000 + rng.poisson(slope * times_s[:, np.newaxis, np.newaxis]) + rng.integers(-20, 21, shape), times_s


@needs_library
def test_the_library_itself_gives_our_fits():
    reads, times_s = make_random((40, 24, 36))
    theirs = call_library("uptheramp", reads, times_s, reads.shape[1:])
    np.testing.assert_allclose(fit_uptheramp(reads, times_s), theirs, rtol=4 * EPS)
    for n_coadd in (1, 2, 5, 20):
        theirs = call_library("mcds", reads, times_s, reads.shape[1:], ctypes.c_int(n_coadd))
        np.testing.assert_allclose(fit_mcds(reads, times_s, n_coadd), theirs, rtol=4 * EPS)


@needs_library
def test_the_library_itself_gives_our_nonlinearity():
    reads, times_s = make_random((6, 24, 24))
    rng = np.random.default_rng(4)
    sizes = (1e-3, 1e-6, 1e-11, 1e-16, 1e-21)
    coefficients = np.stack([size * rng.standard_normal(reads.shape[1:]) for size in sizes]).astype(np.float32)
    maps = np.zeros((5, reads.shape[2], STRIDE), np.float32)
    maps[:, :, : reads.shape[1]] = coefficients.transpose(0, 2, 1)
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for array in maps]
    origin = ctypes.c_int(0), ctypes.c_int(0)
    theirs = call_library("nonlin_corr", reads, times_s, reads.shape, *origin, *pointers)
    np.testing.assert_allclose(correct_known(reads, coefficients), theirs, rtol=4 * EPS)
