"""Images of what is no image: the white light of a cube, the throughput in a rectification matrix."""

from dataclasses import replace

import numpy as np

from drs.dq import Flag
from drs.image import Image
from drs.wcs import take_celestial

LEAST_USABLE = 0.5  # of the bins of a spaxel
FAINT = 0.25  # of the spaxels, where there are fewer lines
HALF_SIGMA = 0.3829  # of normal values are within half a sigma: fewer of a line than are below the median


def collapse_cube(rate, error, dq, *, correlation=1.0):
    """Return the white-light image of a cube: the mean of the usable bins of each spaxel.

    Parameters
    ----------
    rate, error : ndarray, float32, (n_wave, ny, nx)
    dq : ndarray, uint32, (n_wave, ny, nx)
    correlation : float, optional
        Noise of a sum over many bins over the root of the sum of their variances.

    Returns
    -------
    Image
        Spaxels of which less than half of the bins are usable are NaN, DO_NOT_USE. Flags are those of all bins.
    """
    usable = ~Image(rate, error, dq).unusable
    n = usable.sum(axis=0)
    enough = n >= max(LEAST_USABLE * len(rate), 1)
    divisor = np.where(enough, n, 1)
    mean = np.where(usable, rate, 0).sum(axis=0, dtype=np.float64) / divisor
    variance = (np.where(usable, error, 0).astype(np.float64) ** 2).sum(axis=0) / divisor**2
    flags = np.bitwise_or.reduce(np.where(usable, dq, np.uint32(0)), axis=0)
    return Image(
        np.where(enough, mean, np.nan).astype(np.float32),
        np.where(enough, correlation * np.sqrt(variance), np.nan).astype(np.float32),
        flags | np.where(enough, np.uint32(0), np.uint32(Flag.DO_NOT_USE)),
    )


def measure_noise(rate, error, dq):
    """Return the noise of a cube over its errors, from second differences along its spectra; NaN without any.

    Over every second bin, as neighbours share noise, in the fainter spaxels; robust, so that lines do not count while
    they are few. A smooth continuum leaves nothing.

    Parameters
    ----------
    rate, error : ndarray, float32, (n_wave, ny, nx)
    dq : ndarray, uint32, (n_wave, ny, nx)
    """
    values = np.where(Image(rate, error, dq).unusable, np.nan, rate).astype(np.float64)
    variance = error.astype(np.float64) ** 2
    second = values[:-4] - 2 * values[2:-2] + values[4:]
    white = collapse_cube(rate, error, dq)
    if white.unusable.all():
        return np.nan
    faint = white.rate <= np.quantile(white.rate[~white.unusable], FAINT)
    known = np.isfinite(second) & faint
    if not known.any():
        return np.nan
    ratio = second[known] / np.sqrt(variance[:-4] + 4 * variance[2:-2] + variance[4:])[known]
    return float(np.quantile(np.abs(ratio), HALF_SIGMA) / 0.5)


def find_throughput(rectmat, scatter):
    """Return the throughput of the lenslets of a rectification matrix as an image, dark ones NaN, DO_NOT_USE.

    Parameters
    ----------
    rectmat : ndarray, float32, (n_row, n_column, ny, nx)
    scatter : float
        Of the lenslets, which stands for the error.
    """
    throughput = np.nan_to_num(rectmat).sum(axis=0, dtype=np.float64).mean(axis=0)
    dark = ~(throughput > 0)
    values = np.where(dark, np.nan, throughput).astype(np.float32)
    error = np.where(dark, np.nan, scatter).astype(np.float32)
    return Image(values, error, np.where(dark, np.uint32(Flag.DO_NOT_USE), np.uint32(0)))


def find_middle(wavelength_um, rms_pix=None):
    """Return the wavelengths (um) of the middle column of a solution as an image; where it has none, DO_NOT_USE.

    Parameters
    ----------
    wavelength_um : ndarray, float32, (column, ny, nx) or (ny, nx)
    rms_pix : ndarray, float32, (ny, nx), optional
        Of the lines about it, in columns; it gives the error.
    """
    if wavelength_um.ndim == 2:
        middle, step = wavelength_um, np.float32(0)
    else:
        k = len(wavelength_um) // 2
        middle, step = wavelength_um[k], np.abs(wavelength_um[min(k + 1, len(wavelength_um) - 1)] - wavelength_um[k])
    unknown = ~np.isfinite(middle)
    error = np.nan_to_num(step * (np.zeros(middle.shape) if rms_pix is None else rms_pix))
    flags = np.where(unknown, np.uint32(Flag.DO_NOT_USE), np.uint32(0))
    return Image(middle.astype(np.float32), np.where(unknown, np.nan, error).astype(np.float32), flags)


def show_as_image(product):
    """Return a product with images SCI, ERR, DQ: white light of a cube, throughput of a matrix, wavelengths."""
    if product.model == "RectificationModel":
        image = find_throughput(product.arrays["RECTMAT"], product.keywords.get("RMSCATT", 0.0))
        return replace(product, arrays=dict(zip(("SCI", "ERR", "DQ"), image[:3], strict=True)))
    if product.model == "WavelengthModel":
        image = find_middle(product.arrays["WAVESOL"], product.arrays.get("RMS"))
        return replace(product, arrays=dict(zip(("SCI", "ERR", "DQ"), image[:3], strict=True)))
    if product.model != "IFUCubeModel":
        return product
    arrays = (product.arrays[name] for name in ("SCI", "ERR", "DQ"))
    image = collapse_cube(*arrays, correlation=product.keywords.get("NOISCORR", 1.0))
    arrays = dict(zip(("SCI", "ERR", "DQ"), image[:3], strict=True))
    return replace(product, arrays=arrays, wcs=take_celestial(product.wcs))
