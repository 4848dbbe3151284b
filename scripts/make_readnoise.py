"""Make a read noise: the noise of a single read from the differences of the reads of raw darks, in electrons."""

import logging

import click
import numpy as np

from drs import cli, product, rawset, readout
from drs.detector import open_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.photon_transfer import solve_noise

logger = logging.getLogger("make_readnoise")
UNIT = "electron"


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, required=True, help="Raw dark; repeat.")
@click.option("--gain", "gain_path", type=cli.existing_file, required=True, help="GainModel of this detector.")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of darks.")
@click.option("--maximum-dark-dn-per-s", type=cli.Finite(0), required=True, help="Above this light was on a dark.")
@cli.raw_options
def main(ramps, gain_path, facts, useafter, mark_refusal, output, **options):
    """Measure the noise of a read and write a ReadNoiseModel."""
    with rawset.unchanged(ramps, output):
        template = describe([rawset.read_header(ramps, facts)], useafter)
        with product.mark_refusal(output, template, mark=mark_refusal):
            gain = read_gain(gain_path)
            with rawset.open_set(ramps, facts, minimum=options["minimum"], what="dark") as darks:
                made, paths = measure(darks, gain, describe(darks.keywords, useafter), options)
                made = product.with_history(made, [*darks.history, *darks.left_out])
                product.write(output, made, inputs={"ramp": ramps, "gain": gain_path, **paths})


def describe(headers, useafter):
    """Return the read noise of these exposures without its arrays."""
    keywords = reference_keywords(combine_keywords(headers), "READNOISE", useafter, "Noise of a single read from darks")
    return product.Product(keywords | {"DATAMODL": "ReadNoiseModel"}, {}, {"SCI": UNIT, "ERR": UNIT})


def read_gain(path):
    """Return the gain map; one that was refused is no gain."""
    gain = product.read(path, models="GainModel", unit="electron/DN")
    if gain.refusal:
        raise ReductionError(f"the gain {path.name} was refused: {gain.refusal}")
    return gain.arrays["SCI"]


def measure(darks, gain, template, options):
    """Return the read noise, and the references that it was measured with."""
    if gain.shape != darks.shape:
        raise ReductionError(f"the gain has shape {gain.shape}, the darks {darks.shape} (ny, nx); give that of these")
    n_channel, limit = options["n_channel"], options["maximum_dark_dn_per_s"]
    template, paths = rawset.find_references(
        template, options["manifest"], ("dq",), [options["night_cache"], options["cache"]]
    )
    with open_maps(paths, darks.keywords[0], darks.shape, border_pix=options["border_pix"]) as maps:
        readout.check_dark(darks, maps, maximum_rate_dn_per_s=limit)
        typical = float(np.median(gain[np.isfinite(gain)]))
        noise, good = readout.measure_dark_noise(darks, maps, n_channel=n_channel, gain_e_per_dn=typical)
    variance_dn2, error_dn2, channels_dn2 = solve_noise(noise, good, n_channel=n_channel)
    noise_e = np.sqrt(variance_dn2) * gain
    error_e = error_dn2 / (2 * np.sqrt(variance_dn2)) * gain
    channels_e = np.sqrt(channels_dn2) * typical
    logger.info("read noise of the channels: %s e-", np.round(channels_e, 3))
    unknown = ~np.isfinite(noise.variance)
    numbers = {
        "Q_RNOISE": float(np.median(channels_e)),
        "Q_RNOILO": float(channels_e.min()),
        "Q_RNOIHI": float(channels_e.max()),
        "Q_DIFFS": float(np.median(noise.number)),
    }
    flags = np.where(unknown, np.uint32(Flag.UNRELIABLE_SLOPE), np.uint32(0))
    arrays = {"SCI": noise_e.astype(np.float32), "ERR": error_e.astype(np.float32), "DQ": flags}
    template = template.with_parameters("make_readnoise", minimum=options["minimum"], maximum_dark_dn_per_s=limit)
    return rawset.with_quality(template, arrays, numbers), paths


if __name__ == "__main__":
    main()
