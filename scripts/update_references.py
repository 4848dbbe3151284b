"""Update the references that headers name (R_*, CRDS_CTX, CRDS_VER) to what CRDS chooses, in copies or in place.

Only the PRIMARY header changes; its CHECKSUM is renewed, and all other bytes stay.
"""

import logging
import os

import click

from drs import bestrefs, cli
from drs.errors import ReductionError
from drs.headers import read_keywords
from drs.instruments import read_instruments
from drs.night import find_reference_keys
from drs.recording import find_target, write_keywords
from drs.references import find_context, header_keywords, load_types

log = logging.getLogger("update_references")


@cli.command()
@click.option("--file", "files", type=cli.existing_file, multiple=True, required=True, help="A FITS file; repeat.")
@click.option("--output", type=cli.new_folder, help="Folder of the changed copies; or:")
@click.option("--in-place", is_flag=True, help="Change the files themselves.")
@click.option("--type", "kinds", multiple=True, help="Type of reference; repeat; default all.")
@click.option("--context", default=None, help="Default CRDS_CONTEXT, then the cache's operational one.")
@click.option("--types", type=cli.existing_file, default=cli.CONFIG / "references.yaml", help="Types of references.")
@click.option("--instruments", type=cli.existing_folder, default=cli.CONFIG / "instruments", help="Instrument files.")
@click.option("--cache", type=cli.existing_folder, required=True, help="CRDS cache, only read.")
def main(files, output, in_place, kinds, context, types, instruments, cache):
    """Write the references that CRDS chooses into headers; a type without an answer keeps what its header says."""
    if in_place == (output is not None):
        raise ReductionError("give one of --output and --in-place")
    if output and len({path.name for path in files}) < len(files):
        raise ReductionError("two files have one name: the copies need different ones")
    types = load_types(types)
    if unknown := sorted(set(kinds) - set(types)):
        raise ReductionError(f"no type of reference {', '.join(unknown)}; known are {', '.join(types)}")
    requests, failed = read_requests(files, kinds or list(types), read_instruments(instruments))
    manifests = bestrefs.resolve(requests, find_context(cache, context, os.environ), types, cache, verify=False)
    for path in files:
        if str(path) in manifests:
            try:
                record(path, find_target(path, output), manifests[str(path)])
            except (ReductionError, OSError) as error:
                failed.append(f"{path}: {error}")
    if failed:
        listed = "\n  ".join(failed)
        raise ReductionError(f"{len(failed)} of {len(files)} files were not updated:\n  {listed}")


def read_requests(files, kinds, instruments):
    """Return path -> what CRDS is asked, and `path: reason` of the files that cannot be asked for."""
    requests, failed = {}, []
    for path in files:
        try:
            keys = find_reference_keys(read_keywords(path), instruments)
            requests[str(path)] = {"needs": list(kinds), "keys": keys}
        except (ReductionError, OSError) as error:
            failed.append(f"{path}: {error}")
    return requests, failed


def record(path, target, manifest):
    """Write the answer into one file and say what changed."""
    named = {keyword: value for keyword, value in header_keywords(manifest).items() if keyword != "R_PARS"}
    changes = write_keywords(path, target, named)
    for keyword, (old, new) in changes.items():
        log.info("%s: %s %s -> %s", path.name, keyword, old, new)
    missing = {}
    for kind, entry in manifest["references"].items():
        if entry["status"] == "not found":
            missing.setdefault(entry["reason"], []).append(kind)
    for reason, kinds in missing.items():
        log.warning("%s: %s stays as it is: %s", path.name, ", ".join(kinds), reason)


if __name__ == "__main__":
    main()
