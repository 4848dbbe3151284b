"""Level 1 and 2 products on disk, and a manifest with its references, for the tests of the commands."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from drs import product
from drs.references import sha1

SHAPE = (24, 31)
KEYWORDS = {
    "TELESCOP": "TMT",
    "INSTRUME": "IRIS",
    "INSTERA": "0.0.1",
    "DETECTOR": "IMG1",
    "READMODE": "DEFAULT",
    "SUBARRAY": "FULL",
    "FILTER": "Y",
    "PUPIL": "CLEAR",
    "SEMID": "2024B",
    "PROGNUM": "P123",
    "OBSNUM": "008",
    "RA": 150.0,
    "DEC": 2.0,
    "PA": 0.0,
    "EXPTIME": 50.0,
    "NREADS": 8,
    "DATALVL": 1,
    "DATAQUAL": "GOOD",
}
NOISE_E_PER_S = 0.5


@pytest.fixture
def run():
    """Return a function that runs a command: (main, arguments) -> result."""

    def invoke(main, **options):
        words = []
        for option, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                words.append(f"--{option.replace('_', '-')}" + ("" if item is True else f"={item}"))
        return CliRunner().invoke(main, words)

    return invoke


@pytest.fixture
def write_rate(tmp_path):
    """Return a function that writes a Level 1 product: rate array or number, its number, its kind."""

    def write(rate, number=1, imtype="SCI", level=1, wcs=None, **keywords):
        rng = np.random.default_rng(number)
        values = (rate + rng.normal(0, NOISE_E_PER_S, SHAPE)).astype(np.float32)
        arrays = {
            "SCI": values,
            "ERR": np.full(SHAPE, NOISE_E_PER_S, np.float32),
            "DQ": np.zeros(SHAPE, np.uint32),
        }
        times = {"EXPDTST": f"2024-09-25T06:{number:02d}:00.000", "EXPDTEND": f"2024-09-25T06:{number:02d}:50.000"}
        made = KEYWORDS | times | {"IMTYPE": imtype, "EXPNUM": number, "DATAMODL": "ImagerModel", "DATALVL": level}
        units = {"SCI": "electron/s", "ERR": "electron/s"}
        path = tmp_path / f"{imtype}_{level}_{number}.fits"
        product.write(path, product.Product(made | keywords, arrays, units, wcs=wcs or {}))
        return path

    return write


@pytest.fixture
def references(tmp_path):
    """Return (manifest, cache) of a dark of 0.25 e-/s and a flat of 1 (2 in column 5)."""
    folder = tmp_path / "cache" / "references" / "ligeriri" / "iris"
    folder.mkdir(parents=True)
    response = np.ones(SHAPE, np.float32)
    response[:, 5] = 2.0
    entries = {}
    for kind, model, values, unit in (
        ("dark", "DarkModel", np.full(SHAPE, 0.25), "electron/s"),
        ("flat", "FlatModel", response, ""),
    ):
        zero = np.zeros(SHAPE, np.float32)
        arrays = {"SCI": values.astype(np.float32), "ERR": zero, "DQ": zero.astype(np.uint32)}
        keywords = {
            key: KEYWORDS[key] for key in ("TELESCOP", "INSTRUME", "INSTERA", "DETECTOR", "READMODE", "SUBARRAY")
        }
        keywords |= {"REFTYPE": kind.upper(), "USEAFTER": "2024-01-01T00:00:00", "PEDIGREE": "DUMMY"}
        keywords |= {"AUTHOR": "test", "DESCRIP": "test", "DATAMODL": model}
        path = folder / f"iris_img1_{kind}_20240101t000000_0.0.1.fits"
        product.write(path, product.Product(keywords, arrays, {"SCI": unit, "ERR": unit}))
        entries[kind] = {
            "file": path.name,
            "size": path.stat().st_size,
            "sha1": sha1(path),
            "source": "context",
            "status": "found",
            "reason": "",
            "keyword": f"R_{kind.upper()}",
            "rmap": "",
            "selector": "",
            "useafter": "",
        }
    manifest = {
        "exposure": "x",
        "status": "resolved",
        "reason": "",
        "context": {"name": "ligeriri_0001.pmap", "sha1": "0"},
        "crds_version": "14.0.3",
        "keys": {"INSTRUME": "IRIS"},
        "references": entries,
    }
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    return path, tmp_path / "cache"


@pytest.fixture
def combine(run, references, tmp_path):
    """Return a function that runs a command on rates that share one manifest: (main, rates, output) -> result."""
    manifest, cache = references

    def invoke(main, rates, output, **options):
        caches = {"cache": cache, "night_cache": tmp_path}
        return run(main, rate=rates, manifest=[manifest] * len(rates), output=output, **caches, **options)

    return invoke
