"""Write the record of a run: versions, code, settings, context, and the sha256 of inputs and products."""

from pathlib import Path

import click

from drs import cli
from drs.files import write_json
from drs.record import make_record

REPO = Path(__file__).resolve().parents[1]


@cli.command()
@click.option("--night", type=cli.existing_file, required=True, help="plan/night.json.")
@click.option("--config", type=cli.Json(dict), required=True, help="Every setting of the run (JSON).")
@cli.output_option
def main(night, config, output):
    """Write the record of the run that reduced a night."""
    write_json(output, make_record(night.parents[1], REPO, config))


if __name__ == "__main__":
    main()
