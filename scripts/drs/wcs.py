"""Celestial coordinates of a detector, or of a cube with its wavelengths, from the telescope's pointing."""

import numpy as np

from drs.errors import ReductionError

ARCSEC_PER_DEG = 3600.0
STEPS = ((0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5))


def find_pointing(keywords):
    """Return {ra_deg, dec_deg, pa_deg} of a header; refuse one that lacks them."""
    if missing := [key for key in ("RA", "DEC", "PA") if key not in keywords]:
        raise ReductionError(f"no {', '.join(missing)} in the header: give them in exposures.yaml (correct: set:)")
    return {"ra_deg": keywords["RA"], "dec_deg": keywords["DEC"], "pa_deg": keywords["PA"]}


def build_wcs(ra_deg, dec_deg, pa_deg, detector, shape, corner=(1, 1)):
    """Return the FITS WCS keywords of an image: gnomonic projection about the pointing.

    With `x`, `y` the pixel axes, north up and east left at position angle 0 (Calabretta & Greisen 2002, A&A 395,
    1077, eq. 1 and section 5.1.3). CRPIX is 1-based: the centre of the first pixel is 1.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Pointing (ICRS), where the instrument's axis falls on the sky, dither included.
    pa_deg : float
        Position angle of the instrument's +y axis, east of north.
    detector : dict
        `scale_arcsec`, `centre_x_arcsec`, `centre_y_arcsec` (place of the detector's centre relative to the axis,
        along the instrument's axes, +x west and +y north at position angle 0) and `rotation_deg` (of the detector
        in the instrument, east of north).
    shape : tuple
        (ny, nx) of the detector.
    corner : tuple, optional
        (y, x) of the image's first pixel on the detector, 1-based; other than (1, 1) for a subarray.

    Returns
    -------
    dict
    """
    ny, nx = shape
    scale_deg = detector["scale_arcsec"] / ARCSEC_PER_DEG
    # The detector's axes in the instrument's: x = (cos, sin), y = (-sin, cos), as east of north turns +y to -x.
    turn = np.deg2rad(detector["rotation_deg"])
    centre_x, centre_y = detector["centre_x_arcsec"], detector["centre_y_arcsec"]
    offset_x = (centre_x * np.cos(turn) + centre_y * np.sin(turn)) / detector["scale_arcsec"]
    offset_y = (centre_y * np.cos(turn) - centre_x * np.sin(turn)) / detector["scale_arcsec"]
    angle = np.deg2rad(pa_deg + detector["rotation_deg"])
    return {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRVAL1": float(ra_deg),
        "CRVAL2": float(dec_deg),
        "CRPIX1": float((nx + 1) / 2 - offset_x - (corner[1] - 1)),
        "CRPIX2": float((ny + 1) / 2 - offset_y - (corner[0] - 1)),
        "CDELT1": -scale_deg,
        "CDELT2": scale_deg,
        "PC1_1": float(np.cos(angle)),
        "PC1_2": float(-np.sin(angle)),
        "PC2_1": float(np.sin(angle)),
        "PC2_2": float(np.cos(angle)),
        "RADESYS": "ICRS",
    }


def find_wcs(keywords, shape, instrument):
    """Return the WCS keywords that the pointing, the detector and the subarray of an exposure give.

    Parameters
    ----------
    keywords : dict
        RA, DEC, PA, DETECTOR; of a subarray also DETXSIZE, DETYSIZE, SUBSTRT1, SUBSTRT2.
    shape : tuple
        (ny, nx) of the exposure.
    instrument : dict
        Content of config/instruments/*.yaml.
    """
    pointing, detector = find_pointing(keywords), instrument["detectors"][keywords["DETECTOR"]]
    full = (keywords.get("DETYSIZE", shape[0]), keywords.get("DETXSIZE", shape[1]))
    corner = (keywords.get("SUBSTRT2", 1), keywords.get("SUBSTRT1", 1)) if full != tuple(shape) else (1, 1)
    return build_wcs(**pointing, detector=detector, shape=full, corner=corner)


def measure_offsets(headers):
    """Return where images point, in pixels (x, y) of the first one, (n, 2)."""
    from astropy.wcs import WCS  # slow to import, and not for all who ask for coordinates

    first = WCS(headers[0])
    places = [(header["CRVAL1"], header["CRVAL2"]) for header in headers]
    return first.wcs_world2pix(np.array(places), 0)


def measure_area(header, x, y):
    """Return the area of sky that pixels see over that of the pixel which CDELT gives: 1 without distortion.

    A flat-fielded image holds light per area, so that apertures in it have too little light of a star where pixels
    are large: times the area they agree over the detector, and with those in mosaics, whose pixels are alike (the
    pixel area map of Stetson 1987 for WF/PC; Gonzaga et al. 2012, The DrizzlePac Handbook, 3.2.3).

    Parameters
    ----------
    header : dict
        WCS keywords of the image, with SIP or without (Shupe et al. 2005, ASPC 347, 491).
    x, y : ndarray, (n,)
        Places, pixels from 0.

    Returns
    -------
    ndarray, (n,)
    """
    from astropy.wcs import WCS  # slow to import, and not for all who ask for coordinates

    wcs, (x, y) = WCS(header), np.atleast_1d(x, y)
    steps = [wcs.sip_pix2foc(x + dx, y + dy, 0) if wcs.sip else (x + dx, y + dy) for dx, dy in STEPS]
    (right, left, upper, lower) = (np.array(step) for step in steps)
    along, across = right - left, upper - lower
    return along[0] * across[1] - along[1] * across[0]


def build_cube_wcs(pointing, field, shape, grid_um):
    """Return the FITS WCS keywords of a cube (wavelength, y, x): those of its images, and vacuum wavelengths.

    Greisen et al. 2006 (A&A 446, 747): WAVE is the wavelength in vacuum, as observed (SPECSYS TOPOCENT).

    Parameters
    ----------
    pointing : dict
        `ra_deg`, `dec_deg`, `pa_deg` as in `build_wcs`.
    field : dict
        The field of the spatial elements, as `detector` in `build_wcs`.
    shape : tuple
        (ny, nx) of the spatial elements.
    grid_um : ndarray
        Middles of the bins of a linear grid.
    """
    step_um = (grid_um[-1] - grid_um[0]) / (grid_um.size - 1) if grid_um.size > 1 else 1.0
    spectral = {"CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": float(grid_um[0]), "CRPIX3": 1.0}
    spectral |= {"CDELT3": float(step_um), "PC3_3": 1.0, "SPECSYS": "TOPOCENT"}
    return build_wcs(**pointing, detector=field, shape=shape) | {"WCSAXES": 3} | spectral


def take_celestial(wcs):
    """Return the WCS keywords of the images of a cube."""
    spectral = ("CTYPE3", "CUNIT3", "CRVAL3", "CRPIX3", "CDELT3", "PC3_3", "SPECSYS")
    return {key: value for key, value in wcs.items() if key not in spectral} | ({"WCSAXES": 2} if wcs else {})
