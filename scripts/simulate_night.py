"""Simulate a night of Liger and IRIS with its CRDS cache and the truth.

Writes NIGHT/raw (Level 0), NIGHT/crds_cache, NIGHT/config.yaml and NIGHT/truth. The presets are in
config/presets.yaml; `full` is one 4096 x 4096 exposure with 32 reads. The same command gives the same bytes.
"""

import logging

import click

from drs import cli
from drs.simulation.night import EFFECTS, OPTIONAL, list_presets, simulate_night

log = logging.getLogger("simulate_night")
EFFECTS_HELP = "Leave an effect out (repeatable): " + "; ".join(f"{name}: {text}" for name, text in EFFECTS.items())
EXTRA_HELP = "Add an effect (repeatable): " + "; ".join(f"{name}: {text}" for name, text in OPTIONAL.items())


@cli.command()
@click.argument("night", type=cli.new_folder)
@click.option("--preset", type=click.Choice(list_presets()), default="tiny", help="Which night.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Seed of all random numbers.")
@click.option("--without", type=click.Choice(tuple(EFFECTS)), multiple=True, help=EFFECTS_HELP + ".")
@click.option("--with", "extra", type=click.Choice(tuple(OPTIONAL)), multiple=True, help=EXTRA_HELP + ".")
def main(night, preset, seed, without, extra):
    """Simulate a night of Liger and IRIS in the folder NIGHT, with truth."""
    n_file = simulate_night(night, preset, seed=seed, without=without, extra=extra)
    log.info("%s: %d raw files", night, n_file)


if __name__ == "__main__":
    main()
