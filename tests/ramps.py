"""Small ramps for tests: simulated reads, Level 0 files, and references with their manifest."""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits

from drs import product
from drs.chain import make_chain
from drs.detector import MODELS, build_maps
from drs.ramp import Search, fit_ramp
from drs.references import sha1
from drs.signal import calibrate_reads
from drs.variance import estimate_poisson_variance

UNITS = {"saturation": "DN", "bias": "DN", "nonlin": "DN", "gain": "electron/DN", "readnoise": "electron", "dq": None}
KEYWORDS = {
    "TELESCOP": "Keck I",
    "INSTRUME": "Liger",
    "DETECTOR": "IMG",
    "INSTMODE": "IMG",
    "FILTER": "Ks",
    "IMTYPE": "SCI",
    "SEMID": "2026A",
    "PROGNUM": "P001",
    "OBSNUM": "001",
    "EXPNUM": 1,
    "SUBARRAY": "FULL",
    "EXPDTST": "2026-04-27T00:00:00.000",
    "OBJECT": "star",
    "RA": 10.0,
    "DEC": -5.0,
    "AIRMASS": 1.2,
    "DATAMODL": "RampModel",
}
FIT_OPTIONS = {
    "method": "likelihood",
    "n-coadd": 2,
    "jump-threshold-sigma": 4.5,
    "jump-flicker": 0.0,
    "jump-neighbour-sigma": 1000.0,
    "large-jump-e": 1e9,
    "after-jump-s": 0.0,
    "snowball-minimum-pix": 0,
    "snowball-growth": 2.0,
    "saturation-grow-pix": 0,
    "refpix-smoothing-rows": 1,
    "noise-box-pix": 7,
    "border-pix": 0,
    "n-channel": 1,
    "block-rows": 5,
}


def make_times(n_group, n_read, step_s=1.5):
    """Return equally spaced times (n_group, n_read)."""
    return np.tile((1.0 + np.arange(n_read)) * step_s, (n_group, 1))


def make_reads(rng, rate, shape, *, times_s, noise_e, gain=1.0, bias_dn=1000):
    """Return raw reads (uint16) of a rate in e-/s, the pedestal of every group at the bias."""
    dt = np.diff(times_s, axis=1, prepend=0)[:, :, np.newaxis, np.newaxis]
    signal = np.cumsum(rng.poisson(np.broadcast_to(rate, shape[2:]) * dt, shape), axis=1)
    return np.rint((signal + rng.normal(0, noise_e, shape)) / gain + bias_dn).clip(0, 65535).astype(np.uint16)


def fit_signal(signal_e, times_s, variance_e2, *, threshold=None, sampling=None, **options):
    """Return the RampFit of signals with the search for jumps at a threshold; `sampling` is of `make_chain`."""
    chain = make_chain(times_s, **(sampling or {}))
    search = None if threshold is None else Search(threshold)
    return fit_ramp(signal_e, chain, variance_e2, search=search, **options)


def make_signal(rate, times_s, pedestal=100.0):
    """Return noiseless signals (n_group, n_read, 3, 5) of a rate, each group with its own pedestal."""
    n_group = len(times_s)
    start = pedestal * (1 + np.arange(n_group))[:, np.newaxis, np.newaxis, np.newaxis]
    return (start + rate * times_s[:, :, np.newaxis, np.newaxis] + np.zeros((3, 5))).astype(np.float32)


def fit_equal_noise(signal, times_s, method="likelihood", *, noise_e=6.0, **options):
    """Return the RampFit of signals whose reads have one noise everywhere."""
    variance = np.full(signal.shape[2:], noise_e**2, np.float32)
    return fit_signal(signal, times_s, variance, method=method, **options)


def make_messy(shape=(2, 9, 23, 300)):
    """Return signals with noise, jumps and gaps, and their times."""
    rng = np.random.default_rng(7)
    times_s = make_times(*shape[:2])
    signal = make_reads(rng, 30.0, shape, times_s=times_s, noise_e=6.0).astype(np.float32)
    signal[0, 4:] += np.where(rng.random(shape[2:]) < 0.1, 900, 0).astype(np.float32)
    signal[rng.random(shape) < 0.02] = np.nan
    return signal, times_s


def reduce_reads(reads, times_s, *, dq=None, box_pix=15, method="likelihood", n_coadd=2, threshold=5.0, **maps):
    """Return (RampFit, ERR) of a ramp as the command makes them."""
    maps = build_maps(reads.shape[2:], dq, **maps)
    signal = calibrate_reads(reads, maps)
    options = {"method": method, "n_coadd": n_coadd, "threshold": threshold}
    fit = fit_signal(signal.signal_e, times_s, maps.read_variance_e2, **options)
    fit = fit._replace(dq=fit.dq | signal.dq)
    images = fit.rate, fit.photon_factor, fit.var_rnoise, fit.dq & 1 != 0
    return fit, np.sqrt(estimate_poisson_variance(*images, box_pix=box_pix) + fit.var_rnoise)


def write_ramp(path, reads, times_s=None, *, compressed=False, **keywords):
    """Write a Level 0 file."""
    header = fits.Header()
    header.update({key: value for key, value in (KEYWORDS | keywords).items() if value is not None})
    image = fits.CompImageHDU if compressed else fits.ImageHDU
    hdus = [fits.PrimaryHDU(header=header), image(reads, name="DATA")]
    if times_s is not None:
        hdus.append(fits.ImageHDU(times_s, name="TIMES"))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return Path(path)


def write_references(folder, **maps):
    """Write references (type -> array, dq too) and their manifest; return the manifest's path."""
    entries = {}
    for kind, array in maps.items():
        model, extension, _ = MODELS[kind]
        path = Path(folder) / f"{kind}.fits"
        arrays = {"DQ": np.zeros(array.shape[-2:], np.uint32), extension: array}
        units = {extension: UNITS[kind]}
        if kind == "bias":
            arrays["ERR"], units["ERR"] = np.zeros_like(array), "DN"
        keywords = KEYWORDS | {"DATAMODL": model, "REFTYPE": kind.upper(), "PEDIGREE": "SIMULATION"}
        keywords |= {"USEAFTER": "2026-01-01T00:00:00", "AUTHOR": "tests", "DESCRIP": "for tests", "INSTERA": "0.0.1"}
        units = {name: unit for name, unit in units.items() if unit is not None}
        product.write(path, product.Product(keywords, arrays, units))
        found = {"size": path.stat().st_size, "sha1": sha1(path), "file": str(path), "source": "override"}
        entries[kind] = {"status": "found", "reason": "", "keyword": f"R_{kind[:6].upper()}", **found}
    context = {"name": "ligeriri_0001.pmap", "sha1": "0", "source": "config"}
    manifest = {"status": "resolved", "reason": "", "context": context, "crds_version": "14", "references": entries}
    path = Path(folder) / "manifest.json"
    path.write_text(json.dumps(manifest | {"keys": {"INSTRUME": "Liger"}}))
    return path
