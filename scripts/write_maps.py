"""Write the maps of a cube as a picture: its colours, and the light of its brightest emission lines."""

import logging

import click
import numpy as np

from drs import cli, product
from drs.colour import join_pictures, mix_colours
from drs.cube import find_wavelengths
from drs.files import write_atomically
from drs.linemap import find_lines, split_colours
from drs.preview import render_placeholder

logger = logging.getLogger("write_maps")


@cli.command()
@click.option("--cube", type=cli.existing_file, required=True, help="Level 3 or Level 2 cube.")
@click.option("--max-size-pix", type=click.IntRange(16, 4096), required=True, help="Longest side of a map.")
@cli.output_option
def main(cube, max_size_pix, output):
    """Write the maps of a cube."""
    shown = product.read(cube, models="IFUCubeModel")
    png = render_placeholder("Refused", shown.refusal) if shown.refusal else render(shown, max_size_pix)
    write_atomically(output, lambda stream: stream.write(png))


def render(cube, max_size_pix):
    """Return the PNG of the maps of a cube (Product)."""
    planes, wavelength_um = [cube.arrays[name] for name in ("SCI", "ERR", "DQ")], find_wavelengths(cube)
    pictures = [mix_colours(*split_colours(*planes))]
    titles = [f"{wavelength_um[0]:.4g} um blue to {wavelength_um[-1]:.4g} um red"]
    for line in find_lines(*planes, correlation=cube.keywords.get("NOISCORR", 1.0)):
        gaps = line.image.dq != 0
        pictures.append(mix_colours(np.broadcast_to(np.nan_to_num(line.image.rate), (3, *gaps.shape)), gaps))
        titles.append(f"line, {wavelength_um[line.first]:.5g} to {wavelength_um[line.last]:.5g} um")
    logger.info("%s", "; ".join(titles[1:]) or "no emission line")
    return join_pictures(pictures, titles, size_pix=max_size_pix)


if __name__ == "__main__":
    main()
