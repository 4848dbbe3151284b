"""Sources of an image: places, aperture and optional PSF fluxes, each with its error, and flags."""

import warnings
from enum import IntFlag

import numpy as np
from astropy.stats import SigmaClip
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from drs.dq import Flag
from drs.psffit import fit_fluxes
from drs.quality import find_sources, find_unusable

WINDOW_FWHM = 2.0
N_ITERATION = 15
SKY_CLIP_SIGMA = 3.0
UNEVEN_PART = 0.1


class SourceFlag(IntFlag):
    """Why a source may be wrong."""

    UNUSABLE = 1  # a pixel without value in the largest aperture, or the aperture reaches beyond the image
    SATURATED = 2
    CROWDED = 4  # another source in the largest aperture
    REJECTED = 8  # an outlier was rejected in the smallest aperture
    NO_SKY = 16  # less than half of the ring could be used
    UNEVEN = 32  # the number of images changes within the largest aperture: the edge of one runs through the source


def list_sources(
    image, wcs, n_used=None, *, noise_correlation, source_threshold_sigma, aperture_pix, ring_pix, psf_fit=False
):
    """Return the table of the sources of an image.

    Parameters
    ----------
    image : drs.image.Image
        e-/s, (ny, nx).
    wcs : astropy.wcs.WCS
    n_used : ndarray, (ny, nx), optional
        Images used in each pixel of a mosaic.
    noise_correlation : float
        Noise of wide apertures over that of independent pixels (NOISCORR of a mosaic, else 1).
    source_threshold_sigma : float
        Of the detection (drs.quality.find_sources).
    aperture_pix : list of float
        Radii of the apertures, ascending.
    ring_pix : tuple of float
        Inner and outer radius of the ring for the sky, the mean of its pixels clipped at 3 sigma.
    psf_fit : bool or (values, oversampling), optional
        Fit stars as well: with this effective PSF (drs.psffit), or with round Gaussians integrated over pixels, of one
        width.

    Returns
    -------
    astropy.table.Table
        x_pix, y_pix (0-based), their errors, ra_deg, dec_deg, sky and its error (e-/s per pixel), for each radius
        `flux_<k>` and `flux_<k>_error` (e-/s), fwhm_pix, flags; the brightest first. No rows without sources.
    """
    unusable = find_unusable(image.rate, image.error, image.dq)
    segments = find_sources(image.rate, image.error, unusable, source_threshold_sigma=source_threshold_sigma)
    table = Table(meta={"APERTURE_PIX": list(aperture_pix), "RING_PIX": list(ring_pix), "NOISCORR": noise_correlation})
    table.meta["FLAGS"] = {flag.name: int(flag) for flag in SourceFlag}
    values, error = (np.where(unusable, 0.0, plane).astype(float) for plane in (image.rate, image.error))
    x, y, fwhm = _detect(values, segments, unusable)
    sky, sky_error, has_sky = _measure_sky(values, error, unusable, (x, y), ring_pix)
    sky_error = sky_error * noise_correlation
    x, y, place_error = find_centroids(values, error, (x, y), sky, fwhm)
    world = np.array(wcs.all_pix2world(x, y, 0)) if x.size else np.empty((2, 0))
    table["x_pix"], table["y_pix"], table["place_error_pix"] = x, y, place_error * noise_correlation
    table["ra_deg"], table["dec_deg"], table["fwhm_pix"] = *world, fwhm
    table["sky"], table["sky_error"] = sky, sky_error
    for k, radius in enumerate(aperture_pix, 1):
        total, noise, area = _sum_apertures(values, error, (x, y), radius)
        table[f"flux_{k}"] = total - area * sky
        table[f"flux_{k}_error"] = np.hypot(noise * noise_correlation, area * sky_error)
    if psf_fit is True:
        table["psf_flux"], table["psf_flux_error"] = _fit_psf(values, error, unusable, (x, y, fwhm), sky)
        table["psf_flux_error"] *= noise_correlation
    elif psf_fit:
        width = float(np.median(fwhm)) if x.size else 1.0
        how = {"psf": psf_fit, "fwhm_pix": width, "noise_correlation": noise_correlation}
        fitted = fit_fluxes((values, error, unusable), (x, y), (sky, sky_error), **how)
        table["psf_flux"], table["psf_flux_error"] = fitted.flux, fitted.error
        table.meta["PSF_BREADTH"] = [round(part, 4) for part in fitted.breadth]
    table["flags"] = _find_flags(image.dq, unusable, (x, y), has_sky, (aperture_pix[0], aperture_pix[-1]))
    if n_used is not None:
        table["flags"] |= _find_uneven(n_used, (x, y), aperture_pix[-1])
    table.sort(f"flux_{len(aperture_pix)}", reverse=True)
    return table


def _detect(values, segments, unusable):
    """Return x, y and FWHM of the sources of a segmentation."""
    from photutils.segmentation import SourceCatalog  # 0.8 s to import

    if segments is None:
        return np.empty(0), np.empty(0), np.empty(0)
    catalog = SourceCatalog(values, segments, mask=unusable)
    x, y = np.atleast_1d(catalog.x_centroid), np.atleast_1d(catalog.y_centroid)
    fwhm, good = np.atleast_1d(catalog.fwhm.value), np.isfinite(x) & np.isfinite(y)
    width = np.nanmedian(fwhm[good]) if np.isfinite(fwhm[good]).any() else 2.0
    return x[good], y[good], np.where(np.isfinite(fwhm[good]), fwhm[good], width)


def find_centroids(values, error, places, sky, fwhm):
    """Return x, y and error of sources: moments in a Gaussian window that follows the source.

    The window has the sources' median FWHM; the error is that of independent pixels (SExtractor's XWIN and ERRX2WIN).
    """
    x, y = (axis.astype(float) for axis in places)
    if not x.size:
        return x, y, np.empty(0)
    sigma = float(np.median(fwhm)) / 2.3548
    half = int(np.ceil(WINDOW_FWHM * np.median(fwhm))) + 1
    dy, dx = (offset.ravel() for offset in np.mgrid[-half : half + 1, -half : half + 1])
    rows, columns = np.rint(y).astype(int)[:, None] + dy, np.rint(x).astype(int)[:, None] + dx
    inside = (rows >= 0) & (columns >= 0) & (rows < values.shape[0]) & (columns < values.shape[1])
    index = np.where(inside, rows, 0), np.where(inside, columns, 0)
    light, noise = np.where(inside, values[index] - sky[:, None], 0.0), np.where(inside, error[index], 0.0)
    for _ in range(N_ITERATION):
        u, v = columns - x[:, None], rows - y[:, None]
        window = np.exp(-(u**2 + v**2) / (2 * sigma**2))
        total = (window * light).sum(axis=1)
        total = np.where(total > 0, total, np.inf)
        x += 2 * np.clip((window * light * u).sum(axis=1) / total, -0.5, 0.5)
        y += 2 * np.clip((window * light * v).sum(axis=1) / total, -0.5, 0.5)
    spread = 0.5 * ((window * noise) ** 2 * (u**2 + v**2)).sum(axis=1)
    return x, y, 2 * np.sqrt(spread) / total


def _sum_apertures(values, error, places, radius):
    """Return sum, error of independent pixels, and area in pixels of circular apertures."""
    from photutils.aperture import CircularAperture, aperture_photometry

    if not places[0].size:
        return np.empty(0), np.empty(0), np.empty(0)
    table = aperture_photometry(values, CircularAperture(np.transpose(places), radius), error=error)
    return np.array(table["aperture_sum"]), np.array(table["aperture_sum_err"]), np.pi * radius**2


def _measure_sky(values, error, unusable, places, ring_pix):
    """Return the sky about sources, its error for independent pixels, and whether half of the ring could be used."""
    from photutils.aperture import ApertureStats, CircularAnnulus

    if not places[0].size:
        return np.empty(0), np.empty(0), np.empty(0, bool)
    ring, clip = CircularAnnulus(np.transpose(places), *ring_pix), SigmaClip(SKY_CLIP_SIGMA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (AstropyUserWarning, RuntimeWarning))  # a ring without pixels has no sky
        stats = ApertureStats(values, ring, mask=unusable, sigma_clip=clip, sum_method="center")
        noise = ApertureStats(error**2, ring, mask=unusable, sum_method="center")
    n_pixel = np.nan_to_num(np.atleast_1d(stats.sum_aper_area.value))
    sky, variance = np.nan_to_num(np.atleast_1d(stats.mean)), np.nan_to_num(np.atleast_1d(noise.mean))
    return sky, np.sqrt(variance / np.maximum(n_pixel, 1)), n_pixel > 0.5 * ring.area


def _fit_psf(values, error, unusable, sources, sky):
    """Return fluxes and errors of round Gaussians of the sources' median width fitted to their cores."""
    from photutils.psf import CircularGaussianPRF, PSFPhotometry, fit_fwhm

    x, y, fwhm = sources
    if not x.size:
        return np.empty(0), np.empty(0)
    size = 2 * int(np.ceil(1.5 * np.median(fwhm))) + 1
    level = float(np.median(sky))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # a fit that fails gives NaN
        width = np.nanmedian(fit_fwhm(values - level, xypos=list(zip(x, y, strict=True))[:30], fit_shape=size))
        fit = PSFPhotometry(CircularGaussianPRF(fwhm=float(width)), size, aperture_radius=float(width))
        start = Table({"x_init": x, "y_init": y})
        found = fit(values - level, mask=unusable, error=np.where(unusable, 1.0, error), init_params=start)
    return np.array(found["flux_fit"], float), np.array(found["flux_err"], float)


def _find_flags(dq, unusable, places, has_sky, radii):
    """Return the flags of sources."""
    x, y = places
    flags = np.where(has_sky, 0, int(SourceFlag.NO_SKY))
    height, width = dq.shape
    for k in range(x.size):
        near = np.hypot(x - x[k], y - y[k])
        for radius, core in zip(radii, (True, False), strict=True):
            rows = slice(max(int(y[k] - radius), 0), int(y[k] + radius) + 2)
            columns = slice(max(int(x[k] - radius), 0), int(x[k] + radius) + 2)
            v, u = np.ogrid[rows.start : min(rows.stop, height), columns.start : min(columns.stop, width)]
            inside = np.hypot(u - x[k], v - y[k]) <= radius
            bits = np.bitwise_or.reduce(dq[rows, columns][inside], initial=np.uint32(0))
            if core:
                flags[k] |= SourceFlag.REJECTED if bits & Flag.OUTLIER else 0
                continue
            flags[k] |= SourceFlag.SATURATED if bits & Flag.SATURATED else 0
            beyond = x[k] < radius or y[k] < radius or x[k] + radius > width - 1 or y[k] + radius > height - 1
            flags[k] |= SourceFlag.UNUSABLE if beyond or unusable[rows, columns][inside].any() else 0
            flags[k] |= SourceFlag.CROWDED if np.count_nonzero(near < radius) > 1 else 0
    return flags


def _find_uneven(n_used, places, radius):
    """Return UNEVEN for sources with another number of images than the usual one in 10 % of the aperture, else 0."""
    flags = np.zeros(places[0].size, int)
    for k, (x, y) in enumerate(zip(*places, strict=True)):
        rows = slice(max(int(y - radius), 0), int(y + radius) + 2)
        columns = slice(max(int(x - radius), 0), int(x + radius) + 2)
        part = n_used[rows, columns]
        v, u = np.ogrid[rows.start : rows.start + part.shape[0], columns.start : columns.start + part.shape[1]]
        inside = part[np.hypot(u - x, v - y) <= radius]
        if inside.size and np.mean(inside != np.median(inside)) > UNEVEN_PART:
            flags[k] = SourceFlag.UNEVEN
    return flags
