"""Fit a ramp: raw reads of one exposure to a rate image in e-/s (Level 1), in bounded memory.

Flags, saturation, bias, reference pixels, non-linearity, gain, jumps, and the fit of all groups together. The
manifest names the references; each is verified by its checksum before it is used.
"""

from dataclasses import replace

import click
import numpy as np

from drs import cli, product, raw, references
from drs import rate as level1
from drs.detector import open_maps
from drs.exposure import correction_lines, rate_keywords, time_keywords
from drs.planes import open_planes
from drs.ramp import METHODS
from drs.region import find_size
from drs.seeing import read_seeing

REFERENCES = {"dq": "dq_init"} | {name: name for name in ("saturation", "bias", "nonlin", "gain")}  # type -> step
NOTHING = {"SCI": np.zeros((1, 1), "f4"), "ERR": np.zeros((1, 1), "f4"), "DQ": np.zeros((1, 1), "u4")}


@cli.command()
@click.option("--ramp", "ramps", type=cli.existing_file, multiple=True, help="Level 0 file; one for each read: repeat.")
@click.option("--reads", type=cli.existing_file, help="Text file that names the files of the reads.")
@click.option("--manifest", type=cli.existing_file, required=True, help="References of this exposure.")
@cli.cache_option
@cli.night_cache_option
@click.option("--method", type=click.Choice(METHODS), required=True, help="Fit of a ramp.")
@click.option("--n-coadd", type=click.IntRange(1), required=True, help="Reads averaged at each end (mcds).")
@click.option("--jump-threshold-sigma", type=cli.Finite(2), required=True, help="Significance of a jump.")
@click.option("--jump-flicker", type=cli.Finite(0), required=True, help="Part of the light that may vary.")
@click.option(
    "--jump-neighbour-sigma", type=cli.Finite(), required=True, help="Significance from which neighbours got charge."
)
@click.option("--large-jump-e", type=cli.Finite(), required=True, help="Charge of a jump that transients follow.")
@click.option("--after-jump-s", type=cli.Finite(0), required=True, help="Duration of the transients.")
@click.option(
    "--snowball-minimum-pix", type=click.IntRange(0), required=True, help="Pixels of a snowball; 0: no search."
)
@click.option("--snowball-growth", type=cli.Finite(1), required=True, help="Radius to mask over that found.")
@click.option("--saturation-grow-pix", type=click.IntRange(0), required=True, help="Neighbours that end with a pixel.")
@click.option("--refpix-smoothing-rows", type=click.IntRange(1), required=True, help="Finest row structure corrected.")
@click.option("--noise-box-pix", type=cli.Odd(), required=True, help="Odd box of the photon noise's rate.")
@click.option("--border-pix", type=click.IntRange(0), required=True, help="Reference pixels at each edge.")
@click.option("--n-channel", type=click.IntRange(1), required=True, help="Output channels of the detector.")
@click.option("--seeing", type=cli.existing_file, help="Table of the seeing.")
@click.option(
    "--seeing-maximum-arcsec", type=cli.Finite(), default=np.inf, help="Intervals with a greater one are left out."
)
@click.option(
    "--drop", "dropped", type=cli.Places(), default="[]", help="Reads to leave out, [[group, read], ...] from 1."
)
@click.option("--note", "notes", multiple=True, help="Line for the HISTORY; repeat.")
@click.option(
    "--skip-step", "skipped", type=click.Choice(level1.STEPS[:-1]), multiple=True, help="Leave a step out; repeat."
)
@click.option("--chi-square", is_flag=True, help="Write the chi-square of each ramp.")
@click.option(
    "--corrections", type=cli.Json(list), default="[]", help='Of the header: [{"set": {...}, "reason": ...}].'
)
@click.option("--keys", type=cli.Json(dict), default="{}", help="Keywords that hold where the header has none.")
@click.option("--block-rows", type=click.IntRange(1), default=64, help="Rows in memory at a time, at most.")
@cli.refusal_option
@cli.output_option
def main(ramps, reads, manifest, cache, night_cache, corrections, keys, mark_refusal, output, **options):
    """Fit the ramp of one exposure and write its rate image."""
    ramps = [*ramps, *(reads.read_text().split("\n")[:-1] if reads else ())]
    with raw.unchanged(ramps, output):
        header = raw.read_keywords(ramps)
        history = (*correction_lines(header, corrections), *options["notes"])
        header |= {key: value for correction in corrections for key, value in correction["set"].items()}
        rate = product.Product(rate_keywords(header, keys), {}, level1.UNITS, history=history)
        with product.mark_refusal(output, rate, mark=mark_refusal):
            chosen = references.read_manifest(manifest)
            off = references.find_switched_off(chosen)
            options["skipped"] = [*options["skipped"], *(REFERENCES[kind] for kind in off if kind in REFERENCES)]
            asked = [*(kind for kind, step in REFERENCES.items() if step not in options["skipped"]), "readnoise"]
            answer = references.select_references(chosen, [*asked, *off], rate.keywords)
            paths = references.open_references(manifest, asked, [night_cache, cache])
            with raw.open_ramp(ramps, corrections, dropped=options["dropped"], size=find_size(header)) as exposure:
                named = references.header_keywords(answer)
                keywords = {**rate.keywords, **named, **time_keywords(rate.keywords, exposure.times_s)}
                rate = product.with_history(replace(rate, keywords=keywords), references.override_lines(answer))
                product.check(replace(rate, arrays=NOTHING), name=ramps[0])
                with open_planes(exposure.shape[2:], {**level1.PLANES, level1.PHOTONS: "f4"}) as spool:
                    rate = reduce_ramp(exposure, rate, paths, options, spool)
                    product.write(
                        output, rate, inputs={"ramp": ramps, "seeing": [*filter(None, [options["seeing"]])], **paths}
                    )


def reduce_ramp(exposure, rate, paths, options, spool):
    """Return the product with its planes in `spool`, its steps and its notes."""
    seeing = read_seeing(options["seeing"]) if options["seeing"] else None
    poor, notes = level1.find_gaps(exposure, rate.keywords["EXPMJDST"], seeing, options["seeing_maximum_arcsec"])
    settings = level1.Settings(**{name: options[name] for name in level1.Settings._fields})
    no_offsets = level1.explain_no_offsets(rate.keywords, options["border_pix"])
    use_border = not no_offsets and "refpix" not in settings.skipped
    readout = {"border_pix": options["border_pix"] if use_border else 0, "n_channel": options["n_channel"]}
    with open_maps(
        paths, rate.keywords, exposure.shape[2:], subarray_map=exposure.subarray_map, border_pix=options["border_pix"]
    ) as maps:
        reduction = level1.prepare(exposure, maps, settings, poor=poor, **readout)
        snowballs = level1.reduce_exposure(reduction, spool)
    for step, skipped, parameters in level1.describe_steps(reduction, no_offsets):
        rate = rate.with_step(step, skipped=skipped, **parameters)
    if poor is not None:
        rate = rate.with_parameters("fit_ramp", seeing_maximum_arcsec=options["seeing_maximum_arcsec"])
    notes += [f"left out: {len(snowballs)} snowballs"] if len(snowballs) else []
    rate = replace(rate, keywords=rate.keywords | level1.exposure_keywords(reduction))
    names = [name for name in level1.PLANES if name != "CHISQ" or options["chi_square"]]
    return replace(product.with_history(rate, notes), arrays={name: spool.plane(name) for name in names})


if __name__ == "__main__":
    main()
