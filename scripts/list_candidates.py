"""List the candidates of a choice of CRDS: why this reference, and why not each other one."""

import os

import click

from drs import cli
from drs.errors import ReductionError
from drs.files import write_json
from drs.headers import read_keywords
from drs.instruments import read_instruments
from drs.night import find_reference_keys
from drs.references import find_context, load_types, read_manifest
from drs.selection import format_trace, trace_selection


@cli.command()
@click.option("--manifest", type=cli.existing_file, help="references/<obs>_<exp>.json of the exposure; or:")
@click.option("--file", type=cli.existing_file, help="A FITS file, with --instruments.")
@click.option("--context", default=None, help="Of --file; default CRDS_CONTEXT, then the cache's operational one.")
@click.option("--type", "kind", required=True, help="Type of reference, for example flat.")
@click.option("--types", type=cli.existing_file, default=cli.CONFIG / "references.yaml", help="Types of references.")
@click.option("--instruments", type=cli.existing_folder, default=cli.CONFIG / "instruments", help="Instrument files.")
@click.option("--cache", type=cli.existing_folder, required=True, help="CRDS cache, only read.")
@click.option(
    "--night-cache",
    type=cli.new_folder,
    help="CRDS cache of the night; may be missing; default crds beside --manifest.",
)
@click.option("--output", type=cli.new_file, help="JSON to write.")
def main(manifest, file, context, kind, types, instruments, cache, night_cache, output):
    """Say why CRDS chose a reference, or none, for one exposure and one type."""
    if (manifest is None) == (file is None):
        raise ReductionError("give one of --manifest and --file")
    told = ""
    if manifest:
        answer = read_manifest(manifest)
        keys, chosen = answer["keys"], {"context": answer["context"]["name"], "sha1": answer["context"]["sha1"]}
        night_cache = night_cache or manifest.parent / "crds"
        entry = answer["references"].get(kind, {})
        if entry.get("source") == "override":
            told = f"override by {entry['note']}: {entry['file'] or 'none'}; without it CRDS chooses:\n"
    else:
        keys = find_reference_keys(read_keywords(file), read_instruments(instruments))
        chosen = find_context(cache, context, os.environ)
    trace = trace_selection(keys, kind, chosen, load_types(types), cache, night_cache)
    click.echo(told + format_trace(trace))
    if output:
        write_json(output, trace)


if __name__ == "__main__":
    main()
