"""Members of a combination: which are usable, and their arrays as cubes."""

import numpy as np

from drs.errors import ReductionError


def keep_good(members, names, *, minimum, what, one_shape=True):
    """Return the positions of the members that were not refused, and a line for each that was.

    Parameters
    ----------
    members : list of Product
    names : list of str
        Their files, for the messages.
    minimum : int
        Smallest number of members that makes a product.
    what : str
        What they are, for the messages.
    one_shape : bool, optional
        Refuse images of different shapes.

    Raises
    ------
    ReductionError
        Too few are left, or their shapes differ.
    """
    good = [k for k, member in enumerate(members) if member.refusal is None]
    left_out = [f"left out: {names[k]}: {m.refusal}" for k, m in enumerate(members) if m.refusal is not None]
    if len(good) < minimum:
        reasons = "; ".join(left_out) or "no other was given"
        raise ReductionError(f"{len(good)} usable {what} exposures, at least {minimum} needed ({reasons})")
    shapes = {names[k]: members[k].arrays["SCI"].shape for k in good}
    if one_shape and len(set(shapes.values())) > 1:
        raise ReductionError(f"{what} exposures of different shapes (ny, nx): {shapes}; exclude those that do not fit")
    return good, left_out


def check_configuration(members, names, keys):
    """Refuse members that differ in one of these keywords, naming the first file of each value."""
    for key in keys:
        found = {}
        for member, name in zip(members, names, strict=True):
            found.setdefault(member.keywords.get(key), name)
        if len(found) > 1:
            listed = ", ".join(f"{value} in {name}" for value, name in found.items())
            raise ReductionError(f"images of mixed configuration: {key} is {listed}; combine those of one {key} only")


def stack_images(images):
    """Return (values, variance, unusable) of images as cubes (n_image, ny, nx), without the variance of their dark."""
    values = np.stack([image.rate for image in images])
    variance = np.stack([image.error**2 - _dark_part(image) for image in images])
    return values, np.maximum(variance, 0), np.stack([image.unusable for image in images])


def share_dark(variance, images):
    """Return (variance, var_dark) of a mean of images: its own, and the dark's, which is the same in all of them."""
    var_dark = np.mean([_dark_part(image) for image in images], axis=0, dtype=np.float32)
    return (variance + var_dark).astype(np.float32), var_dark


def _dark_part(image):
    """Return the variance of an image that comes from its dark."""
    return np.float32(0) if image.var_dark is None else image.var_dark


def scale_image(image, scale):
    """Return the image and its errors times a number."""
    scale = np.float32(scale)
    var_dark = None if image.var_dark is None else image.var_dark * scale**2
    error = image.error * scale
    return image._replace(rate=image.rate * scale, error=error, var_poisson=None, var_rnoise=None, var_dark=var_dark)


def shift_image(image, offset):
    """Return the image with a constant added."""
    return image._replace(rate=image.rate + np.float32(offset))
