"""Write a preview of a product: SCI as a grey-scale PNG, y axis up, bad pixels in blue.

Zscale limits and asinh stretch. Level 2 and 3 images get arrows to north and east and a scale bar; a refused
product gets a placeholder with the reason.
"""

import click
import numpy as np

from drs import cli, product
from drs.errors import ReductionError
from drs.files import write_atomically
from drs.image import Image, find_plane
from drs.preview import find_compass, render_placeholder, render_preview
from drs.whitelight import show_as_image


@cli.command()
@click.option("--product", "path", type=cli.existing_file, required=True, help="Product with SCI, ERR and DQ.")
@click.option("--max-size-pix", type=click.IntRange(16, 4096), required=True, help="Longest side of the picture.")
@cli.output_option
def main(path, max_size_pix, output):
    """Write a preview of a product."""
    shown = product.read(path)
    png = render_placeholder("Refused", shown.refusal) if shown.refusal else render(path, shown, max_size_pix)
    write_atomically(output, lambda stream: stream.write(png))


def render(path, shown, max_size_pix):
    """Return the PNG of a product that was not refused; of a cube its white light."""
    shown = show_as_image(shown)
    if (plane := find_plane(shown.arrays)) is None:
        raise ReductionError(f"{path} has no SCI, COEFFS or DQ: only images and their flags are shown")
    # what a map of flags shows are its bad pixels
    image = Image(*plane) if set(shown.arrays) != {"DQ"} else Image(*plane[:2], plane[2] * np.uint32(0))
    compass = find_compass(shown.wcs, image.rate.shape) if shown.keywords.get("DATALVL") in (2, 3) else None
    return render_preview(image.rate, image.unusable, max_size_pix=max_size_pix, compass=compass)


if __name__ == "__main__":
    main()
