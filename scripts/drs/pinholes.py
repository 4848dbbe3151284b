"""The spots of a mask of pinholes: where they are, and which is which on the mask's square grid."""

from collections import deque

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from drs.errors import ReductionError

FWHM_TO_SIGMA = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))
WINDOW_FWHM = 0.5  # sigma of the window of the centroid; half a FWHM is close to the best weights for a Gaussian
N_STEP = 12
STEP = 2.0  # a window as wide as the spot finds half of the offset
CONVERGED_PIX = 1e-4
NEAR = 1.35  # pitches within which a neighbour on the grid is sought
TOLERANCE = 0.3  # of a pitch, by which a neighbour may be off the grid
STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def find_spots(values, unusable, *, fwhm_pix, threshold_sigma):
    """Return the 1-based places (x, y) of the spots in an image, (n, 2), by windowed centroids.

    Peaks of the image smoothed with a Gaussian like a spot, above the background by `threshold_sigma`; then the
    centroid under a Gaussian window that moves with it (as XWIN of SExtractor; no bias of the pixel grid for a
    sampled spot). A spot with an unusable pixel near its core is left out.

    Parameters
    ----------
    values : ndarray, float32, (ny, nx)
    unusable : ndarray, bool, (ny, nx)
    fwhm_pix, threshold_sigma : float
    """
    if unusable.all():
        raise ReductionError("no pixel of the pinhole exposure can be used: exclude it in exposures.yaml")
    background = np.median(values[~unusable])
    excess = np.where(unusable, 0.0, values - background)
    smooth = ndimage.gaussian_filter(excess, fwhm_pix * FWHM_TO_SIGMA)
    noise = 1.4826 * np.median(np.abs(smooth[~unusable]))
    size = 2 * round(fwhm_pix) + 1
    is_peak = (smooth == ndimage.maximum_filter(smooth, size)) & (smooth > threshold_sigma * max(noise, 1e-30))
    half = round(2 * fwhm_pix)
    y, x = np.nonzero(is_peak)
    inside = (y >= half) & (x >= half) & (y < values.shape[0] - half) & (x < values.shape[1] - half)
    y, x = y[inside], x[inside]
    near = ndimage.maximum_filter(unusable, 2 * round(0.75 * fwhm_pix) + 1)
    whole = ~near[y, x]
    return _centre_spots(excess, x[whole].astype(float), y[whole].astype(float), half, fwhm_pix) + 1.0


def _centre_spots(excess, x, y, half, fwhm_pix):
    """Return 0-based centroids (x, y), (n, 2), of spots near (x, y); those that wander off are dropped."""
    if x.size == 0:
        return np.empty((0, 2))
    offsets = np.arange(-half, half + 1)
    rows, columns = (np.rint(axis).astype(int) for axis in (y, x))
    stamps = excess[rows[:, None, None] + offsets[:, None], columns[:, None, None] + offsets]
    dy, dx = y - rows, x - columns
    sigma = WINDOW_FWHM * fwhm_pix
    for _ in range(N_STEP):
        u = offsets[None, None, :] - dx[:, None, None]
        v = offsets[None, :, None] - dy[:, None, None]
        weighted = stamps * np.exp(-(u**2 + v**2) / (2 * sigma**2))
        total = weighted.sum(axis=(1, 2))
        total = np.where(total > 0, total, np.inf)
        step_x, step_y = STEP * (weighted * u).sum(axis=(1, 2)) / total, STEP * (weighted * v).sum(axis=(1, 2)) / total
        dx, dy = dx + np.clip(step_x, -1, 1), dy + np.clip(step_y, -1, 1)
        if max(np.abs(step_x).max(), np.abs(step_y).max()) < CONVERGED_PIX:
            break
    kept = np.hypot(dx, dy) < fwhm_pix
    return np.stack([columns + dx, rows + dy], axis=1)[kept]


def number_spots(spots, *, pitch_pix, anchor=None):
    """Return (spots of the grid, (n, 2), their numbers (i, j) on it, int, (n, 2)).

    From one spot to its neighbours a pitch away, and on to theirs: the grid is followed however it is distorted. What
    lies off the grid (a hot pixel, a cosmic ray) is left out.

    Parameters
    ----------
    spots : ndarray, (n, 2)
        Places (x, y).
    pitch_pix : float
    anchor : (spots, numbers), optional
        Result for another exposure of the mask, moved by less than half a pitch, which tells the numbers.
    """
    if len(spots) < 4:
        raise ReductionError(
            f"{len(spots)} pinholes found, expected a grid: was the mask in, and the lamp on? Exclude the exposure in "
            "exposures.yaml"
        )
    tree = cKDTree(spots)
    start = int(tree.query(spots.mean(axis=0))[1])
    numbers = {start: (0, 0)}
    if anchor is not None:
        distance, nearest = cKDTree(anchor[0]).query(spots)
        start = int(np.argmin(distance))
        numbers = {start: tuple(int(n) for n in anchor[1][nearest[start]])}
    waiting = deque(numbers)
    while waiting:
        current = waiting.popleft()
        for other in tree.query_ball_point(spots[current], NEAR * pitch_pix):
            step = (spots[other] - spots[current]) / pitch_pix
            for i, j in STEPS:
                if other not in numbers and np.hypot(step[0] - i, step[1] - j) < TOLERANCE:
                    numbers[other] = (numbers[current][0] + i, numbers[current][1] + j)
                    waiting.append(other)
    found = sorted(numbers)
    return spots[found], np.array([numbers[k] for k in found])
