"""A small finished night, made by hand: two darks, their rates, a master dark delivered, manifests, plan and record."""

import shutil
from pathlib import Path

import numpy as np
from astropy.io import fits
from nights import keywords
from reference_cache import make_cache, make_reference

from drs import product, references
from drs.files import write_json, write_text
from drs.nightfiles import NIGHT_CACHE
from drs.record import keep_earlier, make_record

REPO = Path(__file__).resolve().parents[1]
CONFIG = {"crds": {"cache": None, "context": None}, "strict": False, "fit_ramp": {"method": "mcds"}}
OBS = "2024B-P123-008_IRIS_IMG1_DARK"
MASTER = "iris_img1_dark_20240925t060000_0.0.1"
SHAPE = (5, 7)
TYPES = ("dq", "gain")


def make_finished_night(folder):
    """Make a night in `folder` and return it."""
    cache = make_cache(folder / "crds_cache")
    rows = [_make_row(number) for number in (1, 2)]
    context = references.find_context(cache, None, {})
    for row in rows:
        _write_raw(folder / "raw" / row["file"], row["keys"])
    _write_plan(folder, rows, context)
    _write_references(folder, rows, context, cache)
    for row in rows:
        _write_rate(folder, row, cache)
    _write_master(folder, rows, context)
    names = [f"level1/{row['obs']}_LVL1_{row['exp']}" for row in rows]
    for name in [*names, f"calibrations/{MASTER}"]:
        write_json(folder / f"quality/{name}.json", {"refused": None})
    write_text(folder / f"quicklook/calibrations/{MASTER}.png", "a picture")
    write_text(folder / "report.html", "a page")
    write_text(folder / "quality/outcome.txt", "all planned products are good\n")
    write_json(folder / "run.json", keep_earlier(make_record(folder, REPO, CONFIG), {}))
    return folder


def _make_row(number):
    """Return the row of an exposure of the night table."""
    exp = f"{number:04d}-00"
    facts = {"kind": "dark", "status": "accepted", "reason": "", "notes": [], "files": [f"{number}.fits"]}
    named = {"id": f"{OBS}_{exp}", "obs": OBS, "exp": exp, "file": f"{number}.fits"}
    return facts | named | {"keys": keywords("DARK", number)}


def _write_raw(path, header):
    """Write a Level 0 file of few pixels."""
    primary = fits.PrimaryHDU()
    primary.header.update(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, fits.ImageHDU(np.full((1, 3, *SHAPE), header["EXPNUM"], np.uint16))]).writeto(path)


def _write_plan(folder, rows, context):
    """Write what list_exposures and write_plan leave."""
    members = [row["id"] for row in rows]
    night = {"rows": rows, "stages": {"detector": members, "science": []}, "order": ["detector", "science"]}
    night |= {"masters": {MASTER: {"members": members, "stage": "detector", "keys": {}}}, "skies": {}, "sky": {}}
    night |= {"groups": {}, "too_few": [], "level1_only": {}}
    write_json(folder / "plan/night.json", night)
    write_json(folder / "plan/headers.json", {row["file"]: {} for row in rows})
    write_json(folder / "plan/context.json", context)
    write_json(folder / "plan/cache.json", {})
    write_json(folder / "plan/plan.json", {})
    write_text(folder / "plan/plan.txt", "a plan")


def _find(cache, kind):
    """Return the first reference of a type."""
    return min((cache / "references/ligeriri/iris").glob(f"iris_img1_{kind}_*.fits"))


def _describe(path, kind):
    """Return the entry of a reference in a manifest."""
    facts = {"file": path.name, "size": path.stat().st_size, "sha1": references.sha1(path)}
    return facts | {"keyword": f"R_{kind.upper()}", "source": "context", "status": "found", "reason": ""}


def _write_references(folder, rows, context, cache):
    """Write the manifests and their indexes."""
    entries = {kind: _describe(_find(cache, kind), kind) for kind in TYPES}
    stated = {"name": context["context"], "sha1": context["sha1"]}
    manifests = {
        row["id"]: {
            **{"exposure": row["id"], "status": "resolved", "reason": "", "context": stated, "crds_version": "14"},
            **{"keys": {"INSTRUME": "IRIS"}, "levels": {"level1": list(TYPES)}, "references": entries},
        }
        for row in rows
    }
    index = references.write_manifests(manifests, folder / "references")
    write_json(folder / "references/detector.json", {"context": stated, **index})
    write_json(folder / "references/science.json", {"context": stated, "exposures": {}})


def _write_rate(folder, row, cache):
    """Write the rate of an exposure."""
    manifest = references.read_manifest(folder / f"references/level1/{row['id']}.json")
    header = {**row["keys"], "TELESCOP": "TMT", "DATAMODL": "ImagerModel", "DATALVL": 1}
    arrays = {"SCI": np.ones(SHAPE, "f4"), "ERR": np.ones(SHAPE, "f4"), "DQ": np.zeros(SHAPE, "u4")}
    units = {"SCI": "electron/s", "ERR": "electron/s"}
    rate = product.Product(header | references.header_keywords(manifest), arrays, units).with_step("fit_ramp", n=3)
    inputs = {"ramp": folder / "raw" / row["file"], **{kind: _find(cache, kind) for kind in TYPES}}
    product.write(folder / f"level1/{row['obs']}_LVL1_{row['exp']}.fits", rate, inputs=inputs)


def _write_master(folder, rows, context):
    """Write the master dark, and deliver it into the night's own cache without new rules."""
    path = folder / f"calibrations/{MASTER}.fits"
    rates = [folder / f"level1/{row['obs']}_LVL1_{row['exp']}.fits" for row in rows]
    product.write(path, make_reference("dark"), inputs={"rate": rates})
    held = references.reference_path(folder / NIGHT_CACHE, "iris", path.name)
    held.parent.mkdir(parents=True)
    shutil.copyfile(path, held)
    made = {"context": context["context"], "sha1": context["sha1"], "base": context, "left_out": {}}
    write_json(folder / "references/contexts/detector.json", {**made, "delivered": {path.name: references.sha1(path)}})
