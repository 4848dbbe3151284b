"""The chain of reads: what is left out, what parts, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drs.chain import make_chain
from drs.errors import ReductionError

TIMES = np.array([[1.0, 2.0, 4.0, 5.0], [1.5, 2.5, 3.0, 9.0]])


def test_groups_part_the_chain():
    chain = make_chain(TIMES)
    assert chain.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert chain.reads.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert chain.times.tolist() == TIMES.ravel().tolist()
    assert chain.live.tolist() == [True, True, True, False, True, True, True]
    assert (chain.blur_s, chain.n_average, chain.shape) == (0.0, 1, (2, 4))


def test_a_read_left_out_joins_its_neighbours_and_a_poor_interval_parts_them():
    usable, poor = np.ones(TIMES.shape, bool), np.zeros(TIMES.shape, bool)
    usable[0, 1], usable[1, 0] = False, False
    poor[0, 1] = True  # ends with the read that is left out: what it collected is in the next difference
    poor[1, 3] = True
    poor[1, 1] = True  # before the first read that is left: nothing to part
    chain = make_chain(TIMES, usable=usable, poor=poor)
    assert list(zip(chain.groups.tolist(), chain.reads.tolist(), strict=True)) == [
        (0, 0),
        (0, 2),
        (0, 3),
        (1, 1),
        (1, 2),
        (1, 3),
    ]
    assert chain.live.tolist() == [False, True, False, True, False]


@given(n=st.integers(1, 20), step=st.floats(0.01, 10))
def test_blur_is_that_of_the_mean_of_equal_steps(n, step):
    """var(mean of the photons of N reads) = rate (mean time - c), by the definition of the covariance."""
    times = step * (1 + np.arange(n))
    variance = np.minimum.outer(times, times).mean()
    chain = make_chain([[times.mean(), times.mean() + 1000]], n_average=n, average_step_s=step)
    np.testing.assert_allclose(chain.blur_s, times.mean() - variance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("times_s", "options", "message"),
    [
        (TIMES[:, ::-1], {}, "increasing in each group"),
        (TIMES[0], {}, r"shape \(4,\)"),
        (TIMES * np.nan, {}, "increasing"),
        (TIMES, {"n_average": 0}, "averages of 0 reads"),
        (TIMES, {"n_average": 8, "average_step_s": 0.5}, "do not fit between two stored reads"),
    ],
)
def test_refused(times_s, options, message):
    with pytest.raises(ReductionError, match=message):
        make_chain(times_s, **options)


def test_masks_must_have_the_shape_of_the_times():
    with pytest.raises(ValueError, match="differ in shape"):
        make_chain(TIMES, poor=np.zeros((2, 3), bool))
