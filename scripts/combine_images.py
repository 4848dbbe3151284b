"""Combine Level 2 images of one field: aligned by their coordinates, outliers clipped, mean by exposure time."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.dq import Flag
from drs.keywords import combine_keywords
from drs.members import keep_good
from drs.mosaic import plan_grid, resample, steepness
from drs.stack import combine_stack

logger = logging.getLogger("combine_images")
MINIMUM_COVERAGE = 0.01  # of an output pixel; less is the rounding of a shift by whole pixels


@cli.command()
@click.option("--image", "images", type=cli.existing_file, multiple=True, required=True, help="Level 2; repeat.")
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma; 0: none.")
@click.option("--clip-gradient", type=float, required=True, help="Part of the image's steepness allowed on top.")
@cli.refusal_option
@cli.output_option
def main(images, clip_sigma, clip_gradient, mark_refusal, output):
    """Combine Level 2 images into a Level 3 mosaic."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in images]
    with product.mark_refusal(output, describe_mosaic(members), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in images], minimum=1, what="Level 2")
        members = [members[k] for k in good]
        arrays, wcs = combine_members(members, clip_sigma=clip_sigma, clip_gradient=clip_gradient)
        mosaic = replace(describe_mosaic(members), arrays=arrays, wcs=wcs, history=tuple(left_out))
        mosaic = mosaic.with_step("resample", clip_sigma=clip_sigma, clip_gradient=clip_gradient, kernel="square")
        product.write(output, mosaic, inputs={"image": images})


def describe_mosaic(members):
    """Return the mosaic of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members]) | {"DATALVL": 3}
    return product.Product(keywords, {}, {"SCI": "electron/s", "ERR": "electron/s", "WHT": "s"})


def combine_members(members, *, clip_sigma, clip_gradient):
    """Return the arrays and the WCS of the combination of Level 2 products."""
    headers = [member.wcs for member in members]
    wcs, shape = plan_grid(headers, [member.arrays["SCI"].shape for member in members])
    frames = [resample(member.image, member.wcs, wcs, shape) for member in members]
    values, variance, coverage = (np.stack(arrays) for arrays in zip(*frames, strict=True))
    unusable = ~(coverage > MINIMUM_COVERAGE) | ~np.isfinite(values)
    exposure_s = np.array([member.keywords.get("TOTTIME", member.keywords["EXPTIME"]) for member in members])
    stack = combine_stack(
        values,
        variance,
        unusable,
        clip_sigma=clip_sigma,
        weights=coverage * exposure_s[:, None, None].astype(np.float32),
        tolerance=clip_gradient * steepness(values, ~unusable),
    )
    logger.info("%d images to %s pixels, %.5f clipped", len(members), shape[::-1], stack.outlier.mean())
    flags = np.where(stack.outlier, Flag.OUTLIER, 0) | np.where(stack.n_used == 0, Flag.DO_NOT_USE, 0)
    arrays = {
        "SCI": stack.value,
        "ERR": np.sqrt(stack.variance),
        "DQ": flags.astype(np.uint32),
        "WHT": stack.weight,
        "CON": stack.n_used,
    }
    return arrays, wcs


if __name__ == "__main__":
    main()
