"""Combine Level 2 cubes of one field: aligned by their white light, outliers clipped, mean by exposure time."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.alignment import METHODS
from drs.cubefield import apply_drifts, place_cubes, take_drift
from drs.cubes import combine_cubes
from drs.errors import ReductionError
from drs.keywords import combine_keywords
from drs.members import check_configuration, keep_good
from drs.offsets import describe_offset
from drs.restframe import average_velocity, move_wavelengths

logger = logging.getLogger("combine_cubes")
CONFIGURATION = ("INSTRUME", "DETECTOR", "INSTMODE", "FILTER", "SCALE", "GRATING")
PLANES = ("SCI", "ERR", "DQ", "CON", "WHT", "EXP")
OF_FRAMES = ("FRMSHIFT", "FRMSHERR", "WAVSHIFT", "WAVSHERR", "WAVNLINE", "BARYCORR")  # of one exposure each


@cli.command()
@click.option("--cube", "cubes", type=cli.existing_file, multiple=True, required=True, help="Level 2; repeat.")
@click.option("--placing", type=click.Choice(["subpixel", "integer"]), required=True, help="How cubes are moved.")
@click.option("--clip-sigma", type=cli.Finite(0), required=True, help="Rejection of outliers, in sigma; 0: none.")
@click.option("--clip-gradient", type=cli.Finite(0), required=True, help="Part of the gradient allowed on top.")
@click.option("--offsets", required=True, help="Where cubes are: header, measured, or a table (ECSV).")
@click.option("--max-offset-pix", type=cli.Finite(1), required=True, help="Largest offset sought (measured).")
@click.option("--barycentric", type=bool, required=True, help="Wavelengths as seen from the barycentre.")
@cli.refusal_option
@cli.output_option
def main(cubes, offsets, max_offset_pix, barycentric, mark_refusal, output, **options):
    """Combine Level 2 cubes into one of Level 3."""
    names = [path.name for path in cubes]
    read = [product.read(path, models="IFUCubeModel") for path in cubes]
    with product.mark_refusal(output, describe_cube(read), mark=mark_refusal):
        good, lines = keep_good(read, names, minimum=1, what="Level 2", one_shape=False)
        read, names = [read[k] for k in good], [names[k] for k in good]
        check_configuration(read, names, CONFIGURATION)
        check_units(read, names)
        integer = options["placing"] == "integer"
        field = place_cubes(read, names, offsets=offsets, max_offset_pix=max_offset_pix, integer=integer)
        kept = [read[k] for k in field.kept]
        lines += field.left_out
        if offsets == "measured":
            lines += map(describe_offset, [names[k] for k in field.kept], field.offsets)
        drifts = None if integer else [take_drift(cube) for cube in kept]
        combined, found = combine(kept, field, drifts, **options)
        combined = apply_drifts(combined, kept, integer=integer)
        source = offsets if offsets in METHODS else "file"
        keywords = combined.keywords | {"OFFSETS": source.upper(), "NOISSPAT": round(found.correlation, 4)}
        combined = replace(combined, keywords=keywords, wcs=field.wcs, history=tuple(lines))
        combined = combined.with_step("combine", **options, offsets=source, max_offset_pix=max_offset_pix)
        combined = apply_barycentre(combined, kept, wanted=barycentric)
        logger.info("%d cubes to %s spaxels", len(kept), field.grid.shape[::-1])
        tables = {} if offsets in METHODS else {"offsets": offsets}
        product.write(output, combined, inputs={"cube": cubes} | tables)


def check_units(cubes, names):
    """Refuse cubes in different units: what is calibrated and what is not."""
    found = {cube.units["SCI"]: name for cube, name in zip(cubes, names, strict=True)}
    if len(found) > 1:
        listed = ", ".join(f"{unit} in {name}" for unit, name in found.items())
        raise ReductionError(
            f"cubes of mixed units: {listed}; combine those of one unit, or set extract_*: flux: false"
        )


def combine(cubes, field, drifts, *, clip_sigma, clip_gradient, **_):
    """Return the Level 3 product of cubes without coordinates, and the Combined."""
    planes = [tuple(cube.arrays[name] for name in ("SCI", "ERR", "DQ")) for cube in cubes]
    clip = {"clip_sigma": clip_sigma, "spare": clip_gradient}
    found = combine_cubes(planes, field.grid, find_times(cubes), **clip, drifts=drifts)
    arrays = dict(zip(PLANES, found[: len(PLANES)], strict=True))
    return replace(describe_cube(cubes), arrays=arrays), found


def apply_barycentre(combined, members, *, wanted):
    """Return a combined cube that states the mean BARYCORR of its members, its wavelengths moved by it if wanted."""
    headers = [member.keywords for member in members]
    if not all("BARYCORR" in header for header in headers):
        reason = "cubes without BARYCORR" if wanted else "by configuration"
        return combined.with_step("barycentre", skipped=reason)
    velocity, spread = average_velocity([header["BARYCORR"] for header in headers], find_times(members))
    stated = {"BARYCORR": round(velocity, 4), "BARYRANG": round(spread, 4)}
    combined = replace(combined, keywords=combined.keywords | stated)
    if not wanted:
        return combined.with_step("barycentre", skipped="by configuration")
    return replace(combined, wcs=move_wavelengths(combined.wcs, velocity, spread)).with_step("barycentre")


def find_times(cubes):
    """Return the exposure times of cubes, s."""
    return [cube.keywords.get("TOTTIME", cube.keywords["EXPTIME"]) for cube in cubes]


def describe_cube(members):
    """Return the Level 3 cube of these members without its arrays."""
    headers = [member.keywords for member in members]
    keywords = {key: value for key, value in combine_keywords(headers).items() if key not in OF_FRAMES}
    correlation = float(np.mean([header.get("NOISCORR", 1.0) for header in headers]))
    unit = next((member.units["SCI"] for member in members if member.refusal is None), "electron/s")
    units = {"SCI": unit, "ERR": unit, "WHT": "s", "EXP": "s"}
    return product.Product(keywords | {"DATALVL": 3, "NOISCORR": round(correlation, 4)}, {}, units)


if __name__ == "__main__":
    main()
