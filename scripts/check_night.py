"""Check the outcome of a night: fail, at its end, when a product was refused or an exposure has no references."""

import json

import click

from drs import cli
from drs.errors import ReductionError


@cli.command()
@click.option("--night", type=cli.existing_file, required=True, help="plan/night.json.")
@click.option("--index", "indexes", type=cli.existing_file, multiple=True, help="references/<stage>.json; repeat.")
@click.option("--quality", "qualities", type=cli.existing_file, multiple=True, help="Quality JSON; repeat.")
@click.option("--delivery", "deliveries", type=cli.existing_file, multiple=True, help="references/contexts/*.json.")
@click.option("--strict", is_flag=True, help="Rejected raw files count as failures.")
@cli.output_option
def main(night, indexes, qualities, deliveries, strict, output):
    """Write `all is well`, or end with the list of what failed and why."""
    exposures = {k: v for path in indexes for k, v in json.loads(path.read_text())["exposures"].items()}
    unresolved = {name: entry for name, entry in exposures.items() if entry["status"] != "resolved"}
    failed = [f"{name}: {entry['reason']}" for name, entry in unresolved.items()]
    causes = {reason for entry in unresolved.values() for reason in entry["reasons"]}
    for path in qualities:
        quality = json.loads(path.read_text())
        refused = quality["refused"]
        if refused and not any(cause in refused for cause in causes):  # else a mere consequence
            failed.append(f"{quality['product']}: {refused}")
    for path in deliveries:
        left_out = json.loads(path.read_text()).get("left_out", {})
        failed += [f"{name} is not delivered: {reason}" for name, reason in left_out.items()]
    if strict:
        rows = json.loads(night.read_text())["rows"]
        failed += [f"raw/{row['file']}: {row['reason']}" for row in rows if row["status"] == "rejected"]
    if failed:
        listed = "\n  ".join(failed)
        raise ReductionError(f"{len(failed)} failed; all others are reduced (see report.html):\n  {listed}")
    output.write_text("all planned products are good\n")


if __name__ == "__main__":
    main()
