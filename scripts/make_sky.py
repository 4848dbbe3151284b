"""Make a sky frame: dedicated sky exposures less dark, divided by the flat, scaled to one level, combined."""

import logging

import click
import numpy as np

from drs import cli, product
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.dq import Flag
from drs.image import Image
from drs.keywords import combine_keywords
from drs.members import keep_good, scale_image, share_dark, shift_image, stack_images
from drs.references import read_manifest
from drs.sky import match_levels, measure_sky
from drs.stack import combine_stack

logger = logging.getLogger("make_sky")


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 sky; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of sky exposures.")
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma.")
@click.option("--source-threshold-sigma", type=float, required=True, help="Sources above this are masked.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, cache, night_cache, minimum, mark_refusal, output, **parameters):
    """Combine Level 1 sky exposures into a SkyModel."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_sky(members), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=minimum, what="sky")
        references, files = read_calibrations(
            [members[k] for k in good], [manifests[k] for k in good], ["dark", "flat"], [night_cache, cache]
        )
        frames = [calibrate(members[k].image, chosen) for k, chosen in zip(good, references, strict=True)]
        sky = product.with_history(describe_sky([members[k] for k in good]), left_out)
        sky = product.with_history(sky, override_history(members[k] for k in good))
        sky = sky.with_image(combine_skies(frames, **parameters))
        sky = with_calibration(sky, ["dark", "flat"], references).with_step("sky", **parameters)
        product.write(output, sky, inputs={"rate": rates, "reference": files})


def describe_sky(members):
    """Return the sky frame of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members]) | {"DATAMODL": "SkyModel", "DATALVL": 2}
    return product.Product(keywords, {}, {"SCI": "electron/s", "ERR": "electron/s", "VAR_DARK": "electron2/s2"})


def combine_skies(frames, *, clip_sigma, source_threshold_sigma):
    """Return the sky of calibrated frames (Images), sources masked, at the level of the first."""
    skies = [measure_sky(frame.rate, frame.unusable, source_threshold_sigma=source_threshold_sigma) for frame in frames]
    levels = [match_levels(skies[0], sky) for sky in skies]
    scaled = [
        shift_image(scale_image(frame, scale), offset) for frame, (scale, offset) in zip(frames, levels, strict=True)
    ]
    values, variance, unusable = stack_images(scaled)
    unusable |= np.stack([sky.is_source for sky in skies])
    stack = combine_stack(values, variance, unusable, clip_sigma=clip_sigma)
    logger.info("%d sky frames at %s e-/s", len(frames), ", ".join(f"{sky.level:.3f}" for sky in skies))
    flags = np.bitwise_and.reduce([frame.dq for frame in frames]) & ~np.uint32(Flag.JUMP_DET | Flag.SATURATED)
    flags |= np.where(stack.n_used == 0, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
    variance, var_dark = share_dark(stack.variance, scaled)
    return Image(stack.value, np.sqrt(variance), flags, var_dark=var_dark)


if __name__ == "__main__":
    main()
