"""What the commands share: one class that turns our errors into one line, the log's form, common options."""

import atexit
import gc
import json
import logging
from pathlib import Path

import click

from drs.errors import MachineError, ReductionError, show

# Looking for cycles among what modules define, again and again and at the end, takes a third of the time of a script
# with a small image: it begins with what `Command` makes.
gc.disable()
atexit.register(gc.freeze)
CONFIG = Path(__file__).resolve().parents[2] / "config"


class Command(click.Command):
    """A command that ends with `Error: <what to do>` and exit status 1 when an input is refused or a disk fails."""

    def main(self, *arguments, **options):
        """Run the command line."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        return super().main(*arguments, **options)

    def invoke(self, ctx):
        """Run the command; log at INFO to standard error."""
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        try:
            return super().invoke(ctx)
        except (ReductionError, MachineError) as error:
            raise click.ClickException(show(str(error))) from error
        except OSError as error:  # a full or read-only disk, a file that vanished
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise click.ClickException(
                f"{show(what)}; restore the file, make room or mend the rights, then go on"
            ) from error
        except MemoryError as error:
            raise click.ClickException("the memory is not enough; give this job more (mem_mb), then go on") from error


def command():
    """Return the decorator of every script's `main`."""
    return click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})


class Json(click.ParamType):
    """A JSON document given as text: a list or an object (of keywords)."""

    name = "JSON"

    def __init__(self, kind):
        self.kind = kind

    def convert(self, value, param, ctx):
        """Return the document."""
        try:
            document = json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            self.fail(f"is not JSON: {error}", param, ctx)
        if not isinstance(document, self.kind):
            self.fail(f"{value} is not a JSON {'list' if self.kind is list else 'object'}", param, ctx)
        return document


class Places(Json):
    """A JSON list of pairs of whole numbers."""

    name = "[[group, read], ...]"

    def __init__(self):
        super().__init__(list)

    def convert(self, value, param, ctx):
        """Return the list."""
        places = super().convert(value, param, ctx)
        if not all(isinstance(p, list) and len(p) == 2 and all(type(n) is int for n in p) for p in places):
            self.fail(f"{value} is no list of [group, read]", param, ctx)
        return places


class Odd(click.IntRange):
    """An odd number from 1 on."""

    def __init__(self):
        super().__init__(min=1)

    def convert(self, value, param, ctx):
        """Return the number."""
        number = super().convert(value, param, ctx)
        if number % 2 == 0:
            self.fail(f"{number} is no odd number", param, ctx)
        return number


class Finite(click.FloatRange):
    """A number in a range; nan, which compares with nothing, is not in it."""

    def convert(self, value, param, ctx):
        """Return the number."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail("nan is no number", param, ctx)
        return number


def take_options(options, prefix):
    """Return the options of one step, which are taken out of all."""
    return {key.removeprefix(prefix): options.pop(key) for key in list(options) if key.startswith(prefix)}


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


def raw_options(function):
    """Add the options of what makes a calibration from raw exposures."""
    options = [
        click.option("--facts", type=Json(list), default="[]", help="Of each ramp: corrections, dropped, keys (JSON)."),
        click.option("--useafter", required=True, help="Time from which the calibration holds (ISO, UTC)."),
        click.option("--manifest", type=existing_file, required=True, help="References of one of the exposures."),
        cache_option,
        night_cache_option,
        click.option("--border-pix", type=click.IntRange(0), required=True, help="Reference pixels at each edge."),
        click.option("--n-channel", type=click.IntRange(1), required=True, help="Output channels of the detector."),
        refusal_option,
        output_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function
