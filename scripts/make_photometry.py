"""Measure the photometric zero point: stars of known magnitude in Level 2 images, their curve of growth."""

import logging
from dataclasses import replace

import click
import numpy as np
from astropy.wcs import WCS

from drs import cli, product
from drs.catalogue import move_to_date, read_catalogue
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good
from drs.photometry import check_growth, find_star, flux_density_jy, list_radii, measure_growth, solve_zero_point
from drs.wcs import measure_area

logger = logging.getLogger("make_photometry")


@cli.command()
@click.option("--image", "images", type=cli.existing_file, multiple=True, required=True, help="Level 2; repeat.")
@click.option("--catalogue", type=cli.existing_file, default=None, help="Stars: ra_deg, dec_deg, mag, mag_error.")
@click.option("--useafter", required=True, help="Time near which the zero point holds (ISO, UTC).")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of images.")
@click.option("--aperture-pix", type=float, required=True, help="Radius in which stars are measured.")
@click.option("--total-pix", type=float, required=True, help="Radius that holds all light.")
@click.option("--search-pix", type=float, required=True, help="How far a star may be from its place.")
@click.option("--minimum-signal-to-noise", type=float, required=True, help="Of a star that is used.")
@click.option("--extinction-mag", type=float, required=True, help="Extinction per airmass.")
@click.option("--growth-tolerance", type=float, required=True, help="Rise of the curve of growth at its end.")
@cli.refusal_option
@cli.output_option
def main(images, catalogue, useafter, minimum, mark_refusal, output, **parameters):
    """Make a PhotometryModel of Level 2 images with stars of known magnitude."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in images]
    with product.mark_refusal(output, describe_photometry(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in images], minimum=minimum, what="standard star")
        members = [members[k] for k in good]
        if catalogue is None:
            raise ReductionError("no catalogue of standard stars: name one in make_photometry: catalogue")
        stars = read_catalogue(catalogue, filter_name=members[0].keywords["FILTER"])
        stars = move_to_date(stars, members[0].keywords["EXPDTST"])
        made = product.with_history(describe_photometry(members, useafter), left_out)
        made = measure_photometry(made, members, stars, **parameters).with_parameters("flux", **parameters)
        product.write(output, made, inputs={"image": images, "catalogue": catalogue})


def describe_photometry(members, useafter):
    """Return the flux calibration of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "PHOTOM", useafter, "Zero point from standard stars of one night")
    defaults = {"INSTMODE": "IMG", "GRATING": "MIRROR"}
    return product.Product({**defaults, **keywords, "DATAMODL": "PhotometryModel"}, {}, {})


def measure_photometry(made, members, stars, *, aperture_pix, total_pix, extinction_mag, growth_tolerance, **limits):
    """Return the product with the zero point of the stars in its members."""
    radii = list_radii(total_pix)
    found = collect_growths(members, stars, radii, aperture_pix, **limits)
    growths, indices, airmass = zip(*found, strict=True)
    chosen = list(indices)
    how = {"radii": radii, "aperture_pix": aperture_pix, "extinction_mag": extinction_mag}
    point = solve_zero_point(growths, stars.mag[chosen], stars.mag_error[chosen], airmass, **how)
    check_growth(point, tolerance=growth_tolerance)
    logger.info("zero point %.4f +- %.4f mag of %d measurements", point.value, point.error, point.used.sum())
    keywords = {"PHOTZP": round(point.value, 5), "PHOTZPE": round(point.error, 5), "PHOTSYS": stars.system}
    keywords |= {"PHOTAIR": round(float(np.mean(airmass)), 4), "PHOTEXT": extinction_mag, "PHOTAPR": aperture_pix}
    keywords |= {"PHOTAPC": round(point.correction_mag, 5), "PHOTNST": int(point.used.sum())}
    if stars.system == "AB":
        keywords["PHOTFNU"] = flux_density_jy(point.value)
    rows = {"SCI": point.growth, "ERR": point.growth_error, "RADIUS": radii}
    arrays = {name: row[None].astype(np.float32) for name, row in rows.items()}
    arrays["DQ"] = np.zeros((1, radii.size), np.uint32)
    units = {"SCI": "", "ERR": "", "RADIUS": "pix"}
    return replace(made, keywords=made.keywords | keywords, arrays=arrays, units=units)


def collect_growths(members, stars, radii, aperture_pix, *, search_pix, minimum_signal_to_noise):
    """Return (Growth, number of the star, airmass) of every measurement of a star of the catalogue."""
    found, k = [], np.searchsorted(radii, min(aperture_pix, radii[-1]))
    for member in members:
        for star, growth in measure_stars(member, stars, radii, search_pix):
            if growth.flux[k] > minimum_signal_to_noise * growth.error[k]:
                found.append((growth, star, member.keywords.get("AIRMASS", 1.0)))
    if not found:
        raise ReductionError(
            f"no standard star found: none of {len(stars.mag)} stars of the catalogue is within {search_pix} pix of "
            f"its place in {len(members)} images with {minimum_signal_to_noise} times its noise; check RA, DEC, PA "
            "and the catalogue, or raise search_pix"
        )
    return found


def measure_stars(member, stars, radii, search_pix):
    """Return (number of the star, its Growth) of the stars of a catalogue with magnitudes that an image shows."""
    image, wcs = member.image, WCS(member.wcs)
    ny, nx = image.rate.shape
    x, y = wcs.wcs_world2pix(stars.ra_deg, stars.dec_deg, 0)  # far from the image SIP has no inverse
    near = np.isfinite(stars.mag) & (np.abs(x - nx / 2) < nx) & (np.abs(y - ny / 2) < ny)
    measured = []
    for star in np.flatnonzero(near):
        place = wcs.all_world2pix(stars.ra_deg[star], stars.dec_deg[star], 0, quiet=True)
        place = tuple(float(coordinate) for coordinate in place)
        found = find_star(image.rate, image.unusable, place, search_pix=search_pix)
        growth = None if found is None else measure_growth(image, found, radii=radii)
        if growth is not None:
            area = measure_area(member.wcs, *found)  # the flat has divided by it
            measured.append((int(star), growth._replace(flux=growth.flux * area, error=growth.error * area)))
    return measured


if __name__ == "__main__":
    main()
