"""What falls on a detector: projection of the sky, stars, galaxies and the point-spread function.

Axes: (E, N) are gnomonic offsets east and north of the pointing; (x, y) of the instrument are offsets in arcsec,
+y at position angle PA east of north and +x a quarter turn clockwise of it as seen on the sky with east on the
left, so that at PA 0 x grows to the west; pixels are 1-based, the centre of pixel (1, 1) is at (1.0, 1.0).
A geometry is a dict: size_x_pix, size_y_pix, scale_arcsec, centre_x_arcsec, centre_y_arcsec, rotation_deg.
"""

import math

import numpy as np

ARCSEC = math.pi / 648000.0
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
STAMP_SIGMA = 6.5  # a Gaussian is rendered out to here; 1e-9 of its flux lies beyond
UNDISTORT_STEPS = 15  # each gains a factor of 30 for shifts of 1 % over the detector
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)  # exact to degree 7 across a pixel

# Exponential disc as a sum of round Gaussians (Hogg & Lang 2013, PASP 125, 719; coefficients of the Tractor code):
# weights and variances in units of the half-light radius squared. It holds 0.507 of its flux within that radius.
DISC_WEIGHTS = np.array([2.34853813e-03, 3.07995260e-02, 2.23364214e-01, 1.17949102, 4.33873750, 5.99820770])
DISC_WEIGHTS = DISC_WEIGHTS / DISC_WEIGHTS.sum()
DISC_VARIANCES = np.array([1.20078965e-03, 8.84526493e-03, 3.91463084e-02, 1.39976817e-01, 4.60962500e-01, 1.50159566])


def sky_to_instrument(ra_deg, dec_deg, pointing, geometry=None):
    """Return offsets (x, y) in arcsec of sky positions from the pointing (gnomonic projection).

    Parameters
    ----------
    ra_deg, dec_deg : float or ndarray
        ICRS.
    pointing : (ra_deg, dec_deg, pa_deg)
    geometry : dict, optional
        With `observe`, a function of these three, its offsets (east, north) take the place of the projection.
    """
    pa = math.radians(pointing[2])
    if geometry and "observe" in geometry:
        east, north = geometry["observe"](ra_deg, dec_deg, pointing)
    else:
        east, north = _project(ra_deg, dec_deg, pointing)
    return -east * np.cos(pa) + north * np.sin(pa), east * np.sin(pa) + north * np.cos(pa)


def _project(ra_deg, dec_deg, pointing):
    """Return gnomonic offsets (east, north) in arcsec of sky positions from the pointing."""
    ra0, dec0 = np.radians(pointing[:2])
    d_ra, dec = np.radians(ra_deg) - ra0, np.radians(dec_deg)
    cos_distance = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(d_ra)
    east = np.cos(dec) * np.sin(d_ra) / cos_distance / ARCSEC
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(d_ra)) / cos_distance / ARCSEC
    return east, north


def instrument_to_sky(x_arcsec, y_arcsec, pointing):
    """Return (ra_deg, dec_deg) of offsets from the pointing; the inverse of `sky_to_instrument`."""
    ra0, dec0, pa = np.radians(pointing)
    east = (-x_arcsec * np.cos(pa) + y_arcsec * np.sin(pa)) * ARCSEC
    north = (x_arcsec * np.sin(pa) + y_arcsec * np.cos(pa)) * ARCSEC
    meridian = np.cos(dec0) - north * np.sin(dec0)
    ra = ra0 + np.arctan2(east, meridian)
    dec = np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, meridian))
    return np.degrees(ra) % 360.0, np.degrees(dec)


def instrument_to_pixel(x_arcsec, y_arcsec, geometry):
    """Return 1-based pixel (x, y) of offsets in arcsec from the pointing."""
    dx, dy = x_arcsec - geometry["centre_x_arcsec"], y_arcsec - geometry["centre_y_arcsec"]
    angle = math.radians(geometry["rotation_deg"])
    # the detector's y axis is turned from the instrument's towards -x, which is east at PA 0
    along_x = dx * math.cos(angle) + dy * math.sin(angle)
    along_y = -dx * math.sin(angle) + dy * math.cos(angle)
    x_pix = (geometry["size_x_pix"] + 1) / 2 + along_x / geometry["scale_arcsec"]
    y_pix = (geometry["size_y_pix"] + 1) / 2 + along_y / geometry["scale_arcsec"]
    return distort(x_pix, y_pix, geometry)


def distort(x_pix, y_pix, geometry):
    """Return where light that a perfect camera would put at pixel (x, y) falls: barrel, keystone and skew.

    `distortion` of the geometry, if it has one, holds the shifts in pixels at the right (upper) edge: `cubic_pix`,
    `quadratic_pix`, `linear_pix`.
    """
    facts = geometry.get("distortion")
    if not facts:
        return x_pix, y_pix
    half_x, half_y = (geometry["size_x_pix"] - 1) / 2, (geometry["size_y_pix"] - 1) / 2
    u, v = (x_pix - 1) / half_x - 1, (y_pix - 1) / half_y - 1
    radius2 = (u**2 + v**2) / 2
    cubic, quadratic, linear = (facts[f"{name}_pix"] for name in ("cubic", "quadratic", "linear"))
    dx = cubic * u * radius2 + quadratic * (u * v - 0.5 * v**2) + linear * u + 0.2 * cubic * u * v**4
    dy = cubic * v * radius2 + quadratic * (0.7 * u**2 - u * v) - linear * v
    return x_pix + dx, y_pix + dy


def undistort(x_pix, y_pix, geometry):
    """Return where a perfect camera would put the light that falls on pixel (x, y); the inverse of `distort`."""
    x, y = x_pix, y_pix
    for _ in range(UNDISTORT_STEPS):
        x_found, y_found = distort(x, y, geometry)
        x, y = x + (x_pix - x_found), y + (y_pix - y_found)
    return x, y


def measure_area(geometry):
    """Return the area of the sky that each pixel sees over that of a perfect camera, (ny, nx); 1 without distortion."""
    y, x = np.mgrid[1 : geometry["size_y_pix"] + 1, 1 : geometry["size_x_pix"] + 1].astype(float)
    right, left = (undistort(x + step, y, geometry) for step in (0.5, -0.5))
    upper, lower = (undistort(x, y + step, geometry) for step in (0.5, -0.5))
    return (right[0] - left[0]) * (upper[1] - lower[1]) - (right[1] - left[1]) * (upper[0] - lower[0])


def pixel_to_instrument(x_pix, y_pix, geometry):
    """Return offsets (x, y) in arcsec from the pointing; the inverse of `instrument_to_pixel`."""
    x_pix, y_pix = undistort(x_pix, y_pix, geometry)
    along_x = (x_pix - (geometry["size_x_pix"] + 1) / 2) * geometry["scale_arcsec"]
    along_y = (y_pix - (geometry["size_y_pix"] + 1) / 2) * geometry["scale_arcsec"]
    angle = math.radians(geometry["rotation_deg"])
    x = geometry["centre_x_arcsec"] + along_x * math.cos(angle) - along_y * math.sin(angle)
    y = geometry["centre_y_arcsec"] + along_x * math.sin(angle) + along_y * math.cos(angle)
    return x, y


def sky_to_pixel(ra_deg, dec_deg, pointing, geometry):
    """Return 1-based pixel (x, y) of sky positions."""
    return instrument_to_pixel(*sky_to_instrument(ra_deg, dec_deg, pointing, geometry), geometry)


def pixel_to_sky(x_pix, y_pix, pointing, geometry):
    """Return (ra_deg, dec_deg) of 1-based pixel positions."""
    return instrument_to_sky(*pixel_to_instrument(x_pix, y_pix, geometry), pointing)


def place_apart(n_point, shape, *, separation, margin, stream):
    """Return n_point random 1-based positions (x, y), each at least `separation` pixels from every other.

    Parameters
    ----------
    n_point : int
    shape : (ny, nx)
    separation, margin : float
        Least distances in pixels between points and from the edge.
    stream : numpy.random.Generator
    """
    points = np.empty((0, 2))
    low, high = np.array([1.0, 1.0]) + margin, np.array(shape[::-1], dtype=float) - margin
    for _ in range(1000 * n_point):  # a field that cannot hold the points ends in the error below
        if len(points) == n_point:
            break
        point = stream.uniform(low, high)
        if np.all(np.hypot(*(points - point).T) >= separation):
            points = np.vstack([points, point])
    if len(points) < n_point:
        raise ValueError(f"only {len(points)} of {n_point} points fit {shape} at a distance of {separation} pixels")
    return points[:, 0], points[:, 1]


def round_covariance(fwhm_pix):
    """Return the 2 x 2 covariance (x, y) in pixels squared of a round Gaussian."""
    return np.eye(2) * (fwhm_pix / FWHM_PER_SIGMA) ** 2


def psf_components(psf):
    """Return [(weight, covariance)] of the point-spread function; weights sum to 1."""
    core, halo = round_covariance(psf["core_fwhm_pix"]), round_covariance(psf["halo_fwhm_pix"])
    return [(psf["core_fraction"], core), (1.0 - psf["core_fraction"], halo)]


def disc_components(radius_pix, axis_ratio, angle_deg, pa_deg):
    """Return [(weight, covariance)] of an inclined exponential disc.

    Parameters
    ----------
    radius_pix : float
        Half-light radius along the major axis.
    axis_ratio : float
        Minor over major axis.
    angle_deg : float
        Position angle of the major axis on the sky, east of north.
    pa_deg : float
        Position angle of the detector's y axis, east of north.
    """
    turn = math.radians(pa_deg - angle_deg)
    major = np.array([math.sin(turn), math.cos(turn)])
    minor = np.array([math.cos(turn), -math.sin(turn)])
    unit = np.outer(major, major) + axis_ratio**2 * np.outer(minor, minor)
    return [(w, v * radius_pix**2 * unit) for w, v in zip(DISC_WEIGHTS, DISC_VARIANCES, strict=True)]


def render(shape, x_pix, y_pix, components):
    """Return an image of flux 1 at (x, y): Gaussians integrated over each pixel.

    Parameters
    ----------
    shape : (ny, nx)
    x_pix, y_pix : float
        1-based position of the centre.
    components : list of (weight, covariance)

    Returns
    -------
    image : ndarray, float64, (ny, nx)
        Sums to 1 when the object lies well inside.
    window : (slice, slice)
        Rows and columns of the detector that `image` covers; possibly empty.
    """
    reach = STAMP_SIGMA * math.sqrt(max(covariance.diagonal().max() for _, covariance in components)) + 1.0
    rows = slice(max(math.floor(y_pix - reach), 1) - 1, max(min(math.ceil(y_pix + reach), shape[0]), 0))
    columns = slice(max(math.floor(x_pix - reach), 1) - 1, max(min(math.ceil(x_pix + reach), shape[1]), 0))
    y = np.arange(rows.start + 1, rows.stop + 1)[:, None] - y_pix
    x = np.arange(columns.start + 1, columns.stop + 1)[None, :] - x_pix
    image = np.zeros((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)))
    for weight, covariance in components:
        inverse = np.linalg.inv(covariance)
        norm = weight / (2.0 * math.pi * math.sqrt(np.linalg.det(covariance)))
        for node_y, weight_y in zip(NODES, WEIGHTS, strict=True):
            for node_x, weight_x in zip(NODES, WEIGHTS, strict=True):
                u, v = x + node_x / 2, y + node_y / 2
                chi2 = inverse[0, 0] * u**2 + 2 * inverse[0, 1] * u * v + inverse[1, 1] * v**2
                image += norm * weight_x * weight_y / 4 * np.exp(-chi2 / 2)
    return image, (rows, columns)


def render_sources(sources, pointing, geometry, psf):
    """Return the rate of all sources on a detector of response 1.

    Parameters
    ----------
    sources : list of dict
        ra_deg, dec_deg, flux_e_per_s, and for a galaxy radius_pix > 0, axis_ratio, angle_deg.
    pointing : (ra_deg, dec_deg, pa_deg)
    geometry : dict
    psf : dict
        core_fwhm_pix, halo_fwhm_pix, core_fraction.

    Returns
    -------
    ndarray, float64, (ny, nx)
        e-/s.
    """
    shape = (geometry["size_y_pix"], geometry["size_x_pix"])
    pa_deg = pointing[2] + geometry["rotation_deg"]
    image, blur = np.zeros(shape), psf_components(psf)
    for source in sources:
        x_pix, y_pix = sky_to_pixel(source["ra_deg"], source["dec_deg"], pointing, geometry)
        components = blur
        if source["radius_pix"] > 0:
            disc = disc_components(source["radius_pix"], source["axis_ratio"], source["angle_deg"], pa_deg)
            components = [(w * v, a + b) for w, a in disc for v, b in blur]
        stamp, window = render(shape, x_pix, y_pix, components)
        if stamp.size:
            image[window] += source["flux_e_per_s"] * stamp
    return image


def place_pinholes(shape, *, pitch_pix, error_pix, shift_pix, stream):
    """Return where the pinholes of a mask would be without distortion, 1-based (x, y), with their place errors.

    Parameters
    ----------
    shape : (ny, nx)
    pitch_pix, error_pix : float
        Distance of the pinholes, and the standard deviation of their places, the same in every exposure.
    shift_pix : (x, y)
        Of the mask in this exposure.
    stream : numpy.random.Generator
    """
    numbers = [np.arange(-math.ceil(size / pitch_pix), math.ceil(size / pitch_pix) + 1) for size in shape]
    y, x = (pitch_pix * axis for axis in np.meshgrid(*numbers, indexing="ij"))
    errors = error_pix * stream.standard_normal((2, *x.shape))
    middle_y, middle_x = ((size + 1) / 2 for size in shape)
    return (middle_x + x + errors[0] + shift_pix[0]).ravel(), (middle_y + y + errors[1] + shift_pix[1]).ravel()


def render_pinholes(geometry, psf, places, flux_e_per_s):
    """Return the light of a mask of pinholes on a distorted detector, e-/s, (ny, nx)."""
    shape = (geometry["size_y_pix"], geometry["size_x_pix"])
    image, blur = np.zeros(shape), psf_components(psf)
    for x_pix, y_pix in zip(*distort(*places, geometry), strict=True):
        stamp, window = render(shape, x_pix, y_pix, blur)
        if stamp.size:
            image[window] += flux_e_per_s * stamp
    return image


def render_traces(shape, *, n_trace, fwhm_pix, e_per_s, tilt_pix, line_over_continuum):
    """Return spectra side by side, as a spectrograph's detector sees them: dispersed along the rows.

    Parameters
    ----------
    shape : (ny, nx)
    n_trace : int
        Spectra, evenly spaced.
    fwhm_pix : float
        Width of a spectrum across the dispersion, and of its lines.
    e_per_s : float
        Continuum in the middle of a spectrum.
    tilt_pix : float
        Rows that a spectrum climbs from the first column to the last.
    line_over_continuum : float
        Height of the three emission lines.

    Returns
    -------
    ndarray, float64, (ny, nx)
        e-/s.
    """
    y, x = np.indices(shape, dtype=float)
    sigma, step = fwhm_pix / FWHM_PER_SIGMA, shape[0] / n_trace
    from_trace = (y + 0.5 - tilt_pix * (x / (shape[1] - 1) - 0.5)) % step - step / 2
    lines = sum(np.exp(-(((x - part * shape[1]) / sigma) ** 2) / 2) for part in (0.3, 0.45, 0.8))
    return e_per_s * (1.0 + line_over_continuum * lines) * np.exp(-((from_trace / sigma) ** 2) / 2)
