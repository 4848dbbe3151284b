"""Sky subtraction of an exposure as its plan has it: none, median, a sky frame, or the other dithers of its field."""

import logging
from typing import NamedTuple

import numpy as np

from drs import product
from drs.calibration import calibrate, read_calibrations
from drs.dq import Flag
from drs.errors import ReductionError
from drs.headers import scan_headers
from drs.image import Image
from drs.references import header_keywords, read_manifest
from drs.registration import locate_nearest, look_up
from drs.running_sky import choose_neighbours, make_running_sky
from drs.sky import match_levels, measure_sky, subtract_frame, subtract_level
from drs.wcs import find_wcs, measure_offsets

logger = logging.getLogger(__name__)
SKIES = ("SKY", "BKG")
SMALLEST_SHARE = 1e-3  # of a variance that is left when a part of it cancels


class Dithers(NamedTuple):
    """What the sky of a dithered exposure is made from.

    `rates` and `manifests` are the files of all exposures of the field, in one order, `mask` that of its objects,
    `instrument` the content of config/instruments/*.yaml, `caches` the CRDS caches; `n_frame`, `minimum` and
    `least_offset_pix` are those of `drs.running_sky.choose_neighbours`.
    """

    rates: list
    manifests: list
    mask: object
    instrument: dict
    caches: list
    n_frame: int
    minimum: int
    least_offset_pix: float


def subtract_sky(exposure, image, *, method, frame, dithers, source_threshold_sigma):
    """Return an exposure with its calibrated image less the sky; one that cannot be used gives way to the median.

    Parameters
    ----------
    exposure : Product
        Level 1, for its header.
    image : Image
        Calibrated, e-/s.
    method : str
        'none', 'median', 'frame' or 'iterative'.
    frame : path-like or None
        SkyModel, of method 'frame'.
    dithers : Dithers or None
        Of method 'iterative'.
    source_threshold_sigma : float
    """
    if method == "none":
        reason = "sky exposure" if exposure.keywords["IMTYPE"] in SKIES else "by configuration"
        return exposure.with_image(image).with_step("sky", skipped=reason)
    sky = measure_sky(image.rate, image.unusable, source_threshold_sigma=source_threshold_sigma)
    used = {"method": method, "level_e_per_s": sky.level, "source_threshold_sigma": source_threshold_sigma}
    try:
        if method == "frame":
            image, more = _subtract_frame(exposure, image, sky, frame, source_threshold_sigma)
            return exposure.with_image(image).with_step("sky", **used, **more)
        if method == "iterative":
            image, more = _subtract_dithers(exposure, image, dithers)
            return exposure.with_image(image).with_step("sky", **used, **more)
    except ReductionError as error:
        logger.warning("%s: the median of the image is subtracted", error)
        exposure = product.with_history(exposure, [f"sky: median in place of {method}: {error}"])
    used["method"] = "median"
    return exposure.with_image(subtract_level(image, sky)).with_step("sky", **used)


def _subtract_frame(exposure, image, sky, path, source_threshold_sigma):
    """Return the image less a sky frame brought to its level, and what was done."""
    frame = product.read(path, models="SkyModel", unit="electron/s")
    if frame.refusal:
        raise ReductionError(f"the sky frame was refused ({frame.refusal})")
    if frame.image.rate.shape != image.rate.shape:
        raise ReductionError(f"the sky frame has shape {frame.image.rate.shape}, the image {image.rate.shape} (ny, nx)")
    level = measure_sky(frame.image.rate, frame.image.unusable, source_threshold_sigma=source_threshold_sigma)
    scale, offset = match_levels(sky, level)
    same_dark = "R_DARK" in frame.keywords and frame.keywords["R_DARK"] == exposure.keywords.get("R_DARK")
    image = subtract_frame(image, frame.image, scale=scale, offset=offset, same_dark=same_dark)
    return image, {"scale": scale, "offset_e_per_s": offset, "same_dark": same_dark}


def _subtract_dithers(exposure, image, dithers):
    """Return the image less the running median of the other dithers, objects masked, and what was done."""
    mask = product.read(dithers.mask, models="ObjectMaskModel")
    if mask.refusal:
        raise ReductionError(f"no objects were masked ({mask.refusal})")
    found = [scan_headers(path) for path in dithers.rates]
    good = [k for k, scan in enumerate(found) if scan["keywords"].get("DATAQUAL") != "BAD"]
    keywords = [found[k]["keywords"] for k in good]
    wcs = [
        find_wcs(header, dict(found[k]["images"])["SCI"], dithers.instrument)
        for k, header in zip(good, keywords, strict=True)
    ]
    (own,) = [n for n, header in enumerate(keywords) if is_same_exposure(header, exposure.keywords)]
    times = [header.get("EXPMJDST", n) for n, header in enumerate(keywords)]
    limits = {"n_frame": dithers.n_frame, "least_offset_pix": dithers.least_offset_pix}
    chosen = choose_neighbours(measure_offsets(wcs), times, own, **limits)
    others = [_read_dither(dithers, good[n], mask, wcs[n]) for n in chosen]
    blank, variances, darks, flats, names = zip(*others, strict=True) if others else ((), (), (), (), ())
    sky, variance, is_filled = make_running_sky(
        blank_objects(image, mask, wcs[own]), blank, variances, minimum=dithers.minimum
    )
    var_dark = np.mean(darks, axis=0, dtype=np.float32)
    frame = Image(sky, np.sqrt(variance + var_dark), np.zeros(sky.shape, np.uint32), var_dark=var_dark)
    own_names = [exposure.keywords.get(key) for key in ("R_DARK", "R_FLAT")]
    same_dark, same_flat = ({own} == set(other) for own, other in zip(own_names, zip(*names, strict=True), strict=True))
    same_dark = same_dark and image.var_dark is not None
    before, image = image, subtract_frame(image, frame, scale=1.0, offset=0.0, same_dark=same_dark)
    var_flat = flats[0] if same_flat else np.mean(flats, axis=0)
    image = _cancel_flat(image, before, var_flat) if same_flat else _add_variance(image, var_flat * sky**2)
    estimated = np.where(is_filled, np.uint32(Flag.FLUX_ESTIMATED), np.uint32(0))
    used = {"n_frame": len(chosen), "minimum": dithers.minimum, "least_offset_pix": dithers.least_offset_pix}
    used |= {"frames": [dithers.rates[good[n]].name for n in chosen], "same_dark": same_dark, "same_flat": same_flat}
    used |= {"filled_fraction": round(float(is_filled.mean()), 6)}
    return image._replace(dq=image.dq | estimated), used


def _read_dither(dithers, number, mask, wcs):
    """Return one exposure for the sky of another.

    Rate without objects, its variance without those of dark and flat, the variance of the dark, that of the flat over
    its square, and the names of both.
    """
    member = product.read(dithers.rates[number], models="ImagerModel", unit="electron/s")
    manifest = dithers.manifests[number]
    (references,), _ = read_calibrations([member], [manifest], ["dark", "flat"], dithers.caches)
    image = calibrate(member.image, references)
    var_dark = np.zeros_like(image.rate) if image.var_dark is None else image.var_dark
    var_flat = np.zeros_like(image.rate)
    if "flat" in references:
        flat = references["flat"]
        var_flat = np.divide(flat.error, flat.rate, out=var_flat, where=flat.rate > 0) ** 2
    keywords = header_keywords(read_manifest(manifest))
    names = keywords.get("R_DARK"), keywords.get("R_FLAT")
    variance = np.maximum(image.error**2 - var_dark - var_flat * image.rate**2, 0)
    return blank_objects(image, mask, wcs), variance, var_dark, var_flat, names


def _cancel_flat(image, before, var_flat):
    """Return an image whose sky was taken with its own flat: the flat's error counts for what is left alone."""
    cancelled = np.maximum(before.rate**2 - image.rate**2, 0) * var_flat
    kept = np.maximum(image.error**2 - cancelled, image.error**2 * SMALLEST_SHARE)
    return image._replace(error=np.sqrt(kept).astype(np.float32))


def _add_variance(image, variance):
    """Return an image with a further variance."""
    return image._replace(error=np.sqrt(image.error**2 + variance).astype(np.float32))


def is_same_exposure(header, other):
    """Say whether two headers are of one exposure."""
    keys = ("SEMID", "PROGNUM", "OBSNUM", "EXPNUM", "SUBARRID", "DETECTOR", "IMTYPE")
    return all(header.get(key) == other.get(key) for key in keys)


def blank_objects(image, mask, wcs):
    """Return the rate of an image, NaN where it has no value and where the mask of its field has an object."""
    shape = image.rate.shape
    objects = mask.arrays["OBJECTS"] > 0
    place = locate_nearest(wcs, shape, mask.wcs, objects.shape)
    return np.where(image.unusable | look_up(objects, place), np.float32(np.nan), image.rate)
