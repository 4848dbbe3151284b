"""Make a point-spread function: a spline through the pixels of stars at many places within pixels."""

import logging
from collections import Counter
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.dq import Flag
from drs.epsf import choose_oversampling, fit_epsf
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.members import check_configuration, keep_good
from drs.offsets import find_stars
from drs.psfstars import check_number, check_residual, choose_stars

logger = logging.getLogger("make_psf")
SAME = ("INSTRUME", "DETECTOR", "FILTER", "PUPIL", "SCALE")
PART = (0.5, 0.8)


@cli.command()
@click.option("--image", "images", type=cli.existing_file, multiple=True, required=True, help="Level 2; repeat.")
@click.option("--useafter", required=True, help="Time near which the PSF holds (ISO, UTC).")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of images.")
@click.option("--radius-pix", type=cli.Finite(4), required=True, help="Radius that holds all light.")
@click.option("--oversampling", type=click.IntRange(1, 3), required=True, help="Finest sampling per pixel.")
@click.option("--minimum-signal-to-noise", type=cli.Finite(1), required=True, help="Of a star that is used.")
@click.option("--minimum-stars", type=click.IntRange(1), required=True, help="Fewest images of stars.")
@click.option("--neighbour-fraction", type=cli.Finite(0), required=True, help="Of a star's light, that crowds it.")
@click.option("--maximum-residual", type=cli.Finite(0), required=True, help="Of the peak; refuse worse.")
@cli.refusal_option
@cli.output_option
def main(images, useafter, minimum, mark_refusal, output, **parameters):
    """Make a PsfModel of the stars in Level 2 images."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in images]
    with product.mark_refusal(output, describe_psf(members, useafter), mark=mark_refusal):
        names = [path.name for path in images]
        check_configuration(members, names, SAME)
        good, left_out = keep_good(members, names, minimum=minimum, what="PSF star")
        members = [members[k] for k in good]
        made = product.with_history(describe_psf(members, useafter), left_out)
        made = measure_psf(made, members, **parameters).with_parameters("psf", **parameters)
        product.write(output, made, inputs={"image": images})


def describe_psf(members, useafter):
    """Return the PSF of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "PSF", useafter, "Effective point-spread function of stars of one night")
    defaults = {"INSTMODE": "IMG", "GRATING": "MIRROR"}
    return product.Product({**defaults, **keywords, "DATAMODL": "PsfModel"}, {}, {})


def measure_psf(made, members, *, radius_pix, oversampling, minimum_stars, maximum_residual, **limits):
    """Return the product with the PSF of the stars in its members."""
    stars, reasons = [], Counter()
    for member in members:
        image = member.image
        if image.unusable.all():
            raise ReductionError("an image without a usable pixel: exclude it in exposures.yaml")
        found, own = choose_stars(
            image, find_stars(image.rate, image.error, image.unusable), radius_pix=radius_pix, **limits
        )
        stars, reasons = stars + found, reasons + own
    check_number(len(stars), reasons, len(members), minimum_stars=minimum_stars)
    sampling = choose_oversampling([star.place for star in stars], oversampling)
    psf, _ = fit_epsf(stars, radius_pix=radius_pix, oversampling=sampling)
    text = f"PSF of {psf.n_star} images of stars: FWHM {psf.fwhm_pix:.3f} pix, {psf.peak:.4f} of the light in the peak"
    logger.info("%s, residual %.4f of it, chi-square %.3f", text, psf.residual, psf.chi_square)
    check_residual(psf.residual, maximum_residual=maximum_residual)
    others = [f"{count} stars left out: {reason}" for reason, count in sorted(reasons.items())]
    made = product.with_history(made, [text, *others])
    return replace(made, keywords=made.keywords | list_numbers(psf), **list_arrays(psf))


def list_arrays(psf):
    """Return the arrays of a PsfModel and their units."""
    known = np.isfinite(psf.error)
    flags = np.where(known, np.uint32(0), np.uint32(Flag.DO_NOT_USE))
    maps = {"SCI": psf.values, "ERR": np.where(known, psf.error, np.nan)}
    maps |= {"ENCIRCLED": psf.encircled[None], "RADIUS": psf.radii[None]}
    arrays = {name: values.astype(np.float32) for name, values in maps.items()} | {"DQ": flags}
    return {"arrays": arrays, "units": {"SCI": "", "ERR": "", "ENCIRCLED": "", "RADIUS": "pix"}}


def list_numbers(psf):
    """Return the keywords of a PSF."""
    numbers = {"Q_PSFFWH": psf.fwhm_pix, "Q_PSFPK": psf.peak, "Q_PSFNEA": psf.area_pix, "Q_PSFTOT": psf.total_error}
    numbers |= {"Q_PSFCHI": psf.chi_square, "Q_PSFRES": psf.residual}
    numbers |= dict(zip(("Q_PSFE50", "Q_PSFE80"), np.interp(PART, psf.encircled, psf.radii), strict=True))
    rounded = {key: round(float(value), 6) for key, value in numbers.items()}
    return rounded | {"PSFOVER": psf.oversampling, "Q_PSFNST": psf.n_star, "Q_PSFREJ": psf.n_clipped}


if __name__ == "__main__":
    main()
