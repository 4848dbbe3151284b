"""A CRDS cache for tests: the rule files of config/crds and tiny references for every row of references.csv."""

import csv
import logging
import shutil
from pathlib import Path

import numpy as np

from drs import product
from drs.references import load_types, mapping_path, reference_path

REPO = Path(__file__).resolve().parents[1]
RULES = REPO / "config" / "crds"
TYPES_FILE = REPO / "config" / "references.yaml"
ALL_TYPES = load_types(TYPES_FILE)
RULED = ("dq", "bias", "saturation", "nonlin", "gain", "readnoise", "dark", "flat")  # with rules of all instruments
RULED_IRIS = ("rectmat", "trace", "wavesol")  # with rules of IRIS
RULED_LIGER = ("rectmat", "trace", "wavesol")  # and of Liger
N_MAPPING = 3 + 2 * len(RULED) + len(RULED_IRIS) + len(RULED_LIGER)  # with those of the context and two instruments
TYPES = {kind: ALL_TYPES[kind] for kind in RULED}
SHAPE = (6, 8)
UNITS = {
    "dark": {"SCI": "electron/s", "ERR": "electron/s"},
    "flat": {"SCI": "", "ERR": ""},
    "bias": {"SCI": "DN", "ERR": "DN"},
    "saturation": {"SCI": "DN"},
    "gain": {"SCI": "electron/DN"},
    "readnoise": {"SCI": "electron"},
    "nonlin": {"COEFFS": "DN"},
    "dq": {},
    "distortion": {"DX": "pix", "DY": "pix"},
    "rectmat": {"WAVESOL": "um"},
    "wavesol": {"WAVESOL": "um"},
    "trace": {"SCI": "", "ERR": "", "EDGES": "pix"},
    "sky": {"SCI": "electron/s", "ERR": "electron/s"},
    "flux": {"SCI": "", "ERR": ""},
    "telluric": {"SCI": "", "ERR": "", "WAVELENGTH": "um"},
    "psf": {"SCI": "", "ERR": "", "ENCIRCLED": "", "RADIUS": "pix"},
    "fibre": {"SCI": "pix", "ERR": "pix", "WAVELENGTH": "um"},
}
SPECTRAL = {"DETECTOR": "IFS", "INSTMODE": "LENSLET", "SCALE": 0.014, "GRATING": "K4000"}
SKY = {"IMTYPE": "SKY", "SEMID": "2024B", "PROGNUM": "P123", "OBSNUM": "001"}
SKY |= {"EXPDTST": "2024-09-24T10:00:00", "EXPTIME": 60.0, "DATALVL": 1}


def make_reference(kind, *, value=1.0, **keywords):
    """Return a small reference of a type, for the keywords given."""
    units = UNITS.get(kind, {})
    arrays = {name: np.full(SHAPE, value, np.float32) for name in units}
    if kind == "nonlin":
        arrays["COEFFS"] = np.full((3, *SHAPE), value, np.float32)
    if kind == "trace":
        arrays["EDGES"] = np.stack([np.full((2, SHAPE[1]), [[row], [row + 2]], np.float32) for row in (0, 3)])
    if kind in ("telluric", "fibre"):
        arrays["WAVELENGTH"] = np.full(SHAPE, value, np.float64)
    if kind == "rectmat":
        arrays = {"RECTMAT": np.full((2, 5, *SHAPE), value, np.float32), "OFFSETS": np.zeros((2, *SHAPE), np.int32)}
        arrays["WAVESOL"] = np.full((5, *SHAPE), value, np.float32)
    else:
        arrays["DQ"] = np.zeros(SHAPE, np.uint32)
    defaults = {
        "TELESCOP": "TMT",
        "INSTRUME": "IRIS",
        "DETECTOR": "IMG1",
        "INSTERA": "0.0.1",
        "READMODE": "DEFAULT",
        "SUBARRAY": "GENERIC" if kind == "dq" else "FULL",
        "FILTER": "Y",
        "PUPIL": "CLEAR",
        **(SPECTRAL if "GRATING" in ALL_TYPES[kind]["match"] else {}),
        "DATAMODL": ALL_TYPES[kind]["model"],
        "REFTYPE": ALL_TYPES[kind]["filekind"],
        "USEAFTER": "2024-09-24T00:00:00",
        "PEDIGREE": "SIMULATION",
        "AUTHOR": "tests",
        "DESCRIP": "a reference for tests",
    }
    if kind == "sky":
        defaults |= SKY
    return product.Product({**defaults, **keywords}, arrays, units)


def write_reference(folder, kind, *, value=1.0, version="0.0.1", **keywords):
    """Write a small reference under its CRDS name and return the path."""
    reference = make_reference(kind, value=value, **keywords)
    header = reference.keywords
    date = header["USEAFTER"].replace("-", "").replace(":", "").lower()
    parts = (header["INSTRUME"].lower(), header["DETECTOR"].lower(), kind, date, version)
    path = Path(folder) / f"{'_'.join(parts)}.fits"
    product.write(path, reference)
    return path


def make_cache(root):
    """Fill `root` with the rules and one tiny file for every reference they name."""
    shutil.copytree(RULES / "mappings", root / "mappings")
    shutil.copytree(RULES / "config", root / "config")
    for number, row in enumerate(read_rows()):
        folder = reference_path(root, row["instrument"], "x").parent
        telescope = {"IRIS": "TMT", "Liger": "Keck"}[row["instrument"]]
        keywords = {"TELESCOP": telescope, "INSTRUME": row["instrument"], "DETECTOR": row["detector"]}
        keywords |= optics_of(row)
        path = write_reference(folder, row["type"], value=number, USEAFTER=row["useafter"], **keywords)
        if path.name != row["file"]:
            raise AssertionError(f"references.csv names {row['file']}, not {path.name}")
    return root


def add_context(cache, serial, changes, *, instrument="iris", base="0001"):
    """Make a context from another one: of each type named, the text of its rules is changed {old: new}."""
    from crds_ligeriri import session

    names = {f"ligeriri_{base}.pmap", f"ligeriri_{instrument}_{base}.imap"}
    names |= {f"ligeriri_{instrument}_{kind}_{base}.rmap" for kind in changes}
    renamed = {name: name.replace(f"_{base}.", f"_{serial}.") for name in names}
    for name in sorted(names):
        text = mapping_path(cache, name).read_text()
        kind = name.split("_")[2] if name.endswith(".rmap") else None
        for old, new in (renamed | changes.get(kind, {})).items():
            text = text.replace(old, new)
        mapping_path(cache, renamed[name]).write_text(text)
    with session(cache):
        from crds.refactoring.checksum import add_checksum

        for name in sorted(renamed.values()):
            add_checksum(str(mapping_path(cache, name)))
    return f"ligeriri_{serial}.pmap"


def optics_of(row):
    """Return the keywords of filter, mode, scale and grating that a row of references.csv states."""
    optics = {"FILTER": row["filter"], "INSTMODE": row["instmode"], "SCALE": row["scale"], "GRATING": row["grating"]}
    return {key: float(value) if key == "SCALE" else value for key, value in optics.items() if value}


def read_rows():
    """Return the rows of references.csv."""
    with (RULES / "references.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def make_request(*needs, override=None, **keys):
    """Return an exposure as `resolve` takes it."""
    defaults = {
        "INSTRUME": "IRIS",
        "DETECTOR": "IMG1",
        "INSTERA": "0.0.1",
        "READMODE": "DEFAULT",
        "FILTER": "Y",
        "PUPIL": "CLEAR",
        "SUBARRAY": "FULL",
        "EXPDTST": "2024-09-24T10:00:00.250",
    }
    merged = {**defaults, **keys}
    request = {"needs": list(needs), "keys": {key: merged[key] for key in merged if merged[key] is not None}}
    return {**request, "override": override} if override else request


def list_bytes(root):
    """Return relative path -> bytes of every file below `root`."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def mute():
    """Keep what crds logs off the terminal."""
    logging.getLogger("CRDS").addHandler(logging.NullHandler())
    logging.disable(logging.WARNING)
