"""Measure the sensitivity of a spectrograph: Level 2 cubes of a standard star against its known spectrum."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.cube import find_wavelengths
from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords
from drs.members import check_configuration, keep_good
from drs.sensitivity import check_growth, fit_curve, measure_growth
from drs.spectralrefs import SAME
from drs.standard import FLUX_UNIT, average_bins, read_standard
from drs.starlight import check_signal, take_star
from drs.telluric import average_spectra

logger = logging.getLogger("make_sensitivity")
LEFT_OUT = ("NOISCORR", "SKYFROM", "FRMSHIFT", "FRMSHERR", "WAVSHIFT", "WAVSHERR", "WAVNLINE")
LEFT_OUT += ("BARYCORR", "DATALVL", "S_FLUXCL")


@cli.command()
@click.option("--cube", "cubes", type=cli.existing_file, multiple=True, required=True, help="Level 2 of the star.")
@click.option("--standard", type=cli.existing_file, default=None, help="Its spectrum: a table (ECSV or FITS).")
@click.option("--useafter", required=True, help="Time near which it holds, ISO.")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Exposures needed.")
@click.option("--aperture-pix", type=cli.Finite(0, min_open=True), required=True, help="Radius of the aperture.")
@click.option("--total-pix", type=cli.Finite(0, min_open=True), required=True, help="Radius that holds all light.")
@click.option("--order", type=click.IntRange(0), required=True, help="Of the polynomial through the bins.")
@click.option("--minimum-signal-to-noise", type=cli.Finite(0), required=True, help="Of a bin, median.")
@click.option("--growth-tolerance", type=cli.Finite(0), required=True, help="Rise of the curve of growth at its end.")
@click.option("--maximum-rms", type=cli.Finite(0), required=True, help="Of bins about the polynomial, relative.")
@click.option("--extinction-mag", type=cli.Finite(0), required=True, help="Of the air, per airmass.")
@cli.refusal_option
@cli.output_option
def main(cubes, standard, useafter, minimum, mark_refusal, output, **parameters):
    """Make the flux reference of a configuration of a spectrograph."""
    names = [path.name for path in cubes]
    read = [product.read(path, models="IFUCubeModel", unit="electron/s") for path in cubes]
    with product.mark_refusal(output, describe_reference(read, useafter), mark=mark_refusal):
        good, lines = keep_good(read, names, minimum=minimum, what="standard star", one_shape=False)
        read, names = [read[k] for k in good], [names[k] for k in good]
        check_configuration(read, names, (*SAME, "S_TELLUR"))
        if standard is None:
            star = read[0].keywords.get("OBJECT")
            raise ReductionError(f"no spectrum of standard star {star}: name its table in make_sensitivity: standards")
        wavelength_um = find_wavelengths(read[0])
        expected = average_bins(read_standard(standard), wavelength_um)
        found = [take_light(cube, name, wavelength_um, parameters) for cube, name in zip(read, names, strict=True)]
        fluxes, errors, growths = zip(*found, strict=True)
        flux, error = average_spectra(fluxes, errors)
        level = np.mean([np.nanmedian(one / fluxes[0]) for one in fluxes])  # clouds dim, none brightens: all count
        check_signal(flux, error, parameters["minimum_signal_to_noise"], step="make_sensitivity")
        curve = fit_curve(expected, flux * level, error * level, order=parameters["order"])
        check_scatter(curve, parameters["maximum_rms"])
        made = fill_reference(describe_reference(read, useafter), curve, wavelength_um, growths, parameters)
        made = replace(made, history=tuple(lines)).with_parameters("flux", **parameters)
        logger.info("%d spectra, rms %.3g of bins about the curve", len(found), curve.rms)
        product.write(output, made, inputs={"cube": cubes, "standard": standard})


def take_light(cube, name, wavelength_um, parameters):
    """Return the light (bin) of the brightest source of a cube (Product), all of it, its error, and its Growth."""
    radius = parameters["aperture_pix"]
    spectrum, place, white = take_star(cube, name, wavelength_um, radius)
    radii = {"aperture_pix": radius, "total_pix": parameters["total_pix"]}
    growth = measure_growth(white.rate, white.error, white.unusable, place, **radii)
    check_growth(growth, tolerance=parameters["growth_tolerance"])
    left = growth.level * np.pi * radius**2
    return (spectrum.flux - left) / growth.part, spectrum.error / growth.part, growth


def check_scatter(curve, most):
    """Refuse a curve that the bins do not follow."""
    if curve.rms > most:
        raise ReductionError(
            f"bins scatter by {curve.rms:.2%} about the sensitivity, at most {most:.2%} allowed: is it the star's own "
            "spectrum, was its air taken out? raise make_sensitivity: order or maximum_rms"
        )


def describe_reference(members, useafter):
    """Return the reference of these members without its arrays."""
    combined = combine_keywords([member.keywords for member in members])
    keywords = reference_keywords(combined, "PHOTOM", useafter, f"Sensitivity from {len(members)} exposures of a star")
    keywords = {key: value for key, value in keywords.items() if key not in LEFT_OUT}
    airmass = [member.keywords["AIRMASS"] for member in members if "AIRMASS" in member.keywords]
    keywords |= {"PHOTAIR": round(float(np.mean(airmass)), 4)} if airmass else {}
    return product.Product(keywords | {"DATAMODL": "PhotometryModel"}, {}, {})


def fill_reference(made, curve, wavelength_um, growths, parameters):
    """Return a reference with the sensitivity, its error and its wavelengths, and quality numbers."""
    rows = {"SCI": curve.value, "ERR": curve.error}
    arrays = {name: row[np.newaxis].astype(np.float32) for name, row in rows.items()}
    arrays |= {"DQ": np.zeros(arrays["SCI"].shape, np.uint32), "WAVELENGTH": wavelength_um[np.newaxis]}
    unit = f"{FLUX_UNIT} s electron-1"
    error = float(np.hypot(np.median(curve.error / curve.value), np.mean([one.error / one.part for one in growths])))
    keywords = {"PHOTFLAM": float(np.median(curve.value)), "PHOTFLME": error, "Q_FXRMS": curve.rms}
    keywords |= {"Q_FXPART": float(np.mean([one.part for one in growths])), "Q_FXREJ": curve.n_rejected}
    keywords |= {"Q_FXRISE": float(max(one.rise for one in growths)), "PHOTAPR": parameters["aperture_pix"]}
    keywords = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in keywords.items()}
    keywords |= {"PHOTTEL": made.keywords.get("S_TELLUR") == "COMPLETE", "PHOTEXT": parameters["extinction_mag"]}
    units = {"SCI": unit, "ERR": unit, "WAVELENGTH": "um"}
    return replace(made, keywords=made.keywords | keywords, arrays=arrays, units=units)


if __name__ == "__main__":
    main()
