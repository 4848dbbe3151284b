"""Measure the absorption of the atmosphere: spectra of a star of known continuum in Level 2 cubes, less its lines."""

import logging
from dataclasses import replace

import click
import numpy as np

from drs import cli, product
from drs.cube import find_wavelengths
from drs.keywords import combine_keywords, reference_keywords
from drs.members import check_configuration, keep_good
from drs.spectralrefs import SAME
from drs.standard import read_standard
from drs.starlight import check_signal, take_star
from drs.starmodel import make_model, match_model
from drs.telluric import Star, average_spectra, divide_star, find_usable, hydrogen_lines, measure_telluric

logger = logging.getLogger("make_telluric")
LEFT_OUT = ("OBJECT", "NOISCORR", "SKYFROM", "FRMSHIFT", "FRMSHERR", "WAVSHIFT", "WAVSHERR", "WAVNLINE", "BARYCORR")
LEFT_OUT += ("DATALVL", "S_TELLUR")


@cli.command()
@click.option("--cube", "cubes", type=cli.existing_file, multiple=True, required=True, help="Level 2 of the star.")
@click.option("--model", type=cli.existing_file, default=None, help="Its spectrum, or one alike: a table (ECSV, FITS).")
@click.option("--useafter", required=True, help="Time near which it holds, ISO.")
@click.option("--minimum", type=click.IntRange(1), required=True, help="Exposures needed.")
@click.option("--aperture-pix", type=cli.Finite(0, min_open=True), required=True, help="Radius of the aperture.")
@click.option("--temperature-k", type=cli.Finite(0, min_open=True), required=True, help="Of the star's continuum.")
@click.option("--minimum-signal-to-noise", type=cli.Finite(0), required=True, help="Of a bin, median.")
@cli.refusal_option
@cli.output_option
def main(cubes, model, useafter, minimum, mark_refusal, output, **parameters):
    """Make the telluric reference of a configuration."""
    names = [path.name for path in cubes]
    read = [product.read(path, models="IFUCubeModel", unit="electron/s") for path in cubes]
    with product.mark_refusal(output, describe_reference(read, useafter), mark=mark_refusal):
        good, lines = keep_good(read, names, minimum=minimum, what="telluric", one_shape=False)
        read, names = [read[k] for k in good], [names[k] for k in good]
        check_configuration(read, names, (*SAME, "OBJECT") if model else SAME)
        wavelength_um = find_wavelengths(read[0])
        radius = parameters["aperture_pix"]
        stars = [take_star(cube, name, wavelength_um, radius) for cube, name in zip(read, names, strict=True)]
        spectra = [star.spectrum for star in stars]
        flux, error = average_spectra([spectrum.flux for spectrum in spectra], [one.error for one in spectra])
        check_signal(flux, error, parameters["minimum_signal_to_noise"], step="make_telluric")
        resolution = float(np.median(wavelength_um)) / (2 * abs(read[0].wcs["CDELT3"]))  # two bins per width
        spectrum = flux, error, wavelength_um
        found, seen = take_out(spectrum, model, temperature_k=parameters["temperature_k"], resolution=resolution)
        made = fill_reference(describe_reference(read, useafter), found, wavelength_um)
        stated = {"TELNLIN": seen, "TELFROM": model.name if model else "blackbody"}
        made = with_profile(replace(made, keywords=made.keywords | stated), stars, radius)
        made = replace(made, history=tuple(lines)).with_parameters("telluric", **parameters)
        logger.info("%d spectra, lines of hydrogen: %d", len(spectra), seen)
        product.write(output, made, inputs={"cube": cubes} | ({"model": model} if model else {}))


def take_out(spectrum, path, *, temperature_k, resolution):
    """Return the Telluric of a star by the table of its model, or by a blackbody; and how many lines were measured."""
    flux, error, wavelength_um = spectrum
    if path is None:
        found = measure_telluric(*spectrum, temperature_k=temperature_k, resolution=resolution)
        return found, int(np.count_nonzero(found.star.depths))
    usable, known = find_usable(flux, error), read_standard(path)
    centres = hydrogen_lines(known.wavelength_um[0], known.wavelength_um[-1])
    model = make_model(*known, wavelength_um, centres, resolution=resolution)
    match = match_model(model, flux, error, wavelength_um, usable, resolution=resolution)
    star = Star(match.velocity_km_s, match.width_um, model.lines_um, match.scales)
    return divide_star(flux, error, match.photons, star), match.n_line


def describe_reference(members, useafter):
    """Return the reference of these members without its arrays."""
    combined = combine_keywords([member.keywords for member in members])
    airmass = [member.keywords["AIRMASS"] for member in members if "AIRMASS" in member.keywords]
    keywords = reference_keywords(combined, "TELLURIC", useafter, f"Telluric absorption of {len(members)} exposures")
    keywords = {key: value for key, value in keywords.items() if key not in LEFT_OUT} | {"DATAMODL": "TelluricModel"}
    return product.Product(keywords | ({"AIRMASS": round(float(np.mean(airmass)), 4)} if airmass else {}), {}, {})


def with_profile(made, stars, radius_pix):
    """Return a reference with the mean image of its stars in their apertures, of sum 1: whose columns saw the air."""
    y, x = np.indices(stars[0].white.rate.shape)
    images = []
    for star in stars:
        near = np.hypot(y - star.place[0], x - star.place[1]) <= radius_pix
        images.append(np.where(near, np.maximum(np.nan_to_num(star.white.rate), 0), 0).astype(np.float64))
    profile = sum(image / image.sum() for image in images) / len(images)
    return replace(
        made, arrays=made.arrays | {"PROFILE": profile.astype(np.float32)}, units=made.units | {"PROFILE": ""}
    )


def fill_reference(made, found, wavelength_um):
    """Return a reference with the correction, its error and its wavelengths, and keywords of the star."""
    known = np.isfinite(found.correction) & np.isfinite(found.error)
    rows = {"SCI": found.correction, "ERR": found.error}
    arrays = {name: row[np.newaxis].astype(np.float32) for name, row in rows.items()}
    arrays["DQ"] = np.where(known, np.uint32(0), np.uint32(1))[np.newaxis]
    arrays["WAVELENGTH"] = wavelength_um[np.newaxis].astype(np.float64)
    error = float(np.nanmedian(found.error / found.correction))
    keywords = {"TELRV": round(found.star.velocity_km_s, 2), "TELERR": float(f"{error:.4g}")}
    units = {"SCI": "", "ERR": "", "WAVELENGTH": "um"}
    return replace(made, keywords=made.keywords | keywords, arrays=arrays, units=units)


if __name__ == "__main__":
    main()
