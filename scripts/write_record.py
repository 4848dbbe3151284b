"""Write the record of a run: versions, code, settings, context, and the sha256 of inputs and products."""

from pathlib import Path

import click

from drs import cli
from drs.files import write_json
from drs.record import keep_earlier, make_record
from drs.references import read_json

REPO = Path(__file__).resolve().parents[1]


@cli.command()
@click.option("--night", type=cli.existing_file, required=True, help="plan/night.json.")
@click.option("--config", type=cli.Json(dict), required=True, help="Every setting of the run (JSON).")
@cli.output_option
def main(night, config, output):
    """Write the record of the run that reduced a night; what it keeps of earlier ones is in the output so far."""
    before = read_json(output) if output.exists() else {}
    write_json(output, keep_earlier(make_record(night.parents[1], REPO, config), before))


if __name__ == "__main__":
    main()
