"""What the commands share: garbage is collected of what a command makes, not of the modules that it imports."""

import gc
import subprocess
import sys
from pathlib import Path

from drs import cli

CODE = """
import gc, click
from drs import cli
assert not gc.isenabled()
import astropy.io.fits

@cli.command()
def main():
    assert gc.isenabled()
    class Node: pass
    node = Node()
    node.itself = node
    del node
    click.echo(f"{gc.get_freeze_count()} {gc.collect()}")

main()
"""


def test_only_what_a_command_makes_is_looked_at_for_cycles():
    folder = Path(cli.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, check=True)
    frozen, collected = map(int, run.stdout.split())
    assert frozen > 10_000  # objects of the modules
    assert 0 < collected < 1000


def test_tests_collect_garbage():
    assert gc.isenabled()
    assert gc.get_freeze_count() < 1000
