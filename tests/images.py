"""Small images for the tests of the imager's steps: unequal axes, known noise."""

import numpy as np

from drs.image import Image

SHAPE = (6, 9)
# Options of calibrate_image for its steps that are left out by default.
LEFT_OUT = {"astrometry_search_pix": 20, "astrometry_search_deg": 0, "astrometry_scale": False, "astrometry_minimum": 3}
LEFT_OUT |= {"refraction": "no", "refraction_pressure_hpa": 615, "refraction_temperature_c": 1}
LEFT_OUT |= {"cosmic_rays": False, "cosmic_sigma": 6, "cosmic_neighbour_fraction": 0.5, "cosmic_contrast": 5}


def make_image(rate=10.0, error=2.0, shape=SHAPE, **flagged):
    """Return an image of one rate and error; `flagged` is FLAG=(y, x)."""
    from drs.dq import Flag

    dq = np.zeros(shape, np.uint32)
    for name, position in flagged.items():
        dq[position] |= Flag[name]
    rates = np.full(shape, rate, np.float32) if np.isscalar(rate) else rate.astype(np.float32)
    return Image(rates, np.full(shape, error, np.float32), dq)
