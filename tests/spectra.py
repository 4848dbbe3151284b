"""Rates, references and manifests of a small lenslet array on disk, for the tests of the commands on spectra."""

import json

import numpy as np

from drs import product
from drs.references import sha1
from drs.simulation.lenslets import Layout, place_traces
from drs.simulation.spectrograph import (
    Spectrograph,
    light_of_sky,
    make_offsets,
    make_rectmat,
    make_wavesol,
    render_light,
)

# The array of the commands, and a wider one with longer spectra of the library's lenslets.
LAYOUT = Layout(
    ny=3, nx=16, pitch_pix=12.0, rise_pix=2.8, n_column=24, n_row=11, tilt_pix=0.5, curvature_pix=0.2,
    wavelength_um=1.6374, dispersion_um=2e-4, fwhm_pix=1.9, wing_fraction=0.05, wing_fwhm_pix=4.5,
)  # fmt: skip
WIDE = LAYOUT._replace(
    ny=6, nx=9, pitch_pix=15.0, n_column=61, n_row=9, tilt_pix=0.8, curvature_pix=0.3, wavelength_um=1.6
)
SHAPE = (112, 240)
WIDE_SHAPE = (128, 224)
NOISE_E_PER_S = 0.3
DARK_E_PER_S = 0.25
KEYWORDS = {
    "TELESCOP": "TMT", "INSTRUME": "IRIS", "INSTERA": "0.0.1", "DETECTOR": "IFS", "INSTMODE": "LENSLET",
    "SCALE": 0.009, "GRATING": "4000-H", "READMODE": "DEFAULT", "SUBARRAY": "FULL", "FILTER": "HN3",
    "PUPIL": "CLEAR", "SEMID": "2024B", "PROGNUM": "P123", "OBSNUM": "009", "RA": 150.0, "DEC": 2.0, "PA": 37.0,
    "EXPTIME": 70.0, "NREADS": 8, "DATALVL": 1, "DATAQUAL": "GOOD", "DATAMODL": "IFUImageModel",
}  # fmt: skip
REFERENCE = {"REFVER": "0.0.1", "USEAFTER": "2024-01-01T00:00:00", "PEDIGREE": "DUMMY", "AUTHOR": "t", "DESCRIP": "t"}
SKY = {"continuum_e_per_s": 20.0, "lines": [{"wavelength_um": 1.6371, "fwhm_um": 5e-4, "e_per_s": 600.0}]}
LAMP = {"continuum_e_per_s": 3000.0}


def make_spectrograph():
    """Return the array with throughputs of 10 %."""
    throughput = 1 + 0.1 * np.sin(7.0 * np.arange(LAYOUT.ny * LAYOUT.nx))
    return Spectrograph(LAYOUT, place_traces(LAYOUT, SHAPE), throughput / np.median(throughput), SHAPE)


def make_light(spectrograph, facts=SKY):
    """Return the light (lenslet, column) of a spectrum that is the same everywhere."""
    return light_of_sky(spectrograph, facts)


def write_rate(path, frame, number, imtype, **keywords):
    """Write the Level 1 product of a frame, with noise and dark."""
    sigma = np.sqrt(NOISE_E_PER_S**2 + np.maximum(frame, 0) / 70)
    values = frame + DARK_E_PER_S + np.random.default_rng(number).normal(size=SHAPE) * sigma
    arrays = {"SCI": values.astype(np.float32), "ERR": sigma.astype(np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
    times = {"EXPDTST": f"2024-09-25T06:{number:02d}:00.000", "EXPDTEND": f"2024-09-25T06:{number:02d}:50.000"}
    made = KEYWORDS | times | {"IMTYPE": imtype, "EXPNUM": number}
    made = {key: value for key, value in (made | keywords).items() if value is not None}
    product.write(path, product.Product(made, arrays, {"SCI": "electron/s", "ERR": "electron/s"}))
    return path


def write_references(folder, spectrograph, *, true_matrix=True, **changes):
    """Write dark, matrix and wavelengths; return (manifest, cache). `changes`: type -> keywords of it."""
    cache = folder / "cache"
    place = cache / "references" / "ligeriri" / "iris"
    place.mkdir(parents=True)
    off = {"true_throughput": True} if true_matrix else {"shift_pix": 0.4, "fwhm_factor": 1.1}
    dark = np.full(SHAPE, DARK_E_PER_S, np.float32)
    flags = np.zeros(SHAPE, np.uint32)
    matrix = dict(zip(("RECTMAT", "OFFSETS"), make_rectmat(spectrograph, **off), strict=True))
    wavelengths = {"WAVESOL": make_wavesol(spectrograph), "OFFSETS": make_offsets(spectrograph)}
    contents = {
        "dark": ("DarkModel", {"SCI": dark, "ERR": 0 * dark, "DQ": flags}, "electron/s"),
        "rectmat": ("RectificationModel", matrix, ""),
        "wavesol": ("WavelengthModel", wavelengths, "um"),
    }
    paths = {}
    for kind, (model, arrays, unit) in contents.items():
        left_out = ("EXPTIME", "NREADS", "DATALVL", "DATAQUAL", "RA", "DEC", "PA", "SEMID", "PROGNUM", "OBSNUM")
        keywords = {key: value for key, value in KEYWORDS.items() if key not in left_out}
        keywords |= REFERENCE | {"DATAMODL": model, "REFTYPE": kind.upper()} | changes.get(kind, {})
        units = {name: unit for name in arrays if name in ("SCI", "ERR", "WAVESOL")}
        path = place / f"iris_ifs_{kind}_20240101t000000_0.0.1.fits"
        product.write(path, product.Product(keywords, arrays, units))
        paths[kind] = path
    return write_manifest(folder, paths), cache


def write_manifest(folder, paths):
    """Write the manifest of an exposure that takes these references, {type: path}; return its path."""
    entries = {}
    for kind, path in paths.items():
        facts = {"file": path.name, "size": path.stat().st_size, "sha1": sha1(path), "source": "context"}
        facts |= {"status": "found", "reason": "", "keyword": f"R_{kind[:6].upper()}"}
        entries[kind] = facts | dict.fromkeys(("rmap", "selector", "useafter"), "")
    context = {"context": {"name": "ligeriri_0001.pmap", "sha1": "0"}, "crds_version": "14.0.3"}
    manifest = {"exposure": "x", "status": "resolved", "reason": "", "keys": {"INSTRUME": "IRIS"}, **context}
    path = folder / "manifest.json"
    path.write_text(json.dumps({**manifest, "references": entries}))
    return path


def write_scan(folder, spectrograph, positions, lit):
    """Write the exposures of a scan at some positions; `lit(position)` says which lenslets have light."""
    light = make_light(spectrograph, LAMP)
    frames = {position: render_light(spectrograph, light, lit=lit(position)) for position in positions}
    return [
        write_rate(folder / f"scan_{k}.fits", frame, k + 1, "SCAN", SCANPOS=k, RA=None, DEC=None)
        for k, frame in frames.items()
    ]
