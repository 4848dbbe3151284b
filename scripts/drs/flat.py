"""Flat field: normalise a combined lamp image, divide by a flat."""

import numpy as np

from drs.dq import Flag
from drs.errors import ReductionError
from drs.image import check_shapes


def check_illumination(images, *, minimum_signal_e_per_s):
    """Return the lamp level of each flat exposure {name: Image}; refuse those whose lamp was off, naming all."""
    levels = {}
    for name, image in images.items():
        levels[name] = 0.0 if image.unusable.all() else float(np.median(image.rate[~image.unusable]))
    if off := [f"{name} {level:.3g}" for name, level in levels.items() if level < minimum_signal_e_per_s]:
        raise ReductionError(
            f"median in e-/s after dark subtraction: {', '.join(off)}; a flat needs {minimum_signal_e_per_s}: "
            "was the lamp on? Exclude these exposures in exposures.yaml"
        )
    return list(levels.values())


def check_saturation(images, *, maximum_saturated_fraction):
    """Refuse flat exposures {name: Image} that saturate in too many pixels: what is left of these is not linear."""
    fractions = {name: float(np.mean(image.dq & Flag.SATURATED != 0)) for name, image in images.items()}
    if bad := [f"{name} {part:.1%}" for name, part in fractions.items() if part > maximum_saturated_fraction]:
        raise ReductionError(
            f"saturated pixels: {', '.join(bad)}; a flat may have {maximum_saturated_fraction:.1%}: dim the lamp, or "
            "exclude these exposures in exposures.yaml"
        )


def normalise_flat(lamp, *, minimum_response):
    """Return a lamp image divided by its median; what cannot be a flat value is 1 and flagged.

    Parameters
    ----------
    lamp : Image
        Combined, dark-subtracted lamp rate, (ny, nx).
    minimum_response : float
        Smallest response, relative to the median, that can be divided by.

    Returns
    -------
    Image
        Dimensionless response, median 1; NO_FLAT_FIELD and DO_NOT_USE where there is none.
    """
    missing = lamp.unusable
    median = np.median(lamp.rate[~missing])
    with np.errstate(invalid="ignore"):
        response = lamp.rate / median
        missing = missing | ~(response >= minimum_response)
    flags = np.where(missing, np.uint32(Flag.NO_FLAT_FIELD | Flag.DO_NOT_USE), np.uint32(0))
    return lamp._replace(
        rate=np.where(missing, 1.0, response).astype(np.float32),
        error=np.where(missing, 0.0, lamp.error / median).astype(np.float32),
        dq=lamp.dq | flags,
        var_poisson=None,
        var_rnoise=None,
        var_dark=None,
    )


def divide_flat(image, flat):
    """Return the image divided by the flat, with the flat's error: var / f^2 + (rate / f)^2 (err_f / f)^2.

    Where the flat has no value the image is left as it is and flagged NO_FLAT_FIELD and DO_NOT_USE.

    Parameters
    ----------
    image : Image
        (ny, nx), e-/s.
    flat : Image
        Dimensionless response, (ny, nx).
    """
    check_shapes(image, flat, "the flat")
    missing = flat.unusable | ~(flat.rate > 0)
    response = np.where(missing, np.float32(1), flat.rate)
    rate = image.rate / response
    flat_term = np.where(missing, 0.0, rate * flat.error / response)
    flags = np.where(missing, np.uint32(Flag.NO_FLAT_FIELD | Flag.DO_NOT_USE), np.uint32(0))

    def scale(variance):
        return None if variance is None else (variance / response**2).astype(np.float32)

    return image._replace(
        rate=rate.astype(np.float32),
        error=np.hypot(image.error / response, flat_term).astype(np.float32),
        dq=image.dq | flat.dq | flags,
        var_poisson=scale(image.var_poisson),
        var_rnoise=scale(image.var_rnoise),
        var_dark=scale(image.var_dark),
    )
