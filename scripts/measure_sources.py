"""Measure the sources of a mosaic: places, apertures and optional PSF fluxes with errors, as an ECSV catalogue."""

import io
import logging

import click
from astropy.table import Table
from astropy.wcs import WCS

from drs import cli, product
from drs.errors import ReductionError
from drs.files import write_text
from drs.sourcelist import list_sources

logger = logging.getLogger("measure_sources")


class Radii(cli.Json):
    """A JSON list of ascending radii."""

    name = "[radius, ...]"

    def convert(self, value, param, ctx):
        """Return the list."""
        radii = super().convert(value, param, ctx)
        if not radii or sorted({0, *radii}) != [0, *radii]:
            self.fail(f"{value} is no list of ascending radii", param, ctx)
        return radii


@cli.command()
@click.option("--mosaic", type=cli.existing_file, required=True, help="Level 3 or Level 2 image.")
@click.option("--source-threshold-sigma", type=cli.Finite(1), required=True, help="Detection of sources.")
@click.option("--aperture-pix", type=Radii(list), required=True, help="Radii of apertures, ascending.")
@click.option("--ring-pix", type=Radii(list), required=True, help="Radii of the ring of the sky, two.")
@click.option("--psf-fit", type=bool, required=True, help="Fit Gaussians to the cores as well.")
@cli.output_option
def main(mosaic, output, **parameters):
    """Write the catalogue of a mosaic's sources."""
    image = product.read(mosaic, models="ImagerModel", unit="electron/s")
    if len(parameters["ring_pix"]) != 2:
        raise ReductionError(f"ring_pix is {parameters['ring_pix']}: expected two radii")
    if image.refusal:
        logger.error("%s was refused: %s", mosaic, image.refusal)
        table = Table(meta={"REFUSED": image.refusal})
    else:
        correlation = image.keywords.get("NOISCORR", 1.0)
        n_used, wcs = image.arrays.get("CON"), WCS(image.wcs)
        table = list_sources(image.image, wcs, n_used, noise_correlation=correlation, **parameters)
        logger.info("%d sources", len(table))
    table.meta["MOSAIC"], table.meta["UNIT"] = mosaic.name, "electron/s"
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_text(output, text.getvalue())


if __name__ == "__main__":
    main()
