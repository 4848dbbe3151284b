"""Make a saturation threshold: part of the way from the bias to the level at which the reads of full wells stay."""

import logging

import click
import numpy as np

from drs import cli, product, rawset, readout
from drs.detector import open_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.linearity import Plateau, measure_plateau

logger = logging.getLogger("make_saturation")
CEILING_DN = 65535


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, required=True, help="Saturated flat; repeat.")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of flats.")
@click.option("--threshold-of-well", type=cli.Finite(0, 1), required=True, help="Threshold over the full well.")
@click.option("--minimum-full", type=cli.Finite(0, 1), required=True, help="Part of the pixels that must be full.")
@click.option("--minimum-signal-dn", type=cli.Finite(0), required=True, help="No well is smaller.")
@click.option("--maximum-saturated", type=cli.Finite(0, 1), required=True, help="Part full in the second read.")
@cli.raw_options
def main(ramps, facts, useafter, mark_refusal, output, **options):
    """Measure the saturation of a detector and write a SaturationModel."""
    with rawset.unchanged(ramps, output):
        template = describe([rawset.read_header(ramps, facts)], useafter)
        opened = rawset.open_set(ramps, facts, minimum=options["minimum"], what="saturated flat")
        with product.mark_refusal(output, template, mark=mark_refusal), opened as flats:
            made, paths = measure(flats, describe(flats.keywords, useafter), options)
            made = product.with_history(made, [*flats.history, *flats.left_out])
            product.write(output, made, inputs={"ramp": ramps, **paths})


def describe(headers, useafter):
    """Return the saturation of these exposures without its arrays."""
    keywords = reference_keywords(combine_keywords(headers), "SATURATION", useafter, "Threshold of saturation")
    return product.Product(keywords | {"DATAMODL": "SaturationModel"}, {}, {"SCI": "DN", "ERR": "DN"})


def measure(flats, template, options):
    """Return the threshold, and the references that it was measured with."""
    roots = [options["night_cache"], options["cache"]]
    template, paths = rawset.find_references(template, options["manifest"], ("dq", "bias"), roots)
    parts, biases, goods = [], [], []
    with open_maps(paths, flats.keywords[0], flats.shape, border_pix=options["border_pix"]) as maps:
        readout.check_reads(flats, minimum=4)
        for rows in flats.bands():
            ramps_dn = [group for ramp in flats.ramps for group in ramp.read_rows(rows.start, rows.stop)]
            biases.append(maps.rows(rows.start, rows.stop).bias_dn)
            limits = {"ceiling_dn": CEILING_DN, "minimum_signal_dn": options["minimum_signal_dn"]}
            parts.append(measure_plateau(ramps_dn, biases[-1], **limits))
            goods.append(readout.find_good(maps, rows))
            readout.check_early(ramps_dn, parts[-1].level_dn, goods[-1], limit=options["maximum_saturated"])
    plateau = Plateau(*(np.concatenate([getattr(part, name) for part in parts]) for name in Plateau._fields))
    bias_dn, good = np.concatenate(biases), np.concatenate(goods)
    part, full = options["threshold_of_well"], np.isfinite(plateau.level_dn)
    if (share := float(full[good].mean())) < options["minimum_full"]:
        raise ReductionError(
            f"{share:.3f} of the good pixels were full at the end of these flats, expected {options['minimum_full']} "
            "or more: was the lamp on, and long enough? Take longer ones, or exclude those in exposures.yaml"
        )
    well = (plateau.level_dn - bias_dn)[good & full]
    logger.info("%.4f of the pixels were full, the median well is %.0f DN", share, np.median(well))
    numbers = {"Q_WELL": float(np.median(well)), "Q_WELLSC": float(well.std() / well.mean()), "Q_FULL": share}
    names = ("threshold_of_well", "minimum_full", "minimum_signal_dn", "maximum_saturated", "minimum")
    template = template.with_parameters("make_saturation", **{name: options[name] for name in names})
    threshold = np.where(full, bias_dn + part * (plateau.level_dn - bias_dn), np.nan)
    flags = np.where(full, np.uint32(0), np.uint32(Flag.NO_SAT_CHECK))
    arrays = {"SCI": threshold.astype(np.float32), "ERR": np.float32(part) * plateau.error_dn, "DQ": flags}
    return rawset.with_quality(template, arrays, numbers), paths


if __name__ == "__main__":
    main()
