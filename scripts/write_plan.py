"""Write the plan of a night: every exposure, its products, and what each is calibrated with, and why."""

from pathlib import Path

import click

from drs import cli
from drs.files import write_json
from drs.listing import format_plan
from drs.prediction import predict_references, tabulate
from drs.references import load_types, read_json


@cli.command()
@click.option("--night", type=cli.existing_file, required=True, help="plan/night.json.")
@click.option("--request", "requests", type=cli.existing_file, multiple=True, required=True, help="Stages, in order.")
@click.option("--context", type=cli.existing_file, required=True, help="plan/context.json.")
@click.option("--types", type=cli.existing_file, required=True, help="The types of references, references.yaml.")
@click.option("--cache", type=cli.existing_folder, required=True, help="Root of the CRDS cache, only read.")
@click.option("--table", type=cli.new_file, required=True, help="JSON to write.")
@click.option("--output", type=cli.new_file, required=True, help="Text to write.")
def main(night, requests, context, types, cache, table, output):
    """Predict what CRDS will choose and write the plan as JSON and as text."""
    asked = {Path(path).stem: read_json(path) for path in requests}
    document = read_json(night)
    manifests = predict_references(document, asked, read_json(context), load_types(types), cache)
    plan = tabulate(document, manifests)
    write_json(table, plan)
    output.write_text(format_plan(plan))


if __name__ == "__main__":
    main()
