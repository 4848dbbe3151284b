"""Sky of spectra from some of them: one spline through all their samples, each at its own wavelength.

Spectra that fall on the columns of a detector in different parts sample a line at different places, so together they
know it better than any one of them, and the spline gives each spectrum the sky as its own columns see it (Kelson 2003,
PASP 115, 688). A median of spectra that were put on one grid mixes the parts, and leaves a tenth of a line.
"""

from itertools import pairwise

import numpy as np
from scipy.interpolate import make_lsq_spline

from drs.errors import ReductionError
from drs.image import weigh

DEGREE = 3
KNOT_COLUMNS = 0.7  # between knots, where there are samples enough
LEAST_SAMPLES, LEAST_PLACES, END_PLACES = 5, 2, 4  # between knots; places of samples there, and at both ends
SAME_COLUMNS = 0.02  # closer samples are at one place
CLIP_SIGMA = 5.0
TURNS = 8


def model_sky(flux, error, dq, wavelength_um, blank):
    """Return the sky, float32, and its error, float32, (spectrum, column), as every spectrum sees it.

    Parameters
    ----------
    flux, error : ndarray, float32, (spectrum, column)
        Per column; NaN where there is none.
    dq : ndarray, uint32, (spectrum, column)
    wavelength_um : ndarray, float64, (spectrum, column)
        Of the centres of the columns.
    blank : ndarray, bool, (spectrum, column)
        Samples of the sky alone.

    Returns
    -------
    sky, error : ndarray, float32, (spectrum, column)
        NaN beyond the wavelengths of the blank samples.

    Raises
    ------
    ReductionError
        Too few blank samples.
    """
    width = np.abs(np.gradient(wavelength_um, axis=1))
    density, sigma = flux / width, error / width
    usable, weight = weigh(density, sigma, dq)
    used = usable & blank & np.isfinite(wavelength_um)
    order = np.argsort(wavelength_um[used], kind="stable")
    x, y, w = (np.asarray(plane[used][order], np.float64) for plane in (wavelength_um, density, weight))
    column_um = float(np.nanmedian(width))
    inner = _place_knots(x, column_um)
    kept = np.ones(x.size, bool)
    for _ in range(TURNS):
        knots = np.concatenate([[x[kept][0]] * (DEGREE + 1), inner, [x[kept][-1]] * (DEGREE + 1)])
        try:
            spline = make_lsq_spline(x[kept], y[kept], knots, DEGREE, w=np.sqrt(w[kept]))
        except (np.linalg.LinAlgError, ValueError) as error_:
            raise ReductionError(
                f"no sky can be seen in {kept.sum()} blank samples ({error_}): raise extract_cube: blank_fraction"
            ) from error_
        new = _keep(x, np.abs(y - spline(x)) * np.sqrt(w), inner)
        if (new == kept).all():
            break
        kept = new
    ends = x[kept][0], x[kept][-1]
    inside = (wavelength_um > ends[0] - column_um) & (wavelength_um < ends[1] + column_um)
    near = np.clip(np.where(inside, wavelength_um, ends[0]), *ends)  # a spline means nothing beyond its ends
    information = np.bincount(np.searchsorted(inner, x[kept]), w[kept], minlength=inner.size + 1)
    noise = width * information[np.searchsorted(inner, near)] ** -0.5
    return tuple(np.where(inside, plane, np.nan).astype(np.float32) for plane in (width * spline(near), noise))


def _place_knots(x, column_um):
    """Return inner knots at least a part of a column apart, each stretch with enough samples at different places.

    Spectra that fall on the columns alike sample the sky at the same places, however many they are.
    """
    if x.size < 4 * LEAST_SAMPLES:
        raise ReductionError(f"{x.size} blank samples, too few to see the sky by: raise extract_cube: blank_fraction")
    starts = np.flatnonzero(np.diff(x, prepend=-np.inf) > SAME_COLUMNS * column_um)  # of the different places
    knots, first = [], 0
    for k in range(END_PLACES, starts.size - END_PLACES + 1):
        apart = x[starts[k]] - (knots[-1] if knots else x[0]) >= KNOT_COLUMNS * column_um
        if apart and k - first >= LEAST_PLACES and starts[k] - starts[first] >= LEAST_SAMPLES:
            knots.append((x[starts[k]] + x[starts[k] - 1]) / 2)
            first = k
    return np.array(knots)


def _keep(x, away, inner):
    """Return which samples are kept, by their distance from the spline in errors: of 5, or of 5 times the local median.

    A hit pulls the spline away from its neighbours: all of them are far then, and it is the farthest.
    """
    edges = [0, *np.searchsorted(x, inner), x.size]
    kept = np.ones(x.size, bool)
    for first, last in pairwise(edges):
        own = away[first:last]
        kept[first:last] = own < CLIP_SIGMA * max(1.0, float(np.median(own)) if own.size else 1.0)
    return kept
