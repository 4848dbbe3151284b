"""Offsets between images of one field: from a table, from their stars, or from the correlation of their pixels."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.ndimage import convolve, gaussian_filter

from drs.errors import ReductionError, is_of_machine

COLUMNS = ("expnum", "east_arcsec", "north_arcsec")
MATCH_PIX = 1.5
MINIMUM_STARS = 3
MINIMUM_PEAK_SIGMA = 8.0
MAX_STARS = 200
SMOOTHING_PIX = 2.0
MAD_TO_SIGMA = 1.4826
PLACE_PIX = 0.05  # of a star with a bad pixel; differences of places below are not outliers
CROSS = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


class Offset(NamedTuple):
    """What is added to the place of an image: x, y and its error in pixels, the method, and how many stars."""

    x_pix: float
    y_pix: float
    error_pix: float
    method: str
    n_stars: int


def describe_offset(name, offset):
    """Return the line of the HISTORY about an image's offset."""
    number = f", {offset.n_stars} stars" if offset.n_stars else ""
    place = f"{offset.x_pix:+.3f} {offset.y_pix:+.3f} pix, error {offset.error_pix:.3f}"
    return f"offset: {name}: {place} ({offset.method}{number})"


def read_offsets(path):
    """Return EXPNUM -> (east, north) in arcsec of a table of dithers (ECSV: expnum, east_arcsec, north_arcsec)."""
    from astropy.table import Table  # slow to import, and not for every image

    try:
        table = Table.read(path, format="ascii.ecsv")
    except (OSError, ValueError, KeyError) as error:
        if is_of_machine(error):
            raise
        raise ReductionError(
            f"{path} cannot be read as ECSV ({error}); expected columns {', '.join(COLUMNS)}"
        ) from error
    if missing := [name for name in COLUMNS if name not in table.colnames]:
        raise ReductionError(f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    values = np.array([table[name] for name in COLUMNS], float)
    numbers = values[0].astype(int).tolist()
    if not np.isfinite(values).all() or len(set(numbers)) < len(numbers):
        raise ReductionError(f"{path}: every EXPNUM must be there once, with two numbers in arcsec")
    return dict(zip(numbers, zip(*values[1:].tolist(), strict=True), strict=True))


def place_headers(headers, numbers, dithers):
    """Return the WCS keywords of images moved to where a table of dithers says, relative to the first image.

    Parameters
    ----------
    headers : list of dict
    numbers : list of int
        EXPNUM of each image.
    dithers : dict
        Result of `read_offsets`.
    """
    from astropy.coordinates import SkyCoord  # slow to import, and not for every image

    if absent := [str(number) for number in numbers if number not in dithers]:
        raise ReductionError(f"the table of offsets has no row of EXPNUM {', '.join(absent)}; add it, or exclude these")
    first = SkyCoord(headers[0]["CRVAL1"], headers[0]["CRVAL2"], unit="deg")
    moved = []
    for header, number in zip(headers, numbers, strict=True):
        east, north = (np.subtract(dithers[number], dithers[numbers[0]]) / 3600).tolist()
        place = first.spherical_offsets_by(east * first.ra.unit, north * first.ra.unit)
        moved.append(header | {"CRVAL1": float(place.ra.deg), "CRVAL2": float(place.dec.deg)})
    return moved


def find_stars(values, error, unusable, *, threshold_sigma=8.0, fwhm_pix=2.5):
    """Return x, y and flux of the brightest stars of an image, (3, n), at most 200 (DAOFIND, Stetson 1987)."""
    from photutils.detection import DAOStarFinder  # slow to import; only where offsets are measured
    from photutils.utils.exceptions import NoDetectionsWarning

    good = ~unusable
    if not good.any():
        return np.empty((3, 0))
    level = np.median(values[good])
    noise = max(MAD_TO_SIGMA * np.median(np.abs(values[good] - level)), np.median(error[good]))
    excess = _fill(np.where(unusable, 0.0, values - level), good)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)  # an empty field is an answer
        found = DAOStarFinder(threshold_sigma * float(noise), fwhm_pix)(excess, mask=unusable)
    if found is None:
        return np.empty((3, 0))
    order = np.argsort(-np.array(found["flux"]), kind="stable")[:MAX_STARS]
    x, y = _refine(excess, np.array(found["x_centroid"])[order], np.array(found["y_centroid"])[order])
    return np.stack([x, y, np.array(found["flux"])[order]])


def _fill(excess, good):
    """Return an image with the mean of their good neighbours in bad pixels: a hole in a star would shift its place."""
    count = convolve(good.astype(float), CROSS, mode="constant")
    total = convolve(np.where(good, excess, 0.0), CROSS, mode="constant")
    return np.where(good, excess, total / np.maximum(count, 1))


def _refine(excess, x, y, sigma=1.3):
    """Return places weighted by a Gaussian window that follows them, free of the steps of pixels (SExtractor's WIN)."""
    j, i = np.rint(y).astype(int), np.rint(x).astype(int)
    dy, dx = (offset.ravel() for offset in np.mgrid[-5:6, -5:6])
    rows, columns = j[:, None] + dy, i[:, None] + dx
    inside = (rows >= 0) & (columns >= 0) & (rows < excess.shape[0]) & (columns < excess.shape[1])
    light = np.where(inside, excess[np.where(inside, rows, 0), np.where(inside, columns, 0)], 0.0)
    x, y = x.copy(), y.copy()
    for _ in range(12):
        u, v = columns - x[:, None], rows - y[:, None]
        weight = light * np.exp(-(u**2 + v**2) / (2 * sigma**2))
        total = np.where(weight.sum(axis=1) > 0, weight.sum(axis=1), np.inf)
        x += 2 * np.clip((weight * u).sum(axis=1) / total, -0.5, 0.5)
        y += 2 * np.clip((weight * v).sum(axis=1) / total, -0.5, 0.5)
    return x, y


def match_stars(stars, reference, *, max_offset_pix):
    """Return the offset that brings stars onto those of a reference; None where fewer than three agree.

    All differences of places are counted; those within 1.5 pixels of the densest one are the matches, and the offset
    is their median, after those farther off than 5 sigma are left out.

    Parameters
    ----------
    stars, reference : ndarray, (3, n)
        x, y, flux on one plane.
    max_offset_pix : float
    """
    from scipy.spatial import cKDTree  # slow to import, and not for every image

    if min(stars.shape[1], reference.shape[1]) < MINIMUM_STARS:
        return None
    differences = (reference[:2, None, :] - stars[:2, :, None]).reshape(2, -1).T
    differences = differences[np.abs(differences).max(axis=1) <= max_offset_pix]
    if len(differences) < MINIMUM_STARS:
        return None
    tree = cKDTree(differences)
    counts = tree.query_ball_point(differences, MATCH_PIX, return_length=True)
    centre = differences[int(np.argmax(counts))]
    for radius in (MATCH_PIX, MATCH_PIX, MATCH_PIX / 2):
        near, index = cKDTree(reference[:2].T).query(stars[:2].T + centre)
        matched = (reference[:2].T[index] - stars[:2].T)[near < radius]
        if len(matched) < MINIMUM_STARS:
            return None
        centre = np.median(matched, axis=0)
    scatter = max(MAD_TO_SIGMA * np.median(np.abs(matched - centre)), 1e-6)
    matched = matched[(np.abs(matched - centre) < 5 * max(scatter, PLACE_PIX)).all(axis=1)]
    # by chance, n stars and m others agree in few places within a radius
    chance = stars.shape[1] * reference.shape[1] * np.pi * MATCH_PIX**2 / (2 * max_offset_pix + 1) ** 2
    if len(matched) < max(MINIMUM_STARS, chance + 5 * np.sqrt(chance)):
        return None
    x, y = matched.mean(axis=0).tolist()
    return Offset(x, y, float(scatter / np.sqrt(len(matched))), "stars", len(matched))


def correlate(values, reference, *, max_offset_pix):
    """Return the offset that brings an image onto a reference by cross-correlation; None without peak.

    The peak, refined to parts of a pixel by least squares, must be 8 times what independent
    pixels of these images give by chance.

    Parameters
    ----------
    values, reference : ndarray, (ny, nx)
        On one plane; NaN without value.
    max_offset_pix : float
    """
    from scipy import fft  # slow to import, and not for every image

    both = np.isfinite(values) & np.isfinite(reference)
    if not both.any():
        return None
    planes = []
    for plane in (values, reference):
        level = np.median(plane[both])
        noise = MAD_TO_SIGMA * np.median(np.abs(plane[both] - level))
        planes.append(np.where(np.isfinite(plane), np.clip(plane - level, -10 * noise, 10 * noise), 0.0))
    shape = [fft.next_fast_len(length + int(max_offset_pix) + 1, real=True) for length in values.shape]
    spectra = [fft.rfft2(plane, shape) for plane in planes]
    product = fft.irfft2(np.conj(spectra[0]) * spectra[1], shape)
    reach = int(max_offset_pix) + 1
    window = np.roll(product, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    j, i = np.unravel_index(np.argmax(window[1:-1, 1:-1]), (2 * reach - 1, 2 * reach - 1))
    j, i = int(j) + 1, int(i) + 1
    scatter = float(np.sqrt(np.prod([(plane**2).sum(dtype=float) for plane in planes]) / both.sum()))
    border = {0, 2 * reach - 2} & {j - 1, i - 1}
    if border or not window[j, i] > MINIMUM_PEAK_SIGMA * scatter:
        return None
    dx, dy = i - reach, j - reach
    shifted = np.full_like(planes[0], np.nan)
    into, out_of = (
        [slice(max(sign * d, 0), n + min(sign * d, 0)) for d, n in zip((dy, dx), values.shape, strict=True)]
        for sign in (1, -1)
    )
    shifted[tuple(into)] = np.where(np.isfinite(values), planes[0], np.nan)[tuple(out_of)]
    x, y, error = _refine_shift(shifted, np.where(np.isfinite(reference), planes[1], np.nan))
    if not max(abs(x), abs(y)) < 1.5:
        return None
    return Offset(dx + x, dy + y, error, "correlation", 0)


def _refine_shift(values, reference):
    """Return the shift (x, y) below a pixel that brings an image onto a reference, and its error (least squares).

    Both are smoothed, so that the noise of the gradients does not shrink the shift (Lucas & Kanade 1981, IJCAI 674).
    """
    smooth = []
    for plane in (values, reference):
        good = np.isfinite(plane)
        total, weight = (
            gaussian_filter(array.astype(float), SMOOTHING_PIX) for array in (np.where(good, plane, 0.0), good)
        )
        smooth.append(np.where(weight > 0.9, total / np.maximum(weight, 0.1), np.nan))
    gradients = np.stack([0.5 * (a + b) for a, b in zip(*map(np.gradient, smooth), strict=True)])[::-1]
    difference = smooth[0] - smooth[1]
    used = np.isfinite(difference) & np.isfinite(gradients).all(axis=0)
    slopes, rest = gradients[:, used], difference[used]
    if used.sum() < 9 or np.linalg.matrix_rank(slopes @ slopes.T) < 2:
        return np.nan, np.nan, np.nan
    inverse = np.linalg.inv(slopes @ slopes.T)
    x, y = (inverse @ (slopes @ rest)).tolist()
    rest = rest - np.array([x, y]) @ slopes
    together = 4 * np.pi * SMOOTHING_PIX**2  # pixels that share their noise
    return x, y, float(np.sqrt(rest.var() * together * np.diag(inverse).max()))
