"""Calibrate one imager exposure: rate less dark, divided by flat, less sky, with coordinates (Level 1 to Level 2)."""

import logging
from dataclasses import replace

import click

from drs import cli, product
from drs.calibration import calibrate, read_calibrations, with_calibration, with_references
from drs.errors import ReductionError
from drs.references import read_manifest
from drs.schema import load_yaml
from drs.sky import match_levels, measure_sky, subtract_frame, subtract_level
from drs.wcs import build_wcs, find_pointing

logger = logging.getLogger("calibrate_image")
SKIES = ("SKY", "BKG")


@cli.command()
@click.option("--rate", type=cli.existing_file, required=True, help="Level 1 exposure.")
@click.option("--manifest", type=cli.existing_file, required=True, help="Its references.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--sky", "sky_frame", type=cli.existing_file, default=None, help="SkyModel to subtract.")
@click.option("--sky-method", type=click.Choice(["frame", "median", "none"]), required=True, help="Sky subtraction.")
@click.option("--source-threshold-sigma", type=float, required=True, help="Sources above this are masked.")
@cli.refusal_option
@cli.output_option
def main(rate, manifest, cache, night_cache, instrument, sky_frame, mark_refusal, output, **parameters):
    """Turn a Level 1 rate into a Level 2 image."""
    exposure = product.read(rate, models="ImagerModel", unit="electron/s")
    exposure = replace(exposure, keywords=exposure.keywords | {"DATALVL": 2})
    exposure = with_references(exposure, read_manifest(manifest))
    with product.mark_refusal(output, exposure, mark=mark_refusal):
        if exposure.refusal:
            raise ReductionError(exposure.refusal)
        references, files = read_calibrations([exposure], [manifest], ["dark", "flat"], [night_cache, cache])
        image = calibrate(exposure.image, references[0])
        calibrated = with_calibration(exposure, ["dark", "flat"], references)
        calibrated = subtract_sky(calibrated, image, sky_frame, **parameters)
        inputs = {"rate": rate, "reference": files} | ({"sky": sky_frame} if sky_frame else {})
        product.write(output, assign_wcs(calibrated, load_yaml(instrument)), inputs=inputs)


def subtract_sky(exposure, image, sky_frame, *, sky_method, source_threshold_sigma):
    """Return the exposure with its calibrated image less the sky; a refused sky frame gives way to the median."""
    if sky_method == "none":
        return exposure.with_image(image).with_step(
            "sky", skipped="sky exposure" if exposure.keywords["IMTYPE"] in SKIES else "by configuration"
        )
    frame = product.read(sky_frame, models="SkyModel", unit="electron/s") if sky_method == "frame" else None
    if frame is not None and frame.refusal:
        logger.warning("the sky frame was refused (%s): the median of the image is subtracted", frame.refusal)
        frame, sky_method = None, "median"
    sky = measure_sky(image.rate, image.unusable, source_threshold_sigma=source_threshold_sigma)
    used = {"method": sky_method, "level_e_per_s": sky.level, "source_threshold_sigma": source_threshold_sigma}
    if frame is None:
        return exposure.with_image(subtract_level(image, sky)).with_step("sky", **used)
    level = measure_sky(frame.image.rate, frame.image.unusable, source_threshold_sigma=source_threshold_sigma)
    scale, offset = match_levels(sky, level)
    same_dark = "R_DARK" in frame.keywords and frame.keywords["R_DARK"] == exposure.keywords.get("R_DARK")
    image = subtract_frame(image, frame.image, scale=scale, offset=offset, same_dark=same_dark)
    used |= {"scale": scale, "offset_e_per_s": offset, "same_dark": same_dark}
    return exposure.with_image(image).with_step("sky", **used)


def assign_wcs(exposure, instrument):
    """Return the exposure with the coordinates that its pointing, its detector and its subarray give."""
    keywords = exposure.keywords
    detector = instrument["detectors"][keywords["DETECTOR"]]
    pointing = find_pointing(keywords)
    ny, nx = exposure.arrays["SCI"].shape
    shape = (keywords.get("DETYSIZE", ny), keywords.get("DETXSIZE", nx))
    corner = (keywords.get("SUBSTRT2", 1), keywords.get("SUBSTRT1", 1)) if shape != (ny, nx) else (1, 1)
    wcs = build_wcs(**pointing, detector=detector, shape=shape, corner=corner)
    return replace(exposure.with_step("wcs", **pointing, **detector), wcs=wcs)


if __name__ == "__main__":
    main()
