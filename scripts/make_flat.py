"""Make a master flat: lamp exposures less dark, scaled to one lamp level, combined, divided by the median."""

import logging

import click
import numpy as np

from drs import cli, product
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.dq import Flag
from drs.flat import check_illumination, normalise_flat
from drs.image import Image
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good, scale_image, share_dark, stack_images
from drs.references import read_manifest
from drs.stack import combine_stack

logger = logging.getLogger("make_flat")


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 flat; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--useafter", required=True, help="Time from which the flat holds (ISO, UTC).")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of flats.")
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma.")
@click.option("--minimum-signal-e-per-s", type=float, required=True, help="Below this the lamp was off.")
@click.option("--minimum-response", type=float, required=True, help="Relative response that can be divided by.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, cache, night_cache, useafter, minimum, mark_refusal, output, **parameters):
    """Combine Level 1 flats into a FlatModel."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_flat(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=minimum, what="flat")
        darks, files = read_calibrations(
            [members[k] for k in good], [manifests[k] for k in good], ["dark"], [night_cache, cache]
        )
        lamps = {rates[k].name: calibrate(members[k].image, dark) for k, dark in zip(good, darks, strict=True)}
        flat = product.with_history(describe_flat([members[k] for k in good], useafter), left_out)
        flat = product.with_history(flat, override_history(members[k] for k in good))
        flat = flat.with_image(combine_lamps(lamps, **parameters))
        flat = with_calibration(flat, ["dark"], darks).with_step("normalize", **parameters)
        product.write(output, flat, inputs={"rate": rates, "dark": files})


def describe_flat(members, useafter):
    """Return the master flat of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "FLAT", useafter, "Master flat of one night") | {"DATAMODL": "FlatModel"}
    return product.Product(keywords, {}, {"SCI": "", "ERR": ""})


def combine_lamps(lamps, *, clip_sigma, minimum_signal_e_per_s, minimum_response):
    """Return the flat of dark-subtracted lamp images {name: Image}, scaled to the level of the first."""
    levels = check_illumination(lamps, minimum_signal_e_per_s=minimum_signal_e_per_s)
    scaled = [scale_image(lamp, levels[0] / level) for lamp, level in zip(lamps.values(), levels, strict=True)]
    stack = combine_stack(*stack_images(scaled), clip_sigma=clip_sigma)
    logger.info("%d flats at %.1f e-/s, %.4f of the pixels clipped", len(scaled), levels[0], stack.outlier.mean())
    flags = np.bitwise_and.reduce([lamp.dq for lamp in scaled]) & ~np.uint32(Flag.JUMP_DET | Flag.SATURATED)
    variance, _ = share_dark(stack.variance, scaled)
    return normalise_flat(Image(stack.value, np.sqrt(variance), flags), minimum_response=minimum_response)


if __name__ == "__main__":
    main()
