"""Single pixels: the search for jumps, their marks, and fits without what is excluded."""

import numpy as np
from ramps import fit_equal_noise as fit
from ramps import make_signal, make_times

from drs.chain import LARGE, STRONG, make_chain
from drs.dq import Flag
from drs.ramp import Search, fit_ramp, refit_ramp

IMAGE = (3, 5)


def test_search_goes_on_while_two_good_differences_are_left():
    times_s = make_times(1, 6)
    signal = make_signal(0.0, times_s)
    for hit, size in ((1, 40000), (2, 9000), (3, 3000), (5, 300)):
        signal[0, hit:, 2, 4] += size
    result = fit(signal, times_s, threshold=4.5)
    np.testing.assert_allclose(result.rate, 0, atol=1e-3)
    assert result.n_reads[2, 4] == 2


def test_jumps_say_how_strong_and_large_they_are():
    times_s = make_times(1, 8)
    signal = make_signal(5.0, times_s)
    for x, charge in enumerate((60, 300, 3000)):
        signal[0, 4:, 0, x] += charge
    search = Search(4.5, 20.0, 1000.0)
    result = fit_ramp(signal, make_chain(times_s), np.full(IMAGE, 36, np.float32), method="likelihood", search=search)
    assert result.found[3, 0].tolist() == [1, 1 | STRONG, 1 | STRONG | LARGE, 0, 0]


def test_of_two_differences_the_greater_one_holds_the_jump():
    times_s = make_times(1, 3)
    signal = make_signal(1.0, times_s)
    signal[0, 1:, 0, 0] += 9000
    signal[0, 2:, 0, 1] += 9000
    result = fit(signal, times_s, threshold=4.5)
    assert np.argwhere(result.found).tolist() == [[0, 0, 0], [1, 0, 1]]
    np.testing.assert_allclose(result.rate, 1.0, rtol=1e-3)
    assert result.n_reads[0, :3].tolist() == [2, 2, 3]


def test_two_reads_show_no_jump_but_several_groups_of_two_do():
    signal = make_signal(1.0, make_times(1, 2))
    signal[0, 1, 0, 0] += 9000
    assert not fit(signal, make_times(1, 2), threshold=4.5).found.any()
    signal = make_signal(1.0, make_times(4, 2))
    signal[2, 1, 0, 0] += 9000
    result = fit(signal, make_times(4, 2), threshold=4.5)
    assert np.argwhere(result.found).tolist() == [[4, 0, 0]]
    np.testing.assert_allclose(result.rate, 1.0, rtol=1e-3)


def test_a_jump_within_an_averaged_read_is_left_out_whole():
    """Its charge is split between two differences, in any ratio."""
    times_s, sampling = make_times(1, 10, 4.0), {"n_average": 4, "average_step_s": 1.0}
    for part in (0.25, 0.5, 0.75):
        signal = make_signal(2.0, times_s)
        signal[0, 5, 1, 1] += part * 2000
        signal[0, 6:, 1, 1] += 2000
        result = fit(signal, times_s, threshold=4.5, sampling=sampling)
        assert np.argwhere(result.found).tolist() == [[4, 1, 1], [5, 1, 1]]
        np.testing.assert_allclose(result.rate[1, 1], 2.0, rtol=1e-3)


def test_refit_leaves_out_what_is_excluded_and_searches_the_rest():
    times_s = make_times(2, 6)
    signal = make_signal(4.0, times_s)
    signal[0, 2:, 1, 2] += 150  # left out by hand
    signal[1, 3:, 1, 2] += 5000  # to be found
    excluded = np.zeros((11, *IMAGE), bool)
    excluded[1, 1, 2] = True
    variance = np.full(IMAGE, 1e4, np.float32)
    variance[1, 2] = 36
    pixels = (np.array([1, 0]), np.array([2, 0]))
    result = refit_ramp(
        signal,
        make_chain(times_s),
        variance,
        np.full(IMAGE, np.nan),
        excluded,
        pixels,
        method="ols",
        search=Search(4.5),
    )
    np.testing.assert_allclose(result.rate, 4.0, rtol=1e-5)
    assert (result.dq == Flag.JUMP_DET).all()
    assert result.n_reads.tolist() == [12, 12]
