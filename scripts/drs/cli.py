"""What the commands share: one class that turns our errors into one line, the log's form, common options."""

import json
import logging
from pathlib import Path

import click

from drs.errors import ReductionError

CONFIG = Path(__file__).resolve().parents[2] / "config"


class Command(click.Command):
    """A command that ends with `Error: <what to do>` and exit status 1 when the library refuses an input."""

    def invoke(self, ctx):
        """Run the command; log at INFO to standard error."""
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        try:
            return super().invoke(ctx)
        except ReductionError as error:
            raise click.ClickException(str(error)) from error


def command():
    """Return the decorator of every script's `main`."""
    return click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})


class Json(click.ParamType):
    """A JSON document given as text."""

    name = "JSON"

    def convert(self, value, param, ctx):
        """Return the document."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            self.fail(f"is not JSON: {error}", param, ctx)


existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_folder = click.Path(exists=True, file_okay=False, path_type=Path)
new_file = click.Path(dir_okay=False, path_type=Path)
new_folder = click.Path(file_okay=False, path_type=Path)

cache_option = click.option("--cache", type=Path, required=True, help="CRDS cache that the manifest was made from.")
night_cache_option = click.option("--night-cache", type=Path, required=True, help="CRDS cache of this night.")
output_option = click.option("--output", type=new_file, required=True, help="Product to write.")
refusal_option = click.option(
    "--mark-refusal",
    is_flag=True,
    help="Write a product marked BAD, with the reason, where an input is refused, and go on.",
)
