"""Make a map of bad pixels: hot and warm of darks, dead of flats, noisy and telegraph of the reads of raw darks."""

import logging

import click
import numpy as np

from drs import badpixels, cli, product, rawset, readout
from drs.detector import open_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.flat import check_illumination
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good
from drs.stack import combine_stack

logger = logging.getLogger("make_dq")
MODELS = ("ImagerModel", "IFUImageModel")
FRACTIONS = {"Q_HOT": Flag.HOT, "Q_WARM": Flag.WARM, "Q_DEAD": Flag.DEAD, "Q_LOWQE": Flag.LOW_QE}
FRACTIONS |= {"Q_NOISY": Flag.UNRELIABLE_SLOPE, "Q_TELEGR": Flag.TELEGRAPH, "Q_NONLIN": Flag.NONLINEAR}


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, required=True, help="Raw dark; repeat.")
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Its Level 1; repeat.")
@click.option("--flat", "flats", type=cli.existing_file, multiple=True, required=True, help="Level 1 flat; repeat.")
@click.option("--minimum", type=click.IntRange(2), required=True, help="Smallest number of darks.")
@click.option("--minimum-flat", type=click.IntRange(1), required=True, help="Smallest number of flats.")
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma.")
@click.option("--threshold-sigma", type=cli.Finite(3), required=True, help="What stands out so far is bad.")
@click.option("--hot-minimum-e-per-s", type=cli.Finite(0), required=True, help="Below, such a pixel is warm.")
@click.option("--dead-response", type=cli.Finite(0, 1), required=True, help="Below, a pixel is dead.")
@click.option("--low-response", type=cli.Finite(0, 1), required=True, help="Below, a pixel has a low efficiency.")
@click.option("--minimum-signal-e-per-s", type=float, required=True, help="Below this the lamp was off.")
@click.option("--maximum-dark-dn-per-s", type=cli.Finite(0), required=True, help="Above this light was on a dark.")
@cli.raw_options
def main(ramps, rates, flats, facts, useafter, mark_refusal, output, **options):
    """Find the bad pixels of a detector and write a DQModel."""
    with rawset.unchanged(ramps, output):
        template = describe([rawset.read_header(ramps, facts)], useafter)
        opened = rawset.open_set(ramps, facts, minimum=options["minimum"], what="dark")
        with product.mark_refusal(output, template, mark=mark_refusal), opened as darks:
            dark, lines = combine(rates, options["minimum"], "dark", options["clip_sigma"])
            light, more = combine(flats, options["minimum_flat"], "flat", options["clip_sigma"], options)
            made, paths = measure(darks, dark, light, describe(darks.keywords, useafter), options)
            made = product.with_history(made, [*darks.history, *darks.left_out, *lines, *more])
            product.write(output, made, inputs={"ramp": ramps, "rate": rates, "flat": flats, **paths})


def describe(headers, useafter):
    """Return the map of these exposures without its array."""
    keywords = reference_keywords(combine_keywords(headers), "DQ", useafter, "Bad pixels from darks and flats")
    return product.Product(keywords | {"DATAMODL": "DQModel", "SUBARRAY": "GENERIC"}, {})


def combine(paths, minimum, what, clip_sigma, lamp=None):
    """Return the clipped mean of rates, flagged or not, and what was left out; a lamp's are scaled to one level."""
    members = [product.read(path, models=MODELS, unit="electron/s") for path in paths]
    good, left_out = keep_good(members, [path.name for path in paths], minimum=minimum, what=what)
    images, scales = {paths[k].name: members[k].image for k in good}, np.ones(len(good), np.float32)
    if lamp:
        levels = check_illumination(images, minimum_signal_e_per_s=lamp["minimum_signal_e_per_s"])
        scales = np.array(levels[0] / np.array(levels), np.float32)
    values = np.stack([image.rate * scale for image, scale in zip(images.values(), scales, strict=True)])
    variance = np.stack([(image.error * scale) ** 2 for image, scale in zip(images.values(), scales, strict=True)])
    unusable = ~(np.isfinite(values) & np.isfinite(variance))
    return combine_stack(values, variance, unusable, clip_sigma=clip_sigma), left_out


def measure(darks, dark, light, template, options):
    """Return the map of bad pixels, and the references that it was measured with."""
    for what, image in (("dark", dark.value), ("flat", light.value)):
        if image.shape != darks.shape:
            raise ReductionError(f"the {what} rates have shape {image.shape}, the raw darks {darks.shape} (ny, nx)")
    n_channel, sigma = options["n_channel"], options["threshold_sigma"]
    roots = [options["night_cache"], options["cache"]]
    template, paths = rawset.find_references(template, options["manifest"], ("gain", "nonlin"), roots)
    with open_maps(paths, darks.keywords[0], darks.shape, border_pix=options["border_pix"]) as maps:
        readout.check_dark(darks, maps, maximum_rate_dn_per_s=options["maximum_dark_dn_per_s"])
        noise, active = readout.measure_dark_noise(darks, maps, n_channel=n_channel, gain_e_per_dn=np.inf)
        known = np.concatenate([maps.rows(rows.start, rows.stop).dq for rows in darks.bands()])
    hot = {name: options[name] for name in ("hot_minimum_e_per_s", "threshold_sigma")}
    flags = badpixels.find_hot(dark.value, np.sqrt(dark.variance), active, n_channel=n_channel, **hot)
    dead = {name: options[name] for name in ("dead_response", "low_response")}
    flags |= badpixels.find_dead(light.value - np.nan_to_num(dark.value), active, **dead)
    calm = active & (flags & np.uint32(Flag.HOT) == 0)  # the photon noise of a hot pixel is no read noise
    telegraph = badpixels.find_telegraph(noise.up, noise.down, calm)
    calm = calm & (telegraph == 0)
    noisy = badpixels.find_noisy(noise.variance, noise.number, calm, n_channel=n_channel, threshold_sigma=sigma)
    flags |= telegraph | noisy
    flags |= known & np.uint32(Flag.NONLINEAR)
    numbers = {key: float((flags & np.uint32(flag) != 0)[active].mean()) for key, flag in FRACTIONS.items()}
    logger.info("parts of the pixels: %s", numbers)
    used = {**hot, **dead, **{name: options[name] for name in ("clip_sigma", "minimum", "minimum_flat")}}
    template = template.with_parameters("make_dq", **used)
    return rawset.with_quality(template, {"DQ": flags.astype(np.uint32)}, numbers), paths


if __name__ == "__main__":
    main()
