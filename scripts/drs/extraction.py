"""Spectra of a spectrograph column by column, of lenslets and of slices alike: what the lines of arcs are found in."""

from typing import NamedTuple

import numpy as np

from drs.lenslet import extract_spectra, make_matrix, measure_shift, shift_matrix
from drs.slicer import extract_columns
from drs.spectralrefs import match_slices, match_wavelengths


class Spectra(NamedTuple):
    """How the spectra of a mode are extracted, and where they are.

    `extract`: Image -> flux, error, dq (spectrum, column); `guess_um` float64 (spectrum, column), of the reference;
    `place` int (spectrum, 2): slice and position, or x and y; `group` int (spectrum): the slice, None of lenslets.
    """

    extract: object
    guess_um: np.ndarray
    place: np.ndarray
    group: np.ndarray | None


def find_spectra(optics, prior):
    """Return the Spectra of a mode.

    Parameters
    ----------
    optics : Product
        RectificationModel of lenslets, or TraceModel of slices.
    prior : Product
        WavelengthModel of the same mode.

    Raises
    ------
    ReductionError
        References of different modes.
    """
    shape = prior.arrays["WAVESOL"].shape
    if optics.model == "TraceModel":
        edges, guess_um = match_slices(prior, optics)
        slice_, position = (axis.ravel() for axis in np.indices(shape[1:]))

        def extract_slices(image):
            bins = extract_columns(*image[:3], edges, shape[2])
            return [array.reshape(-1, shape[0]) for array in bins[:3]]

        return Spectra(extract_slices, guess_um.reshape(-1, shape[0]), np.stack([slice_, position], axis=1), slice_)
    rectmat, offsets = optics.arrays["RECTMAT"], optics.arrays["OFFSETS"]
    guess_um, matrix = match_wavelengths(prior, offsets, rectmat.shape[1:]), make_matrix(rectmat, offsets)

    def extract_lenslets(image):
        rows, _ = measure_shift(*image[:3], matrix, column_step=1)
        return extract_spectra(*image[:3], shift_matrix(matrix, rows))[:3]

    y, x = (axis.ravel() for axis in np.indices(shape[1:]))
    return Spectra(extract_lenslets, guess_um, np.stack([x, y], axis=1), None)
