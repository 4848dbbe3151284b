"""Deliver one tier of the night's own references into its overlay cache, as a new CRDS context.

Without references the output names the base context: the tiers above need not know.
"""

import logging

import click

from drs import cli, delivery, references
from drs.product import write_json

log = logging.getLogger("deliver_references")


@cli.command()
@click.option("--context", type=cli.existing_file, required=True, help="JSON of the context to build on.")
@click.option("--cache", type=cli.existing_folder, required=True, help="Root of the CRDS cache, only read.")
@click.option("--overlay", type=cli.new_folder, required=True, help="Root of the night's own cache, written.")
@click.option("--tier", type=click.Choice(list(delivery.SERIALS)), required=True, help="Tier of the references.")
@click.option("--types", type=cli.existing_file, required=True, help="The types of references, references.yaml.")
@click.option("--reference", type=cli.existing_file, multiple=True, help="A reference file; repeatable, or none.")
@click.option("--leave-out", is_flag=True, help="Leave out a reference that is refused, with the reason, and go on.")
@click.option("--output", type=cli.new_file, required=True, help="JSON: the new context and what it holds.")
def main(context, cache, overlay, tier, types, reference, leave_out, output):
    """Deliver the night's own references of one tier."""
    base = references.read_json(context)
    deliver = delivery.deliver_acceptable if leave_out else delivery.deliver
    delivered = deliver(reference, base, tier, references.load_types(types), cache, overlay)
    log.info("context %s holds %d new references", delivered["context"], len(delivered["delivered"]))
    for name, reason in delivered["left_out"].items():
        log.warning("%s is left out: %s", name, reason)
    write_json(output, delivered)


if __name__ == "__main__":
    main()
