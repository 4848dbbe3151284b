"""Make a bias: the clipped mean of raw bias frames, or of the shortest darks, and the noise of the reset."""

import logging

import click
import numpy as np

from drs import cli, product, rawset, readout
from drs.bias import Bias, measure_bias, measure_reset_noise
from drs.detector import open_maps
from drs.dq import Flag
from drs.keywords import combine_keywords, reference_keywords

logger = logging.getLogger("make_bias")


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, required=True, help="Raw bias frame; repeat.")
@click.option("--minimum", type=click.IntRange(3), required=True, help="Smallest number of exposures.")
@click.option("--clip-sigma", type=cli.Finite(0), required=True, help="Rejection of outliers, in sigma.")
@click.option("--maximum-dark-dn-per-s", type=cli.Finite(0), required=True, help="Above this light was on a frame.")
@cli.raw_options
def main(ramps, facts, useafter, mark_refusal, output, **options):
    """Combine raw bias frames into a BiasModel."""
    with rawset.unchanged(ramps, output):
        template = describe([rawset.read_header(ramps, facts)], useafter)
        opened = rawset.open_set(ramps, facts, minimum=options["minimum"], what="bias")
        with product.mark_refusal(output, template, mark=mark_refusal), opened as frames:
            made, paths = measure(frames, describe(frames.keywords, useafter), options)
            made = product.with_history(made, [*frames.history, *frames.left_out])
            product.write(output, made, inputs={"ramp": ramps, **paths})


def describe(headers, useafter):
    """Return the bias of these exposures without its arrays."""
    keywords = reference_keywords(combine_keywords(headers), "BIAS", useafter, "Bias of one night")
    return product.Product(keywords | {"DATAMODL": "BiasModel"}, {}, {"SCI": "DN", "ERR": "DN"})


def measure(frames, template, options):
    """Return the bias, and the references that it was measured with."""
    limit, n_channel = options["maximum_dark_dn_per_s"], options["n_channel"]
    roots = [options["night_cache"], options["cache"]]
    template, paths = rawset.find_references(template, options["manifest"], ("dq",), roots)
    parts, goods, read_dn2 = [], [], []
    with open_maps(paths, frames.keywords[0], frames.shape, border_pix=options["border_pix"]) as maps:
        readout.check_dark(frames, maps, maximum_rate_dn_per_s=limit, n_read=2)
        for rows in frames.bands():
            goods.append(readout.find_good(maps, rows))
            levels, noise_dn2 = readout.read_levels(frames.ramps, goods[-1], rows, n_channel=n_channel)
            parts.append(measure_bias(levels, goods[-1], n_channel=n_channel, clip_sigma=options["clip_sigma"]))
            read_dn2.append(noise_dn2)
    bias = Bias(*(np.concatenate([getattr(part, name) for part in parts]) for name in Bias._fields))
    good = np.concatenate(goods)
    reset_dn, reset_error_dn = measure_reset_noise(bias.variance_dn2, float(np.nanmean(read_dn2)), good)
    logger.info("bias of %d resets, noise of the reset %.2f DN", len(levels), reset_dn)
    numbers = {
        "Q_BIAS": float(np.median(bias.level_dn[good])),
        "Q_BIASER": float(np.median(bias.error_dn[good])),
        "Q_KTC": reset_dn,
        "Q_KTCERR": reset_error_dn,
        "Q_SETS": len(levels),
    }
    flags = np.where(bias.number < 2, np.uint32(Flag.UNRELIABLE_BIAS), np.uint32(0))
    used = {name: options[name] for name in ("minimum", "clip_sigma", "maximum_dark_dn_per_s")}
    template = template.with_parameters("make_bias", **used)
    arrays = {"SCI": bias.level_dn, "ERR": bias.error_dn, "DQ": flags}
    return rawset.with_quality(template, arrays, numbers), paths


if __name__ == "__main__":
    main()
