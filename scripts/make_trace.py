"""Make the traces of a slicer from lamp exposures: the edges of its slices, its flat without the lamp's spectrum."""

import logging

import click
import numpy as np

from drs import cli, product
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.dq import Flag
from drs.errors import ReductionError
from drs.flat import check_illumination, check_saturation
from drs.image import Image
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good, scale_image, share_dark, stack_images
from drs.references import read_manifest
from drs.slicer import map_pixels
from drs.spectralrefs import match_slices, read_spectral
from drs.stack import combine_stack
from drs.traces import make_slice_flat, place_traces, trace_slices

logger = logging.getLogger("make_trace")
CLEARED = np.uint32(Flag.JUMP_DET | Flag.SATURATED)  # of a single exposure


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 flat; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--useafter", required=True, help="Time near which the traces hold (ISO, UTC).")
@click.option("--order", type=click.IntRange(0), required=True, help="Of the polynomials of the edges.")
@click.option("--n-block", type=click.IntRange(4), required=True, help="Blocks of columns that edges are found in.")
@click.option("--n-knot", type=click.IntRange(4), required=True, help="Of the spline through the lamp's spectrum.")
@click.option("--maximum-offset-pix", type=float, required=True, help="Of the slices from those of the reference.")
@click.option("--maximum-rms-pix", type=float, required=True, help="Of the edges about their polynomials.")
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma.")
@click.option("--minimum-signal-e-per-s", type=float, required=True, help="Below this the lamp was off.")
@click.option("--minimum-response", type=float, required=True, help="Relative response that can be divided by.")
@click.option("--maximum-saturated-fraction", type=float, required=True, help="Saturated pixels of a flat.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, cache, night_cache, useafter, mark_refusal, output, **parameters):
    """Combine Level 1 flats of a slicer into a TraceModel."""
    members = [product.read(path, models="IFUImageModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_trace(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=1, what="flat")
        kept, roots = [members[k] for k in good], [night_cache, cache]
        darks, files = read_calibrations(kept, [manifests[k] for k in good], ["dark"], roots)
        prior, prior_file = read_spectral(kept[0], manifests[good[0]], "trace", roots)
        wavesol, wavesol_file = read_spectral(kept[0], manifests[good[0]], "wavesol", roots)
        lamps = {rates[k].name: calibrate(members[k].image, dark) for k, dark in zip(good, darks, strict=True)}
        lamp = combine_lamps(lamps, **parameters)
        trace = product.with_history(describe_trace(kept, useafter), [*left_out, *override_history(kept)])
        trace = trace_lamp(trace, lamp, prior, wavesol, **parameters)
        trace = with_calibration(trace, ["dark"], darks).with_step("normalize", **parameters)
        product.write(output, trace, inputs={"rate": rates, "dark": files, "prior": [prior_file, wavesol_file]})


def describe_trace(members, useafter):
    """Return the traces of these members without their arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "TRACE", useafter, "Traces and flat of the slices of one night")
    return product.Product(keywords | {"DATAMODL": "TraceModel"}, {}, {"SCI": "", "ERR": "", "EDGES": "pix"})


def combine_lamps(lamps, *, clip_sigma, minimum_signal_e_per_s, maximum_saturated_fraction, **_):
    """Return the clipped mean of dark-subtracted lamp images {name: Image}, scaled to the level of the first."""
    check_saturation(lamps, maximum_saturated_fraction=maximum_saturated_fraction)
    levels = check_illumination(lamps, minimum_signal_e_per_s=minimum_signal_e_per_s)
    scaled = [scale_image(lamp, levels[0] / level) for lamp, level in zip(lamps.values(), levels, strict=True)]
    stack = combine_stack(*stack_images(scaled), clip_sigma=clip_sigma)
    flags = np.bitwise_and.reduce([lamp.dq for lamp in scaled]) & ~CLEARED
    flags |= np.where(stack.n_used == 0, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
    variance, _ = share_dark(stack.variance, scaled)
    return Image(stack.value, np.sqrt(variance), flags)


def trace_lamp(trace, lamp, prior, wavesol, **parameters):
    """Return the traces (Product) with the edges and the flat of a lamp (Image); unfit ones are refused."""
    expected, wavelength_um = match_slices(wavesol, prior)
    found = trace_slices(
        lamp.rate,
        lamp.dq,
        expected[:, :, expected.shape[2] // 2],
        n_block=parameters["n_block"],
        order=parameters["order"],
        most_offset_pix=parameters["maximum_offset_pix"],
    )
    worst = float(found.rms_pix.max())
    if worst > parameters["maximum_rms_pix"]:
        raise ReductionError(
            f"edges of slices {', '.join(map(str, np.flatnonzero((found.rms_pix == worst).any(axis=1))))} are"
            f" {worst:.3f} pixels rms off a curve of order {parameters['order']}, at most"
            f" {parameters['maximum_rms_pix']:g} are allowed: take brighter flats"
        )
    edges = place_traces(found, np.arange(lamp.rate.shape[1]))
    coordinate = map_pixels(edges, wavelength_um, lamp.rate.shape)
    flat, error, dq = make_slice_flat(*lamp[:3], found, coordinate, n_knot=parameters["n_knot"])
    missing = (dq & np.uint32(Flag.NO_FLAT_FIELD) != 0) | (flat < parameters["minimum_response"])
    flags = np.where(missing, np.uint32(Flag.NO_FLAT_FIELD | Flag.DO_NOT_USE), np.uint32(0))
    numbers = {"Q_TRRMS": worst, "Q_TRSHIF": found.offset_pix, "Q_TRSPRD": found.spread_pix}
    numbers = {key: float(f"{value:.6g}") for key, value in numbers.items()}
    logger.info("%d slices; %s", len(edges), ", ".join(f"{key} {value}" for key, value in numbers.items()))
    flat, error = np.where(missing, 1, flat).astype(np.float32), np.where(missing, 0, error).astype(np.float32)
    arrays = {"SCI": flat, "ERR": error, "DQ": dq | flags, "EDGES": edges.astype(np.float32)}
    return product.Product(trace.keywords | numbers, arrays, trace.units, {}, trace.parameters, trace.history)


if __name__ == "__main__":
    main()
