"""Combine Level 2 images of one field: aligned by their coordinates, outliers clipped, mean by exposure time."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.dq import Flag
from drs.keywords import combine_keywords
from drs.members import keep_good
from drs.mosaic import noise_correlation, plan_grid, resample, resample_flags, steepness
from drs.stack import combine_stack

logger = logging.getLogger("combine_images")
MINIMUM_COVERAGE = 0.9  # of an output pixel by good pixels; with less, a steep profile is filled in from one side
WHOLE = 0.99
KEPT_FLAGS = ~np.uint32(Flag.DO_NOT_USE)


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
        mosaic = combine_members(members, clip_sigma=clip_sigma, clip_gradient=clip_gradient)
        mosaic = replace(mosaic, history=tuple(left_out))
        mosaic = mosaic.with_step("resample", clip_sigma=clip_sigma, clip_gradient=clip_gradient, kernel="square")
        product.write(output, mosaic, inputs={"image": images})


def describe_mosaic(members):
    """Return the mosaic of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members]) | {"DATALVL": 3}
    return product.Product(keywords, {}, {"SCI": "electron/s", "ERR": "electron/s", "WHT": "s"})


def combine_members(members, *, clip_sigma, clip_gradient):
    """Return the combination of Level 2 products, a mosaic."""
    grid, shape = plan_grid([member.wcs for member in members], [member.arrays["SCI"].shape for member in members])
    frames = [resample(member.image, member.wcs, grid, shape) for member in members]
    values, variance, coverage = (np.stack(arrays) for arrays in zip(*frames, strict=True))
    unusable = ~(coverage > MINIMUM_COVERAGE) | ~np.isfinite(values)
    exposure_s = [member.keywords.get("TOTTIME", member.keywords["EXPTIME"]) for member in members]
    tolerance = clip_gradient * steepness(values, ~unusable)
    stack = combine_stack(values, variance, unusable, clip_sigma=clip_sigma, weights=exposure_s, tolerance=tolerance)
    logger.info("%d images to %s pixels, %.5f clipped", len(members), shape[::-1], stack.outlier.mean())
    flags = np.where(stack.outlier, Flag.OUTLIER, 0) | np.where(stack.n_used == 0, Flag.DO_NOT_USE, 0)
    flags = flags.astype(np.uint32)
    for member, left_out in zip(members, unusable, strict=True):
        flags |= np.where(left_out, np.uint32(0), resample_flags(member.image.dq, member.wcs, grid, shape) & KEPT_FLAGS)
    errors = [member.image.error[~member.image.unusable] for member in members]
    variances = [frame[whole > WHOLE] for frame, whole in zip(variance, coverage, strict=True)]
    arrays = {"SCI": stack.value, "ERR": np.sqrt(stack.variance), "DQ": flags, "WHT": stack.weight, "CON": stack.n_used}
    mosaic = describe_mosaic(members)
    correlation = round(noise_correlation(errors, variances, exposure_s), 4)
    return replace(mosaic, arrays=arrays, wcs=grid, keywords={**mosaic.keywords, "NOISCORR": correlation})


if __name__ == "__main__":
    main()
