"""Extract the cube of a slicer exposure: less dark, flat, slices and wavelengths rectified, less sky, coordinates."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.arcs import measure_offset, shift_wavelengths
from drs.calibration import calibrate, read_calibrations, with_calibration, with_references
from drs.cube import subtract_sky
from drs.cubewcs import assign_wcs
from drs.errors import ReductionError
from drs.image import Image
from drs.references import read_manifest
from drs.schema import load_yaml
from drs.slicer import extract_columns, rectify_frame
from drs.spectralrefs import find_field, match_slices, read_spectral
from drs.traces import measure_shift
from drs.wavegrid import choose_grid

logger = logging.getLogger("extract_slices")
SPREAD_PIX = 0.7  # of traces that do not state it
LEAST_SIGMA = 2.0  # of a shift of the slices that is taken out


@cli.command()
@click.option("--rate", type=cli.existing_file, required=True, help="Level 1 exposure.")
@click.option("--manifest", type=cli.existing_file, required=True, help="Its references.")
@click.option("--lines", type=cli.existing_file, required=True, help="List of the lines of the sky.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--sky", "sky_file", type=cli.existing_file, default=None, help="Cube of the sky to subtract.")
@click.option("--sky-method", type=click.Choice(["cube", "blank", "none"]), required=True, help="Sky subtraction.")
@click.option("--blank-fraction", type=float, required=True, help="Faintest spaxels, which are blank.")
@click.option("--fwhm-pix", type=float, required=True, help="Of a line of the sky, columns.")
@click.option("--measure-shift", type=bool, required=True, help="Take out the frame's shift, rows and columns.")
@click.option("--shift-slice-step", type=click.IntRange(1), required=True, help="It is measured in such slices.")
@click.option("--maximum-shift-pix", type=float, required=True, help="Of lines of the sky from their wavelengths.")
@click.option("--grid-start-um", type=float, required=True, help="First bin; 0: that all spaxels have.")
@click.option("--grid-stop-um", type=float, required=True, help="Last bin; 0: that all spaxels have.")
@click.option("--grid-step-um", type=float, required=True, help="Size of a bin; 0: the median dispersion.")
@cli.refusal_option
@cli.output_option
def main(rate, manifest, lines, cache, night_cache, instrument, sky_file, mark_refusal, output, **parameters):
    """Turn a Level 1 rate of a slicer into a Level 2 cube."""
    exposure = product.read(rate, models="IFUImageModel", unit="electron/s")
    exposure = replace(exposure, keywords=exposure.keywords | {"DATALVL": 2, "DATAMODL": "IFUCubeModel"})
    exposure = with_references(exposure, read_manifest(manifest))
    with product.mark_refusal(output, exposure, mark=mark_refusal):
        if exposure.refusal:
            raise ReductionError(exposure.refusal)
        facts, roots = load_yaml(instrument), [night_cache, cache]
        field = find_field(facts, exposure.keywords)
        darks, files = read_calibrations([exposure], [manifest], ["dark"], roots)
        trace, trace_file = read_spectral(exposure, manifest, "trace", roots)
        wavesol, wavesol_file = read_spectral(exposure, manifest, "wavesol", roots)
        dark_free = calibrate(exposure.image, darks[0])
        image = calibrate(dark_free, {"flat": trace.image})
        if parameters["measure_shift"]:
            exposure, trace = move_slices(exposure, dark_free, trace)
        cube = with_calibration(exposure, ["dark"], darks).with_step("flat")
        cube, grid_um = extract(cube, image, trace, wavesol, lines, **parameters)
        cube = assign_wcs(cube, facts, field, grid_um)
        sky = product.read(sky_file, models="IFUCubeModel", unit="electron/s") if sky_file else None
        cube = subtract_sky(cube, sky, **{key: parameters[key] for key in ("sky_method", "blank_fraction")})
        inputs = {"rate": rate, "reference": [*files, trace_file, wavesol_file]}
        product.write(output, cube, inputs=inputs | ({"sky": sky_file} if sky_file else {}))


def move_slices(exposure, image, trace):
    """Return the exposure and its traces moved to where its slices are, if lines of the sky tell it."""
    edges = trace.arrays["EDGES"].astype(np.float64)
    try:
        rows, error = measure_shift(image.rate, image.dq, edges, spread_pix=trace.keywords.get("Q_TRSPRD", SPREAD_PIX))
    except ReductionError as reason:
        logger.warning("slices stay where the traces are: %s", reason)
        return exposure, trace
    logger.info("slices %.4f +- %.4f rows from their traces", rows, error)
    shift = {"FRMSHIFT": round(rows, 5), "FRMSHERR": round(error, 5)}
    if abs(rows) > LEAST_SIGMA * error:
        trace = replace(trace, arrays=trace.arrays | {"EDGES": edges + rows})
    return replace(exposure, keywords=exposure.keywords | shift), trace


def extract(exposure, image, trace, wavesol, lines, **parameters):
    """Return the exposure with the cube of an Image and the middles of its bins in um; see the options of `main`."""
    edges, wavelength_um = match_slices(wavesol, trace)
    grid = {f"{name}_um": parameters[f"grid_{name}_um"] for name in ("start", "stop", "step")}
    n_column = wavelength_um.shape[2]
    grid_um = choose_grid(wavelength_um.reshape(-1, n_column), **grid)  # of the reference: cubes of a night share it
    shift, check = {}, None
    if parameters["measure_shift"]:
        some = slice(None, None, parameters["shift_slice_step"])
        columns = extract_columns(*image[:3], edges[some], wavelength_um.shape[1])
        spectra = [array.reshape(-1, n_column) for array in columns[:3]]
        limits = {"fwhm_pix": parameters["fwhm_pix"], "most_pix": parameters["maximum_shift_pix"]}
        check = measure_offset(spectra, wavelength_um[some].reshape(-1, n_column), [lines], **limits)
    if check is not None:
        shift = {"WAVSHIFT": round(check.offset_pix, 5), "WAVSHERR": round(check.error_pix, 5)}
        logger.info("%d lines of the sky %.4f +- %.4f columns off", check.n_line, check.offset_pix, check.error_pix)
        wavelength_um = shift_wavelengths(wavelength_um, check.offset_pix)
    bins = rectify_frame(*image[:3], edges, wavelength_um, grid_um)
    arrays = [np.ascontiguousarray(np.moveaxis(array, 2, 0)) for array in bins[:3]]
    keywords = exposure.keywords | shift | {"NOISCORR": max(round(bins.correlation, 4), 1.0), "AIRORVAC": "VACUUM"}
    cube = replace(exposure, keywords=keywords).with_image(Image(*arrays)).with_step("extract", **parameters)
    return cube.with_step("wavecal").with_step("resample"), grid_um


if __name__ == "__main__":
    main()
