"""Print the reference that CRDS chooses for a file: a line per type, its path, N/A or NOT FOUND.

Exit status 0 when every type has a path or does not apply; 1 when one has no reference, or its file is not in the
cache (its path is printed none the less). The reasons go to standard error.
"""

from pathlib import Path

import click

from drs import cli, lookup
from drs.instruments import read_instruments
from drs.references import load_types

CONFIG = Path(__file__).resolve().parents[1] / "config"


@cli.command()
@click.argument("file", type=cli.existing_file)
@click.argument("types", nargs=-1, required=True)
@click.option("--cache", type=cli.existing_folder, envvar="CRDS_PATH", required=True, help="Root of the CRDS cache.")
@click.option("--context", help="CRDS context; default CRDS_CONTEXT, then the cache's operational one.")
@click.option("--types-file", type=cli.existing_file, default=CONFIG / "references.yaml", help="Types of references.")
@click.option("--instruments", type=cli.existing_folder, default=CONFIG / "instruments", help="Instrument files.")
@click.pass_context
def main(command, file, types, cache, context, types_file, instruments):
    """Print what CRDS chooses for FILE (FITS of any level, or JSON of its keywords), for each of TYPES."""
    known, facts = load_types(types_file), read_instruments(instruments)
    choices = lookup.choose_references(file, types, known, facts, cache, context)
    for choice in choices:
        click.echo(choice.path or {"n/a": "N/A"}.get(choice.status, "NOT FOUND"))
        if choice.status != "found":
            click.echo(f"{choice.kind}: {choice.status}: {choice.reason}", err=True)
    command.exit(int(any(choice.status == "not found" for choice in choices)))


if __name__ == "__main__":
    main()
