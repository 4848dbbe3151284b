"""Measure the spectra of the sources of a cube: aperture sums with errors, as FITS tables, and a plot of them."""

import logging

import click
import numpy as np
from astropy.wcs import WCS

from drs import cli, product
from drs.apertures import sum_spectra
from drs.catalogue import read_catalogue
from drs.cube import find_wavelengths
from drs.cubesources import find_sources
from drs.errors import ReductionError
from drs.files import write_atomically
from drs.plot import plot_spectra
from drs.preview import render_placeholder
from drs.references import sha1
from drs.spectrumtable import describe_source, make_table, write_spectra
from drs.whitelight import show_as_image

logger = logging.getLogger("measure_spectra")
N_PLOTTED = 6
COPIED = ("TELESCOP", "INSTRUME", "DETECTOR", "INSTMODE", "FILTER", "SCALE", "GRATING", "OBJECT", "SEMID", "PROGNUM")
COPIED += ("EXPDTST", "EXPDTEND", "EXPTIME", "TOTTIME", "NCOMBINE", "AIRORVAC", "BARYCORR", "NOISCORR", "NOISSPAT")
COPIED += ("S_BARYCR", "DATALVL", "DATAQUAL", "DRSVER")


@cli.command()
@click.option("--cube", type=cli.existing_file, required=True, help="Level 3 or Level 2 cube.")
@click.option("--positions", type=cli.existing_file, default=None, help="Table of places; else sources are found.")
@click.option("--source-threshold-sigma", type=cli.Finite(1), required=True, help="Detection in the white light.")
@click.option("--lines", type=bool, required=True, help="Also sources of emission lines alone.")
@click.option("--aperture-pix", type=cli.Finite(0, min_open=True), required=True, help="Radius of the aperture.")
@click.option("--sky", type=click.Choice(["ring", "none"]), required=True, help="What is subtracted of a source.")
@click.option("--ring-inner-pix", type=cli.Finite(0), required=True, help="Inner radius of the ring.")
@click.option("--ring-outer-pix", type=cli.Finite(0), required=True, help="Outer radius of the ring.")
@click.option("--preview", type=click.Path(), required=True, help="Plot of the brightest, PNG.")
@cli.output_option
def main(cube, positions, source_threshold_sigma, lines, preview, output, **parameters):
    """Write the spectra of a cube's sources."""
    if parameters["ring_outer_pix"] <= parameters["ring_inner_pix"]:
        raise ReductionError(
            f"the ring ends at {parameters['ring_outer_pix']} pix and begins at {parameters['ring_inner_pix']}: make "
            "ring_outer_pix the larger one"
        )
    read = product.read(cube, models="IFUCubeModel")
    keywords = {key: read.keywords[key] for key in COPIED if key in read.keywords}
    keywords |= {"CUBE": cube.name, "CUBESHA1": sha1(cube), "SPECSYS": read.wcs.get("SPECSYS", "TOPOCENT")}
    if read.refusal:
        logger.error("%s was refused: %s", cube, read.refusal)
        write_spectra(output, keywords | {"NSOURCE": 0}, [], [f"{product.REFUSED}{read.refusal}"])
        png = render_placeholder("Refused", read.refusal)
    else:
        places = (
            read_places(positions, read)
            if positions
            else find_places(read, source_threshold_sigma, parameters["aperture_pix"], lines=lines)
        )
        wavelength_um, spectra = find_wavelengths(read), extract(read, places, **parameters)
        tables = [
            make_table(n, wavelength_um, spectrum, describe_source(place, parameters), unit=read.units["SCI"])
            for n, (spectrum, place) in enumerate(zip(spectra, places, strict=True), 1)
        ]
        write_spectra(output, keywords | {"NSOURCE": len(tables)}, tables, read.history)
        titles = [f"{n}: RA {place['RA']:.6f}  Dec {place['DEC']:+.6f}  {read.units['SCI']} against um"
                  for n, place in enumerate(places[:N_PLOTTED], 1)]  # fmt: skip
        shown = [(spectrum.flux, spectrum.error) for spectrum in spectra[:N_PLOTTED]]
        png = plot_spectra(wavelength_um, shown, titles) if shown else render_placeholder("Spectra", "no sources")
        logger.info("%d spectra", len(tables))
    write_atomically(preview, lambda stream: stream.write(png))


def extract(cube, places, *, aperture_pix, sky, ring_inner_pix, ring_outer_pix):
    """Return the Spectrum of each place of a cube (Product)."""
    ring = (ring_inner_pix, ring_outer_pix) if sky == "ring" else None
    planes = (cube.arrays[name] for name in ("SCI", "ERR", "DQ"))
    correlation = cube.keywords.get("NOISSPAT", 1.0)
    spots = [(place["Y_PIX"], place["X_PIX"]) for place in places]
    return sum_spectra(*planes, spots, radius_pix=aperture_pix, ring_pix=ring, correlation=correlation)


def find_places(cube, threshold_sigma, aperture_pix, *, lines):
    """Return the places of the sources that a cube shows, the brightest first, then those of its lines alone."""
    found = find_sources(cube, threshold_sigma=threshold_sigma, radius_pix=aperture_pix, lines=lines)
    if not found:
        return []
    y, x = np.array(found).T
    ra, dec = WCS(show_as_image(cube).wcs).wcs_pix2world(x, y, 0)
    return list_places(ra, dec, x, y)


def read_places(path, cube):
    """Return the places of a table that lie in a cube."""
    stars = read_catalogue(path, filter_name=cube.keywords["FILTER"])
    white = show_as_image(cube)
    x, y = WCS(white.wcs).wcs_world2pix(stars.ra_deg, stars.dec_deg, 0)
    ny, nx = white.arrays["SCI"].shape
    inside = (x > -0.5) & (y > -0.5) & (x < nx - 0.5) & (y < ny - 0.5)
    if not inside.any():
        raise ReductionError(f"none of the {inside.size} places of {path.name} lies in the cube: correct the table")
    return list_places(*(values[inside] for values in (stars.ra_deg, stars.dec_deg, x, y)))


def list_places(*columns):
    """Return columns of numbers as a list of {RA, DEC, X_PIX, Y_PIX}."""
    return [
        dict(zip(("RA", "DEC", "X_PIX", "Y_PIX"), map(float, row), strict=True)) for row in zip(*columns, strict=True)
    ]


if __name__ == "__main__":
    main()
