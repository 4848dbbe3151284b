"""Compare two nights of products: bytes, numbers, flags, keywords, parameters and inputs; exit status 1 if any differs.

What differs between the runs themselves (versions, code, settings, contexts, from run.json) follows as remarks.
"""

import sys

import click

from drs import cli
from drs.comparison import compare


@cli.command()
@click.argument("first", type=cli.existing_folder)
@click.argument("second", type=cli.existing_folder)
def main(first, second):
    """Say how the products in the folders FIRST and SECOND differ."""
    differences, remarks, n_same = compare(first, second)
    for name, lines in differences.items():
        click.echo(name)
        for line in lines:
            click.echo(f"  {line}")
    for remark in remarks:
        click.echo(f"run: {remark}")
    click.echo(f"{n_same} products are the same, {len(differences)} differ")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
