"""The calibrations of exposures as their manifests name them: read them, cut them, apply them."""

from dataclasses import replace

from drs import product
from drs.dark import subtract_dark
from drs.flat import divide_flat
from drs.image import Image
from drs.references import header_keywords, open_references
from drs.region import find_region

MODELS = {"dark": "DarkModel", "flat": "FlatModel"}


def read_calibrations(exposures, manifests, types, roots):
    """Return for each exposure {type: Image}, and the sorted paths of all files; each file is read once.

    Parameters
    ----------
    exposures : list of Product
        A subarray gets its part of full-frame calibrations.
    manifests : list of Path
        In the order of `exposures`.
    types : list of str
        Of 'dark', 'flat'.
    roots : list of Path
        CRDS caches, the night's own first.
    """
    chosen = [open_references(manifest, types, roots) for manifest in manifests]
    models = {path: MODELS[reftype] for files in chosen for reftype, path in files.items()}
    images = {path: product.read(path, models=model, verify=False).image for path, model in models.items()}
    calibrations = [
        {
            reftype: cut(images[path], exposure, name=f"{reftype} reference {path.name}")
            for reftype, path in files.items()
        }
        for exposure, files in zip(exposures, chosen, strict=True)
    ]
    return calibrations, sorted(models)


def cut(image, exposure, *, name):
    """Return the part of a calibration image that an exposure saw; one that does not hold it is refused."""
    region = find_region(image.rate.shape, exposure.keywords, exposure.arrays["SCI"].shape, name=name)
    return Image(*(None if array is None else array[region] for array in image))


def calibrate(image, calibration):
    """Return the image less its dark, divided by its flat if there is one."""
    image = subtract_dark(image, calibration["dark"])
    return divide_flat(image, calibration["flat"]) if "flat" in calibration else image


def with_references(exposure, manifest):
    """Return an exposure whose header names the references of its manifest."""
    return replace(exposure, keywords=exposure.keywords | header_keywords(manifest))
