"""gwcs of a header with SIP, and of one without: the same places as astropy's WCS has, both ways."""

import builtins

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from drs.distortion import add_distortion
from drs.errors import ReductionError
from drs.gwcsobject import make_gwcs
from drs.simulation import scene
from drs.wcs import build_wcs

SHAPE = (480, 512)
GEOMETRY = {"size_y_pix": 480, "size_x_pix": 512, "scale_arcsec": 0.004, "rotation_deg": 0.0}
GEOMETRY |= {"centre_x_arcsec": 8.792, "centre_y_arcsec": -8.792}
DISTORTION = {"cubic_pix": 4.0, "quadratic_pix": 1.5, "linear_pix": 0.8}


def make_header(*, distorted):
    """Return WCS keywords as a Level 2 has them."""
    wcs = build_wcs(150.0, 62.0, 37.0, GEOMETRY, SHAPE)
    if not distorted:
        return wcs
    y, x = np.mgrid[1 : SHAPE[0] + 1, 1 : SHAPE[1] + 1].astype(float)
    ideal = scene.undistort(x, y, GEOMETRY | {"distortion": DISTORTION})
    return add_distortion(wcs, (ideal[0] - x).astype("f4"), (ideal[1] - y).astype("f4"))[0]


@pytest.mark.parametrize("distorted", [True, False])
@pytest.mark.parametrize("kind", [dict, fits.Header])
def test_places_are_those_of_the_header_to_a_millionth_of_a_pixel(distorted, kind):
    header = make_header(distorted=distorted)
    made, known = make_gwcs(kind(header), SHAPE), WCS(header)
    x, y = np.random.default_rng(1).uniform(0, 479, (2, 50))
    sky = np.stack(made(x, y))
    back = np.stack(known.all_world2pix(*sky, 0, tolerance=1e-8))
    assert np.abs(back - (x, y)).max() < 1e-6
    ahead = np.stack(made.invert(*known.all_pix2world(x, y, 0)))
    assert np.abs(ahead - (x, y)).max() < 1e-6
    assert np.isnan(made(-3.0, 5.0)).all()  # off the image
    assert made.output_frame.name == "sky"


def test_what_is_no_image_or_has_no_gwcs_is_refused(monkeypatch):
    with pytest.raises(ReductionError, match=r"coordinates of types \('WAVE', None\): expected \('RA---TAN'"):
        make_gwcs({"CTYPE1": "WAVE"}, SHAPE)
    found = builtins.__import__

    def miss(name, *rest, **more):
        if name == "gwcs":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", miss)
    with pytest.raises(ReductionError, match="gwcs is not installed: pip install"):
        make_gwcs(make_header(distorted=False), SHAPE)
