"""The arrays of one rate image that the steps hand on: values, errors and flags."""

from typing import NamedTuple

import numpy as np

from drs.dq import Flag

UNITS_OF_MODELS = {
    "PhotometryModel": "",
    "FlatModel": "",
    "TelluricModel": "",
    "FibreModel": "pix",
    "GainModel": "electron/DN",
    "ReadNoiseModel": "electron",
}
UNITS_OF_MODELS |= {"BiasModel": "DN", "SaturationModel": "DN"}  # of all others: electron/s


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


def weigh(rate, error, dq):
    """Return which samples can be used, bool, and the weights of all by their errors, float64: 1 / error^2, or 0."""
    usable = (dq & np.uint32(Flag.DO_NOT_USE) == 0) & np.isfinite(rate) & np.isfinite(error) & (error > 0)
    return usable, np.where(usable, 1 / np.where(usable, error, 1).astype(np.float64) ** 2, 0)


def check_shapes(image, calibration, name):
    """Refuse arrays of different shapes, naming both."""
    if image.rate.shape != calibration.rate.shape:
        raise ValueError(f"{name} has shape {calibration.rate.shape}, the image {image.rate.shape} (ny, nx)")


def find_plane(arrays):
    """Return (values, error, dq) of the image that shows a product; None without one.

    Of coefficients (n, ny, nx) it is that of the lowest order of a correction; of flags alone 1 where there is one. An
    error that the product does not state is 0.
    """
    if "DQ" not in arrays:
        return None
    dq = arrays["DQ"]
    if "SCI" in arrays:
        values = arrays["SCI"]
    elif "COEFFS" in arrays:
        values = arrays["COEFFS"][min(2, len(arrays["COEFFS"]) - 1)]
    elif set(arrays) == {"DQ"}:
        values = (dq != 0).astype(np.float32)
    else:
        return None
    return values, arrays.get("ERR", np.zeros(values.shape, np.float32)), dq


def make_nothing(model):
    """Return (arrays, units) of one pixel without a value: what stands in for a refused product of a model."""
    value, flag = np.full((1, 1), np.nan, np.float32), np.full((1, 1), Flag.DO_NOT_USE, np.uint32)
    if model == "DQModel":
        return {"DQ": flag}, {}
    if model == "RectificationModel":
        return {"RECTMAT": np.zeros((1, 1, 1, 1), np.float32), "OFFSETS": np.zeros((2, 1, 1), np.int32)}, {}
    if model == "WavelengthModel":
        return {"WAVESOL": value[np.newaxis]}, {"WAVESOL": "um"}
    if model == "IFUCubeModel":
        value, flag = value[np.newaxis], flag[np.newaxis]
    if model == "NonlinearCorrectionModel":
        return {"COEFFS": np.full((2, 1, 1), np.nan, np.float32), "DQ": flag}, {"COEFFS": "DN"}
    if model == "DistortionModel":
        maps = dict.fromkeys(("SCI", "ERR", "DX", "DY"), value)
        return maps | {"DQ": flag}, dict.fromkeys(maps, "pix")
    if model == "TraceModel":
        maps = {"SCI": value, "ERR": value, "DQ": flag, "EDGES": np.full((1, 2, 1), np.nan, np.float32)}
        return maps, {"SCI": "", "ERR": "", "EDGES": "pix"}
    if model == "PsfModel":
        maps = dict.fromkeys(("SCI", "ERR", "ENCIRCLED", "RADIUS"), value)
        return maps | {"DQ": flag}, dict.fromkeys(maps, "") | {"RADIUS": "pix"}
    unit = UNITS_OF_MODELS.get(model, "electron/s")
    if model in ("TelluricModel", "FibreModel"):
        arrays = {"SCI": value, "ERR": value, "DQ": flag, "WAVELENGTH": value.astype(np.float64)}
        return arrays, {"SCI": unit, "ERR": unit, "WAVELENGTH": "um"}
    return {"SCI": value, "ERR": value, "DQ": flag}, {"SCI": unit, "ERR": unit}
