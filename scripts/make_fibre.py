"""Measure what the optics of a spectrograph disperse: the image of a white-light fibre in Level 2 cubes, bin by bin."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.cube import find_wavelengths
from drs.dispersion import evaluate_drift, measure_drift, measure_size
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.members import check_configuration, keep_good
from drs.spectralrefs import SAME
from drs.starlight import take_star

logger = logging.getLogger("make_fibre")
LEFT_OUT = ("NOISCORR", "SKYFROM", "FRMSHIFT", "FRMSHERR", "WAVSHIFT", "WAVSHERR", "WAVNLINE", "BARYCORR")
LEFT_OUT += ("DATALVL", "S_ADC")


@cli.command()
@click.option("--cube", "cubes", type=cli.existing_file, multiple=True, required=True, help="Level 2 of the fibre.")
@click.option("--useafter", required=True, help="Time near which it holds, ISO.")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Exposures needed.")
@click.option("--order", type=click.IntRange(1, 3), required=True, help="Of the polynomials.")
@click.option("--radius-pix", type=cli.Finite(0, min_open=True), required=True, help="Of the fibre's spaxels.")
@click.option("--maximum-rms-pix", type=cli.Finite(0, min_open=True), required=True, help="Of places about them.")
@cli.refusal_option
@cli.output_option
def main(cubes, useafter, minimum, mark_refusal, output, **parameters):
    """Make the fibre reference of a configuration."""
    names = [path.name for path in cubes]
    read = [product.read(path, models="IFUCubeModel", unit="electron/s") for path in cubes]
    with product.mark_refusal(output, describe_reference(read, useafter), mark=mark_refusal):
        good, lines = keep_good(read, names, minimum=minimum, what="fibre", one_shape=False)
        read, names = [read[k] for k in good], [names[k] for k in good]
        check_configuration(read, names, SAME)
        wavelength_um = find_wavelengths(read[0])
        drifts = [measure(cube, name, wavelength_um, parameters) for cube, name in zip(read, names, strict=True)]
        made = fill_reference(describe_reference(read, useafter), drifts, wavelength_um)
        made = replace(made, history=tuple(lines)).with_parameters("adc", **parameters)
        logger.info("%.4f spaxels, rms %.4f", made.keywords["Q_FBSIZE"], made.keywords["Q_FBRMS"])
        product.write(output, made, inputs={"cube": cubes})


def measure(cube, name, wavelength_um, parameters):
    """Return the Drift of the fibre in a cube (Product); one that is no point is refused."""
    star = take_star(cube, name, wavelength_um, parameters["radius_pix"])
    planes = (cube.arrays[plane] for plane in ("SCI", "ERR", "DQ"))
    drift = measure_drift(*planes, star.place, order=parameters["order"], radius_pix=parameters["radius_pix"])
    most = parameters["maximum_rms_pix"]
    if drift.rms_pix > most:
        raise ReductionError(
            f"{name}: places of the fibre scatter by {drift.rms_pix:.3f} spaxels about their curve, at most {most:g}"
            " allowed: was it alone in the field? raise make_fibre: order or maximum_rms_pix"
        )
    return drift


def describe_reference(members, useafter):
    """Return the reference of these members without its arrays."""
    combined = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(combined, "FIBRE", useafter, f"Dispersion of the optics, {len(members)} exposures")
    return product.Product(
        {key: value for key, value in keywords.items() if key not in LEFT_OUT} | {"DATAMODL": "FibreModel"}, {}, {}
    )


def fill_reference(made, drifts, wavelength_um):
    """Return a reference with the mean drift (2, bin), its error, its wavelengths and quality numbers."""
    weight = np.array([max(drift.error_pix, 1e-6) ** -2 for drift in drifts])
    coefficients = np.tensordot(weight / weight.sum(), [drift.coefficients for drift in drifts], axes=1)
    values = evaluate_drift(coefficients, wavelength_um.size).T.astype(np.float32)
    error = float(weight.sum() ** -0.5)
    arrays = {"SCI": values, "ERR": np.full_like(values, error), "DQ": np.zeros(values.shape, np.uint32)}
    arrays["WAVELENGTH"] = np.stack([wavelength_um, wavelength_um]).astype(np.float64)
    numbers = {"Q_FBSIZE": measure_size(coefficients), "Q_FBERR": error}
    numbers |= {"Q_FBRMS": max(drift.rms_pix for drift in drifts)}
    numbers = {key: float(f"{value:.5g}") for key, value in numbers.items()}
    units = {"SCI": "pix", "ERR": "pix", "WAVELENGTH": "um"}
    return replace(made, keywords=made.keywords | numbers, arrays=arrays, units=units)


if __name__ == "__main__":
    main()
