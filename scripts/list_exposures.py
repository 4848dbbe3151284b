"""List a night: read the headers of raw/, classify every exposure, and plan what is made from what.

The workflow runs this when it starts. Only files that are new or changed are opened; every output is left
untouched when its content stays the same.
"""

import json
import os
from pathlib import Path

import click

from drs import cli
from drs.association import associate
from drs.errors import ReductionError
from drs.files import write_json, write_text
from drs.instruments import read_instruments
from drs.night import build_rows, scan_raw
from drs.references import find_context, fingerprint
from drs.request import find_own_overrides, list_files, make_requests
from drs.schema import check_document, load_yaml
from drs.upkeep import drop_broken

CONFIG = Path(__file__).resolve().parents[1] / "config"


@cli.command()
@click.option("--raw", type=Path, required=True, help="Folder of Level 0 files.")
@click.option("--exposures", type=Path, required=True, help="exposures.yaml of the night; may be absent.")
@click.option("--associations", type=cli.existing_file, default=CONFIG / "associations.yaml", help="Rules.")
@click.option("--instruments", type=cli.existing_folder, default=CONFIG / "instruments", help="Instrument files.")
@click.option("--cache", type=Path, required=True, help="CRDS cache.")
@click.option("--context", default=None, help="CRDS context; default CRDS_CONTEXT, then the cache's operational one.")
@click.option("--override", default="{}", help="JSON: reference type -> file used in place of CRDS's choice.")
@click.option("--plan", type=cli.new_folder, required=True, help="Folder for the table and the plan.")
@click.option("--manifests", type=cli.new_folder, help="The night's references; what lacks its files is removed.")
def main(raw, exposures, associations, instruments, cache, context, override, plan, manifests):
    """List the exposures of a night and plan their reduction."""
    if not raw.is_dir():
        raise ReductionError(f"no folder '{raw}' here: a night holds its Level 0 files in raw/ (snakemake -d NIGHT)")
    rules = load_yaml(associations)
    check_document(CONFIG / "associations.schema.yaml", rules, name=associations)
    known = {name: scan for name, scan in _read_json(plan / "headers.json").items() if _is_scan(scan)}
    scans = scan_raw(raw, known)
    if not scans:
        raise ReductionError(f"'{raw}' holds no .fits, .fits.gz or .fits.fz file: nothing to reduce")
    observer = _read_corrections(exposures)
    rows = build_rows(scans, read_instruments(instruments), rules, observer)
    night = {"rows": rows, **associate(rows, rules)}
    write_json(plan / "headers.json", scans)
    write_json(plan / "night.json", night)
    for row in rows:
        if len(row["files"]) > 1 and row["status"] == "accepted":  # too many for a command line
            write_text(plan / "reads" / f"{row['id']}.txt", "".join(f"{raw / file}\n" for file in row["files"]))
    overrides = {"night": json.loads(override), "own": find_own_overrides(rows, night["needs"], observer)}
    write_json(plan / "context.json", find_context(cache, context, os.environ))
    write_json(plan / "cache.json", {"references": fingerprint(cache, list_files(overrides))})
    for stage in night["stages"]:
        members = {row["id"]: row for row in rows if row.get("id") in night["stages"][stage]}
        requests = make_requests(members, night["needs"], rules["level1"], overrides)
        write_json(plan / "stages" / f"{stage}.json", requests)
    if manifests:
        drop_broken(manifests, manifests / "crds", night["stages"])


def _read_json(path):
    """Return a JSON object, {} when there is none or its file was damaged."""
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_scan(scan):
    """Say whether an entry of the table of headers is what was written: else the file is read again."""
    if not isinstance(scan, dict):
        return False
    kinds = {"error": str} if "error" in scan else {"keywords": dict, "images": list, "notes": list}
    if not all(isinstance(scan.get(key), kind) for key, kind in kinds.items()):
        return False
    return isinstance(scan.get("keywords", {}), dict) and all(map(_is_image, scan.get("images", [])))


def _is_image(image):
    """Say whether an entry of a scan names an image: [name, shape]."""
    if not isinstance(image, list) or len(image) != 2:
        return False
    name, shape = image
    return isinstance(name, str) and isinstance(shape, list) and all(type(size) is int for size in shape)


def _read_corrections(path):
    """Return the observer's exclusions and corrections; {} without the file."""
    if not path.exists():
        return {}
    document = load_yaml(path) or {}
    check_document(CONFIG / "exposures.schema.yaml", document, name=path)
    return document


if __name__ == "__main__":
    main()
