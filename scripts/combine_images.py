"""Combine Level 2 images of one field: aligned by their coordinates, outliers clipped, mean by exposure time."""

import logging
from contextlib import ExitStack
from dataclasses import replace

import click

from drs import cli, product
from drs.clipping import SCALES, STATISTICS
from drs.combination import METHODS, PLANES, UNITS, WORKING, Settings, combine, open_member
from drs.drizzling import KERNELS
from drs.errors import ReductionError
from drs.keywords import combine_keywords
from drs.members import check_configuration, keep_good
from drs.mosaic import find_footprints, find_group, plan_grid
from drs.pixelmap import map_image
from drs.planes import open_planes

logger = logging.getLogger("combine_images")
CONFIGURATION = ("INSTRUME", "DETECTOR", "FILTER", "PUPIL")


@cli.command()
@click.option("--image", "images", type=cli.existing_file, multiple=True, required=True, help="Level 2; repeat.")
@click.option("--method", type=click.Choice(METHODS), required=True, help="How images are put together.")
@click.option("--kernel", type=click.Choice(list(KERNELS)), required=True, help="Shape of drops (drizzle).")
@click.option("--pixfrac", type=cli.Finite(0, 1, min_open=True), required=True, help="Side of drops (drizzle).")
@click.option("--statistic", type=click.Choice(list(STATISTICS)), required=True, help="Of the stack (shift).")
@click.option("--clip", type=click.Choice(list(SCALES)), required=True, help="Scale of the clipping (shift).")
@click.option("--clip-sigma", type=cli.Finite(0), required=True, help="Rejection of outliers, in sigma; 0: none.")
@click.option("--clip-gradient", type=cli.Finite(0), required=True, help="Part of the gradient allowed on top.")
@click.option("--clip-neighbour-sigma", type=cli.Finite(1), required=True, help="The same beside a rejected pixel.")
@click.option("--tile-rows", type=click.IntRange(1), default=None, help="Rows in memory at a time; 128 MiB by default.")
@cli.refusal_option
@cli.output_option
def main(images, tile_rows, mark_refusal, output, **options):
    """Combine Level 2 images into a Level 3 mosaic."""
    with ExitStack() as stack:
        opened = [stack.enter_context(product.open_product(path, models="ImagerModel")) for path in images]
        with product.mark_refusal(output, describe_mosaic(opened), mark=mark_refusal):
            members, left_out, grid, shape = choose_members(opened, [path.name for path in images])
            spool = stack.enter_context(open_planes(shape, PLANES | WORKING))
            settings = Settings(**options)
            correlation, n_rejected = combine(
                [member for _, member in members], shape, settings, spool, tile_rows=tile_rows
            )
            logger.info("%d images to %s pixels, %d pixels rejected", len(members), shape[::-1], n_rejected)
            mosaic = describe_mosaic([one for one, _ in members])
            keywords = mosaic.keywords | {"NOISCORR": round(correlation, 4)}
            arrays = {name: spool.plane(name) for name in PLANES}
            mosaic = replace(mosaic, keywords=keywords, arrays=arrays, wcs=grid, history=tuple(left_out))
            product.write(output, mosaic.with_step("resample", **options), inputs={"image": images})


def describe_mosaic(members):
    """Return the mosaic of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members]) | {"DATALVL": 3}
    return product.Product(keywords, {}, UNITS)


def choose_members(opened, names):
    """Return (product, member) of the images that can be combined, why others cannot, and the grid."""
    good, left_out = keep_good(opened, names, minimum=1, what="Level 2", one_shape=False)
    opened, names = [opened[k] for k in good], [names[k] for k in good]
    check_configuration(opened, names, CONFIGURATION)
    if wrong := [name for one, name in zip(opened, names, strict=True) if not {"CTYPE1", "CRVAL1"} <= one.wcs.keys()]:
        raise ReductionError(f"no coordinates in {', '.join(wrong)}: make them with calibrate_image")
    headers, shapes = [one.wcs for one in opened], [one.arrays["SCI"].shape for one in opened]
    group = find_group(find_footprints(headers, shapes))
    apart = [names[k] for k in range(len(names)) if k not in group]
    if apart and len(group) <= len(apart):
        plan_grid(headers, shapes)  # says how far apart they are, where they are of two fields
        raise ReductionError(
            f"{', '.join(apart)} overlap no other image: nothing to combine; correct RA, DEC or OBJECT"
        )
    left_out += [
        f"left out: {name}: overlaps no other image; correct its RA and DEC in exposures.yaml" for name in apart
    ]
    grid, shape = plan_grid([headers[k] for k in group], [shapes[k] for k in group])
    members = []
    for k in group:
        keywords = opened[k].keywords
        time_s = keywords.get("TOTTIME", keywords["EXPTIME"])
        pixelmap = map_image(headers[k], grid, shapes[k])
        member = open_member(opened[k].arrays, pixelmap, time_s, keywords.get("NGROUPS", 1))
        if member is None:
            left_out.append(f"left out: {names[k]}: all of its pixels are masked")
        else:
            members.append((opened[k], member))
    if not members:
        raise ReductionError(
            "all pixels of all images are masked: see their DQ and its calibrations; nothing to combine"
        )
    for line in left_out:
        logger.warning("%s", line)
    return members, left_out, grid, shape


if __name__ == "__main__":
    main()
