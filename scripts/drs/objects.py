"""Where objects are in an image of blank sky: stars, galaxies and their wings, on several scales."""

import numpy as np
from scipy import ndimage

MAD_TO_SIGMA = 1.4826
MINIMUM_PIXELS = 5
N_ITERATION = 3
MARGIN_PIX = 2.0
CONNECTED = np.ones((3, 3))


def find_objects(values, count, *, threshold_sigma, scales_pix, growth):
    """Return where objects are: what stands out from the background at one of several scales, and its surroundings.

    A wing fainter than the noise of a pixel shows where it is smoothed: at each scale the image is convolved with a
    Gaussian, and connected pixels above the background by `threshold_sigma` of what noise becomes under that
    convolution are an object. Each object is then grown by `growth` times its radius, that of a disc of its area,
    as the wings of a profile reach farther the larger its part above the noise.

    Parameters
    ----------
    values : ndarray, float32, (ny, nx)
        Mean of sky-subtracted frames, NaN where there is none.
    count : ndarray, int, (ny, nx)
        Frames in the mean; the noise falls as its root.
    threshold_sigma : float
    scales_pix : sequence of float
        Standard deviations of the Gaussians; 0 is the image itself.
    growth : float

    Returns
    -------
    ndarray, bool, (ny, nx)
    """
    good = np.isfinite(values) & (count > 0)
    is_object = np.zeros(values.shape, bool)
    if not good.any():
        return is_object
    root = np.sqrt(np.maximum(count, 1))
    for _ in range(N_ITERATION):
        background, noise = _measure_background(values, root, good & ~is_object)
        excess = np.where(good, values - background, 0.0)
        variance = np.where(good, (noise / root) ** 2, 0.0)
        found = np.zeros(values.shape, bool)
        for scale in scales_pix:
            found |= _find_at_scale(excess, variance, scale, threshold_sigma)
        if not (found & ~is_object).any():
            break
        is_object |= found
        if (good & ~is_object).sum() < MINIMUM_PIXELS:
            return np.ones(values.shape, bool)
    return _grow(is_object, growth)


def _measure_background(values, root, used):
    """Return (median, noise of a single frame) of the pixels used."""
    pixels, weights = values[used].astype(np.float64), root[used]
    median = np.median(pixels)
    return median, MAD_TO_SIGMA * np.median(np.abs(pixels - median) * weights)


def _find_at_scale(excess, variance, scale, threshold_sigma):
    """Return the connected groups of pixels that stand out after smoothing."""
    least = MINIMUM_PIXELS
    if scale > 0:
        excess = ndimage.gaussian_filter(excess, scale, mode="constant")
        # the squared kernel is a Gaussian narrower by sqrt(2), of sum 1 / (4 pi scale^2)
        variance = ndimage.gaussian_filter(variance, scale / np.sqrt(2), mode="constant") / (4 * np.pi * scale**2)
        least += round(np.pi * scale**2)
    bright = excess > threshold_sigma * np.sqrt(variance)
    bright &= variance > 0
    groups, _ = ndimage.label(bright, structure=CONNECTED)
    large = np.bincount(groups.ravel()) >= least
    large[0] = False
    return large[groups]


def _grow(is_object, growth):
    """Return the objects, each grown by a margin and `growth` times the radius of a disc of its area."""
    if not is_object.any():
        return is_object
    groups, _ = ndimage.label(is_object, structure=CONNECTED)
    radius = np.sqrt(np.bincount(groups.ravel()) / np.pi)
    grown = is_object.copy()
    # one distance transform per octave of sizes: an object reaches as far as it is large, not as its neighbour is
    octave = np.floor(np.log2(np.maximum(radius, 1.0)))
    octave[0] = -1
    for step in np.unique(octave[1:]):
        members = octave == step
        distance, nearest = ndimage.distance_transform_edt(~members[groups], return_indices=True)
        reach = MARGIN_PIX + growth * radius[groups[tuple(nearest)]]
        grown |= distance <= reach
    return grown


def find_moving(values, unusable, *, threshold_sigma, growth):
    """Return where frames of one level differ from their median: stars that move over the detector.

    Parameters
    ----------
    values : ndarray, float32, (n_frame, ny, nx)
    unusable : ndarray, bool, (n_frame, ny, nx)
    threshold_sigma, growth : float
        As in `find_objects`.

    Returns
    -------
    ndarray, bool, (n_frame, ny, nx)
    """
    seen = np.where(unusable, np.nan, values)
    empty = unusable.all(axis=0)
    seen[:, empty] = 0.0
    median, count = np.nanmedian(seen, axis=0), (~empty).astype(int)
    how = {"threshold_sigma": threshold_sigma, "scales_pix": (0, 1, 2), "growth": growth}
    return np.stack([find_objects(frame - median, count, **how) for frame in seen])
