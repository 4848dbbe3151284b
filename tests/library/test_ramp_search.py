"""Pixels in lockstep: what one pixel holds, and how many there are, does not change another."""

import numpy as np
from ramps import fit_equal_noise as fit
from ramps import make_signal, make_times

IMAGE = (3, 5)
NAMES = ("rate", "var_rnoise", "photon_factor", "chi_square", "n_reads")


def test_pixels_with_many_jumps_do_not_change_those_with_one():
    """Rounds are as many as the pixel with most jumps needs; the others are done before."""
    times_s = make_times(2, 12)
    signal = make_signal(3.0, times_s)
    signal[0, 4:, 0, 0] += 900
    alone = fit(signal, times_s, threshold=4.5)
    for hit, size in ((2, 40000), (5, 9000), (8, 3000), (10, 500)):
        signal[1, hit:, 0, 1:4] += size
        signal[0, hit:, 2, 2] -= size
    both = fit(signal, times_s, threshold=4.5)
    assert np.argwhere(both.found[:, 0, 0]).tolist() == [[3]]
    for x in range(1, 4):
        assert np.flatnonzero(both.found[:, 0, x]).tolist() == [13, 16, 19, 21]
    for name in NAMES:
        assert getattr(both, name)[0, 0] == getattr(alone, name)[0, 0]


def test_a_missing_read_is_bridged_and_a_reset_is_not():
    """Reads missing beside a reset too: the times of the second group begin anew."""
    times_s = make_times(2, 6)
    signal = make_signal(7.0, times_s)
    signal[1] += 5000
    signal[0, 2, 0, 0] = signal[0, 5, 0, 1] = signal[1, 0, 0, 1] = signal[1, 3, 0, 2] = np.nan
    signal[0, 3:, 0, 0] += 800  # in the difference across the missing read
    result = fit(signal, times_s, threshold=4.5)
    np.testing.assert_allclose(result.rate, 7.0, rtol=1e-4)
    assert result.found[2, 0, 0]
    assert not result.found[:, :, 1:].any()
    assert result.n_reads[0, :4].tolist() == [11, 10, 11, 12]
