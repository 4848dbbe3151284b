"""Lanes of pixels: the same results as one pixel after the other."""

import numpy as np
import pytest
from ramps import make_messy

from drs.chain import make_chain
from drs.ramp import METHODS, fit_ramp, refit_ramp


@pytest.mark.parametrize("method", METHODS)
def test_lanes_and_single_pixels_agree(method):
    """Whole ramps, and ramps that end early, of 600 columns: more than one lane."""
    signal, times_s = make_messy((2, 9, 5, 600))
    signal = np.where(np.isfinite(signal), signal, 0)
    signal[0, 5:, :, ::7] = np.nan
    signal[1, 2:, 1:, ::5] = np.nan
    variance, chain = np.full(signal.shape[2:], 36, np.float32), make_chain(times_s)
    lanes = fit_ramp(signal, chain, variance, method=method, n_coadd=2, chi_square=True)
    pixels = np.nonzero(np.ones(variance.shape, bool))
    single = refit_ramp(
        signal,
        chain,
        variance,
        np.full(variance.shape, np.nan),
        np.zeros((17, *variance.shape), bool),
        pixels,
        method=method,
        n_coadd=2,
    )
    for name in ("rate", "var_rnoise", "photon_factor", "chi_square", "n_reads"):
        one, other = getattr(lanes, name)[pixels], getattr(single, name)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)
