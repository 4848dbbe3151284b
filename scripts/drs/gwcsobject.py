"""Coordinates of an image as a gwcs.WCS: for tools that take these, with the polynomials that the header has as SIP.

No rule uses it, and gwcs is no package of the reduction: `pip install "gwcs>=1,<2"`; tests have it.
"""

import numpy as np
from astropy import coordinates
from astropy import units as u
from astropy.modeling import Model, models

from drs.errors import ReductionError

N_STEP, SETTLED_PIX = 50, 1e-10
PLAIN, WITH_SIP = ("RA---TAN", "DEC--TAN"), ("RA---TAN-SIP", "DEC--TAN-SIP")


class Undistort(Model):
    """The inverse of a distortion that changes places by less than they are apart: iterated to 1e-10 pixel.

    The numerical inverse of gwcs 1.0 itself does not work with astropy 8.
    """

    n_inputs, n_outputs = 2, 2

    def __init__(self, distort):
        super().__init__()
        self.distort = distort

    def evaluate(self, x, y):
        """Return the places that the distortion brings to (x, y)."""
        u, v = x, y
        for _ in range(N_STEP):
            found = self.distort(u, v)
            u, v = u + (x - found[0]), v + (y - found[1])
            if not max(np.max(np.abs(x - found[0])), np.max(np.abs(y - found[1]))) > SETTLED_PIX:
                break
        return u, v


def make_gwcs(header, shape):
    """Return the gwcs.WCS of an image, from 0-based pixels (x, y) to ICRS in degrees.

    The steps of the FITS standard (Calabretta & Greisen 2002, A&A 395, 1077; SIP: Shupe et al. 2005, ASP Conf. 347,
    491): less CRPIX, distortion, PC and CDELT, gnomonic projection, CRVAL. The way back inverts the polynomials A and
    B themselves, not by their approximate inverses AP and BP.

    Parameters
    ----------
    header : mapping
        WCS keywords: `Product.wcs`, or the header of an image extension of Level 2 or 3.
    shape : (ny, nx)
        Of the image, for its bounding box.

    Raises
    ------
    ReductionError
        gwcs is not installed, or the coordinates are no gnomonic ones.
    """
    try:
        import gwcs
        from gwcs import coordinate_frames
    except ImportError as error:
        raise ReductionError('gwcs is not installed: pip install "gwcs>=1,<2"') from error
    types = header.get("CTYPE1"), header.get("CTYPE2")
    if types not in (PLAIN, WITH_SIP):
        raise ReductionError(
            f"coordinates of types {types}: expected {PLAIN} or {WITH_SIP}, of an image of Level 2 or 3"
        )
    pixels = coordinate_frames.Frame2D(name="pixels", axes_names=("x", "y"), unit=(u.pix, u.pix))
    sky = coordinate_frames.CelestialFrame(name="sky", reference_frame=coordinates.ICRS(), unit=(u.deg, u.deg))
    made = gwcs.WCS([(pixels, _chain_steps(header, distorted=types == WITH_SIP)), (sky, None)])
    ny, nx = shape
    made.bounding_box = (-0.5, nx - 0.5), (-0.5, ny - 0.5)
    return made


def _chain_steps(header, *, distorted):
    """Return the astropy model of the coordinates."""
    steps = models.Shift(1.0 - header["CRPIX1"]) & models.Shift(1.0 - header["CRPIX2"])
    if distorted:
        axes = _make_polynomial(header, "A", "c1_0") & _make_polynomial(header, "B", "c0_1")
        sip = models.Mapping((0, 1, 0, 1)) | axes
        sip.inverse = Undistort(sip)
        steps = steps | sip
    pc = [[header.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    matrix = np.diag([header["CDELT1"], header["CDELT2"]]) @ np.array(pc)
    celestial = models.RotateNative2Celestial(header["CRVAL1"], header["CRVAL2"], header.get("LONPOLE", 180.0))
    return steps | models.AffineTransformation2D(matrix) | models.Pix2Sky_TAN() | celestial


def _make_polynomial(header, name, linear):
    """Return a SIP polynomial plus the coordinate that it corrects, whose term is `linear`."""
    order = header[f"{name}_ORDER"]
    powers = [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]
    terms = {f"c{p}_{q}": header.get(f"{name}_{p}_{q}", 0.0) for p, q in powers}
    terms[linear] += 1.0
    return models.Polynomial2D(order, **terms)
