"""The calibrations of exposures as their manifests name them: read them, cut them, apply them."""

from dataclasses import replace

from drs import product
from drs.dark import subtract_dark
from drs.flat import divide_flat
from drs.image import Image
from drs.references import find_switched_off, header_keywords, open_references, override_lines, read_manifest
from drs.region import find_region

MODELS = {"dark": "DarkModel", "flat": "FlatModel", "distortion": "DistortionModel", "flux": "PhotometryModel"}
MODELS |= {"telluric": "TelluricModel", "fibre": "FibreModel"}


def read_calibrations(exposures, manifests, types, roots):
    """Return for each exposure {type: Image}, and the sorted paths of all files; each file is read once.

    A type that the configuration switched off is absent.

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
    chosen = [open_references(manifest, _find_used(manifest, types), roots) for manifest in manifests]
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


def read_optional(manifest, types, roots):
    """Return {type: Product} of the references of some types that an exposure has, and their paths.

    Parameters
    ----------
    manifest : Path
    types : list of str
        Of 'distortion', 'flux', 'telluric', 'fibre'.
    roots : list of Path
        CRDS caches, the night's own first.
    """
    entries = read_manifest(manifest)["references"]
    found = [reftype for reftype in types if entries.get(reftype, {}).get("status") == "found"]
    files = open_references(manifest, found, roots)
    models = {reftype: product.read(path, models=MODELS[reftype], verify=False) for reftype, path in files.items()}
    return models, [files[reftype] for reftype in found]


def explain_absence(manifest, reftype):
    """Return why a manifest names no reference of a type, for a header."""
    entry = manifest["references"].get(reftype)
    if entry is None:
        return "not for this kind of exposure"
    return "by configuration" if reftype in find_switched_off(manifest) else f"no {reftype} reference"


def _find_used(manifest, types):
    """Return the types that a manifest does not switch off."""
    switched_off = find_switched_off(read_manifest(manifest))
    return [reftype for reftype in types if reftype not in switched_off]


def cut(image, exposure, *, name):
    """Return the part of a calibration image that an exposure saw; one that does not hold it is refused."""
    region = find_region(image.rate.shape, exposure.keywords, exposure.arrays["SCI"].shape, name=name)
    return Image(*(None if array is None else array[region] for array in image))


def calibrate(image, calibration):
    """Return the image less its dark, divided by its flat, where there are these."""
    image = subtract_dark(image, calibration["dark"]) if "dark" in calibration else image
    return divide_flat(image, calibration["flat"]) if "flat" in calibration else image


def with_references(exposure, manifest):
    """Return an exposure whose header names the references of its manifest, and its overrides in the history."""
    named = replace(exposure, keywords=exposure.keywords | header_keywords(manifest))
    return product.with_history(named, [line for line in override_lines(manifest) if line not in named.history])


def with_calibration(exposure, types, calibrations):
    """Return a product that says which steps were done: those of the types that its members' calibrations have."""
    for reftype in types:
        used = all(reftype in calibration for calibration in calibrations)
        exposure = exposure.with_step(reftype, skipped=None if used else "by configuration")
    return exposure


def override_history(members):
    """Return the overrides in the history of the members of a combination, each once."""
    return list(dict.fromkeys(line for member in members for line in member.history if line.startswith("override of")))
