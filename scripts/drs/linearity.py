"""Saturation and non-linearity from ramps of light that fill the wells.

The signal x of a rate r obeys P(x_{i+1}) - P(x_i) = r (t_{i+1} - t_i) with P(x) = x + c_2 x^2 + ... , whose slope
is 1 where there is no signal: the rate is that of low signals (Hilbert 2014, JWST-STScI-003900; convention of the step
`nonlin`). Differences of neighbouring reads have independent photon noise (Brandt 2025 fits them too), and P is linear
in its coefficients, so both are solved for at once. The shape of P is that of the channel, where all pixels count;
each pixel has its own strength, shrunk by what its noise explains: a pixel's own full polynomial would be much noisier.
"""

from typing import NamedTuple

import numpy as np

from drs.channels import find_channels, measure_scatter, shrink_to_channels

SCALE_DN = 1e4  # signals are fitted in this unit: powers of DN lose digits
PLATEAU = 0.1  # of the first differences of reads: below, the well is full
MAX_STRENGTH = 5.0  # of the non-linearity of a pixel over that of its channel


class Plateau(NamedTuple):
    """Level at which pixels are full: `level_dn`, `error_dn` float32 (ny, nx), raw DN; NaN where none was reached."""

    level_dn: np.ndarray
    error_dn: np.ndarray


def measure_plateau(ramps_dn, bias_dn, *, ceiling_dn, minimum_signal_dn):
    """Return the level at which the reads of ramps stay.

    Parameters
    ----------
    ramps_dn : list of ndarray, (n_read, ny, nx)
        Raw reads of single groups, three or more.
    bias_dn : ndarray, (ny, nx)
    minimum_signal_dn : float
        No well is smaller: what stays below got no light.
    ceiling_dn : float
        End of the converter's range.

    Returns
    -------
    Plateau
    """
    levels = []
    for reads_dn in ramps_dn:
        reads = reads_dn.astype(np.float32)
        steps = np.diff(reads, axis=0)
        signal = reads[-1] - bias_dn
        typical = np.maximum(steps[:2].max(axis=0), signal / len(reads))  # the first reads may be full
        full = (steps[-1] < PLATEAU * typical) & (signal > minimum_signal_dn)
        level = np.where(reads[-1] >= ceiling_dn, np.float32(ceiling_dn), (reads[-1] + reads[-2]) / 2)
        levels.append(np.where(full | (reads[-1] >= ceiling_dn), level, np.float32(np.nan)))
    levels = np.stack(levels)
    known = np.isfinite(levels)
    n = known.sum(axis=0)
    centre = np.median(np.where(known, levels, np.inf), axis=0)  # infinite unless most ramps have it
    centre = np.where(np.isfinite(centre), centre, np.float32(np.nan))
    square = (np.where(known, levels - centre, 0) ** 2).sum(axis=0)
    error = np.sqrt(square / np.maximum(n - 1, 1) / np.maximum(n, 1) * np.pi / 2)
    return Plateau(centre.astype(np.float32), np.where(np.isfinite(centre), error, np.nan).astype(np.float32))


class Steps(NamedTuple):
    """Differences of the mean of ramps, less the part that a linear rate explains.

    `signal` (n_step, ny, nx): of x; `powers` (n_term, n_step, ny, nx): of x^2, x^3 ...; `use`; `number` (ny, nx) of
    differences in use; `rate` (ny, nx), in SCALE_DN per s.
    """

    signal: np.ndarray
    powers: np.ndarray
    use: np.ndarray
    number: np.ndarray
    rate: np.ndarray


def prepare_steps(signal_dn, times_s, *, order):
    """Return the Steps of equal ramps.

    Parameters
    ----------
    signal_dn : ndarray, float32, (n_ramp, n_read, ny, nx)
        Above the bias, NaN where a read is not usable.
    times_s : ndarray, (n_read,)
    order : int
        Of the polynomial, 2 or more.
    """
    x = signal_dn.mean(axis=0, dtype=np.float64) / SCALE_DN
    use = np.isfinite(x[1:]) & np.isfinite(x[:-1])
    span = np.diff(times_s)[:, np.newaxis, np.newaxis]
    square = (use * span**2).sum(axis=0)

    def difference(values):
        return np.where(use, values[1:] - values[:-1], 0.0)

    def project(values):
        slope = (values * span).sum(axis=0) / np.maximum(square, 1e-30)
        return np.where(use, values - slope * span, 0.0)

    powers = np.stack([project(difference(x**k)) for k in range(2, order + 1)])
    step = difference(x)
    first = np.where(use[0], step[0] / span[0], 0.0)
    return Steps(project(step), powers, use, use.sum(axis=0), first)


def sum_equations(steps, good, *, n_channel):
    """Return the normal equations of the polynomial of each channel, (n_channel, n_term, n_term + 1)."""
    channel, n_term = find_channels(good.shape[1], n_channel), len(steps.powers)
    use = good & (steps.number > n_term + 1)
    terms = np.concatenate([steps.powers, steps.signal[np.newaxis]]) * use
    equations = np.zeros((n_channel, n_term, n_term + 1))
    for k in range(n_channel):
        part = terms[..., channel == k].reshape(n_term + 1, -1)
        equations[k] = part[:-1] @ part.T
    return equations


def solve_shapes(equations):
    """Return the coefficients of each channel, (n_channel, n_term), of (x / SCALE_DN)^2 and on; 0 without pixels."""
    shapes = np.zeros(equations.shape[:2])
    for k, equation in enumerate(equations):
        if equation[:, :-1].trace() > 0:
            shapes[k] = -np.linalg.lstsq(equation[:, :-1], equation[:, -1], rcond=None)[0]
    return shapes


class Strength(NamedTuple):
    """Non-linearity of each pixel over that of its channel, (ny, nx), float64.

    `value`; `power`: inverse of its variance for a noise of 1; `square`: mean square of what is left, per degree of
    freedom; `rate`, in SCALE_DN per s, 0 where there is none; `number` of differences.
    """

    value: np.ndarray
    power: np.ndarray
    square: np.ndarray
    rate: np.ndarray
    number: np.ndarray


def fit_strength(steps, shapes):
    """Return the Strength of each pixel of a band for the shapes of its channels."""
    channel = find_channels(steps.rate.shape[1], len(shapes))
    model = np.einsum("kx,ksyx->syx", shapes[channel].T, steps.powers)
    power = (model * model).sum(axis=0)
    value = -(model * steps.signal).sum(axis=0) / np.maximum(power, 1e-30)
    rest = ((steps.signal + value * model) ** 2).sum(axis=0)
    free = np.maximum(steps.number - 2, 1)
    return Strength(value, power, rest / free, steps.rate, steps.number.astype(np.float64))


class Polynomial(NamedTuple):
    """Coefficients: `coefficients`, `errors` float32 (order + 1, ny, nx), DN; `unfit` bool; `chi_square` (ny, nx)."""

    coefficients: np.ndarray
    errors: np.ndarray
    unfit: np.ndarray
    chi_square: np.ndarray


def solve_polynomial(strength, shapes, good, full_dn, *, maximum_chi_square):
    """Return the polynomial of each pixel of the detector.

    Parameters
    ----------
    strength : Strength
        Of the whole detector.
    shapes : ndarray, (n_channel, n_term)
    good : ndarray, bool, (ny, nx)
        Pixels to learn from.
    full_dn : ndarray, (ny, nx)
        Signal up to which the polynomial has to grow, 0 where it is not known.
    maximum_chi_square : float
        Above, per degree of freedom, it does not describe a pixel.
    """
    n_channel, n_term = shapes.shape
    channel = find_channels(good.shape[1], n_channel)
    known = good & (full_dn > 0) & (strength.rate > 0) & (strength.number > n_term + 2) & (strength.power > 0)
    noise2 = np.zeros(good.shape)
    for k in range(n_channel):
        here = known & (channel == k)
        typical = measure_scatter(strength.square[here] / strength.rate[here])[0] if here.any() else np.nan
        noise2[:, channel == k] = (typical * strength.rate)[:, channel == k]
    with np.errstate(invalid="ignore", divide="ignore"):
        chi_square = np.where(known, strength.square / noise2, np.nan)
        variance = np.where(known, noise2 / strength.power, np.nan)
    calm = known & (chi_square <= maximum_chi_square)
    value, spread = shrink_to_channels(strength.value, variance, np.ones(n_channel), calm, n_channel=n_channel)
    spread2 = spread[channel] ** 2
    error = np.sqrt(np.where(calm, 1 / (1 / np.maximum(spread2, 1e-30) + 1 / variance), spread2))
    terms = (shapes[channel] / SCALE_DN ** np.arange(1, n_term + 1)).T[:, np.newaxis]
    coefficients, errors = np.zeros((n_term + 2, *good.shape)), np.zeros((n_term + 2, *good.shape))
    coefficients[1] = 1.0
    coefficients[2:], errors[2:] = value * terms, np.abs(error * terms)
    slope = sum(k * coefficients[k] * np.nan_to_num(full_dn) ** (k - 1) for k in range(1, n_term + 2))
    unfit = good & (~calm | ~(slope > 0) | (np.abs(value) > MAX_STRENGTH))
    return Polynomial(coefficients.astype(np.float32), errors.astype(np.float32), unfit, chi_square)
