"""The arrays of one rate image that the steps hand on: values, errors and flags."""

from typing import NamedTuple

import numpy as np

from drs.dq import Flag


class Image(NamedTuple):
    """A rate image; all arrays have shape (ny, nx).

    `rate` and `error` are float32 in e-/s, `dq` uint32, the variances float32 in (e-/s)^2 or None where unknown.
    `var_dark` is the part of the variance that comes from the dark that was subtracted: frames with one dark share
    it, so it does not average out between them and it cancels in their differences.
    """

    rate: np.ndarray
    error: np.ndarray
    dq: np.ndarray
    var_poisson: np.ndarray | None = None
    var_rnoise: np.ndarray | None = None
    var_dark: np.ndarray | None = None

    @property
    def unusable(self):
        """True where there is no value to use."""
        return (self.dq & Flag.DO_NOT_USE != 0) | ~np.isfinite(self.rate) | ~np.isfinite(self.error)


def make_nothing(model):
    """Return (arrays, units) that stand in a refused product of a model: one pixel without a value."""
    if model == "RectificationModel":
        return {"RECTMAT": np.zeros((1, 1, 1, 1), np.float32), "OFFSETS": np.zeros((2, 1, 1), np.int32)}, {}
    shape = (1, 1, 1) if model == "IFUCubeModel" else (1, 1)
    nothing = np.full(shape, np.nan, np.float32)
    arrays = {"SCI": nothing, "ERR": nothing, "DQ": np.full(shape, Flag.DO_NOT_USE, np.uint32)}
    return arrays, dict.fromkeys(("SCI", "ERR"), "" if model == "FlatModel" else "electron/s")


def check_shapes(image, calibration, name):
    """Refuse arrays of different shapes, naming both."""
    if image.rate.shape != calibration.rate.shape:
        raise ValueError(f"{name} has shape {calibration.rate.shape}, the image {image.rate.shape} (ny, nx)")
