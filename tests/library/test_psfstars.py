"""Which stars make a PSF: those that are bright, whole, unsaturated and alone, and the reasons of the others."""

import numpy as np
import pytest
from stars import observe_stars

from drs.dq import Flag
from drs.errors import ReductionError
from drs.psfstars import check_number, check_residual, choose_stars

LIMITS = {"radius_pix": 8.0, "minimum_signal_to_noise": 100.0, "neighbour_fraction": 0.02}
STARS = np.array(
    [
        [30.2, 30.7, 9000.0],  # good
        [70.4, 31.1, 8000.0],  # saturated
        [5.0, 60.0, 8000.0],  # at the edge
        [110.6, 30.3, 20.0],  # faint
        [40.0, 75.0, 9000.0],  # crowded by
        [46.0, 79.0, 900.0],  # this one
        [90.3, 80.8, 7000.0],  # with a bad pixel in its core
        [130.1, 70.6, 6000.0],  # good
    ]
)


def test_each_star_is_used_or_has_a_reason():
    image = observe_stars((110, 160), *STARS.T, seed=1)
    image.dq[31, 71] |= Flag.SATURATED
    image.dq[81, 91] |= Flag.DO_NOT_USE
    chosen, reasons = choose_stars(image, STARS.T, **LIMITS)
    assert [star.place for star in chosen] == [pytest.approx(STARS[k, :2], abs=0.03) for k in (0, 7)]
    assert [star.flux for star in chosen] == pytest.approx(STARS[[0, 7], 2], rel=0.01)
    assert all(star.light.size == pytest.approx(np.pi * 64, abs=12) for star in chosen)
    bad = "with bad pixels, or within 12 pix of the edge"
    assert reasons == {"saturated": 1, "at the edge": 1, "faint": 1, "crowded": 1, "beside a brighter one": 1, bad: 1}


def test_too_few_stars_and_different_ones_are_refused():
    image = observe_stars((110, 160), *STARS[2:4].T, seed=1)
    chosen, reasons = choose_stars(image, STARS[2:4].T, **LIMITS)
    message = r"0 images of stars in 1 exposures are fit for a PSF, at least 3 needed \(1 at the edge, 1 faint\)"
    with pytest.raises(ReductionError, match=message):
        check_number(len(chosen), reasons, 1, minimum_stars=3)
    with pytest.raises(ReductionError, match="no other was found"):
        check_number(0, {}, 1, minimum_stars=3)
    with pytest.raises(ReductionError, match=r"differ from one PSF by 8.0% of its peak, at most 5.0% allowed"):
        check_residual(0.08, maximum_residual=0.05)
    check_residual(0.05, maximum_residual=0.05)
