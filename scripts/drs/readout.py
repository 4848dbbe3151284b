"""From raw flats and darks to the sums of photon transfer, band by band."""

import numpy as np

from drs.dq import Flag
from drs.errors import ReductionError
from drs.photon_transfer import Noise, measure_differences, measure_noise, stack_bands
from drs.rawset import check_light, group_equal, measure_rates, read_linear

BAD = np.uint32(Flag.DO_NOT_USE | Flag.NON_SCIENCE | Flag.REFERENCE_PIXEL | Flag.HOT | Flag.DEAD | Flag.TELEGRAPH)
LEVEL_TOLERANCE = 0.1  # equal flats: their levels are scaled to each other, their noise is not


def find_good(maps, rows):
    """Return the pixels of some rows that see light and are not flagged."""
    return maps.rows(rows.start, rows.stop).dq & BAD == 0


def check_flats(flats, maps, *, minimum_signal_dn, maximum_saturated):
    """Return the rate of each flat, DN/s; refuse flats without light, or with too much of it.

    Parameters
    ----------
    flats : drs.rawset.RampSet
    maps : drs.detector.ReferenceMaps
    minimum_signal_dn, maximum_saturated : float
    """
    rows = flats.bands()[len(flats.bands()) // 2]
    part, good = maps.rows(rows.start, rows.stop), find_good(maps, rows)
    if not good.any():
        raise ReductionError("no good pixel in the middle of the detector; give another dq reference")
    rates = measure_rates(flats.ramps, good, rows)
    signals = [rate * float(np.ptp(ramp.times_s[0])) for rate, ramp in zip(rates, flats.ramps, strict=True)]
    saturated = [
        float((r.read_rows(rows.start, rows.stop)[0, 1] >= part.saturation_dn)[good].mean()) for r in flats.ramps
    ]
    limits = {"minimum_signal_dn": minimum_signal_dn, "maximum_saturated": maximum_saturated}
    check_light(flats.names, signals, saturated, **limits)
    return rates


def check_dark(darks, maps, *, maximum_rate_dn_per_s):
    """Refuse darks with light on them, naming all."""
    rows = darks.bands()[len(darks.bands()) // 2]
    rates = measure_rates(darks.ramps, find_good(maps, rows), rows)
    lit = [f"{n} {r:.4g}" for n, r in zip(darks.names, rates, strict=True) if r > maximum_rate_dn_per_s]
    if lit:
        raise ReductionError(
            f"median rate of darks in DN/s: {', '.join(lit)}; expected at most {maximum_rate_dn_per_s}: is light on "
            "them? Exclude these exposures in exposures.yaml"
        )
    short = [name for name, ramp in zip(darks.names, darks.ramps, strict=True) if ramp.shape[1] < 3]
    if short:
        raise ReductionError(f"{', '.join(short)}: fewer than 3 reads; the read noise needs darks of 3 or more")


def measure_dark_noise(darks, maps, *, n_channel, gain_e_per_dn):
    """Return (Noise of a read in DN, good pixels) of the whole detector.

    Parameters
    ----------
    darks : drs.rawset.RampSet
    maps : drs.detector.ReferenceMaps
    n_channel : int
    gain_e_per_dn : float
        About: for the photon noise of the dark current.
    """
    parts, goods = [], []
    for rows in darks.bands():
        goods.append(find_good(maps, rows))
        ramps = [(ramp.read_rows(rows.start, rows.stop), ramp.times_s) for ramp in darks.ramps]
        parts.append(measure_noise(ramps, goods[-1], n_channel=n_channel, inverse_gain=1 / gain_e_per_dn))
    noise = Noise(*(np.concatenate([getattr(part, name) for part in parts]) for name in Noise._fields))
    return noise._replace(variance=noise.variance * darks.ramps[0].n_average), np.concatenate(goods)


def measure_transfer(flats, rates, maps, *, n_channel):
    """Return (sums of photon transfer, number of sets of equal ramps); refuse flats of which no two are equal.

    Parameters
    ----------
    flats : drs.rawset.RampSet
    rates : list of float
        Of `check_flats`.
    maps : drs.detector.ReferenceMaps
        With a gain of 1.
    n_channel : int
    """
    groups = group_equal(flats.ramps, rates, tolerance=LEVEL_TOLERANCE)
    groups = [group for group in groups if len(group) * flats.ramps[group[0]].shape[0] > 1]
    if not groups:
        listed = ", ".join(f"{n} {rate:.4g} DN/s" for n, rate in zip(flats.names, rates, strict=True))
        raise ReductionError(
            f"no two flats are equal in times and, to {LEVEL_TOLERANCE:.0%}, in light: {listed}; photon transfer needs "
            "sets of two or more"
        )
    levels = [rates[k] * float(flats.ramps[k].times_s[0, -1]) for group in groups for k in group]
    total = None
    for group in groups:
        ramps, parts = [flats.ramps[k] for k in group], []
        for rows in flats.bands():
            part = maps.rows(rows.start, rows.stop)
            signal, slope = read_linear(ramps, part, rows)
            good = part.dq & BAD == 0
            options = {"n_channel": n_channel, "middle_dn": max(levels) / 2}
            parts.append(measure_differences(signal, slope, good, **options))
        found = stack_bands(parts)
        total = found if total is None else total.plus(found)
    return total, len(groups)
