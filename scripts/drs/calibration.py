"""The calibrations of exposures as their manifests name them: read them, apply them."""

from drs import product
from drs.dark import subtract_dark
from drs.flat import divide_flat
from drs.references import open_references

MODELS = {"dark": "DarkModel", "flat": "FlatModel"}


def read_calibrations(manifests, types, roots):
    """Return for each manifest {type: Image}, and the sorted paths of all files; each file is read once.

    Parameters
    ----------
    manifests : list of Path
    types : list of str
        Of 'dark', 'flat'.
    roots : list of Path
        CRDS caches, the night's own first.
    """
    chosen = [open_references(manifest, types, roots) for manifest in manifests]
    models = {path: MODELS[reftype] for files in chosen for reftype, path in files.items()}
    images = {path: product.read(path, models=model).image for path, model in models.items()}
    calibrations = [{reftype: images[path] for reftype, path in files.items()} for files in chosen]
    return calibrations, sorted(models)


def calibrate(image, calibration):
    """Return the image less its dark, divided by its flat if there is one."""
    image = subtract_dark(image, calibration["dark"])
    return divide_flat(image, calibration["flat"]) if "flat" in calibration else image
