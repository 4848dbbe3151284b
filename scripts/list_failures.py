"""List what a run could not do: files that were not accepted, and the last word of every log that ends in an error."""

import json
from pathlib import Path

import click

from drs import cli
from drs.plan import Plan


@cli.command()
@click.option("--night", type=Path, required=True, help="plan/night.json; may be absent.")
@click.option("--logs", type=Path, required=True, help="Folder of the logs; may be absent.")
def main(night, logs):
    """Print the rejected files and the failures, each with its reason and its log."""
    rows = json.loads(night.read_text())["rows"] if night.exists() else []
    for row in rows:
        if row["status"] != "accepted" or row["notes"]:
            status = row["status"] if row["status"] != "accepted" else "accepted with a note"
            click.echo(f"raw/{row['file']}: {status}: {row['reason'] or '; '.join(row['notes'])}", err=True)
    for log in sorted(logs.rglob("*.log")):
        if text := find_error(log.read_text(errors="replace")):
            click.echo(f"failed: {text} (log: {log})", err=True)
    left_over = Plan(json.loads(night.read_text()), None).find_left_over(night.parents[1]) if rows else []
    for path in left_over:
        click.echo(f"{path} is not in the plan (any more): left from an earlier run", err=True)


def find_error(text):
    """Return the error or the refusal that a log ends with, '' for a log of a job that went well."""
    lines = text.strip().splitlines()
    for position, line in enumerate(lines):
        if line.startswith(("Error: ", "ERROR ")):
            return " ".join(part.strip() for part in lines[position:])
    ends_badly = bool(lines) and any(line.startswith("Traceback") for line in lines)
    return lines[-1] if ends_badly else ""


if __name__ == "__main__":
    main()
