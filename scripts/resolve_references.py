"""Ask CRDS which references every exposure takes; write one manifest per exposure and their index.

An exposure without an answer gets a manifest that says why, and the others go on; only an unusable context or
cache ends the command.
"""

import logging

import click

from drs import bestrefs, cli, references
from drs.files import write_json

log = logging.getLogger("resolve_references")


@cli.command()
@click.option("--exposures", type=cli.existing_file, required=True, help="JSON: exposure -> needs, keys, override.")
@click.option("--context", type=cli.existing_file, required=True, help="JSON of the context, or of a delivery.")
@click.option("--cache", type=cli.existing_folder, required=True, help="Root of the CRDS cache, only read.")
@click.option("--overlay", type=cli.new_folder, help="Root of the night's own cache; may be missing.")
@click.option("--types", type=cli.existing_file, required=True, help="The types of references, references.yaml.")
@click.option("--manifests", type=cli.new_folder, required=True, help="Folder of the manifests, one per exposure.")
@click.option("--output", type=cli.new_file, required=True, help="JSON: index of the manifests.")
def main(exposures, context, cache, overlay, types, manifests, output):
    """Resolve the references of a batch of exposures with CRDS."""
    requests = references.read_json(exposures)
    chosen = references.read_json(context)
    resolved = bestrefs.resolve(requests, chosen, references.load_types(types), cache, overlay)
    index = references.write_manifests(resolved, manifests)
    for text, names in gather_overrides(resolved).items():
        log.warning("%s: %s", ", ".join(names), text)
    failed = [name for name, entry in index["exposures"].items() if entry["status"] == "failed"]
    for name in failed:
        log.warning("%s: %s", name, index["exposures"][name]["reason"])
    log.info("%d exposures, %d without all references", len(resolved), len(failed))
    write_json(output, {"context": {"name": chosen["context"], "sha1": chosen["sha1"]}, **index})


def gather_overrides(manifests):
    """Return text -> exposures of the overrides whose keywords differ from those of the exposures."""
    told = {}
    for exposure, manifest in manifests.items():
        for kind, entry in manifest["references"].items():
            if entry["source"] == "override" and entry["status"] == "found" and entry["reason"]:
                told.setdefault(f"override of {kind}: {references.describe_override(entry)}", []).append(exposure)
    return told


if __name__ == "__main__":
    main()
