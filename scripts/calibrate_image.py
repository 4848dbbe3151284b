"""Calibrate one imager exposure: rate less dark, divided by flat, less sky, with coordinates (Level 1 to Level 2)."""

import logging

import click

from drs import cli, product
from drs.calibration import calibrate, read_calibrations
from drs.errors import ReductionError
from drs.references import header_keywords, read_manifest
from drs.schema import load_yaml
from drs.sky import measure_sky, subtract_frame, subtract_level
from drs.wcs import build_wcs

logger = logging.getLogger("calibrate_image")


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
    keywords = exposure.keywords | header_keywords(read_manifest(manifest)) | {"DATALVL": 2}
    exposure = product.Product(
        keywords, exposure.arrays, exposure.units, parameters=exposure.parameters, history=exposure.history
    )
    with product.mark_refusal(output, exposure, mark=mark_refusal):
        if exposure.refusal:
            raise ReductionError(exposure.refusal)
        (references,), files = read_calibrations([manifest], ["dark", "flat"], [night_cache, cache])
        calibrated = exposure.with_image(calibrate(exposure.image, references)).with_step("dark").with_step("flat")
        inputs = {"rate": rate, "reference": files} | ({"sky": sky_frame} if sky_frame else {})
        calibrated = subtract_sky(calibrated, sky_frame, **parameters)
        product.write(output, assign_wcs(calibrated, load_yaml(instrument)), inputs=inputs)


def subtract_sky(exposure, sky_frame, *, sky_method, source_threshold_sigma):
    """Return the exposure less its sky, by the method that was asked for; a refused frame gives way to the median."""
    if sky_method == "none":
        return exposure.with_step("sky", skipped="sky exposure or by configuration")
    image = exposure.image
    sky = measure_sky(image.rate, image.unusable, source_threshold_sigma=source_threshold_sigma)
    frame = product.read(sky_frame, models="SkyModel", unit="electron/s") if sky_method == "frame" else None
    if frame is not None and frame.refusal:
        logger.warning("the sky frame was refused (%s): the median of the image is subtracted", frame.refusal)
        frame, sky_method = None, "median"
    used = {"method": sky_method, "level_e_per_s": sky.level, "source_threshold_sigma": source_threshold_sigma}
    if frame is None:
        return exposure.with_image(subtract_level(image, sky)).with_step("sky", **used)
    level = measure_sky(frame.image.rate, frame.image.unusable, source_threshold_sigma=source_threshold_sigma).level
    scale = sky.level / level if level > 0 else 1.0
    return exposure.with_image(subtract_frame(image, frame.image, scale)).with_step("sky", scale=scale, **used)


def assign_wcs(exposure, instrument):
    """Return the exposure with the coordinates that its pointing and detector give."""
    keywords = exposure.keywords
    if missing := [key for key in ("RA", "DEC") if key not in keywords]:
        raise ReductionError(f"no {' and '.join(missing)} in the header: give them in exposures.yaml (correct: set:)")
    detector = instrument["detectors"][keywords["DETECTOR"]]
    pa_deg = keywords.get("PA", 0.0)
    wcs = build_wcs(keywords["RA"], keywords["DEC"], pa_deg, detector, exposure.arrays["SCI"].shape)
    done = exposure.with_step("wcs", ra_deg=keywords["RA"], dec_deg=keywords["DEC"], pa_deg=pa_deg, **detector)
    return product.with_wcs(done, wcs)


if __name__ == "__main__":
    main()
