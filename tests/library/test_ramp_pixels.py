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
    search = Search(4.5, strong_sigma=20.0, large_e=1000.0)
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


def test_a_jump_in_a_three_read_ramp_has_its_charge():
    times_s = make_times(1, 3)
    for hit in (1, 2):
        signal = make_signal(1.0, times_s)
        signal[0, hit:, 0, 0] += 50000
        search = Search(4.5, strong_sigma=10.0, large_e=10000.0)
        result = fit_ramp(
            signal, make_chain(times_s), np.full(IMAGE, 36, np.float32), method="likelihood", search=search
        )
        assert result.found[hit - 1, 0, 0] == 1 | STRONG | LARGE


def test_a_star_that_flickers_has_no_jumps_but_a_cosmic_ray_on_it_is_found():
    rng, times_s = np.random.default_rng(3), make_times(1, 16, 2.0)
    light = 1500 * 2.0 * (1 + 0.04 * rng.standard_normal((1, 16, *IMAGE)))
    signal = np.cumsum(rng.poisson(light), axis=1).astype(np.float32)
    steady = fit(signal, times_s, threshold=4.5)
    assert (steady.found > 0).sum() > 5
    search = Search(4.5, flicker=0.05)
    chain, variance = make_chain(times_s), np.full(IMAGE, 36, np.float32)
    assert not fit_ramp(signal, chain, variance, method="likelihood", search=search).found.any()
    signal[0, 7:, 1, 1] += 3000
    found = fit_ramp(signal, chain, variance, method="likelihood", search=search).found
    assert np.argwhere(found).tolist() == [[6, 1, 1]]


def test_what_is_excluded_before_a_dropped_read_is_excluded_from_the_difference_across_it():
    times_s = make_times(1, 9)
    signal = make_signal(3.0, times_s)
    signal[0, 4:, 0, 0] += 700  # a transient in difference 3, just before read 4, which is dropped
    usable, excluded = np.ones((1, 9), bool), np.zeros((8, *IMAGE), bool)
    usable[0, 4], excluded[3, 0, 0] = False, True
    pixels, variance = (np.array([0]), np.array([0])), np.full(IMAGE, 36, np.float32)
    chain = make_chain(times_s, usable=usable)
    result = refit_ramp(signal, chain, variance, np.full(IMAGE, np.nan), excluded, pixels, method="likelihood")
    np.testing.assert_allclose(result.rate, 3.0, rtol=1e-5)


def test_long_ramps_are_fitted_in_double_precision():
    """5000 reads of a dark: in single precision the recursion is 0.1 sigma off, and its variance 2 %."""
    rng, n_read = np.random.default_rng(1), 5000
    times_s = make_times(1, n_read, 0.72)
    signal = rng.normal(0, 9, (1, n_read, 2, 3)).astype(np.float32)
    result = fit_ramp(signal, make_chain(times_s), np.full((2, 3), 81, np.float32), method="likelihood")
    ols = fit_ramp(signal, make_chain(times_s), np.full((2, 3), 81, np.float32), method="ols")
    dark = ols.rate <= 0
    assert dark.any()
    np.testing.assert_allclose(result.rate[dark], ols.rate[dark], atol=0.002 * np.sqrt(ols.var_rnoise[0, 0]))
    np.testing.assert_allclose(result.var_rnoise[dark], ols.var_rnoise[dark], rtol=1e-3)


def test_one_difference_has_no_chi_square():
    times_s = make_times(1, 2)
    assert np.isnan(fit(make_signal(3.0, times_s), times_s, chi_square=True).chi_square).all()
