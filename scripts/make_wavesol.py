"""Make a wavelength solution, of lenslets or slices: lines of arc lamps found in their spectra, matched and fitted."""

import logging

import click
import numpy as np

from drs import cli, product
from drs.arcs import choose_lists, join_lines, join_lists, list_lines
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.errors import ReductionError
from drs.extraction import find_spectra
from drs.keywords import combine_keywords, reference_keywords
from drs.lines import find_lines
from drs.members import keep_good
from drs.references import read_manifest
from drs.spectralrefs import read_spectral
from drs.wavesol import solve_wavelengths

logger = logging.getLogger("make_wavesol")


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 arc; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@click.option("--lines", "lists", type=cli.existing_file, multiple=True, required=True, help="List of a lamp; repeat.")
@cli.cache_option
@cli.night_cache_option
@click.option("--useafter", required=True, help="Time from which the solution holds (ISO, UTC).")
@click.option("--fwhm-pix", type=float, required=True, help="Of a line, columns.")
@click.option("--least-sigma", type=float, required=True, help="Height of a line, in errors.")
@click.option("--order-column", type=click.IntRange(1), required=True, help="Of the polynomials along the columns.")
@click.option("--order-place", type=click.IntRange(0), required=True, help="Of the polynomials across spectra.")
@click.option("--maximum-shift-pix", type=float, required=True, help="Of the spectra from the reference.")
@click.option("--maximum-stretch", type=float, required=True, help="Relative error of the reference's dispersion.")
@click.option("--minimum-lines", type=click.IntRange(3), required=True, help="Of a spectrum, in the median.")
@click.option("--maximum-rms-pix", type=float, required=True, help="Of the lines about the solution.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, lists, cache, night_cache, useafter, mark_refusal, output, **parameters):
    """Turn Level 1 arcs of a spectrograph into a WavelengthModel."""
    members = [product.read(path, models="IFUImageModel", unit="electron/s") for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_solution(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=1, what="arc")
        kept, first, roots = [members[k] for k in good], manifests[good[0]], [night_cache, cache]
        darks, files = read_calibrations(kept, [manifests[k] for k in good], ["dark"], roots)
        kind = "rectmat" if "rectmat" in read_manifest(first)["references"] else "trace"
        optics, optics_file = read_spectral(kept[0], first, kind, roots)
        prior, prior_file = read_spectral(kept[0], first, "wavesol", roots)
        chosen = [choose_lists(member.keywords.get("OBJECT"), lists) for member in kept]
        images = [calibrate(member.image, dark) for member, dark in zip(kept, darks, strict=True)]
        spectra = find_spectra(optics, prior)
        width = parameters["fwhm_pix"]
        found = [find_lines(*spectra.extract(i), fwhm_pix=width, least_sigma=parameters["least_sigma"]) for i in images]
        margin = parameters["maximum_shift_pix"]
        listed = [list_lines(own, spectra.guess_um, width, margin) for own in chosen]
        lines = join_lines(found)
        solution = solve_lines(lines, join_lists(listed), spectra, **parameters)
        made = product.with_history(describe_solution(kept, useafter), [*left_out, *override_history(kept)])
        made = with_solution(made, solution, lines, prior)
        made = with_calibration(made, ["dark"], darks).with_step("wavecal", **parameters)
        product.write(output, made, inputs={"rate": rates, "dark": files, "prior": [optics_file, prior_file]})


def describe_solution(members, useafter):
    """Return the solution of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "WAVESOL", useafter, "Wavelength solution of one night")
    return product.Product(keywords | {"DATAMODL": "WavelengthModel"}, {}, {})


def solve_lines(lines, listed, spectra, **parameters):
    """Return the Solution of lines; an unfit one is refused."""
    solution = solve_wavelengths(
        lines,
        listed,
        spectra.guess_um,
        spectra.place,
        group=spectra.group,
        orders=(parameters["order_column"], parameters["order_place"]),
        most=(parameters["maximum_shift_pix"], parameters["maximum_stretch"]),
    )
    least, most, n = parameters["minimum_lines"], parameters["maximum_rms_pix"], np.median(solution.n_line)
    advice = "take brighter arcs, or another lamp as well; the last good solution is used"
    if n < least:
        raise ReductionError(f"{n:g} lines in a spectrum, at least {least} are needed: {advice}")
    if solution.rms_all_pix > most:
        raise ReductionError(
            f"lines are {solution.rms_all_pix:.3f} columns rms off, at most {most:g} allowed: {advice}"
        )
    return solution


def with_solution(made, solution, lines, prior):
    """Return the solution as a product with its arrays and quality numbers."""
    shape = prior.arrays["WAVESOL"].shape
    numbers = {
        "Q_WSRMS": solution.rms_all_pix,
        "Q_WSMATC": solution.matched,
        "Q_WSLINE": np.median(solution.n_line),
        "Q_WSREJ": solution.n_rejected.sum(),
        "Q_WSSAT": lines.n_saturated.sum(),
        "Q_WSSHIF": solution.shift_pix,
    }
    numbers = {key: float(f"{value:.6g}") for key, value in numbers.items()}
    logger.info("%d spectra; %s", len(solution.rms_pix), ", ".join(f"{key} {value}" for key, value in numbers.items()))
    arrays = {
        "WAVESOL": np.ascontiguousarray(solution.wavelength_um.T, np.float32).reshape(shape),
        "RMS": solution.rms_pix.reshape(shape[1:]).astype(np.float32),
        "NLINE": solution.n_line.reshape(shape[1:]).astype(np.int32),
    }
    arrays |= {"OFFSETS": prior.arrays["OFFSETS"]} if "OFFSETS" in prior.arrays else {}
    keywords = made.keywords | numbers
    return product.Product(keywords, arrays, {"WAVESOL": "um", "RMS": "pix"}, {}, made.parameters, made.history)


if __name__ == "__main__":
    main()
