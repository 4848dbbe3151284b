"""What jobs took beside what they asked for: `python tests/list_needs.py NIGHT`.

NIGHT was reduced with --benchmark-extended. Exit status 1 where a rule took more memory than config/resources.yaml
leaves for its script, or more time.
"""

import ast
import csv
import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

from drs.schema import load_yaml  # noqa: E402


def read_jobs(night):
    """Return rule -> [(largest resident MB, MB asked for the script, s, s asked)] of its jobs."""
    start_mb = load_yaml(HERE.parent / "config" / "resources.yaml")["start_mb"]
    jobs = {}
    for path in sorted((night / "benchmarks").rglob("*.tsv")):
        with path.open() as stream:
            row = next(csv.DictReader(stream, delimiter="\t"))
        if row["max_rss"] != "NA" and "resources" in row:  # else shorter than a first look at it
            asked = ast.literal_eval(row["resources"])
            took = float(row["max_rss"]), asked["mem_mb"] - start_mb, float(row["s"]), asked["runtime"] * 60
            jobs.setdefault(path.relative_to(night / "benchmarks").parts[0], []).append(took)
    return jobs


@click.command()
@click.argument("night", type=click.Path(exists=True, path_type=Path))
def main(night):
    """Print the table."""
    click.echo(
        f"{'':20} {'jobs':>5} {'MB':>6} {'asked':>6} {'s':>6} {'asked':>6}   of the job that is nearest to its limit"
    )
    short = []
    for rule, jobs in read_jobs(night).items():
        mb, asked_mb = max(((job[0], job[1]) for job in jobs), key=lambda pair: pair[0] / pair[1])
        time_s, asked_s = max(((job[2], job[3]) for job in jobs), key=lambda pair: pair[0] / pair[1])
        click.echo(f"{rule:20} {len(jobs):5d} {mb:6.0f} {asked_mb:6.0f} {time_s:6.0f} {asked_s:6.0f}")
        short += [rule] if mb > asked_mb or time_s > asked_s else []
    if short:
        sys.exit(f"asked for too little: {', '.join(short)}")


if __name__ == "__main__":
    main()
