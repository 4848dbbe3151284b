"""Calibration of each pixel of a detector: from reference files to the maps that ramps are calibrated with."""

from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np

from drs import product
from drs.dq import Flag
from drs.errors import ReductionError
from drs.planes import Plane, split_rows
from drs.region import check_place, find_frame, find_region
from drs.windows import cut_part, find_border, find_windows

MODELS = {
    "dq": ("DQModel", "DQ", "dq"),
    "saturation": ("SaturationModel", "SCI", "saturation_dn"),
    "bias": ("BiasModel", "SCI", "bias_dn"),
    "nonlin": ("NonlinearCorrectionModel", "COEFFS", "nonlin_coefficients"),
    "gain": ("GainModel", "SCI", "gain_e_per_dn"),
    "readnoise": ("ReadNoiseModel", "SCI", "read_noise_e"),
}
NO_RAMP = Flag.NON_SCIENCE | Flag.DO_NOT_USE
NO_NOISE = Flag.UNRELIABLE_SLOPE | Flag.DO_NOT_USE
MAX_SUBARRAY_ID = 10
MAX_BAD_FRACTION = 0.5


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
    """Return the maps of a detector; what is no calibration is replaced and flagged.

    A saturation that is not positive, a bias or coefficient that is not finite: no check, no bias, no correction, with
    NO_SAT_CHECK, UNRELIABLE_BIAS, NO_LIN_CORR. A gain that is not positive and finite: NaN, NO_GAIN_VALUE. A read noise
    that is negative or not finite: NaN, UNRELIABLE_SLOPE and DO_NOT_USE, as no error can be given.

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
    no_check = _flag(flags, ~is_usable("saturation", saturation), Flag.NO_SAT_CHECK)
    bias = maps.get("bias_dn", np.broadcast_to(np.float32(0), shape))
    no_bias = ~np.isfinite(bias)
    _flag(flags, no_bias, Flag.UNRELIABLE_BIAS)
    coefficients = maps["nonlin"]
    no_correction = _flag(flags, ~np.isfinite(coefficients).all(axis=0), Flag.NO_LIN_CORR)
    identity = np.arange(len(coefficients), dtype=np.float32)[:, np.newaxis, np.newaxis] == 1
    gain = maps.get("gain_e_per_dn", np.broadcast_to(np.float32(1), shape))
    gain = _replace(gain, _flag(flags, ~is_usable("gain", gain), Flag.NO_GAIN_VALUE), np.nan)
    noise = maps.get("read_noise_e")
    if noise is None:
        noise = gain / np.sqrt(np.float32(12))
    else:
        no_noise = ~is_usable("readnoise", noise)
        _flag(flags, no_noise, NO_NOISE)
        rounding = np.nan_to_num(gain / np.sqrt(np.float32(12)))
        noise = np.maximum(_replace(noise, no_noise, np.nan), rounding)  # a read noise of 0 would weigh infinitely
    return PixelMaps(
        flags,
        _replace(saturation, no_check, np.inf),
        _replace(bias, no_bias, 0),
        _replace(coefficients, no_correction, identity),
        gain,
        noise * noise,
    )


def is_usable(kind, values):
    """Return where a map of saturation, gain or read noise can be used."""
    if kind == "saturation":
        return values > 0  # infinity is a pixel that never saturates
    return np.isfinite(values) & (values >= 0 if kind == "readnoise" else values > 0)


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
    if bad.any():
        flags |= bad * np.uint32(flag)
    return flags & np.uint32(flag) != 0


def make_polynomial(coefficients):
    """Return coefficients of y = (1 + c_0 + c_1 x + ...) x (iris_readout, src/drsrop.c) as those of y = sum_k c_k x^k.

    Parameters
    ----------
    coefficients : ndarray, float32, (n_coeff, ny, nx)

    Returns
    -------
    ndarray, float32, (n_coeff + 1, ny, nx)
    """
    polynomial = np.concatenate([np.zeros_like(coefficients[:1]), coefficients])
    polynomial[1] += 1
    return polynomial


class ReferenceMaps:
    """The maps of an exposure in their files; made by `open_maps`."""

    def __init__(self, shape, flags, maps, areas, subarray_map):
        self.shape = tuple(shape)
        self._flags, self._maps, self._areas, self._subarray_map = flags, maps, areas, subarray_map

    def rows(self, start, stop):
        """Return the PixelMaps of the rows from `start` to before `stop`; only these are in memory."""
        shape = (stop - start, self.shape[1])
        dq = np.zeros(shape, np.uint32)
        for stored in self._flags:
            dq |= stored.read(start, stop)
        for rows, columns, flag in self._areas:
            if part := cut_part(rows, columns, (start, 0), shape):
                dq[part] |= np.uint32(flag)
        if self._subarray_map is not None:
            _flag(dq, self._subarray_map[start:stop] > 0, Flag.SUBARRAY)
        return build_maps(shape, dq, **{name: stored.read(start, stop) for name, stored in self._maps.items()})


class _Map(NamedTuple):
    """One array of a reference, and the part of it that the exposure saw."""

    plane: Plane
    region: tuple
    convert: object = None

    def read(self, start, stop):
        """Return rows of the exposure."""
        first = self.region[0].start or 0
        values = self.plane.read(slice(first + start, first + stop))[..., self.region[1]]
        return values if self.convert is None else self.convert(values)


@contextmanager
def open_maps(paths, keywords, shape, *, subarray_map=None, border_pix=0):
    """Open the maps of an exposure; they are read by rows.

    Parameters
    ----------
    paths : dict
        Type of reference (dq, saturation, bias, nonlin, gain, readnoise) -> path.
    keywords : mapping
        Header of the exposure; SUBARRAY, SUBSTRT1 and SUBSTRT2 (1-based) say what to cut from full-frame maps,
        ODGWnPS and ODGWnST where guide windows are (see `find_windows`).
    shape : tuple
        (ny, nx) of the exposure.
    subarray_map : ndarray of integers, (ny, nx), optional
        0, or the number 1 to 10 of the subarray that a pixel was read with: SUBARRAY is set.
    border_pix : int, optional
        Rows and columns of reference pixels at each edge of the full frame: REFERENCE_PIXEL, NON_SCIENCE, DO_NOT_USE.

    Yields
    ------
    ReferenceMaps
        With the flags of all references; guide windows are NON_SCIENCE and DO_NOT_USE.

    Raises
    ------
    ReductionError
        A reference that is not whole, of another model, unit or shape, or without a usable value in more than half
        of the exposure's pixels; a subarray map or guide window that makes no sense.
    """
    _check_subarray_map(subarray_map, shape)
    flags, maps, map_shapes = [], {}, []
    with ExitStack() as stack:
        for kind, path in paths.items():
            model, extension, name = MODELS[kind]
            reference = stack.enter_context(product.open_product(path, models=model))
            plane = reference.arrays[extension]
            text = f"{kind} reference {path}"
            region = find_region(plane.shape[-2:], keywords, shape, name=text)
            if plane.shape[-2:] == tuple(shape):
                check_place(reference.keywords, keywords, name=text)
            if kind == "nonlin" and plane.shape[0] < 2:
                raise ReductionError(f"{text} has one coefficient per pixel, expected 2 or more: give a whole one")
            map_shapes.append(plane.shape[-2:])
            flags.append(_Map(reference.arrays["DQ"], region))
            if kind != "dq":
                is_factor = reference.keywords.get("NLCONV") == "FACTOR"
                maps[name] = _Map(plane, region, make_polynomial if is_factor else None)
            if kind in ("saturation", "gain", "readnoise"):
                _check_usable(kind, maps[name], shape, text)
        frame = find_frame(keywords, shape, map_shapes)
        yield ReferenceMaps(shape, flags, maps, _find_areas(keywords, shape, border_pix, frame), subarray_map)


def _find_areas(keywords, shape, border_pix, frame):
    """Return (rows, columns, flag) of the parts of an exposure that hold no ramp of the sky."""
    windows = find_windows(keywords, shape, frame=frame)
    border = find_border(keywords, shape, border_pix, frame=frame)
    areas = [(rows, columns, NO_RAMP) for _, rows, columns in windows]
    return areas + [(rows, columns, NO_RAMP | Flag.REFERENCE_PIXEL) for rows, columns in border]


def _check_usable(kind, stored, shape, text):
    """Refuse a map without a usable value in most of an exposure's pixels."""
    good = 0
    for rows in split_rows(shape[0], stored.plane.shape[-1] * stored.plane.dtype.itemsize):
        good += np.count_nonzero(is_usable(kind, stored.read(rows.start, rows.stop)))
    n_pixel = shape[0] * shape[1]
    if n_pixel - good > MAX_BAD_FRACTION * n_pixel:
        expected = "numbers from 0 on" if kind == "readnoise" else "positive numbers"
        raise ReductionError(
            f"{text} cannot be used: {n_pixel - good} of {n_pixel} pixels are negative or no number, expected "
            f"{expected} in at least half of them; give another one with 'override: {{{kind}: FILE}}' in config.yaml"
        )


def _check_subarray_map(subarray_map, shape):
    """Refuse a map of subarrays of another shape or with numbers that are none of a subarray."""
    if subarray_map is None:
        return
    if subarray_map.shape != tuple(shape) or subarray_map.dtype.kind not in "iu":
        raise ReductionError(
            f"SUBARR_MAP is {subarray_map.dtype} of shape {subarray_map.shape}, expected integers of shape "
            f"{tuple(shape)} (ny, nx) as the reads: mend the file, or leave out the extension"
        )
    low, high = int(subarray_map.min()), int(subarray_map.max())
    if low < 0 or high > MAX_SUBARRAY_ID:
        raise ReductionError(
            f"SUBARR_MAP holds numbers from {low} to {high}, expected 0 (no subarray) to {MAX_SUBARRAY_ID}: mend the "
            "file, or leave out the extension"
        )
