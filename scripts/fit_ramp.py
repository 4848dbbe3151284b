"""Fit a ramp: raw reads of one exposure to a rate image in e-/s (Level 1), in one pass over blocks of rows.

Flags, saturation, bias, non-linearity, gain, jumps, and the fit of every group; groups are combined by inverse
variance. The manifest names the references; each is verified by its checksum before it is used.
"""

import json
import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product, raw
from drs.detector import read_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.exposure import correction_lines, rate_keywords, time_keywords
from drs.ramp import METHODS, MIN_DIFFERENCES, RampFit, fit_ramp
from drs.references import header_keywords, open_references, override_warnings, read_manifest, select_references
from drs.signal import calibrate_reads
from drs.variance import estimate_poisson_variance

logger = logging.getLogger("fit_ramp")
REFERENCES = ("dq", "saturation", "bias", "nonlin", "gain", "readnoise")
SKIPPABLE = ("saturation", "bias", "nonlin", "jump")
UNITS = {"SCI": "electron/s", "ERR": "electron/s", "VAR_POISSON": "electron2/s2", "VAR_RNOISE": "electron2/s2"}
NOTHING = {"SCI": np.zeros((1, 1), "f4"), "ERR": np.zeros((1, 1), "f4"), "DQ": np.zeros((1, 1), "u4")}
UNLIKE_NEIGHBOURS = Flag.DO_NOT_USE | Flag.HOT | Flag.DEAD | Flag.REFERENCE_PIXEL


@cli.command()
@click.option("--ramp", type=cli.existing_file, required=True, help="Level 0 file: .fits, .fits.gz or .fits.fz.")
@click.option("--manifest", type=cli.existing_file, required=True, help="References of this exposure.")
@cli.cache_option
@cli.night_cache_option
@click.option("--method", type=click.Choice(METHODS), required=True, help="Fit of a ramp.")
@click.option("--n-coadd", type=click.IntRange(1), required=True, help="Reads averaged at each end (mcds).")
@click.option("--jump-threshold-sigma", type=click.FloatRange(2), required=True, help="Threshold of a jump.")
@click.option("--noise-box-pix", type=click.IntRange(1), required=True, help="Odd box of the photon noise's rate.")
@click.option("--skip-step", "skipped", type=click.Choice(SKIPPABLE), multiple=True, help="Leave a step out; repeat.")
@click.option("--corrections", default="[]", help='JSON: corrections of the header [{"set": {...}, "reason": ...}].')
@click.option("--keys", default="{}", help="JSON: keywords that hold where the header has none.")
@click.option("--block-rows", type=click.IntRange(1), required=True, help="Rows in memory at a time.")
@cli.refusal_option
@cli.output_option
def main(ramp, manifest, cache, night_cache, corrections, keys, mark_refusal, output, **settings):
    """Fit the ramp of one exposure and write its rate image."""
    corrections, keys = _read_json("--corrections", corrections), _read_json("--keys", keys)
    header = raw.read_keywords(ramp)
    history = correction_lines(header, corrections)
    for correction in corrections:
        header.update(correction["set"])
    rate = product.Product(rate_keywords(header, keys), {}, UNITS, history=history)
    with product.mark_refusal(output, rate, mark=mark_refusal):
        wanted = [kind for kind in REFERENCES if kind not in settings["skipped"]]
        answer = select_references(read_manifest(manifest), wanted, rate.keywords)
        paths = open_references(manifest, wanted, [night_cache, cache])
        with raw.open_ramp(ramp, corrections) as exposure:
            keywords = {**rate.keywords, **header_keywords(answer), **time_keywords(rate.keywords, exposure.times_s)}
            rate = product.with_history(replace(rate, keywords=keywords), override_warnings(answer))
            if exposure.times_source != "TIMES":
                source = f"times of the reads: none stated, made from {exposure.times_source}"
                rate = product.with_history(rate, [source])
            product.check(replace(rate, arrays=NOTHING), name=ramp)
            arrays = reduce_ramp(exposure, read_maps(paths, header, exposure.shape[2:]), settings)
        rate = note_steps(replace(rate, arrays=arrays), settings)
        product.write(output, rate, inputs={"ramp": ramp, **paths})


def _read_json(option, text):
    """Return the document in an option's text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ReductionError(f"{option} is not JSON: {error}") from error


def reduce_ramp(exposure, maps, settings):
    """Return the arrays of the rate image: SCI, ERR, both variances, DQ, NREADS."""
    threshold = None if "jump" in settings["skipped"] else settings["jump_threshold_sigma"]
    options = {"method": settings["method"], "n_coadd": settings["n_coadd"], "jump_threshold_sigma": threshold}
    fit = RampFit(*(np.empty(exposure.shape[2:], dtype) for dtype in ("f4", "f4", "f4", "u4", "u2")))
    for rows, reads in exposure.blocks(settings["block_rows"]):
        part = maps.cut(rows)
        signal, dq = calibrate_reads(reads, part)
        part = fit_ramp(signal, exposure.times_s, part.read_variance_e2, **options)
        for whole, array in zip(fit, part._replace(dq=part.dq | dq), strict=True):
            whole[rows] = array
    excluded = fit.dq & np.uint32(UNLIKE_NEIGHBOURS) != 0
    images = fit.rate, fit.photon_factor, fit.var_rnoise, excluded
    var_poisson = estimate_poisson_variance(*images, box_pix=settings["noise_box_pix"])
    error = np.sqrt(var_poisson + fit.var_rnoise)
    logger.info("%s: %d pixels without a rate", exposure.path.name, np.count_nonzero(np.isnan(fit.rate)))
    images = {"SCI": fit.rate, "ERR": error, "VAR_POISSON": var_poisson, "VAR_RNOISE": fit.var_rnoise}
    return {**images, "DQ": fit.dq, "NREADS": fit.n_reads}


def note_steps(rate, settings):
    """Return the product with the status and parameters of every step."""
    for step in ("dq_init", "saturation", "bias", "nonlin", "gain"):
        rate = rate.with_step(step, skipped="by configuration" if step in settings["skipped"] else None)
    n_difference = rate.keywords["NREADS"] - 1
    if "jump" in settings["skipped"]:
        rate = rate.with_step("jump", skipped="by configuration")
    elif n_difference < MIN_DIFFERENCES:
        rate = rate.with_step("jump", skipped=f"{MIN_DIFFERENCES} differences needed, a ramp has {n_difference}")
    else:
        rate = rate.with_step("jump", jump_threshold_sigma=settings["jump_threshold_sigma"])
    names = ("method", "n_coadd", "noise_box_pix")
    return rate.with_step("fit_ramp", **{name: settings[name] for name in names})


if __name__ == "__main__":
    main()
