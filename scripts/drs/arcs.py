"""Lamps and airglow on spectra: which lists a lamp has, its lines, and how far a frame is off its wavelengths."""

import logging
import re

import numpy as np

from drs.errors import ReductionError
from drs.lines import Lines, find_lines, merge_list, read_lists
from drs.wavesol import check_wavelengths

logger = logging.getLogger(__name__)


def choose_lists(name, paths):
    """Return the lists (paths) of the lamps that a name holds: by their file's name or the sign of the element.

    Parameters
    ----------
    name : str or None
        OBJECT of an arc: 'ARGON', 'Ar', 'Ar+Kr'.
    paths : list of Path
        Named by their element: argon.ecsv.

    Raises
    ------
    ReductionError
        A name without a lamp that has a list.
    """
    words = {word.upper() for word in re.findall("[A-Za-z]+", name or "")}
    chosen = [path for path in paths if {path.stem.upper(), path.stem[:2].upper()} & words]
    if not chosen:
        known = ", ".join(path.stem for path in paths)
        raise ReductionError(f"OBJECT {name!a} names no lamp that has a list ({known}): correct it in exposures.yaml")
    return chosen


def list_lines(paths, wavelength_um, fwhm_pix, margin_pix=0.0):
    """Return (wavelength, intensity) of the lines of lists that these spectra show each alone, rising.

    Parameters
    ----------
    paths : list of Path
    wavelength_um : ndarray, float64, (spectrum, column)
    fwhm_pix : float
        Of a line, in columns.
    margin_pix : float, optional
        By which the lines may be beyond the spectra.
    """
    step = float(np.nanmedian(np.abs(np.diff(wavelength_um, axis=1))))
    limits = np.nanmin(wavelength_um) - margin_pix * step, np.nanmax(wavelength_um) + margin_pix * step
    return merge_list(*read_lists(paths, *limits), fwhm_pix * step)


def join_lines(found):
    """Return the Lines of several exposures of the same spectra as one."""
    columns = [np.concatenate([lines[k] for lines in found]) for k in range(5)]
    return Lines(*columns, np.sum([lines.n_saturated for lines in found], axis=0))


def join_lists(lists):
    """Return (wavelength, intensity) of several lists as one, rising; a line that two have counts once."""
    wavelength, index = np.unique(np.concatenate([own[0] for own in lists]), return_index=True)
    return wavelength, np.concatenate([own[1] for own in lists])[index]


def measure_offset(spectra, wavelength_um, paths, *, fwhm_pix, most_pix):
    """Return the drs.wavesol.Check of a frame by lines of the sky; None where it shows too few.

    Parameters
    ----------
    spectra : (ndarray, ndarray, ndarray)
        flux, error, dq (spectrum, column).
    wavelength_um : ndarray, float64, (spectrum, column)
    paths : list of Path
        Lists of the lines.
    fwhm_pix : float
    most_pix : float
        Largest offset.

    Raises
    ------
    ReductionError
        An offset beyond `most_pix`.
    """
    lines = find_lines(*spectra, fwhm_pix=fwhm_pix)
    try:
        check = check_wavelengths(lines, list_lines(paths, wavelength_um, fwhm_pix), wavelength_um)
    except ReductionError as error:
        logger.warning("wavelengths not checked: %s", error)
        return None
    if abs(check.offset_pix) > most_pix + 3 * check.error_pix:
        raise ReductionError(
            f"lines of the sky are {check.offset_pix:+.3f} +- {check.error_pix:.3f} columns off the wavelengths, at"
            f" most {most_pix:g} are allowed: take an arc nearer in time, or the last good solution"
        )
    return check


def move_wavelengths(spectra, wavelength_um, paths, *, fwhm_pix, most_pix, all_um=None):
    """Return the wavelengths where lines of the sky say that a frame has them, and the keywords of its shift.

    Parameters
    ----------
    spectra, wavelength_um, paths, fwhm_pix, most_pix
        As of `measure_offset`.
    all_um : ndarray, float64, (..., column), optional
        The wavelengths to move, where `spectra` are some of them.

    Returns
    -------
    ndarray, dict
        The same wavelengths and no keywords where there are too few lines.
    """
    moved = wavelength_um if all_um is None else all_um
    check = measure_offset(spectra, wavelength_um, paths, fwhm_pix=fwhm_pix, most_pix=most_pix)
    if check is None:
        return moved, {}
    offset, error = check.offset_pix, check.error_pix
    logger.info("%d lines of the sky %.4f +- %.4f columns off", check.n_line, offset, error)
    keywords = {"WAVSHIFT": round(offset, 5), "WAVSHERR": round(error, 5), "WAVNLINE": check.n_line}
    return shift_wavelengths(moved, offset), keywords


def shift_wavelengths(wavelength_um, offset_pix):
    """Return wavelengths (..., column) of spectra that are moved by so many columns."""
    return wavelength_um - offset_pix * np.gradient(wavelength_um, axis=-1)
