"""Calibration of each pixel of a detector: from reference files to the maps that ramps are calibrated with."""

from typing import NamedTuple

import numpy as np

from drs import product
from drs.dq import Flag
from drs.errors import ReductionError

MODELS = {
    "dq": ("DQModel", "DQ", "dq"),
    "saturation": ("SaturationModel", "SCI", "saturation_dn"),
    "bias": ("BiasModel", "SCI", "bias_dn"),
    "nonlin": ("NonlinearCorrectionModel", "COEFFS", "nonlin_coefficients"),
    "gain": ("GainModel", "SCI", "gain_e_per_dn"),
    "readnoise": ("ReadNoiseModel", "SCI", "read_noise_e"),
}


class PixelMaps(NamedTuple):
    """Calibration of each pixel, (ny, nx), float32 but for `dq` (uint32).

    `saturation_dn` is infinite where there is no check; `nonlin_coefficients` (n_coeff, ny, nx) is empty for no
    correction and x -> x for a pixel without one; `gain_e_per_dn` and `read_variance_e2` are NaN where unknown.
    """

    dq: np.ndarray
    saturation_dn: np.ndarray
    bias_dn: np.ndarray
    nonlin_coefficients: np.ndarray
    gain_e_per_dn: np.ndarray
    read_variance_e2: np.ndarray

    def cut(self, rows):
        """Return the maps of some rows, contiguous in memory."""
        return PixelMaps(*(np.ascontiguousarray(array[..., rows, :]) for array in self))


def build_maps(shape, dq=None, **arrays):
    """Return the maps of a detector; what is no calibration (NaN, gain <= 0) is replaced and flagged.

    Parameters
    ----------
    shape : tuple
        (ny, nx)
    dq : ndarray, uint32, (ny, nx), optional
        Flags; NO_SAT_CHECK and NO_LIN_CORR switch these steps off for a pixel.
    **arrays : ndarray, (ny, nx)
        `saturation_dn`, `bias_dn`, `nonlin_coefficients` (n_coeff, ny, nx), `gain_e_per_dn`, and `read_noise_e`, the
        noise of one read with that of its digitisation (as measured on data). Without one: no check, no correction,
        a gain of 1, and digitisation alone, 1/12 DN^2.
    """
    if unknown := set(arrays) - {name for _, _, name in MODELS.values()}:
        raise ValueError(f"no such maps: {sorted(unknown)}")
    flags = np.zeros(shape, np.uint32) if dq is None else np.array(dq, np.uint32)
    coefficients = arrays.pop("nonlin_coefficients", np.empty((0, *shape), np.float32))
    maps = {name: _check_shape(name, array, shape) for name, array in {**arrays, "nonlin": coefficients}.items()}
    saturation = maps.get("saturation_dn", np.broadcast_to(np.float32(np.inf), shape))
    no_check = _flag(flags, np.isnan(saturation), Flag.NO_SAT_CHECK)
    bias = maps.get("bias_dn", np.broadcast_to(np.float32(0), shape))
    no_bias = ~np.isfinite(bias)
    _flag(flags, no_bias, Flag.UNRELIABLE_BIAS)
    coefficients = maps["nonlin"]
    no_correction = _flag(flags, ~np.isfinite(coefficients).all(axis=0), Flag.NO_LIN_CORR)
    identity = np.arange(len(coefficients), dtype=np.float32)[:, np.newaxis, np.newaxis] == 1
    gain = maps.get("gain_e_per_dn", np.broadcast_to(np.float32(1), shape))
    gain = _replace(gain, _flag(flags, ~(np.isfinite(gain) & (gain > 0)), Flag.NO_GAIN_VALUE), np.nan)
    noise = maps.get("read_noise_e", gain / np.sqrt(np.float32(12)))
    return PixelMaps(
        flags,
        _replace(saturation, no_check, np.inf),
        _replace(bias, no_bias, 0),
        _replace(coefficients, no_correction, identity),
        gain,
        _replace(noise, ~(noise >= 0), np.nan) ** 2,
    )


def _replace(array, bad, value):
    """Return a float32 map with a value where it is bad; the map itself when it is good everywhere."""
    return np.where(bad, np.asarray(value, np.float32), array) if bad.any() else array


def _check_shape(name, array, shape):
    """Return a map as float32; refuse one of another shape."""
    if array.shape[-2:] != tuple(shape):
        raise ReductionError(f"{name} has shape {array.shape}, the reads need (ny, nx) = {tuple(shape)}")
    return np.asarray(array, np.float32)


def _flag(flags, bad, flag):
    """Set a flag (in place) where a map is bad; return where it is set, by this map or before."""
    flags[bad] |= np.uint32(flag)
    return flags & np.uint32(flag) != 0


def read_maps(paths, keywords, shape):
    """Return the maps of an exposure.

    Parameters
    ----------
    paths : dict
        Type of reference (dq, saturation, bias, nonlin, gain, readnoise) -> path.
    keywords : mapping
        Header of the exposure; SUBARRAY, SUBSTRT1 and SUBSTRT2 (1-based) say what to cut from full-frame maps.
    shape : tuple
        (ny, nx) of the exposure.

    Returns
    -------
    PixelMaps
        With the flags of all references.
    """
    dq, arrays = np.zeros(shape, np.uint32), {}
    for kind, path in paths.items():
        model, extension, name = MODELS[kind]
        reference = product.read(path, models=model, verify=False)
        region = find_region(reference.arrays[extension].shape[-2:], keywords, shape, name=f"{kind} reference {path}")
        dq |= reference.arrays["DQ"][region]
        if kind != "dq":
            arrays[name] = reference.arrays[extension][..., *region]
    return build_maps(shape, dq, **arrays)


def find_region(map_shape, keywords, shape, *, name):
    """Return the (rows, columns) of a map that an exposure saw; refuse a map that does not hold them."""
    if map_shape == tuple(shape):
        return slice(None), slice(None)
    subarray = keywords.get("SUBARRAY", "FULL")
    if subarray in ("FULL", "N/A"):
        raise ReductionError(
            f"{name} has shape {map_shape}, the exposure {tuple(shape)} (ny, nx) and SUBARRAY = '{subarray}'; give a "
            "reference of this detector, or correct SUBARRAY with SUBSTRT1/2"
        )
    starts = [keywords.get(key) for key in ("SUBSTRT2", "SUBSTRT1")]
    if not all(isinstance(start, int) and start >= 1 for start in starts):
        raise ReductionError(
            f"SUBARRAY = '{subarray}' needs SUBSTRT1 and SUBSTRT2, whole numbers from 1; found {starts[::-1]}; "
            "correct them in exposures.yaml"
        )
    region = tuple(slice(start - 1, start - 1 + size) for start, size in zip(starts, shape, strict=True))
    if any(part.stop > size for part, size in zip(region, map_shape, strict=True)):
        raise ReductionError(
            f"{name} has shape {map_shape}, too small for the subarray of shape {tuple(shape)} (ny, nx) that starts "
            f"at SUBSTRT2, SUBSTRT1 = {starts}; correct SUBSTRT1/2 in exposures.yaml or give a full-frame reference"
        )
    return region
