"""Members of a combination: which are usable, and their arrays as cubes."""

import numpy as np

from drs.errors import ReductionError


def keep_good(members, names, *, minimum, what):
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
    if len(set(shapes.values())) > 1:
        raise ReductionError(f"{what} exposures of different shapes (ny, nx): {shapes}; exclude those that do not fit")
    return good, left_out


def stack_images(images):
    """Return (values, variance, unusable) of images as cubes (n_image, ny, nx)."""
    values = np.stack([image.rate for image in images])
    variance = np.stack([image.error**2 for image in images])
    return values, variance, np.stack([image.unusable for image in images])


def scale_image(image, scale):
    """Return the image and its error times a number."""
    scale = np.float32(scale)
    return image._replace(rate=image.rate * scale, error=image.error * scale, var_poisson=None, var_rnoise=None)
