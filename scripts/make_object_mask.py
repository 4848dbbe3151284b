"""Mask the objects of a dithered field: first its frames less a smooth sky, then less the sky of the other dithers."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.calibration import calibrate, read_calibrations, with_calibration, with_references
from drs.errors import ReductionError
from drs.keywords import combine_keywords
from drs.members import keep_good
from drs.objects import find_objects
from drs.references import read_manifest
from drs.registration import average_frames, locate_nearest, look_up, plan_field
from drs.running_sky import choose_neighbours, fit_surface, make_running_sky
from drs.schema import load_yaml
from drs.sky import measure_sky
from drs.wcs import find_wcs, measure_offsets

logger = logging.getLogger("make_object_mask")
SCALES_PIX = (0, 1, 2)


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--n-pass", type=click.IntRange(1), required=True, help="Passes; the masks grow from one to the next.")
@click.option("--threshold-sigma", type=float, required=True, help="Objects above this are masked.")
@click.option("--growth", type=float, required=True, help="Part of its radius by which an object is grown at last.")
@click.option("--sky-frames", type=click.IntRange(1), required=True, help="Dithers that make the sky, at most.")
@click.option("--sky-minimum", type=click.IntRange(1), required=True, help="Dithers that a pixel's sky needs.")
@click.option("--sky-offset-pix", type=float, required=True, help="Least distance of a dither.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, cache, night_cache, instrument, sky_minimum, mark_refusal, output, **parameters):
    """Find the objects of a field in Level 1 exposures."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    template = describe_mask(members)
    with product.mark_refusal(output, template, mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=sky_minimum + 1, what="dithered")
        members = [members[k] for k in good]
        references, files = read_calibrations(
            members, [manifests[k] for k in good], ["dark", "flat"], [night_cache, cache]
        )
        frames = [calibrate(m.image, found) for m, found in zip(members, references, strict=True)]
        wcs = [find_wcs(member.keywords, member.arrays["SCI"].shape, load_yaml(instrument)) for member in members]
        times = [member.keywords.get("EXPMJDST", k) for k, member in enumerate(members)]
        arrays, grid = find_field_objects(frames, wcs, times, minimum=sky_minimum, **parameters)
        mask = replace(template, arrays=arrays, wcs=grid, history=tuple(left_out))
        mask = with_calibration(mask, ["dark", "flat"], references)
        mask = mask.with_parameters("mask", sky_minimum=sky_minimum, **parameters)
        product.write(output, mask, inputs={"rate": rates, "reference": files})


def describe_mask(members):
    """Return the mask of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members]) | {"DATAMODL": "ObjectMaskModel", "DATALVL": 2}
    return product.Product(keywords, {}, {"SCI": "electron/s"})


def find_field_objects(frames, wcs, times, *, minimum, n_pass, sky_frames, sky_offset_pix, **limits):
    """Return ({SCI: mean of the frames, OBJECTS, CON: frames}, WCS of the grid) of calibrated frames of a field."""
    shapes, offsets = [frame.rate.shape for frame in frames], measure_offsets(wcs)
    grid, shape = plan_field(wcs, shapes)
    places = [locate_nearest(header, own, grid, shape) for header, own in zip(wcs, shapes, strict=True)]
    nearest = {"n_frame": sky_frames, "least_offset_pix": sky_offset_pix}
    neighbours = [choose_neighbours(offsets, times, k, **nearest) for k in range(len(frames))]
    if short := [len(chosen) for chosen in neighbours if len(chosen) < minimum]:
        raise ReductionError(
            f"an exposure has only {min(short)} others that point {sky_offset_pix} pixels or more away, at least "
            f"{minimum} needed: dither more, take sky exposures, or choose sky: median"
        )
    blank = [np.where(frame.unusable, np.float32(np.nan), frame.rate) for frame in frames]
    threshold = limits["threshold_sigma"]
    differences = [subtract_first(values, frame, threshold) for values, frame in zip(blank, frames, strict=True)]
    for number in range(1, n_pass + 1):
        mean, count = average_frames(differences, places, shape)
        growth = limits["growth"] * number / n_pass
        objects = find_objects(mean, count, threshold_sigma=threshold, scales_pix=SCALES_PIX, growth=growth)
        logger.info("pass %d: objects on %.3f of the field", number, objects[count > 0].mean())
        if number < n_pass:
            differences = subtract_dithers(blank, objects, places, neighbours, frames, minimum)
    arrays = {"SCI": mean, "OBJECTS": objects.astype(np.uint8), "CON": count.astype(np.uint16)}
    return arrays, grid


def subtract_first(blank, frame, threshold_sigma):
    """Return a frame less a smooth surface through its sky."""
    sky = measure_sky(frame.rate, frame.unusable, source_threshold_sigma=threshold_sigma)
    return blank - fit_surface(np.where(sky.is_source, np.nan, blank))


def subtract_dithers(blank, objects, places, neighbours, frames, minimum):
    """Return the frames less the sky that the other dithers give with the objects masked."""
    masked = [np.where(look_up(objects, place), np.nan, frame) for frame, place in zip(blank, places, strict=True)]
    differences = []
    for k, chosen in enumerate(neighbours):
        variances = [np.nan_to_num(frames[j].error) ** 2 for j in chosen]
        sky, *_ = make_running_sky(masked[k], [masked[j] for j in chosen], variances, minimum=minimum)
        differences.append(blank[k] - sky)
    return differences


if __name__ == "__main__":
    main()
