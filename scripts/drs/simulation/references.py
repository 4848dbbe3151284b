"""Reference files of the simulated detectors, and the CRDS cache that serves them.

All maps are the truth of the detector but the dark, the flat, the rectification matrix, the traces and the
wavelengths of slices, which are old: they differ
from this night's by known amounts, so that a product shows whether the night's own calibrations were used.
"""

import ast
import csv
import hashlib
import pprint
import shutil
from pathlib import Path

import numpy as np

from drs import product
from drs.dq import Flag
from drs.references import load_types, reference_path
from drs.simulation.slicers import Slicer, make_old_references
from drs.simulation.spectrograph import make_offsets, make_rectmat, make_wavesol

REPO = Path(__file__).resolve().parents[3]
RULES = REPO / "config" / "crds"
TYPES = REPO / "config" / "references.yaml"
OF_SPECTRA = ("rectmat", "trace", "wavesol")


def write_cache(folder, detectors, filters, keywords, facts, *, stream, spectrographs=None):
    """Make a CRDS cache: the rules of config/crds and the reference files of some detectors.

    Parameters
    ----------
    folder : Path
        Root of the new cache.
    detectors : dict
        (INSTRUME, DETECTOR) -> Detector.
    filters : dict
        (INSTRUME, DETECTOR) -> filters for which a flat is made.
    keywords : dict
        (INSTRUME, DETECTOR) -> {TELESCOP, INSTERA}, and INSTMODE where the detector has one mode.
    facts : dict
        Section `old_references` of config/presets.yaml.
    stream : callable
        name of the file -> numpy.random.Generator.
    spectrographs : dict, optional
        (INSTRUME, DETECTOR, INSTMODE) -> Spectrograph or Slicer.
    """
    spectrographs = spectrographs or {}
    shutil.copytree(RULES, folder, ignore=shutil.ignore_patterns("*.csv", "*.md"))
    types, described = load_types(TYPES), {}
    with (RULES / "references.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        key = (row["instrument"], row["detector"])
        if key not in detectors or (row["filter"] and row["filter"] not in filters[key]):
            continue
        mode = (*key, row["instmode"])
        if row["type"] in OF_SPECTRA and mode not in spectrographs:
            continue
        seen = spectrographs[mode] if row["type"] in OF_SPECTRA else detectors[key]
        made = make_reference(row, seen, keywords[key], types[row["type"]], facts, stream(row["file"]))
        path = reference_path(folder, row["instrument"], row["file"])
        product.write(path, made)
        described[row["file"]] = {"size": path.stat().st_size, "sha1sum": _sha1(path)}
    _describe(folder / "config" / "ligeriri" / "server_config", described)


def make_reference(row, seen, keywords, kind, facts, random):
    """Return one reference as a Product.

    Parameters
    ----------
    row : dict
        Line of config/crds/references.csv.
    seen : Detector, Spectrograph or Slicer
    keywords : dict
        Of the detector.
    kind : dict
        The type's entry in config/references.yaml.
    facts : dict
        Section `old_references` of config/presets.yaml.
    random : numpy.random.Generator
        Noise of an old flat.
    """
    shape = seen.shape if row["type"] in OF_SPECTRA else seen.dq.shape
    header = {
        **keywords,
        "INSTRUME": row["instrument"],
        "DETECTOR": row["detector"],
        "READMODE": "DEFAULT",
        "SUBARRAY": "GENERIC" if row["type"] == "dq" else "FULL",
        "DETXSIZE": shape[1],
        "DETYSIZE": shape[0],
        "DATAMODL": kind["model"],
        "REFTYPE": kind["filekind"],
        "REFVER": "0.0.1",
        "USEAFTER": row["useafter"],
        "PEDIGREE": "SIMULATION",
        "AUTHOR": "simulate_night",
        "DESCRIP": f"Simulated {row['type']} of {row['instrument']} {row['detector']}",
    }
    if row["filter"]:
        header |= {"FILTER": row["filter"], "PUPIL": "CLEAR"}
    if row["type"] in OF_SPECTRA:
        header |= {"INSTMODE": row["instmode"], "SCALE": float(row["scale"]), "GRATING": row["grating"]}
        return product.Product(header, *_spectral_arrays(row["type"], seen, facts))
    arrays, units = _reference_arrays(row["type"], seen, facts, random)
    arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    return product.Product(header, {**arrays, "DQ": _reference_dq(row["type"], seen)}, units)


def _spectral_arrays(reference, spectrograph, facts):
    """Return (arrays, units) of an old rectification matrix, of the true wavelengths; of slices, of what is old."""
    if isinstance(spectrograph, Slicer):
        return make_old_references(spectrograph, reference, facts)
    if reference == "wavesol":
        return {"WAVESOL": make_wavesol(spectrograph), "OFFSETS": make_offsets(spectrograph)}, {"WAVESOL": "um"}
    off = {"shift_pix": facts["matrix_shift_pix"], "fwhm_factor": facts["matrix_width"]}
    return dict(zip(("RECTMAT", "OFFSETS"), make_rectmat(spectrograph, **off), strict=True)), {}


def _reference_arrays(reference, detector, facts, random):
    """Return (arrays, units) of a reference type without its DQ."""
    if reference == "dq":
        return {}, {}
    if reference == "nonlin":
        return {"COEFFS": detector.coeffs}, {"COEFFS": "DN"}
    if reference == "flat":
        noise = facts["flat_noise"] * random.standard_normal(detector.flat.shape)
        return _with_error(detector.flat * (1.0 + noise), facts["flat_noise"] * detector.flat, "")
    if reference == "dark":
        old = detector.dark_e_per_s * facts["dark_scale"]
        return _with_error(old, abs(old - detector.dark_e_per_s) + 0.01, "electron/s")
    if reference == "bias":
        error = detector.read_noise_e / detector.gain_e_per_dn / 10.0  # of a mean of 100 reads
        return _with_error(detector.bias_dn, error, "DN")
    maps = {
        "saturation": (detector.threshold_dn, "DN"),
        "gain": (detector.gain_e_per_dn, "electron/DN"),
        "readnoise": (detector.read_noise_e, "electron"),
    }
    values, unit = maps[reference]
    return {"SCI": values}, {"SCI": unit}


def _with_error(values, error, unit):
    """Return (arrays, units) of a map with its error."""
    return {"SCI": values, "ERR": error}, {"SCI": unit, "ERR": unit}


def _reference_dq(reference, detector):
    """Return the flags of a reference: all static ones for dq, what hurts the map itself otherwise."""
    if reference == "dq":
        return detector.dq.copy()
    flags = np.zeros_like(detector.dq)
    if reference == "flat":
        flags[(detector.dq & np.uint32(Flag.DEAD)) != 0] = Flag.NO_FLAT_FIELD | Flag.DO_NOT_USE
    return flags


def _sha1(path):
    """Return the sha1 of a file, the checksum that CRDS uses."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


def _describe(path, described):
    """Add size and sha1 of the reference files to the cache's server_config."""
    config = ast.literal_eval(path.read_text())
    config["download_metadata"] = described
    path.write_text(pprint.pformat(config) + "\n")
