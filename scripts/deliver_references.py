"""Deliver references to CRDS, as a new context: certify, insert into new rules, derive imap and pmap, checksums.

By hand, into an operations cache: `deliver_references.py FILE... --cache CACHE`, with `--dry-run` to see the changes
first. With --tier, the night's own of one tier into its overlay cache; without files the output then names the base
context: the tiers above need not know.
"""

import logging
from pathlib import Path

import click

from drs import cli, delivery, ingest, references
from drs.files import write_json

log = logging.getLogger("deliver_references")


@cli.command()
@click.argument("files", type=cli.existing_file, nargs=-1)
@click.option("--cache", type=cli.existing_folder, required=True, help="Root of the CRDS cache.")
@click.option("--context", help="Name of the context to build on [default: operational]; with --tier, its JSON.")
@click.option("--types", type=cli.existing_file, default=ingest.TYPES, help="The types of references.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@click.option("--supersede", is_flag=True, help="Let a reference replace another of the same case and date.")
@click.option("--tier", type=click.Choice(list(delivery.SERIALS)), help="Tier of the night's own references.")
@click.option("--overlay", type=cli.new_folder, help="With --tier: the night's own cache, written instead of --cache.")
@click.option("--leave-out", is_flag=True, help="With --tier: leave out what is refused, with the reason, and go on.")
@click.option("--output", type=cli.new_file, help="With --tier: JSON of the new context and what it holds.")
def main(files, cache, context, types, dry_run, supersede, tier, overlay, leave_out, output):
    """Deliver references FILES into a CRDS cache, all or none of them."""
    types = references.load_types(types)
    if tier is None:
        if not files or overlay or leave_out or output:
            raise click.UsageError("give FILES to deliver; --overlay, --leave-out and --output go with --tier")
        made = ingest.ingest(files, types, cache, context=context, supersede=supersede, dry_run=dry_run)
        click.echo("\n".join(ingest.format_changes(made, dry_run=dry_run)))
        return
    if not (context and overlay and output) or dry_run or supersede:
        raise click.UsageError("--tier needs --context, --overlay and --output, without --dry-run and --supersede")
    base = references.read_json(Path(context))
    deliver = delivery.deliver_acceptable if leave_out else delivery.deliver
    delivered = deliver(files, base, tier, types, cache, overlay)
    log.info("context %s holds %d new references", delivered["context"], len(delivered["delivered"]))
    for name, reason in delivered["left_out"].items():
        log.warning("%s is left out: %s", name, reason)
    write_json(output, delivered)


if __name__ == "__main__":
    main()
