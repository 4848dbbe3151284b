"""Fill a CRDS cache with the rules and with the references of one night, from a CRDS server or from another cache.

Every file is verified by size and sha1 before it gets its name, so a command that was cut leaves no wrong file; the
same command goes on where it ended.
"""

import logging
import os
from pathlib import Path

import click

from drs import bestrefs, cli, filling
from drs.errors import ReductionError
from drs.lock import hold_cache
from drs.references import find_context, load_types, read_json
from drs.source import Mirror, Patience, Server
from drs.transfer import writing

CONFIG = Path(__file__).resolve().parents[1] / "config"
log = logging.getLogger("sync_references")


@cli.command()
@click.option("--cache", type=cli.new_folder, required=True, help="Root of the CRDS cache to fill; may be missing.")
@click.option("--server", envvar="CRDS_SERVER_URL", help="URL of a CRDS server; default CRDS_SERVER_URL.")
@click.option("--mirror", type=cli.existing_folder, help="Root of another cache, only read, in place of a server.")
@click.option("--context", default=None, help="CRDS context; default CRDS_CONTEXT, then the operational one.")
@click.option("--night", type=cli.existing_file, help="plan/night.json: what the rules choose for its exposures.")
@click.option("--manifests", type=cli.existing_folder, help="Folder of manifests: the references that they name.")
@click.option("--files", multiple=True, help="Name of a reference; repeatable.")
@click.option("--types", type=cli.existing_file, default=CONFIG / "references.yaml", help="The types of references.")
@click.option("--timeout", type=click.FloatRange(0.01), default=60.0, help="Longest silence of the server in s.")
@click.option("--tries", type=click.IntRange(1), default=5, help="Tries of each request.")
@click.option("--wait", type=click.FloatRange(0), default=1.0, help="Wait in s after the first try; it doubles.")
def main(cache, server, mirror, context, night, manifests, files, types, timeout, tries, wait):
    """Fill a CRDS cache for a night; without --night, --manifests and --files, with the rules only."""
    if not mirror and not server:
        raise ReductionError("no source: give --server URL (or CRDS_SERVER_URL) or --mirror FOLDER")
    source = Mirror(mirror) if mirror else Server(server, Patience(timeout, tries, wait))
    wanted = filling.list_of_names(files) | (filling.list_of_manifests(manifests) if manifests else {})
    with writing(cache):
        held = hold_cache(cache)
    with held:
        rules = filling.fill_rules(cache, source, context)
        log.info("context %s: %d rule files, %d fetched", rules["context"], rules["files"], rules["fetched"])
        if night:
            wanted |= choose(night, find_context(cache, rules["context"], os.environ), load_types(types), cache)
        result = filling.fill_references(cache, source, wanted)
    tell_end(result, cache)


def choose(night, context, types, cache):
    """Return name -> instrument of the references that the rules choose for the exposures of a night."""
    table = read_json(night)
    try:
        rows = [row for row in table["rows"] if row.get("id") in table["needs"]]
        requests = {row["id"]: {"needs": table["needs"][row["id"]], "keys": row["keys"]} for row in rows}
    except (KeyError, TypeError, AttributeError) as error:
        raise ReductionError(f"{night} is no table of a night; give NIGHT/plan/night.json") from error
    chosen = {}
    for identity, manifest in bestrefs.resolve(requests, context, types, cache, verify=False).items():
        if manifest["status"] == "failed":
            log.warning("%s: %s", identity, manifest["reason"])
        entries = [entry for entry in manifest["references"].values() if entry["status"] == "found"]
        chosen |= {entry["file"]: manifest["keys"]["INSTRUME"] for entry in entries}
    return chosen


def tell_end(result, cache):
    """Say what was done; end with an error when references are missing."""
    failed = result["failed"]
    there = result["files"] - result["fetched"] - len(failed)
    counts = f"{there} were there, {result['fetched']} fetched ({result['bytes'] / 1e6:.1f} MB), {len(failed)} failed"
    log.info("%d references in %s: %s", result["files"], cache, counts)
    if failed:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
        raise ReductionError(f"{len(failed)} of {result['files']} references are missing; try again later:\n{listed}")


if __name__ == "__main__":
    main()
