"""Combine Level 2 images of one field: aligned by their coordinates, outliers clipped, mean by exposure time."""

import logging
from contextlib import ExitStack
from dataclasses import replace

import click

from drs import cli, product
from drs.alignment import METHODS, align
from drs.clipping import SCALES, STATISTICS
from drs.combination import METHODS as COMBINATIONS
from drs.combination import PLANES, UNITS, WORKING, Settings, combine
from drs.drizzling import KERNELS
from drs.keywords import combine_keywords
from drs.members import check_configuration, keep_good
from drs.offsets import describe_offset
from drs.planes import open_planes

logger = logging.getLogger("combine_images")
CONFIGURATION = ("INSTRUME", "FILTER", "PUPIL")


@cli.command()
@click.option("--image", "images", type=cli.existing_file, multiple=True, required=True, help="Level 2; repeat.")
@click.option("--method", type=click.Choice(COMBINATIONS), required=True, help="How images are put together.")
@click.option("--kernel", type=click.Choice(list(KERNELS)), required=True, help="Shape of drops (drizzle).")
@click.option("--pixfrac", type=cli.Finite(0, 1, min_open=True), required=True, help="Side of drops (drizzle).")
@click.option("--statistic", type=click.Choice(list(STATISTICS)), required=True, help="Of the stack (shift).")
@click.option("--clip", type=click.Choice(list(SCALES)), required=True, help="Scale of the clipping (shift).")
@click.option("--clip-sigma", type=cli.Finite(0), required=True, help="Rejection of outliers, in sigma; 0: none.")
@click.option("--clip-gradient", type=cli.Finite(0), required=True, help="Part of the gradient allowed on top.")
@click.option("--clip-neighbour-sigma", type=cli.Finite(1), required=True, help="The same beside a rejected pixel.")
@click.option("--offsets", required=True, help="Where images are: header, measured, or a table (ECSV).")
@click.option("--max-offset-pix", type=cli.Finite(1), required=True, help="Largest offset sought (measured).")
@click.option("--mosaic", is_flag=True, help="Of several detectors, or of full frames and their subarrays.")
@click.option("--tile-rows", type=click.IntRange(1), default=None, help="Rows in memory at a time; 128 MiB by default.")
@cli.refusal_option
@cli.output_option
def main(images, offsets, max_offset_pix, mosaic, tile_rows, mark_refusal, output, **options):
    """Combine Level 2 images into a Level 3 mosaic."""
    with ExitStack() as stack:
        names = [path.name for path in images]
        opened = [stack.enter_context(product.open_product(path, models="ImagerModel")) for path in images]
        with product.mark_refusal(output, describe_mosaic(opened), mark=mark_refusal):
            good, lines = keep_good(opened, names, minimum=1, what="Level 2", one_shape=False)
            opened, names = [opened[k] for k in good], [names[k] for k in good]
            check_configuration(opened, names, CONFIGURATION if mosaic else (*CONFIGURATION, "DETECTOR"))
            aligned = align(opened, names, offsets=offsets, max_offset_pix=max_offset_pix, mosaic=mosaic)
            spool = stack.enter_context(open_planes(aligned.shape, PLANES | WORKING))
            facts = combine(aligned.members, aligned.shape, Settings(**options), spool, tile_rows=tile_rows)
            logger.info("%d images to %s pixels, %d pixels rejected", len(aligned.kept), aligned.shape[::-1], facts[1])
            lines += aligned.left_out
            if offsets == "measured":
                lines += map(describe_offset, [names[k] for k in aligned.kept], aligned.offsets)
            combined = describe_mosaic([opened[k] for k in aligned.kept])
            source = offsets if offsets in METHODS else "file"
            keywords = combined.keywords | {"NOISCORR": round(facts[0], 4), "OFFSETS": source.upper()}
            arrays = {name: spool.plane(name) for name in PLANES}
            combined = replace(combined, keywords=keywords, arrays=arrays, wcs=aligned.grid, history=tuple(lines))
            combined = combined.with_step("resample", **options, offsets=source, max_offset_pix=max_offset_pix)
            tables = {} if offsets in METHODS else {"offsets": offsets}
            product.write(output, combined, inputs={"image": images} | tables)


def describe_mosaic(members):
    """Return the mosaic of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members]) | {"DATALVL": 3}
    keywords.setdefault("DETECTOR", "MOSAIC")
    return product.Product(keywords, {}, UNITS)


if __name__ == "__main__":
    main()
