"""The largest step to the eight neighbours."""

import numpy as np
import pytest

from drs.steepness import take_steepness_kernel


@pytest.mark.parametrize(("y", "x", "step"), [(0, 0, 7.0), (1, 2, 4.0), (2, 3, 2.0), (2, 0, 0.0)])
def test_steps_to_neighbours(y, x, step):
    image = np.zeros((3, 4), np.float32)
    image[1, 1], image[0, 3], image[1, 2] = 7, 5, 4
    image[1, 0], image[2, 0], image[2, 1] = np.nan, 1, np.nan
    image[2, 2], image[2, 3] = 4, 2
    if (y, x) == (2, 0):
        image[1, 1] = np.nan
    assert take_steepness_kernel(image, y, x) == step
