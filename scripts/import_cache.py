"""Import a CRDS cache that others published: write a usable one and list each repair; the source is only read.

A line per repair: file, what was wrong, what was done. A second run finds the files there and writes nothing.
"""

from pathlib import Path

import click

from drs import cli
from drs.errors import ReductionError
from drs.instruments import read_instruments
from drs.intake import import_cache

CONFIG = Path(__file__).resolve().parents[1] / "config"


@cli.command()
@click.argument("source", type=cli.existing_folder)
@click.argument("output", type=cli.new_folder)
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="A value in the cases of the rules, say IRIS1=IMG1.")
@click.option("--instruments", type=cli.existing_folder, default=CONFIG / "instruments", help="Instrument files.")
def main(source, output, rename, instruments):
    """Import the cache of the checkout SOURCE into the folder OUTPUT."""
    pairs = dict(_split(text) for text in rename)
    done = import_cache(source, output, read_instruments(instruments), pairs)
    if done.written:
        for line in done.lines:
            click.echo(f"{line.file}: {line.found}; {line.done}")
    for name, pointer, why in done.missing:
        click.echo(f"{name}: missing, {why} ({pointer['size']} bytes, sha256 {pointer['sha256']}); put the file itself")
    if done.written:
        click.echo(f"{output}: {len(done.written)} files written, {len(done.lines)} repairs and remarks")
    else:
        click.echo(f"{output}: nothing to do, the import is there")


def _split(text):
    """Return (old, new) of OLD=NEW."""
    old, _, new = text.partition("=")
    if not old or not new:
        raise ReductionError(f"--rename {text}: expected OLD=NEW, for example IRIS1=IMG1")
    return old, new


if __name__ == "__main__":
    main()
