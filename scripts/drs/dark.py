"""Dark current: flag hot pixels of a combined dark, subtract a dark rate."""

import numpy as np

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import check_shapes

MAD_TO_SIGMA = 1.4826


def check_unlit(names, images, *, maximum_rate_e_per_s):
    """Refuse darks with light on them, naming all.

    Parameters
    ----------
    names : list of str
    images : list of Image
        (ny, nx), e-/s.
    maximum_rate_e_per_s : float
        Median rate that a dark may have.
    """
    rates = [float(np.median(image.rate[~image.unusable])) if not image.unusable.all() else 0.0 for image in images]
    lit = [f"{name} {rate:.3g}" for name, rate in zip(names, rates, strict=True) if rate > maximum_rate_e_per_s]
    if lit:
        raise ReductionError(
            f"median of darks in e-/s: {', '.join(lit)}; expected at most {maximum_rate_e_per_s}: is light on them? "
            "Exclude these exposures in exposures.yaml"
        )


def measure_numbers(dark, outlier):
    """Return the quality numbers of a master dark as keywords: rate, scatter, parts of hot pixels and clipped ones."""
    good = ~dark.unusable
    if not good.any():
        return {}
    median = float(np.median(dark.rate[good]))
    scatter = float(MAD_TO_SIGMA * np.median(np.abs(dark.rate[good] - median)))
    hot = float((dark.dq & np.uint32(Flag.HOT) != 0).mean())
    numbers = {"Q_DARK": median, "Q_DARKSC": scatter, "Q_HOT": hot, "Q_CLIP": float(outlier.mean())}
    return {key: float(f"{value:.6g}") for key, value in numbers.items()}


def flag_hot(dark, *, hot_threshold_sigma):
    """Return the dark with HOT set where its rate stands out from the detector.

    A pixel is hot when it lies `hot_threshold_sigma` above the median, in units of the robust scatter of the
    detector (MAD) and of the pixel's own error added in quadrature: the 10-20 sigma rule of the team's design
    document (bad-pixel mask from darks).

    Parameters
    ----------
    dark : Image
        Combined dark rate, (ny, nx).
    hot_threshold_sigma : float

    Returns
    -------
    Image
        Same arrays but for the flags.
    """
    good = ~dark.unusable
    median = np.median(dark.rate[good])
    scatter = MAD_TO_SIGMA * np.median(np.abs(dark.rate[good] - median))
    hot = good & (dark.rate - median > hot_threshold_sigma * np.hypot(scatter, dark.error))
    return dark._replace(dq=np.where(hot, dark.dq | Flag.HOT, dark.dq).astype(np.uint32))


def forget_dark(image):
    """Return an image whose error is without that of its dark: it cancels against a frame that is less the same one."""
    if image.var_dark is None:
        return image
    error = np.sqrt(np.maximum(image.error**2 - image.var_dark, 0)).astype(np.float32)
    return image._replace(error=error, var_dark=None)


def subtract_dark(image, dark):
    """Return the image less the dark rate: errors in quadrature (the dark's also as `var_dark`), flags joined.

    Where the dark has no value the image has none either: NaN, UNRELIABLE_DARK and DO_NOT_USE.

    Parameters
    ----------
    image, dark : Image
        (ny, nx), e-/s.
    """
    check_shapes(image, dark, "the dark")
    missing = dark.unusable
    flags = np.where(missing, np.uint32(Flag.UNRELIABLE_DARK | Flag.DO_NOT_USE), np.uint32(0))
    return image._replace(
        rate=np.where(missing, np.nan, image.rate - dark.rate).astype(np.float32),
        error=np.where(missing, np.nan, np.hypot(image.error, dark.error)).astype(np.float32),
        dq=image.dq | dark.dq | flags,
        var_dark=np.where(missing, np.nan, dark.error**2).astype(np.float32),
    )
