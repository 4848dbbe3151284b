"""Make a distortion map: dithers of a dense star field against a catalogue, and a Legendre series through its stars."""

import logging
from dataclasses import replace

import click

from drs import cli, product
from drs.astrometry import Search
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.catalogue import read_catalogue
from drs.distortion import check_scale, fit_field, list_arrays
from drs.errors import ReductionError
from drs.fieldpairs import pair_exposures
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good
from drs.references import read_manifest
from drs.refraction import Air, find_wavelength
from drs.schema import load_yaml

logger = logging.getLogger("make_field_distortion")
CENTROID_PIX = 0.01  # of a bright star, beside which its noise is small
FIT = ("order", "catalogue_error_pix", "maximum_residual_pix")
PIX = {"SCI": "pix", "ERR": "pix", "DX": "pix", "DY": "pix"}


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 dither; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--catalogue", type=cli.existing_file, default=None, help="Stars: ra_deg, dec_deg, proper motions.")
@click.option("--useafter", required=True, help="Time from which the distortion holds (ISO, UTC).")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of exposures.")
@click.option("--order", type=click.IntRange(1, 9), required=True, help="Total degree of the Legendre series.")
@click.option("--search-pix", type=cli.Finite(1), required=True, help="Largest error of the pointing.")
@click.option("--search-deg", type=cli.Finite(0), required=True, help="Largest error of the position angle.")
@click.option("--minimum-stars", type=click.IntRange(3), required=True, help="Fewest stars of an exposure.")
@click.option("--catalogue-error-pix", type=cli.Finite(0), required=True, help="Of the places of the catalogue.")
@click.option("--maximum-residual-pix", type=cli.Finite(0), required=True, help="Refuse a worse fit.")
@click.option("--refraction", type=bool, required=True, help="Take refraction and aberration out of the places.")
@click.option("--refraction-pressure-hpa", type=cli.Finite(0), required=True, help="At the telescope.")
@click.option("--refraction-temperature-c", type=cli.Finite(-60, 60), required=True, help="At the telescope.")
@click.option("--filters", type=cli.existing_file, default=None, help="Wavelengths of filters, for the refraction.")
@cli.refusal_option
@cli.output_option
def main(
    rates, manifests, cache, night_cache, instrument, catalogue, filters, mark_refusal, output, useafter, minimum, **how
):
    """Fit the distortion of a detector to Level 1 exposures of a star field."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_distortion(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=minimum, what="star field")
        if catalogue is None:
            raise ReductionError("no catalogue of stars: name one in make_field_distortion: catalogue")
        used = [members[k] for k in good]
        darks, files = read_calibrations(used, [manifests[k] for k in good], ["dark"], [night_cache, cache])
        used = [m.with_image(calibrate(m.image, dark)) for m, dark in zip(used, darks, strict=True)]
        air = Air(*(how[f"refraction_{name}"] for name in ("pressure_hpa", "temperature_c")))
        air = air._replace(wavelength_um=find_wavelength(filters, used[0].keywords.get("FILTER")))
        search = Search(how["search_pix"], how["search_deg"], False, how["minimum_stars"])
        match = {"air": air if how["refraction"] else None, "search": search, "minimum": minimum}
        pairs, others = pair_exposures(used, read_catalogue(catalogue), load_yaml(instrument), **match)
        made = product.with_history(describe_distortion(used, useafter), [*left_out, *others, *override_history(used)])
        arrays, facts = solve_distortion(pairs, used[0].arrays["SCI"].shape, **{key: how[key] for key in FIT})
        made = with_calibration(replace(made, arrays=arrays, units=PIX), ["dark"], darks)
        made = made.with_parameters("distortion", catalogue=catalogue.name, **facts, **how)
        product.write(output, made, inputs={"rate": rates, "dark": files, "catalogue": catalogue})


def describe_distortion(members, useafter):
    """Return the distortion of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "DISTORTION", useafter, "Distortion from a star field and a catalogue")
    return product.Product(keywords | {"DATAMODL": "DistortionModel"}, {}, {})


def solve_distortion(exposures, shape, *, order, catalogue_error_pix, maximum_residual_pix):
    """Return (arrays of a DistortionModel, what the fit says of itself) of paired stars of exposures of one field."""
    errors = {"catalogue_error_pix": max(catalogue_error_pix, 1e-3), "centroid_error_pix": CENTROID_PIX}
    solution = fit_field(exposures, shape, order=order, **errors)
    found = {"residual_pix": solution.residual_pix, "catalogue_pix": solution.mask_pix, "n_star": solution.n_spot}
    logger.info("%d places of stars: residual %.4f pix, catalogue off by %.4f pix", solution.n_spot, *solution[1:3])
    if not max(solution.residual_pix, solution.mask_pix) <= maximum_residual_pix:
        raise ReductionError(
            f"{solution.n_spot} places of stars are off a smooth distortion by {solution.residual_pix:.3f} pix, those "
            f"of the catalogue by {solution.mask_pix:.3f}, at most {maximum_residual_pix} allowed: check its proper "
            "motions and epoch, or exclude exposures"
        )
    check_scale(solution, ("the field", "the pixel scale"), "correct scale_arcsec of the instrument file")
    return list_arrays(solution), found


if __name__ == "__main__":
    main()
