"""Make a distortion map: spots of a mask of pinholes, whose places are free, and a Legendre series through them."""

import logging
from dataclasses import replace

import click

from drs import cli, product
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.distortion import check_scale, fit_distortion, list_arrays
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good
from drs.pinholes import find_spots, number_spots
from drs.references import read_manifest

logger = logging.getLogger("make_distortion")
THRESHOLD_SIGMA = 20.0
PIX = {"SCI": "pix", "ERR": "pix", "DX": "pix", "DY": "pix"}


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 pinholes; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--useafter", required=True, help="Time from which the distortion holds (ISO, UTC).")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Smallest number of exposures.")
@click.option("--order", type=click.IntRange(1, 9), required=True, help="Total degree of the Legendre series.")
@click.option("--pitch-pix", type=float, required=True, help="Distance of the pinholes.")
@click.option("--mask-error-pix", type=float, required=True, help="Standard deviation of the pinholes' places.")
@click.option("--fwhm-pix", type=float, required=True, help="Full width at half maximum of a spot.")
@click.option("--maximum-residual-pix", type=float, required=True, help="Refuse a worse fit.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, cache, night_cache, useafter, minimum, mark_refusal, output, **parameters):
    """Fit the distortion of a detector to Level 1 exposures of a mask of pinholes."""
    members = [product.read(path, models="ImagerModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_distortion(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=minimum, what="pinhole")
        darks, files = read_calibrations(
            [members[k] for k in good], [manifests[k] for k in good], ["dark"], [night_cache, cache]
        )
        images = [calibrate(members[k].image, dark) for k, dark in zip(good, darks, strict=True)]
        made = product.with_history(describe_distortion([members[k] for k in good], useafter), left_out)
        made = product.with_history(made, override_history(members[k] for k in good))
        arrays, facts = solve_distortion(images, **parameters)
        made = replace(made, arrays=arrays, units=PIX)
        made = with_calibration(made, ["dark"], darks).with_parameters("distortion", **facts, **parameters)
        product.write(output, made, inputs={"rate": rates, "dark": files})


def describe_distortion(members, useafter):
    """Return the distortion of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "DISTORTION", useafter, "Distortion from a mask of pinholes")
    return product.Product(keywords | {"DATAMODL": "DistortionModel"}, {}, {})


def solve_distortion(images, *, order, pitch_pix, mask_error_pix, fwhm_pix, maximum_residual_pix):
    """Return (arrays of a DistortionModel, what the fit says of itself) of exposures of one mask."""
    exposures = []
    for image in images:
        spots = find_spots(image.rate, image.unusable, fwhm_pix=fwhm_pix, threshold_sigma=THRESHOLD_SIGMA)
        anchor = exposures[0] if exposures else None
        exposures.append(number_spots(spots, pitch_pix=pitch_pix, anchor=anchor))
    errors = {"mask_error_pix": mask_error_pix, "centroid_error_pix": 0.1 * mask_error_pix}
    solution = fit_distortion(exposures, images[0].rate.shape, pitch_pix=pitch_pix, order=order, **errors)
    found = {"residual_pix": solution.residual_pix, "mask_pix": solution.mask_pix, "n_spot": solution.n_spot}
    logger.info("%d spots: residual %.4f pix, pinholes off by %.4f pix", solution.n_spot, *solution[1:3])
    if not max(solution.residual_pix, solution.mask_pix) <= maximum_residual_pix:
        raise ReductionError(
            f"the {solution.n_spot} pinholes are off a smooth distortion by {solution.mask_pix:.3f} pix (spots by "
            f"{solution.residual_pix:.3f}), at most {maximum_residual_pix} allowed: check make_distortion: pitch_pix, "
            "or exclude the exposures"
        )
    what = "the grid of pinholes", f"the pitch of {pitch_pix} pix"
    check_scale(solution, what, "correct make_distortion: pitch_pix")
    return list_arrays(solution), found


if __name__ == "__main__":
    main()
