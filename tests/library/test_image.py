"""Weights of samples by their errors and flags."""

import numpy as np

from drs.dq import Flag
from drs.image import weigh


def test_what_cannot_be_used_has_no_weight():
    rate = np.array([1, np.nan, 3, 4, 5, 6], np.float32)
    error = np.array([2, 1, np.nan, 0, 4, 0.5], np.float32)
    dq = np.array([0, 0, 0, 0, Flag.DO_NOT_USE | Flag.HOT, Flag.JUMP_DET], np.uint32)
    usable, weight = weigh(rate, error, dq)
    np.testing.assert_array_equal(usable, [True, False, False, False, False, True])
    np.testing.assert_array_equal(weight, [0.25, 0, 0, 0, 0, 4.0])
    assert weight.dtype == np.float64
