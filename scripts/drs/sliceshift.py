"""How far flexure moves slices: against their traces, and the frame of a sky against an exposure.

Flexure puts a line of the sky on other parts of pixels from exposure to exposure, and what a rectification makes of it
depends on them: by a tenth of its peak between the middle of a pixel and its border. So cubes of two exposures do not
share their lines, but their frames do, once one is moved by what both are off their wavelengths and traces.
"""

import logging
from dataclasses import replace

import numpy as np

from drs import product
from drs.calibration import calibrate, read_calibrations
from drs.dark import forget_dark
from drs.errors import ReductionError
from drs.image import Image
from drs.shifting import shift_frame
from drs.traces import measure_shift

logger = logging.getLogger(__name__)
SPREAD_PIX = 0.7  # of traces that do not state it
LEAST_SIGMA = 2.0  # of a shift of the slices that is taken out
SHIFTS = ("FRMSHIFT", "WAVSHIFT")  # rows, columns


def move_slices(exposure, image, trace):
    """Return the exposure and its traces moved to where its slices are, if lines of the sky tell it."""
    edges = trace.arrays["EDGES"].astype(np.float64)
    try:
        rows, error = measure_shift(image.rate, image.dq, edges, spread_pix=trace.keywords.get("Q_TRSPRD", SPREAD_PIX))
    except ReductionError as reason:
        logger.warning("slices stay where the traces are: %s", reason)
        return exposure, trace
    logger.info("slices %.4f +- %.4f rows from their traces", rows, error)
    shift = {"FRMSHIFT": round(rows, 5), "FRMSHERR": round(error, 5)}
    if abs(rows) > LEAST_SIGMA * error:
        trace = replace(trace, arrays=trace.arrays | {"EDGES": edges + rows})
    return replace(exposure, keywords=exposure.keywords | shift), trace


def see_sky(sky, rate, references, keywords, rectify):
    """Return the sky cube (Product) that a frame of the sky gives where an exposure has its spectra, and its darks.

    Parameters
    ----------
    sky : Product
        IFUCubeModel of the sky exposure, with its shifts.
    rate : Path
        Level 1 of the sky exposure.
    references : (Path, list of Path)
        Its manifest; CRDS caches, the night's own first.
    keywords : dict
        Of the exposure, with its shifts; where one of both has none, the frame is not moved.
    rectify : callable
        Image less its dark, not yet flat -> cube (flux, error, dq) of the exposure's slices and wavelengths.
    """
    frame = product.read(rate, models="IFUImageModel", unit="electron/s")
    darks, files = read_calibrations([frame], [references[0]], ["dark"], references[1])
    image = forget_dark(calibrate(frame.image, darks[0]))
    off = [keywords[key] - sky.keywords[key] if {key} <= keywords.keys() & sky.keywords.keys() else 0 for key in SHIFTS]
    cube = rectify(Image(*shift_frame(*image[:3], *off)))
    return sky.with_image(Image(*cube)), files
