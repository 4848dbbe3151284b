"""Extract the cube of a slicer exposure: less dark, flat, slices and wavelengths rectified, coordinates, less sky."""

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
from drs.schema import load_yaml
from drs.slicer import extract_columns, rectify_frame
from drs.sliceshift import move_slices, see_sky
from drs.spectralrefs import find_field, find_order, match_slices, read_spectral
from drs.wavegrid import choose_grid


@cli.command()
@click.option("--rate", type=cli.existing_file, required=True, help="Level 1 exposure.")
@click.option("--manifest", type=cli.existing_file, required=True, help="Its references.")
@click.option("--lines", type=cli.existing_file, required=True, help="List of the lines of the sky.")
@cli.cache_option
@cli.night_cache_option
@click.option("--instrument", type=cli.existing_file, required=True, help="Instrument file.")
@click.option("--sky", "sky_file", type=cli.existing_file, default=None, help="Cube of the sky to subtract.")
@click.option("--sky-rate", type=cli.existing_file, default=None, help="Its Level 1: the sky as this frame sees it.")
@click.option("--sky-manifest", type=cli.existing_file, default=None, help="References of its Level 1 frame.")
@click.option("--sky-method", type=click.Choice(["cube", "blank", "none"]), required=True, help="Sky subtraction.")
@click.option("--blank-fraction", type=float, required=True, help="Faintest spaxels, which are blank.")
@click.option("--fwhm-pix", type=float, required=True, help="Of a line of the sky, columns.")
@click.option("--measure-shift", type=bool, required=True, help="Take out the frame's shift, rows and columns.")
@click.option("--shift-slice-step", type=click.IntRange(1), required=True, help="It is measured in such slices.")
@click.option("--maximum-shift-pix", type=float, required=True, help="Of lines of the sky from their wavelengths.")
@click.option("--grid-start-um", type=float, required=True, help="First bin; 0: that all spaxels have.")
@click.option("--grid-stop-um", type=float, required=True, help="Last bin; 0: that all spaxels have.")
@click.option("--grid-step-um", type=float, required=True, help="Size of a bin; 0: the median dispersion.")
@click.option("--telluric", type=bool, required=True, help="Divide by the telluric absorption, where there is one.")
@click.option("--flux", type=bool, required=True, help="To flux densities, where there is a sensitivity.")
@click.option("--adc", type=click.Choice(METHODS), required=True, help="By what the image's drift is known.")
@click.option("--adc-order", type=click.IntRange(1, 3), required=True, help="Of its polynomials in the wavelength.")
@cli.refusal_option
@cli.output_option
def main(rate, manifest, lines, cache, night_cache, instrument, sky_file, mark_refusal, output, **parameters):
    """Turn a Level 1 rate of a slicer into a Level 2 cube."""
    exposure, frame = open_rate(rate, manifest), [parameters.pop(name) for name in ("sky_rate", "sky_manifest")]
    with product.mark_refusal(output, exposure, mark=mark_refusal):
        if exposure.refusal:
            raise ReductionError(exposure.refusal)
        facts, roots = load_yaml(instrument), [night_cache, cache]
        field = find_field(facts, exposure.keywords)
        darks, files = read_calibrations([exposure], [manifest], ["dark"], roots)
        trace, trace_file = read_spectral(exposure, manifest, "trace", roots)
        wavesol, wavesol_file = read_spectral(exposure, manifest, "wavesol", roots)
        image, sky = calibrate(exposure.image, darks[0]), read_sky(sky_file)
        image = forget_dark(image) if cancels_dark(exposure, sky) else image
        if parameters["measure_shift"]:
            exposure, trace = move_slices(exposure, image, trace)
        cube = with_calibration(exposure, ["dark"], darks).with_step("flat")
        order = find_order(facts, exposure.keywords, len(trace.arrays["EDGES"]))
        cube, grid_um, rectify = extract(cube, image, (trace, order), wavesol, lines, **parameters)
        more, inputs = [], list_inputs(rate, [*files, trace_file, wavesol_file], sky_file)
        if sky is not None and not sky.refusal and frame[0]:
            sky, more = see_sky(sky, frame[0], (frame[1], roots), cube.keywords, rectify)
            inputs["sky_rate"] = frame[0]
        how = {"references": (manifest, roots), "sky": sky, "parameters": parameters}
        cube, optional = finish_cube(cube, grid_um, facts, field, **how)
        inputs["reference"] += [path for path in (*more, *optional) if path not in files]
        product.write(output, cube, inputs=inputs)


def extract(exposure, image, traces, wavesol, lines, **parameters):
    """Return the exposure with the cube of an Image, the middles of its bins in um, and how frames become cubes.

    See the options of `main`; `traces` are those of the slices, and which slice each row of the cube shows.
    """
    trace, order = traces
    flat = {"flat": trace.image}
    edges, wavelength_um = match_slices(wavesol, trace)
    grid = {f"{name}_um": parameters[f"grid_{name}_um"] for name in ("start", "stop", "step")}
    n_column = wavelength_um.shape[2]
    grid_um = choose_grid(wavelength_um.reshape(-1, n_column), **grid)  # of the reference: cubes of a night share it
    shift = {}
    if parameters["measure_shift"]:
        some = slice(None, None, parameters["shift_slice_step"])
        columns = extract_columns(*calibrate(image, flat)[:3], edges[some], wavelength_um.shape[1])
        spectra = [array.reshape(-1, n_column) for array in columns[:3]]
        limits = {"fwhm_pix": parameters["fwhm_pix"], "most_pix": parameters["maximum_shift_pix"]}
        checked = wavelength_um[some].reshape(-1, n_column)
        wavelength_um, shift = move_wavelengths(spectra, checked, [lines], **limits, all_um=wavelength_um)

    def rectify(image):
        bins = rectify_frame(*calibrate(image, flat)[:3], edges, wavelength_um, grid_um)
        return [np.ascontiguousarray(np.moveaxis(array[order], 2, 0)) for array in bins[:3]], bins.correlation

    arrays, correlation = rectify(image)
    keywords = exposure.keywords | shift | {"NOISCORR": max(round(correlation, 4), 1.0), "AIRORVAC": "VACUUM"}
    cube = replace(exposure, keywords=keywords).with_image(Image(*arrays)).with_step("extract", **parameters)
    return cube.with_step("wavecal").with_step("resample"), grid_um, lambda sky: rectify(sky)[0]


if __name__ == "__main__":
    main()
