"""References of spectra, as manifests name them: rectification matrix and wavelength solution, if they fit."""

import numpy as np

from drs import product
from drs.errors import ReductionError
from drs.references import open_references

MODELS = {"rectmat": "RectificationModel", "trace": "TraceModel", "wavesol": "WavelengthModel"}
SAME = ("INSTRUME", "DETECTOR", "INSTMODE", "FILTER", "SCALE", "GRATING")
ERA = "INSTERA"  # a header may leave it out


def read_spectral(exposure, manifest, reftype, roots):
    """Return (Product, path) of a reference of spectra; one of another configuration is refused.

    Parameters
    ----------
    exposure : Product
    manifest : Path
    reftype : str
        'rectmat', 'trace' or 'wavesol'.
    roots : list of Path
        CRDS caches, the night's own first.
    """
    path = open_references(manifest, [reftype], roots)[reftype]
    reference = product.read(path, models=MODELS[reftype], verify=False)
    check_configuration(reference.keywords, exposure.keywords, name=f"{reftype} reference {path.name}")
    return reference, path


def check_configuration(keywords, wanted, *, name):
    """Refuse a reference, by its keywords, of another configuration or era than that of an exposure."""
    keys = (*SAME, ERA) if ERA in keywords and ERA in wanted else SAME
    differing = [key for key in keys if keywords.get(key) != wanted.get(key)]
    if differing:
        found, expected = (", ".join(f"{key} = {of.get(key)}" for key in differing) for of in (keywords, wanted))
        raise ReductionError(f"{name} is of {found}, the exposure of {expected}: give one of its configuration")


def find_field(instrument, keywords):
    """Return the place of a spectrograph's field on the sky, with `scale_arcsec` of the header.

    Parameters
    ----------
    instrument : dict
        Content of config/instruments/*.yaml.
    keywords : dict

    Raises
    ------
    ReductionError
        A mode or a scale that the instrument does not have, with those that it has.
    """
    fields = instrument["detectors"][keywords["DETECTOR"]].get("fields", {})
    mode, scale_arcsec = keywords.get("INSTMODE"), keywords.get("SCALE")
    if mode not in fields:
        known = ", ".join(fields) or "none"
        raise ReductionError(f"INSTMODE {mode!a} of {keywords['DETECTOR']} has no field on the sky; known are {known}")
    field = fields[mode]
    if scale_arcsec not in field["scales_arcsec"]:
        known = ", ".join(map(str, field["scales_arcsec"]))
        raise ReductionError(
            f"SCALE {scale_arcsec!a} is none of {mode}, which has {known} arcsec: correct it in exposures.yaml"
        )
    place = {key: field[key] for key in ("centre_x_arcsec", "centre_y_arcsec", "rotation_deg")}
    return {"scale_arcsec": scale_arcsec, **place}


def find_order(instrument, keywords, n_slice):
    """Return which slice of the detector, from 0, each row of a cube shows (row): `slice_order` of the field.

    Parameters
    ----------
    instrument : dict
        Content of config/instruments/*.yaml.
    keywords : dict
    n_slice : int

    Raises
    ------
    ReductionError
        An order of another number of slices.
    """
    order = instrument["detectors"][keywords["DETECTOR"]]["fields"][keywords["INSTMODE"]].get("slice_order")
    if order is None:
        return np.arange(n_slice)
    if sorted(order) != list(range(1, n_slice + 1)):
        raise ReductionError(
            f"slice_order of {keywords['INSTMODE']} names {len(order)} slices, {min(order)} to {max(order)}, the traces"
            f" have {n_slice}: correct config/instruments, or take the traces of this mode"
        )
    return np.argsort(order)


def match_slices(wavesol, trace):
    """Return the edges (slice, 2, column) of slices and their wavelengths (slice, position, column), float64, um.

    Parameters
    ----------
    wavesol, trace : Product
        WavelengthModel and TraceModel of a slicer.

    Raises
    ------
    ReductionError
        A solution of other slices, or of another detector.
    """
    edges, wavelength = trace.arrays["EDGES"].astype(np.float64), wavesol.arrays["WAVESOL"]
    if wavelength.ndim != 3 or wavelength.shape[:2] != (edges.shape[2], len(edges)):
        raise ReductionError(
            f"the wavelength solution is of {wavelength.shape} (column, slice, position), the traces are of "
            f"{len(edges)} slices on {edges.shape[2]} columns: give those of one mode"
        )
    return edges, np.ascontiguousarray(np.moveaxis(wavelength, 0, 2), np.float64)


def match_wavelengths(wavesol, matrix_offsets, shape):
    """Return the wavelengths (lenslet, column), float64, um, of the columns of a matrix.

    Parameters
    ----------
    wavesol : Product
        WavelengthModel of lenslets.
    matrix_offsets : ndarray, int, (2, ny, nx)
    shape : tuple
        (n_column, ny, nx) of the matrix.

    Raises
    ------
    ReductionError
        A solution of other traces.
    """
    wavelength = wavesol.arrays["WAVESOL"]
    if wavelength.shape != tuple(shape):
        raise ReductionError(
            f"the wavelength solution is of {wavelength.shape} (column, y, x), the rectification matrix of "
            f"{tuple(shape)}: give those of one mode"
        )
    offsets = wavesol.arrays.get("OFFSETS")
    if offsets is not None and (offsets[1] != matrix_offsets[1]).any():
        raise ReductionError(
            "wavelength solution and rectification matrix count the columns of their traces from different places: "
            "give those of one layout"
        )
    return wavelength.reshape(shape[0], -1).T.astype(np.float64)
