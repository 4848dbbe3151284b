"""Where the sources of a cube are: those of its white light, and those that only its emission lines show."""

import numpy as np

from drs.apertures import find_peaks
from drs.linemap import find_lines
from drs.whitelight import show_as_image

OF_LINES = 2.0  # times the threshold: what the sky leaves in its lines is no source


def find_sources(cube, *, threshold_sigma, radius_pix, lines):
    """Return the places [(y, x)], from 0, of the sources of a cube (Product): by white light, then by lines.

    Parameters
    ----------
    cube : Product
        IFUCubeModel, less the sky.
    threshold_sigma : float
        As of `drs.apertures.find_peaks`; twice this in the map of a line.
    radius_pix : float
        Least distance of two sources.
    lines : bool
        Look at the maps of the brightest emission lines as well.
    """
    images, places = [(show_as_image(cube).image, threshold_sigma)], []
    if lines:
        planes = [cube.arrays[name] for name in ("SCI", "ERR", "DQ")]
        found = find_lines(*planes, correlation=cube.keywords.get("NOISCORR", 1.0))
        images += [(line.image, OF_LINES * threshold_sigma) for line in found]
    for image, least in images:
        known = list(places)
        found = find_peaks(image.rate, image.error, image.unusable, threshold_sigma=least, radius_pix=radius_pix)
        places += [one for one in found if all(np.hypot(*np.subtract(one, other)) > radius_pix for other in known)]
    return places
