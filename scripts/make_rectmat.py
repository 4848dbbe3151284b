"""Make a rectification matrix: the profile of every lenslet's spectrum, from the white-light scans of a night."""

import logging

import click
import numpy as np

from drs import cli, product
from drs.calibration import calibrate, override_history, read_calibrations, with_calibration, with_references
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.members import keep_good
from drs.rectmat import find_missing, fit_scan, make_arrays
from drs.references import read_manifest
from drs.schema import load_yaml
from drs.spectralrefs import find_field, read_spectral

logger = logging.getLogger("make_rectmat")


@cli.command()
@click.option("--rate", "rates", type=cli.existing_file, multiple=True, required=True, help="Level 1 scan; repeat.")
@click.option("--manifest", "manifests", type=cli.existing_file, multiple=True, required=True, help="In that order.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--useafter", required=True, help="Time from which the matrix holds (ISO, UTC).")
@click.option(
    "--profile-order", type=click.IntRange(0), required=True, help="Legendre order of profiles along columns."
)
@click.option("--clip-sigma", type=float, required=True, help="Rejection of outliers, in sigma.")
@cli.refusal_option
@cli.output_option
def main(rates, manifests, cache, night_cache, instrument, useafter, mark_refusal, output, **parameters):
    """Combine Level 1 white-light scans into a RectificationModel."""
    members = [read_described(path) for path in rates]
    members = [with_references(member, read_manifest(path)) for member, path in zip(members, manifests, strict=True)]
    with product.mark_refusal(output, describe_matrix(members, useafter), mark=mark_refusal):
        good, left_out = keep_good(members, [path.name for path in rates], minimum=1, what="scan")
        kept, roots = [members[k] for k in good], [night_cache, cache]
        n_position = check_positions(kept, load_yaml(instrument), left_out)
        darks, files = read_calibrations(kept, [manifests[k] for k in good], ["dark"], roots)
        prior, prior_file = read_spectral(kept[0], manifests[good[0]], "rectmat", roots)
        frames = (read_frame(rates[k], member, dark) for k, member, dark in zip(good, kept, darks, strict=True))
        scan = fit_scan(frames, prior.arrays["RECTMAT"], prior.arrays["OFFSETS"], n_position=n_position, **parameters)
        matrix = product.with_history(describe_matrix(kept, useafter), left_out)
        matrix = product.with_history(matrix, override_history(kept))
        matrix = with_quality(with_calibration(matrix, ["dark"], darks), scan, prior)
        matrix = matrix.with_step("extract", **parameters, n_position=n_position)
        inputs = {"rate": rates, "dark": files, "prior": prior_file}
        product.write(output, matrix, inputs=inputs)


def read_described(path):
    """Return a Level 1 product whose pixels are not read."""
    with product.open_product(path, models="IFUImageModel") as member:
        return member


def read_frame(path, member, dark):
    """Return (position of the mask, Image less dark) of a scan."""
    frame = product.read(path, models="IFUImageModel", unit="electron/s")
    return member.keywords["SCANPOS"], calibrate(frame.image, dark)


def check_positions(members, instrument, left_out):
    """Return the number of positions of a whole scan; refuse a scan that lacks some, naming them."""
    find_field(instrument, members[0].keywords)
    field = instrument["detectors"][members[0].keywords["DETECTOR"]]["fields"][members[0].keywords["INSTMODE"]]
    if "scan_positions" not in field:
        raise ReductionError(f"mode {members[0].keywords['INSTMODE']} has no scans: exclude them in exposures.yaml")
    positions = [member.keywords.get("SCANPOS") for member in members]
    if None in positions:
        raise ReductionError("a scan has no SCANPOS, the position of the mask: give it in exposures.yaml")
    if missing := find_missing(positions, field["scan_positions"]):
        reasons = f" ({'; '.join(left_out)})" if left_out else ""
        raise ReductionError(f"the scan lacks mask positions {', '.join(map(str, missing))}{reasons}: take them again")
    return field["scan_positions"]


def describe_matrix(members, useafter):
    """Return the matrix of these members without its arrays."""
    keywords = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(keywords, "RECTMAT", useafter, "Rectification matrix of one night")
    return product.Product(keywords | {"DATAMODL": "RectificationModel"}, {}, {})


def with_quality(matrix, scan, prior):
    """Return the matrix with its arrays and quality numbers."""
    lit = scan.lit
    numbers = {
        "RMCHISQ": float(f"{np.median(scan.chi_square[lit]):.6g}"),
        "RMREJECT": int(scan.rejected.sum()),
        "RMNDARK": int(np.count_nonzero(~lit)),
        "RMSCATT": float(f"{np.std(np.nanmean(scan.throughput[lit], axis=1)):.6g}"),
    }
    logger.info("%d lenslets; %s", lit.size, ", ".join(f"{key} {value}" for key, value in numbers.items()))
    arrays = make_arrays(scan, prior.arrays["OFFSETS"].shape[1:])
    units = {}
    if "WAVESOL" in prior.arrays:
        arrays, units = arrays | {"WAVESOL": prior.arrays["WAVESOL"]}, {"WAVESOL": prior.units["WAVESOL"]}
    keywords = matrix.keywords | numbers
    return product.Product(keywords, arrays, units, {}, matrix.parameters, matrix.history)


if __name__ == "__main__":
    main()
