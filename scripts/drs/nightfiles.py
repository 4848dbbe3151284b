"""Where the files of a night are: what is made of a plan, and where FITS products lie."""

from pathlib import Path

from drs.errors import ReductionError
from drs.naming import MADE
from drs.plan import Plan
from drs.references import manifest_path, part_path, read_json

NIGHT_CACHE = "references/crds"
FITS_FOLDERS = ("level1", "level2", "level2/masks", "level3", "calibrations")


def read_plan(folder):
    """Return the plan of a night; refuse a file that is none."""
    path = Path(folder) / "plan/night.json"
    night = read_json(path)
    try:
        plan = Plan(night, None)
        list_made(plan)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ReductionError(f"{path} is no plan of a night ({error!r}); give the night's command again") from error
    return plan


def list_fits(folder):
    """Return the FITS products of a night, sorted; spectra are tables of their own form (`is_spectra`)."""
    found = [path for name in FITS_FOLDERS for path in (Path(folder) / name).glob("*.fits")]
    return sorted(path for path in found if not path.name.startswith("."))


def is_spectra(path):
    """Say whether a product is one of spectra: it has neither PROVENANCE nor a schema."""
    return path.name.endswith("_SPEC.fits")


def list_products(plan):
    """Return the names of everything that is measured or calibrated: images, cubes, catalogues, spectra."""
    return [*plan.products(*MADE), *plan.catalogs(), *plan.spectra()]


def list_made(plan):
    """Return the names of all files of a finished night that its plan tells."""
    manifests = [str(manifest_path("references", identity)) for identity in plan.exposures]
    stages = [f"references/{stage}.json" for stage in plan.stages]
    contexts = [f"references/contexts/{stage}.json" for stage in plan.stages[:-1]]
    shown = [*plan.products("quality", "quicklook"), *plan.plots()]
    return [*list_products(plan), *shown, *manifests, *stages, *contexts]


def list_manifests(folder, plan):
    """Return the names of the manifests of a night and of their parts that are there."""
    places = [part_path("references", level, i) for level in ("level1", "level2", "level3") for i in plan.exposures]
    places += [manifest_path("references", identity) for identity in plan.exposures]
    return sorted(str(path) for path in places if (Path(folder) / path).is_file())


def list_compared(folder):
    """Return the names of all products in a night's folder, whatever its plan, without those of its own folders."""
    folder = Path(folder)
    found = [*list_fits(folder), *(folder / "level3").glob("*.ecsv")]
    return sorted(str(path.relative_to(folder)) for path in found)
