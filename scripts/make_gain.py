"""Make a gain: photon transfer on raw flat ramps, the noise of reads from raw darks.

The flats are linearised with the references that the manifest of one of them names; the gain itself is in none.
"""

import logging

import click
import numpy as np

from drs import cli, product, rawset, readout
from drs.detector import open_maps
from drs.dq import Flag
from drs.keywords import combine_keywords, reference_keywords
from drs.photon_transfer import solve_gain, solve_noise

logger = logging.getLogger("make_gain")
TYPES = ("dq", "saturation", "bias", "nonlin")
UNIT = "electron/DN"


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, required=True, help="Raw flat; repeat.")
@click.option("--dark", "darks", type=cli.existing_file, multiple=True, required=True, help="Raw dark; repeat.")
@click.option("--dark-facts", type=cli.Json(list), default="[]", help="Of each dark, as --facts.")
@click.option("--minimum", type=click.IntRange(2), required=True, help="Smallest number of flats.")
@click.option("--minimum-dark", type=click.IntRange(1), required=True, help="Smallest number of darks.")
@click.option("--minimum-signal-dn", type=cli.Finite(0), required=True, help="Below this the lamp was off.")
@click.option("--maximum-saturated", type=cli.Finite(0, 1), required=True, help="Part saturated in the second read.")
@click.option("--maximum-dark-dn-per-s", type=cli.Finite(0), required=True, help="Above this light was on a dark.")
@cli.raw_options
def main(ramps, darks, facts, dark_facts, useafter, mark_refusal, output, **options):
    """Measure the gain of a detector and write a GainModel."""
    with rawset.unchanged([*ramps, *darks], output):
        template = describe([rawset.read_header(ramps, facts)], useafter)
        with product.mark_refusal(output, template, mark=mark_refusal):
            flats = rawset.open_set(ramps, facts, minimum=options["minimum"], what="flat", single_reads=True)
            dark = rawset.open_set(darks, dark_facts, minimum=options["minimum_dark"], what="dark")
            with flats as flats, dark as dark:
                rawset.check_alike(flats, dark)
                made, paths = measure(flats, dark, describe(flats.keywords, useafter), options)
                made = product.with_history(made, [*flats.history, *flats.left_out, *dark.left_out])
                product.write(output, made, inputs={"ramp": ramps, "dark": darks, **paths})


def describe(headers, useafter):
    """Return the gain of these exposures without its arrays."""
    keywords = reference_keywords(combine_keywords(headers), "GAIN", useafter, "Gain from photon transfer")
    return product.Product(keywords | {"DATAMODL": "GainModel"}, {}, {"SCI": UNIT, "ERR": UNIT})


def measure(flats, darks, template, options):
    """Return the gain, and the references that it was measured with."""
    n_channel, limit = options["n_channel"], options["maximum_dark_dn_per_s"]
    roots = [options["night_cache"], options["cache"]]
    template, paths = rawset.find_references(template, options["manifest"], TYPES, roots)
    with open_maps(paths, flats.keywords[0], flats.shape, border_pix=options["border_pix"]) as maps:
        limits = {name: options[name] for name in ("minimum_signal_dn", "maximum_saturated")}
        rates = readout.check_flats(flats, maps, **limits)
        readout.check_dark(darks, maps, maximum_rate_dn_per_s=limit)
        # the photon noise of the dark current is not known without the gain, and matters little to it
        noise, good = readout.measure_dark_noise(darks, maps, n_channel=n_channel, gain_e_per_dn=np.inf)
        noise_dn2, _, _ = solve_noise(noise, good, n_channel=n_channel)
        transfer, n_set = readout.measure_transfer(flats, rates, maps, n_channel=n_channel)
    gain = solve_gain(transfer, noise_dn2, good, n_channel=n_channel)
    logger.info("gain of the channels: %s e-/DN from %d sets", np.round(gain.channels, 4), n_set)
    flags = np.where(good & ~(transfer.signal > 0), np.uint32(Flag.NO_GAIN_VALUE), np.uint32(0))
    numbers = {
        "Q_GAIN": float(np.median(gain.channels)),
        "Q_GAINLO": float(gain.channels.min()),
        "Q_GAINHI": float(gain.channels.max()),
        "Q_GAINSP": float(np.median(gain.spread)),
        "Q_COUPL": gain.coupling,
        "Q_COUPLE": gain.coupling_error,
        "Q_TREND": gain.trend,
        "Q_SETS": n_set,
    }
    used = {name: options[name] for name in (*limits, "minimum", "maximum_dark_dn_per_s")}
    template = template.with_parameters("make_gain", corrected_for_coupling=gain.is_coupled, **used)
    arrays = {"SCI": gain.gain, "ERR": gain.error, "DQ": flags}
    return rawset.with_quality(template, arrays, numbers), paths


if __name__ == "__main__":
    main()
