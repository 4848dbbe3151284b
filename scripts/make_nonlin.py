"""Make a correction of the non-linearity: a polynomial per pixel from flat ramps that fill the wells."""

import logging

import click
import numpy as np

from drs import cli, product, rawset, readout
from drs.detector import open_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.linearity import solve_polynomial, solve_shapes

logger = logging.getLogger("make_nonlin")


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, required=True, help="Saturated flat; repeat.")
@click.option("--saturation", type=cli.existing_file, required=True, help="SaturationModel of this detector.")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of flats.")
@click.option("--order", type=click.IntRange(2, 6), required=True, help="Of the polynomial.")
@click.option("--maximum-chi-square", type=cli.Finite(1), required=True, help="Per degree of freedom of a pixel.")
@click.option("--minimum-signal-dn", type=cli.Finite(0), required=True, help="Below this the lamp was off.")
@click.option("--maximum-saturated", type=cli.Finite(0, 1), required=True, help="Part saturated in the second read.")
@cli.raw_options
def main(ramps, saturation, facts, useafter, mark_refusal, output, **options):
    """Measure the non-linearity of a detector and write a NonlinearCorrectionModel."""
    with rawset.unchanged(ramps, output):
        template = describe([rawset.read_header(ramps, facts)], useafter)
        with product.mark_refusal(output, template, mark=mark_refusal):
            if refusal := product.read(saturation, models="SaturationModel", unit="DN").refusal:
                raise ReductionError(f"the saturation {saturation.name} was refused: {refusal}")
            opened = rawset.open_set(ramps, facts, minimum=options["minimum"], what="saturated flat", single_reads=True)
            with opened as flats:
                made, paths = measure(flats, saturation, describe(flats.keywords, useafter), options)
                made = product.with_history(made, [*flats.history, *flats.left_out])
                product.write(output, made, inputs={"ramp": ramps, **paths})


def describe(headers, useafter):
    """Return the correction of these exposures without its arrays."""
    keywords = reference_keywords(combine_keywords(headers), "NONLINCOEFF", useafter, "Non-linearity of each pixel")
    keywords |= {"DATAMODL": "NonlinearCorrectionModel", "NLCONV": "POLYNOMIAL"}
    return product.Product(keywords, {}, {"COEFFS": "DN", "COEFFS_ERR": "DN"})


def measure(flats, saturation, template, options):
    """Return the correction, and the references that it was measured with."""
    n_channel, order = options["n_channel"], options["order"]
    roots = [options["night_cache"], options["cache"]]
    template, paths = rawset.find_references(template, options["manifest"], ("dq", "bias"), roots)
    paths = {**paths, "saturation": saturation}
    readout.check_reads(flats, minimum=order + 3)
    with open_maps(paths, flats.keywords[0], flats.shape, border_pix=options["border_pix"]) as maps:
        limits = {name: options[name] for name in ("minimum_signal_dn", "maximum_saturated")}
        rates = readout.check_flats(flats, maps, **limits)
        border = {"border_pix": options["border_pix"], "n_channel": n_channel}
        flat_set = readout.find_equal(flats, rates, maps, **border)
        shapes = solve_shapes(readout.sum_linearity(flat_set, maps, order=order, n_channel=n_channel))
        strength, good, full_dn = readout.fit_linearity(flat_set, maps, shapes)
    limit = options["maximum_chi_square"]
    polynomial = solve_polynomial(strength, shapes, good, full_dn, maximum_chi_square=limit)
    if (share := float(polynomial.unfit[good].mean())) > 0.5:
        raise ReductionError(
            f"{share:.2f} of the good pixels have no polynomial of order {order} up to saturation, expected at most "
            "half: take flats with more reads before saturation, or lower the order"
        )
    at_full = sum(polynomial.coefficients[k] * full_dn ** (k - 1) for k in range(2, order + 1))[
        good & ~polynomial.unfit
    ]
    logger.info("correction at saturation: median %.4f, %.4f of the pixels unfit", np.median(at_full), share)
    numbers = {
        "Q_NLCORR": float(np.median(at_full)),
        "Q_NLSCAT": float(at_full.std()),
        "Q_NLUNFI": share,
        "Q_NLCHI2": float(np.nanmedian(polynomial.chi_square)),
        "Q_SETS": flat_set.count(),
    }
    names = ("order", "maximum_chi_square", "minimum_signal_dn", "maximum_saturated", "minimum")
    template = template.with_parameters("make_nonlin", **{name: options[name] for name in names})
    flags = np.where(polynomial.unfit, np.uint32(Flag.NO_LIN_CORR | Flag.NONLINEAR), np.uint32(0))
    arrays = {"COEFFS": polynomial.coefficients, "COEFFS_ERR": polynomial.errors, "DQ": flags}
    return rawset.with_quality(template, arrays, numbers), paths


if __name__ == "__main__":
    main()
