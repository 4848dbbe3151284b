"""List what another CRDS context changes: old -> new reference per exposure and type, before anything is run."""

import logging
import os
from collections import Counter

import click

from drs import bestrefs, cli
from drs.affected import find_affected, format_affected
from drs.errors import ReductionError
from drs.files import write_json
from drs.headers import read_keywords
from drs.instruments import read_instruments
from drs.night import find_reference_keys
from drs.prediction import predict_references
from drs.references import find_context, load_types, read_json

log = logging.getLogger("list_affected")


@cli.command()
@click.option(
    "--file", "files", type=cli.existing_file, multiple=True, help="A FITS file, asked for all types; repeat."
)
@click.option("--request", "requests", type=cli.existing_file, multiple=True, help="plan/stages/<stage>.json; repeat.")
@click.option("--night", type=cli.existing_file, help="plan/night.json: calibrations of the night come before CRDS's.")
@click.option("--old-context", required=True, help="For example ligeriri_0001.pmap.")
@click.option("--new-context", required=True, help="For example ligeriri_0002.pmap.")
@click.option("--types", type=cli.existing_file, default=cli.CONFIG / "references.yaml", help="Types of references.")
@click.option("--instruments", type=cli.existing_folder, default=cli.CONFIG / "instruments", help="Instrument files.")
@click.option("--cache", type=cli.existing_folder, required=True, help="CRDS cache, only read.")
@click.option("--output", type=cli.new_file, help="JSON to write.")
def main(files, requests, night, old_context, new_context, types, instruments, cache, output):
    """List the references that change between two contexts."""
    types = load_types(types)
    stages = {path.stem: read_json(path) for path in requests}
    exposures = read_files(files, types, read_instruments(instruments))
    exposures |= {name: request for stage in stages.values() for name, request in stage.items()}
    if not exposures:
        raise ReductionError("no exposure is given: name files, or the requests of a night")
    answers = []
    for name in (old_context, new_context):
        context = find_context(cache, name, os.environ)
        found = bestrefs.resolve(exposures, context, types, cache, verify=False)
        if night:
            found |= predict_references(read_json(night), stages, context, types, cache)
        answers.append(found)
    rows = find_affected(*answers)
    click.echo(format_affected(rows, len(exposures)))
    if output:
        write_json(output, {"old_context": old_context, "new_context": new_context, "affected": rows})


def read_files(files, types, instruments):
    """Return file name -> what CRDS is asked; a file that cannot be asked for is told and left out.

    Files of one name, in several folders, have their paths as names.
    """
    exposures, counts = {}, Counter(path.name for path in files)
    for path in files:
        try:
            keys = find_reference_keys(read_keywords(path), instruments)
        except (ReductionError, OSError) as error:
            log.error("%s is left out: %s", path, error)
        else:
            name = path.name if counts[path.name] == 1 else str(path)
            exposures[name] = {"needs": list(types), "keys": keys}
    return exposures


if __name__ == "__main__":
    main()
