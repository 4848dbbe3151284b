"""Rates, references and manifests of a small slicer on disk, for the tests of the commands on slices."""

import numpy as np
from spectra import KEYWORDS, REFERENCE, write_manifest

from drs import product
from drs.simulation.slicers import Slicer, make_edges, make_wavesol, render_light, tabulate
from drs.simulation.slices import REDUCED

LAYOUT = REDUCED._replace(wavelength_um=1.6374)
SHAPE = (96, 130)
SLICER = Slicer(LAYOUT, np.array([0.95, 1.0, 1.06, 0.98, 1.02]), SHAPE)
NOISE_E_PER_S, DARK_E_PER_S = 0.5, 0.25
OF_SLICES = KEYWORDS | {"INSTMODE": "SLICER", "SCALE": 0.05}
LEFT_OUT = ("EXPTIME", "NREADS", "DATALVL", "DATAQUAL", "RA", "DEC", "PA", "SEMID", "PROGNUM", "OBSNUM")
RESPONSE = 1 + 0.03 * np.sin(np.arange(SHAPE[0] * SHAPE[1]) * 1.7).reshape(SHAPE)  # of the pixels


def make_frame(facts, lists=(), **options):
    """Return the light of a spectrum in all slices."""
    return render_light(SLICER, tabulate(SLICER, facts, lists), **options)


def write_rate(path, frame, number, imtype, **keywords):
    """Write the Level 1 product of a frame, with the response of pixels, noise and dark."""
    frame = frame * RESPONSE
    sigma = np.sqrt(NOISE_E_PER_S**2 + np.maximum(frame, 0) / 70)
    values = frame + DARK_E_PER_S + np.random.default_rng(number).normal(size=SHAPE) * sigma
    arrays = {"SCI": values.astype(np.float32), "ERR": sigma.astype(np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
    times = {"EXPDTST": f"2024-09-25T06:{number:02d}:00.000", "EXPDTEND": f"2024-09-25T06:{number:02d}:50.000"}
    made = OF_SLICES | times | {"IMTYPE": imtype, "EXPNUM": number} | keywords
    made = {key: value for key, value in made.items() if value is not None}
    product.write(path, product.Product(made, arrays, {"SCI": "electron/s", "ERR": "electron/s"}))
    return path


def write_references(folder, *, old=True, **changes):
    """Write dark, traces and wavelengths, old or true; return (manifest, cache). `changes`: type -> keywords of it."""
    place = folder / "cache" / "references" / "ligeriri" / "iris"
    place.mkdir(parents=True)
    flat, dark = np.ones(SHAPE, np.float32), np.full(SHAPE, DARK_E_PER_S, np.float32)
    flags = {"DQ": np.zeros(SHAPE, np.uint32)}
    response = flat if old else RESPONSE.astype(np.float32)
    edges = make_edges(SLICER, shift_pix=1.6 if old else 0.0)
    contents = {
        "dark": ("DarkModel", {"SCI": dark, "ERR": 0 * dark} | flags, "electron/s"),
        "trace": ("TraceModel", {"SCI": response, "ERR": 0 * flat, "EDGES": edges} | flags, ""),
        "wavesol": ("WavelengthModel", {"WAVESOL": make_wavesol(SLICER, shift_pix=3.0 * old, tilted=not old)}, "um"),
    }
    paths = {}
    for kind, (model, arrays, unit) in contents.items():
        keywords = {key: value for key, value in OF_SLICES.items() if key not in LEFT_OUT}
        keywords |= REFERENCE | {"DATAMODL": model, "REFTYPE": kind.upper()} | changes.get(kind, {})
        units = {name: "pix" if name == "EDGES" else unit for name in arrays if name != "DQ"}
        path = place / f"iris_ifs_{kind}_20240101t000000_0.0.1.fits"
        product.write(path, product.Product(keywords, arrays, units))
        paths[kind] = path
    return write_manifest(folder, paths), folder / "cache"
