"""Calibrate one imager exposure: rate less dark, divided by flat, less sky, with coordinates and zero point."""

import logging
from dataclasses import replace

import click

from drs import cli, product
from drs.astrometry import Search
from drs.background import Dithers, subtract_sky
from drs.calibration import calibrate, read_calibrations, read_optional, with_calibration, with_references
from drs.catalogue import read_catalogue
from drs.coordinates import with_astrometry, with_photometry, with_wcs
from drs.cosmics import flag_hits
from drs.errors import ReductionError
from drs.references import read_manifest
from drs.refraction import Air, find_wavelength
from drs.schema import load_yaml

logger = logging.getLogger("calibrate_image")
METHODS = ("frame", "iterative", "median", "none")


@cli.command()
@click.option("--rate", type=cli.existing_file, required=True, help="Level 1 exposure.")
@click.option("--manifest", type=cli.existing_file, required=True, help="Its references.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--sky", "sky_frame", type=cli.existing_file, default=None, help="SkyModel to subtract.")
@click.option("--mask", type=cli.existing_file, default=None, help="ObjectMaskModel of the field.")
@click.option("--dither", "dithers", type=cli.existing_file, multiple=True, help="Level 1 of the field; repeat.")
@click.option("--dither-manifest", "manifests", type=cli.existing_file, multiple=True, help="In that order.")
@click.option("--sky-method", type=click.Choice(METHODS), required=True, help="Sky subtraction.")
@click.option("--source-threshold-sigma", type=float, required=True, help="Sources above this are masked.")
@click.option("--sky-frames", type=click.IntRange(1), required=True, help="Dithers that make the sky, at most.")
@click.option("--sky-minimum", type=click.IntRange(1), required=True, help="Dithers that a pixel's sky needs.")
@click.option("--sky-offset-pix", type=float, required=True, help="Least distance of a dither.")
@click.option("--refraction", type=bool, required=True, help="Take refraction and aberration out of the WCS.")
@click.option("--refraction-pressure-hpa", type=cli.Finite(0), required=True, help="At the telescope.")
@click.option("--refraction-temperature-c", type=cli.Finite(-60, 60), required=True, help="At the telescope.")
@click.option("--filters", type=cli.existing_file, default=None, help="Wavelengths of filters, for the refraction.")
@click.option("--astrometry-catalogue", type=cli.existing_file, default=None, help="Stars that the WCS is tied to.")
@click.option("--astrometry-search-pix", type=cli.Finite(1), required=True, help="Largest shift.")
@click.option("--astrometry-search-deg", type=cli.Finite(0), required=True, help="Largest rotation.")
@click.option("--astrometry-scale", type=bool, required=True, help="Fit the scale as well.")
@click.option("--astrometry-minimum", type=click.IntRange(3), required=True, help="Fewest stars.")
@click.option("--cosmic-rays", type=bool, required=True, help="Flag cosmic rays in the image alone.")
@click.option("--cosmic-sigma", type=cli.Finite(1), required=True, help="Least Laplacian over noise.")
@click.option("--cosmic-neighbour-fraction", type=cli.Finite(0, 1), required=True, help="Part of that beside hits.")
@click.option("--cosmic-contrast", type=cli.Finite(0), required=True, help="Least Laplacian over fine structure.")
@cli.refusal_option
@cli.output_option
def main(rate, manifest, cache, night_cache, instrument, filters, mark_refusal, output, **options):
    """Turn a Level 1 rate into a Level 2 image."""
    exposure = product.read(rate, models="ImagerModel", unit="electron/s")
    exposure = replace(exposure, keywords=exposure.keywords | {"DATALVL": 2})
    exposure = with_references(exposure, read_manifest(manifest))
    caches, facts = [night_cache, cache], load_yaml(instrument)
    air = cli.take_options(options, "refraction_")
    air = air | {"wavelength_um": find_wavelength(filters, exposure.keywords.get("FILTER"))}
    air = Air(**air) if options.pop("refraction") else None
    astrometry, cosmic = (cli.take_options(options, prefix) for prefix in ("astrometry_", "cosmic_"))
    with product.mark_refusal(output, exposure, mark=mark_refusal):
        if exposure.refusal:
            raise ReductionError(exposure.refusal)
        references, files = read_calibrations([exposure], [manifest], ["dark", "flat"], caches)
        image = calibrate(exposure.image, references[0])
        calibrated = with_calibration(exposure, ["dark", "flat"], references)
        sky = describe_sky(facts, caches, **options)
        calibrated = clean(subtract_sky(calibrated, image, **sky), **cosmic)
        optional, more = read_optional(manifest, ["distortion", "flux"], caches)
        calibrated = with_wcs(calibrated, facts, optional.get("distortion"), air)
        calibrated = tie_to_stars(calibrated, **astrometry)
        calibrated = with_photometry(calibrated, optional.get("flux"))
        inputs = {"rate": rate, "reference": [*files, *more]} | list_sky_inputs(sky)
        inputs |= {"catalogue": astrometry["catalogue"]} if astrometry["catalogue"] else {}
        product.write(output, calibrated, inputs=inputs)


def clean(calibrated, *, rays, **limits):
    """Return an image with its cosmic rays flagged, where this is asked for."""
    if not rays:
        return calibrated
    image, n_pixel = flag_hits(calibrated.image, **limits)
    logger.info("%d pixels of cosmic rays", n_pixel)
    calibrated = calibrated.with_image(image).with_step("cosmic", n_pixel=n_pixel, **limits)
    return product.with_history(calibrated, [f"L.A.Cosmic: {n_pixel} pixels of cosmic rays are not to be used"])


def tie_to_stars(calibrated, *, catalogue, search_pix, search_deg, scale, minimum):
    """Return an image with its coordinates tied to a catalogue, where there is one."""
    if catalogue is None:
        return calibrated
    search = Search(search_pix, search_deg, scale, minimum)
    return with_astrometry(calibrated, read_catalogue(catalogue), search, name=catalogue.name)


def describe_sky(instrument, caches, *, sky_method, sky_frame, mask, dithers, manifests, **limits):
    """Return the sky subtraction that the options ask for, as `subtract_sky` takes it."""
    threshold = {"source_threshold_sigma": limits["source_threshold_sigma"]}
    if sky_method != "iterative":
        return {"method": sky_method, "frame": sky_frame, "dithers": None, **threshold}
    if mask is None or not dithers:
        raise ReductionError("the iterative sky needs --mask and --dither")
    keys = {"n_frame": "sky_frames", "minimum": "sky_minimum", "least_offset_pix": "sky_offset_pix"}
    limits = {key: limits[name] for key, name in keys.items()}
    field = Dithers(list(dithers), list(manifests), mask, instrument, caches, **limits)
    return {"method": sky_method, "frame": None, "dithers": field, **threshold}


def list_sky_inputs(sky):
    """Return role -> files of the sky subtraction."""
    if sky["dithers"] is not None:
        return {"mask": sky["dithers"].mask, "dither": sky["dithers"].rates}
    return {"sky": sky["frame"]} if sky["method"] == "frame" else {}


if __name__ == "__main__":
    main()
