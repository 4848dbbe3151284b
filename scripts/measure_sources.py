"""Measure the sources of a mosaic: places, apertures and optional PSF fluxes with errors, as an ECSV catalogue."""

import io
import logging
from pathlib import Path

import click
from astropy.table import Table
from astropy.wcs import WCS

from drs import cli, product
from drs.errors import ReductionError
from drs.files import write_text
from drs.references import open_references, read_manifest
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
@click.option("--psf-fit", type=bool, required=True, help="Fit a PSF as well: the manifest's, else Gaussians.")
@click.option("--manifest", type=cli.existing_file, default=None, help="References of the mosaic: its PSF.")
@click.option("--cache", type=Path, default=None, help="CRDS cache that the manifest was made from.")
@click.option("--night-cache", type=Path, default=None, help="CRDS cache of this night.")
@cli.output_option
def main(mosaic, manifest, cache, night_cache, output, **parameters):
    """Write the catalogue of a mosaic's sources."""
    image = product.read(mosaic, models="ImagerModel", unit="electron/s")
    if len(parameters["ring_pix"]) != 2:
        raise ReductionError(f"ring_pix is {parameters['ring_pix']}: expected two radii")
    if image.refusal:
        logger.error("%s was refused: %s", mosaic, image.refusal)
        table = Table(meta={"REFUSED": image.refusal})
    else:
        name = "Gaussian"
        if parameters["psf_fit"] and manifest is not None:
            parameters["psf_fit"], name = find_psf(manifest, [root for root in (night_cache, cache) if root])
        correlation = image.keywords.get("NOISCORR", 1.0)
        n_used, wcs = image.arrays.get("CON"), WCS(image.wcs)
        table = list_sources(image.image, wcs, n_used, noise_correlation=correlation, **parameters)
        table.meta |= {"PSF": name} if parameters["psf_fit"] else {}
        logger.info("%d sources", len(table))
    table.meta["MOSAIC"], table.meta["UNIT"] = mosaic.name, "electron/s"
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_text(output, text.getvalue())


def find_psf(manifest, roots):
    """Return ((values, oversampling), file) of the PSF that a manifest names; (True, 'Gaussian') without one."""
    entry = read_manifest(manifest)["references"].get("psf", {})
    if entry.get("status") != "found":
        return True, "Gaussian"
    path = open_references(manifest, ["psf"], roots)["psf"]
    psf = product.read(path, models="PsfModel", unit="", verify=False)
    if psf.refusal:
        raise ReductionError(f"{path.name} was refused ({psf.refusal}); override psf by another one, or by none")
    return (psf.arrays["SCI"], psf.keywords["PSFOVER"]), path.name


if __name__ == "__main__":
    main()
