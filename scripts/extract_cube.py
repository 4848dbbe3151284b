"""Extract the cube of a lenslet exposure: rate less dark, spectra, linear wavelength grid, less sky, coordinates."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.arcs import move_wavelengths
from drs.calibration import calibrate, read_calibrations, with_calibration
from drs.cubedrift import METHODS
from drs.dark import forget_dark
from drs.errors import ReductionError
from drs.finishing import cancels_dark, finish_cube, list_inputs, open_rate, read_sky
from drs.image import Image
from drs.lenslet import extract_spectra, make_matrix, measure_shift, shift_matrix
from drs.schema import load_yaml
from drs.spectralrefs import find_field, match_wavelengths, read_spectral
from drs.wavegrid import choose_grid, resample_spectra

logger = logging.getLogger("extract_cube")


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
@click.option("--method", type=click.Choice(["chi-square", "iterations"]), required=True, help="Extraction.")
@click.option("--n-iterations", type=click.IntRange(1), required=True, help="Of method iterations.")
@click.option("--nonnegative", type=bool, required=True, help="Best spectra that are not negative.")
@click.option("--fwhm-pix", type=float, required=True, help="Of a line of the sky, columns.")
@click.option("--measure-shift", type=bool, required=True, help="Take out the frame's shift, rows and columns.")
@click.option("--shift-column-step", type=click.IntRange(1), required=True, help="Rows: measured on such columns.")
@click.option("--shift-lenslet-step", type=click.IntRange(1), required=True, help="Columns: in such lenslets.")
@click.option("--maximum-shift-pix", type=float, required=True, help="Of lines of the sky from their wavelengths.")
@click.option("--grid-start-um", type=float, required=True, help="First bin; 0: that all lenslets have.")
@click.option("--grid-stop-um", type=float, required=True, help="Last bin; 0: that all lenslets have.")
@click.option("--grid-step-um", type=float, required=True, help="Size of a bin; 0: the median dispersion.")
@click.option("--telluric", type=bool, required=True, help="Divide by the telluric absorption, where there is one.")
@click.option("--flux", type=bool, required=True, help="To flux densities, where there is a sensitivity.")
@click.option("--adc", type=click.Choice(METHODS), required=True, help="By what the image's drift is known.")
@click.option("--adc-order", type=click.IntRange(1, 3), required=True, help="Of its polynomials in the wavelength.")
@cli.refusal_option
@cli.output_option
def main(rate, manifest, lines, cache, night_cache, instrument, sky_file, mark_refusal, output, **parameters):
    """Turn a Level 1 rate of lenslets into a Level 2 cube."""
    exposure = open_rate(rate, manifest)
    with product.mark_refusal(output, exposure, mark=mark_refusal):
        if exposure.refusal:
            raise ReductionError(exposure.refusal)
        facts, roots = load_yaml(instrument), [night_cache, cache]
        field = find_field(facts, exposure.keywords)
        darks, files = read_calibrations([exposure], [manifest], ["dark"], roots)
        matrix, matrix_file = read_spectral(exposure, manifest, "rectmat", roots)
        wavesol, wavesol_file = read_spectral(exposure, manifest, "wavesol", roots)
        image, sky = calibrate(exposure.image, darks[0]), read_sky(sky_file)
        image = forget_dark(image) if cancels_dark(exposure, sky) else image
        cube = with_calibration(exposure, ["dark"], darks)
        cube, grid_um, native = extract(cube, image, matrix, wavesol, lines, **parameters)
        how = {"references": (manifest, roots), "sky": sky, "parameters": parameters, "native": native}
        cube, more = finish_cube(cube, grid_um, facts, field, **how)
        product.write(output, cube, inputs=list_inputs(rate, [*files, matrix_file, wavesol_file, *more], sky_file))


def extract(exposure, image, matrix, wavesol, lines, **parameters):
    """Return the exposure with the cube of an Image, the middles of its bins in um, and the spectra before resampling.

    See the options of `main`.
    """
    rectmat, offsets = matrix.arrays["RECTMAT"], matrix.arrays["OFFSETS"]
    optics, wavelength_um = make_matrix(rectmat, offsets), match_wavelengths(wavesol, offsets, rectmat.shape[1:])
    frame, shift = image[:3], {}
    if parameters["measure_shift"]:
        rows, sigma = measure_shift(*frame, optics, column_step=parameters["shift_column_step"])
        optics, shift = shift_matrix(optics, rows), {"FRMSHIFT": round(rows, 5), "FRMSHERR": round(sigma, 5)}
        logger.info("frame %.4f +- %.4f rows from its matrix", rows, sigma)
    iterations = parameters["n_iterations"] if parameters["method"] == "iterations" else 0
    spectra = extract_spectra(*frame, optics, iterations=iterations, nonnegative=parameters["nonnegative"])
    grid = {f"{name}_um": parameters[f"grid_{name}_um"] for name in ("start", "stop", "step")}
    grid_um = choose_grid(wavelength_um, **grid)  # of the reference: cubes of a night share it
    if parameters["measure_shift"]:
        some, limits = np.s_[:: parameters["shift_lenslet_step"]], {"fwhm_pix": parameters["fwhm_pix"]}
        limits |= {"most_pix": parameters["maximum_shift_pix"], "all_um": wavelength_um}
        chosen = [np.ascontiguousarray(plane[some]) for plane in spectra]
        wavelength_um, columns = move_wavelengths(chosen, wavelength_um[some], [lines], **limits)
        shift |= columns
    bins = resample_spectra(*spectra, wavelength_um, grid_um)
    arrays = [np.ascontiguousarray(array.T).reshape(grid_um.size, *rectmat.shape[2:]) for array in bins[:3]]
    keywords = exposure.keywords | shift | {"NOISCORR": max(round(bins.correlation, 4), 1.0), "AIRORVAC": "VACUUM"}
    cube = replace(exposure, keywords=keywords).with_image(Image(*arrays)).with_step("extract", **parameters)
    return cube.with_step("wavecal").with_step("resample"), grid_um, (*spectra, wavelength_um)


if __name__ == "__main__":
    main()
