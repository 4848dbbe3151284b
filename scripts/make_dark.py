"""Make a master dark: the clipped mean of several dark rates, hot pixels flagged."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.dark import check_unlit, flag_hot, measure_numbers
from drs.dq import Flag
from drs.image import Image
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good, stack_images
from drs.stack import combine_stack

logger = logging.getLogger("make_dark")


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 dark; repeat.")
@click.option("--useafter", required=True, help="Time from which the dark holds (ISO, UTC).")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of darks.")
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma.")
@click.option("--maximum-rate-e-per-s", type=float, required=True, help="Median above which light was on a dark.")
@click.option("--hot-threshold-sigma", type=float, required=True, help="A pixel this far above is HOT.")
@cli.refusal_option
@cli.output_option
def main(rates, useafter, minimum, clip_sigma, maximum_rate_e_per_s, hot_threshold_sigma, mark_refusal, output):
    """Combine Level 1 darks into a DarkModel."""
    members = [product.read(path, models=("ImagerModel", "IFUImageModel"), unit="electron/s") for path in rates]
    with product.mark_refusal(output, describe_dark(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=minimum, what="dark")
        images = [members[k].image for k in good]
        check_unlit([rates[k].name for k in good], images, maximum_rate_e_per_s=maximum_rate_e_per_s)
        stack = combine_stack(*stack_images(images), clip_sigma=clip_sigma)
        logger.info("%d darks, %.4f of the pixels clipped", len(images), stack.outlier.mean())
        flags = np.bitwise_and.reduce([image.dq for image in images])
        flags &= ~np.uint32(Flag.JUMP_DET | Flag.SATURATED)
        flags |= np.where(stack.n_used == 0, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
        combined = Image(stack.value, np.sqrt(stack.variance), flags)
        dark = product.with_history(describe_dark([members[k] for k in good], useafter), left_out)
        dark = dark.with_image(flag_hot(combined, hot_threshold_sigma=hot_threshold_sigma))
        used = {"maximum_rate_e_per_s": maximum_rate_e_per_s, "minimum": minimum}
        dark = dark.with_step("dark", clip_sigma=clip_sigma, hot_threshold_sigma=hot_threshold_sigma, **used)
        dark = replace(dark, keywords=dark.keywords | measure_numbers(dark.image, stack.outlier))
        product.write(output, dark, inputs={"rate": rates})


def describe_dark(members, useafter):
    """Return the master dark of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "DARK", useafter, "Master dark of one night") | {"DATAMODL": "DarkModel"}
    return product.Product(keywords, {}, {"SCI": "electron/s", "ERR": "electron/s"})


if __name__ == "__main__":
    main()
