"""Verify a finished night: every product against its checksums, its schema, its inputs, its references and the record.

One line per deviation says where, what, what was expected, what was found, and what to do; exit status 1 with any.
Nothing is changed. Whether something would be made again is Snakemake's to say (`-n`).
"""

import os
from pathlib import Path

import click

from drs import cli
from drs.errors import ReductionError
from drs.references import read_json
from drs.verification import verify


@cli.command()
@click.argument("night", type=cli.existing_folder)
@click.option("--cache", type=cli.existing_folder, help="CRDS cache of the night [default: that of run.json].")
def main(night, cache):
    """Verify the finished night in the folder NIGHT."""
    deviations, n_files = verify(night, cache or find_cache(night))
    for deviation in deviations:
        click.echo(str(deviation))
    if deviations:
        raise ReductionError(f"{len(deviations)} deviations in {n_files} files")
    click.echo(f"{n_files} files are as they were made")


def find_cache(night):
    """Return the CRDS cache that the night's record names."""
    try:
        named = read_json(night / "run.json")["config"]["crds"]["cache"]
    except (ReductionError, OSError, KeyError, TypeError) as error:
        raise ReductionError(f"{night}/run.json names no CRDS cache: say with --cache where it is") from error
    cache = night / Path(named or os.environ.get("CRDS_PATH") or "crds_cache")
    if not cache.is_dir():
        raise ReductionError(f"{cache}, the CRDS cache of the night, is not there: say with --cache where it is")
    return cache


if __name__ == "__main__":
    main()
