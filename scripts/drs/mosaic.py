"""Put images of one field onto one pixel grid: plan the grid, resample, combine."""

import numpy as np
from astropy.wcs import WCS
from drizzle.resample import Drizzle

from drs.errors import ReductionError

MAX_GROWTH = 25.0


def plan_grid(headers, shapes):
    """Return the WCS keywords and the shape (ny, nx) of the grid that holds all images.

    The grid has the pixels of the first image, shifted by whole pixels, so that image is not resampled.

    Parameters
    ----------
    headers : list of dict
        WCS keywords of the images.
    shapes : list of tuple
        (ny, nx) of the images.

    Raises
    ------
    ReductionError
        The grid would be unreasonably large: the pointings are not of one field.
    """
    first = WCS(headers[0])
    corners = []
    for header, (ny, nx) in zip(headers, shapes, strict=True):
        edge = np.array([[-0.5, -0.5], [nx - 0.5, -0.5], [-0.5, ny - 0.5], [nx - 0.5, ny - 0.5]])
        corners.append(first.wcs_world2pix(WCS(header).wcs_pix2world(edge, 0), 0))
    corners = np.concatenate(corners)
    low = np.floor(np.round(corners.min(axis=0), 6) + 0.5)
    high = np.ceil(np.round(corners.max(axis=0), 6) + 0.5)
    nx, ny = (int(length) for length in high - low)
    if not np.isfinite(corners).all() or nx * ny > MAX_GROWTH * shapes[0][0] * shapes[0][1]:
        raise ReductionError(
            f"the pointings span {nx} x {ny} pixels for images of {shapes[0][::-1]}: not one field; "
            "correct RA, DEC or OBJECT in exposures.yaml"
        )
    keywords = dict(headers[0])
    keywords["CRPIX1"] -= float(low[0])
    keywords["CRPIX2"] -= float(low[1])
    return keywords, (ny, nx)


def resample(image, header, grid, shape):
    """Return an image on the output grid: value, variance and coverage of each output pixel.

    Output pixels take the mean of the input pixels they overlap, weighted by the overlapping area (drizzle with
    pixfrac 1, Fruchter & Hook 2002, PASP 114, 144, eqs. 3-5); the variance carries the squared weights. Surface
    brightness is conserved, and flux too as the pixels have the same size.

    Parameters
    ----------
    image : Image
        (ny, nx), e-/s.
    header, grid : dict
        WCS keywords of the image and of the output.
    shape : tuple
        (ny, nx) of the output.

    Returns
    -------
    value, variance : ndarray, float32, shape
        NaN where nothing falls.
    coverage : ndarray, float32, shape
        Overlapping area in input pixels, 1 where a pixel is fully covered by good input.
    """
    y, x = np.indices(image.rate.shape)
    sky = WCS(header).wcs_pix2world(x.ravel(), y.ravel(), 0)
    out_x, out_y = WCS(grid).wcs_world2pix(*sky, 0)
    pixmap = np.stack([out_x.reshape(y.shape), out_y.reshape(y.shape)], axis=-1)
    good = ~image.unusable
    drizzle = Drizzle(kernel="square", fillval="NaN", fillval2="NaN", out_shape=shape, disable_ctx=True)
    drizzle.add_image(
        np.where(good, image.rate, 0.0).astype(np.float32),
        exptime=1.0,
        pixmap=pixmap,
        data2=np.where(good, image.error**2, 0.0).astype(np.float32),
        weight_map=good.astype(np.float32),
        pixfrac=1.0,
        in_units="cps",
    )
    return drizzle.out_img, drizzle.out_img2[0], drizzle.out_wht


def resample_flags(dq, header, grid, shape):
    """Return the flags of the nearest pixel of an image for every pixel of a grid, 0 outside the image.

    Parameters
    ----------
    dq : ndarray, uint32, (ny, nx)
    header, grid : dict
        WCS keywords of the image and of the output.
    shape : tuple
        (ny, nx) of the output.
    """
    y, x = np.indices(shape)
    place = WCS(header).wcs_world2pix(*WCS(grid).wcs_pix2world(x.ravel(), y.ravel(), 0), 0)
    x, y = (np.rint(axis).astype(int).reshape(shape) for axis in place)
    inside = (x >= 0) & (y >= 0) & (x < dq.shape[1]) & (y < dq.shape[0])
    return np.where(inside, dq[np.where(inside, y, 0), np.where(inside, x, 0)], np.uint32(0))


def noise_correlation(errors, variances, weights):
    """Return the noise of large apertures over what the errors of single pixels give when taken as independent.

    Resampling shares an input pixel between output pixels: their errors shrink, their sum's does not. With V the
    median variance of the input pixels of a frame and v that of its resampled pixels, the factor of a weighted mean is
    sqrt(sum w^2 V / sum w^2 v); 1.5 for many random dithers (Casertano et al. 2000, AJ 120, 2747, eq. A20).

    Parameters
    ----------
    errors : list of ndarray
        Errors of the usable pixels of each frame.
    variances : list of ndarray
        Variances of the fully covered resampled pixels of each frame.
    weights : sequence of float
        Weights of the frames.
    """
    before = [np.median(error.astype(np.float64) ** 2) for error in errors]
    after = [np.median(variance.astype(np.float64)) for variance in variances]
    weights = np.square(weights)
    return float(max(np.sqrt(np.sum(weights * before) / np.sum(weights * after)), 1.0))


def steepness(values, covered):
    """Return how much the median image changes from a pixel to its neighbours, (ny, nx).

    Frames of a dithered set sample a steep profile differently; a star's core may differ by a part of this.

    Parameters
    ----------
    values : ndarray, float32, (n_frame, ny, nx)
    covered : ndarray, bool, (n_frame, ny, nx)
    """
    stacked = np.where(covered, values, np.nan)
    empty = ~covered.any(axis=0)
    stacked[0][empty] = 0.0
    median = np.pad(np.nanmedian(stacked, axis=0), 1, mode="edge")
    centre = median[1:-1, 1:-1]
    neighbours = (median[:-2, 1:-1], median[2:, 1:-1], median[1:-1, :-2], median[1:-1, 2:])
    return np.max([np.abs(centre - neighbour) for neighbour in neighbours], axis=0).astype(np.float32)
