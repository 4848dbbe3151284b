"""From raw flats, darks and bias frames to what the detector's calibrations are solved from, band by band."""

from typing import NamedTuple

import numpy as np

from drs.channels import measure_scatter, remove_offsets
from drs.dq import Flag
from drs.errors import ReductionError
from drs.linearity import Strength, fit_strength, prepare_steps, sum_equations
from drs.photon_transfer import Noise, measure_differences, measure_noise, stack_bands
from drs.rawset import check_light, group_equal, measure_rates, read_linear
from drs.refpix import ReferencePixels

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


def check_dark(darks, maps, *, maximum_rate_dn_per_s, n_read=3):
    """Refuse darks with light on them, naming all."""
    check_reads(darks, minimum=2)
    rows = darks.bands()[len(darks.bands()) // 2]
    rates = measure_rates(darks.ramps, find_good(maps, rows), rows)
    lit = [f"{n} {r:.4g}" for n, r in zip(darks.names, rates, strict=True) if r > maximum_rate_dn_per_s]
    if lit:
        raise ReductionError(
            f"median rate of darks in DN/s: {', '.join(lit)}; expected at most {maximum_rate_dn_per_s}: is light on "
            "them? Exclude these exposures in exposures.yaml"
        )
    check_reads(darks, minimum=n_read)


def check_reads(exposures, *, minimum):
    """Refuse exposures with too few reads, naming all."""
    pairs = zip(exposures.names, exposures.ramps, strict=True)
    if short := [f"{name} {ramp.shape[1]}" for name, ramp in pairs if ramp.shape[1] < minimum]:
        raise ReductionError(f"reads of a ramp: {', '.join(short)}; {minimum} or more are needed: exclude these")


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


def read_levels(ramps, good, rows, *, n_channel):
    """Return the level after each reset, (n, n_row, nx), and the part of its variance that the noise of reads makes.

    The level is the mean of the reads: of bias frames, in which nothing is collected.
    """
    levels, noise_dn2 = [], []
    for ramp in ramps:
        for reads in ramp.read_rows(rows.start, rows.stop).astype(np.float32):
            levels.append(reads.mean(axis=0))
            step = np.diff(reads[:2], axis=0)
            cleaned, share = remove_offsets(step - np.median(step[:, good]), good[np.newaxis], n_channel=n_channel)
            if good.any():
                noise_dn2.append(measure_scatter(cleaned[0][good])[1] ** 2 / share[0] / 2 / len(reads))
    return np.stack(levels), float(np.mean(noise_dn2)) if noise_dn2 else np.nan


def check_early(ramps_dn, level_dn, good, *, limit):
    """Refuse ramps of which too many pixels are full in the second read already."""
    full = [float((reads[1] >= 0.98 * level_dn)[good].mean()) if good.any() else 0.0 for reads in ramps_dn]
    if max(full) > limit:
        raise ReductionError(
            f"{max(full):.2f} of the pixels are full in the second read of a flat, expected at most {limit}: take them "
            "with less light"
        )


class FlatSet(NamedTuple):
    """Flat ramps of equal times, with the offsets of their reference pixels (or None), and all their bands."""

    ramps: list
    offsets: list | None
    bands: list

    def count(self):
        """Return the number of ramps, groups counted."""
        return sum(ramp.shape[0] for ramp in self.ramps)


def find_equal(flats, rates, maps, *, border_pix, n_channel):
    """Return the largest FlatSet of flats that are equal in times and light."""
    groups = group_equal(flats.ramps, rates, tolerance=LEVEL_TOLERANCE)
    ramps = [flats.ramps[k] for k in max(groups, key=len)]
    if not border_pix:
        return FlatSet(ramps, None, flats.bands())
    offsets = []
    for ramp in ramps:
        pixels = ReferencePixels(ramp.shape, usable=ramp.usable, border_pix=border_pix, n_channel=n_channel)
        for rows in flats.bands():
            pixels.add(rows, ramp.read_rows(rows.start, rows.stop), maps.rows(rows.start, rows.stop))
        offsets.append(pixels.estimate(smoothing_rows=1))
    return FlatSet(ramps, offsets, flats.bands())


def _prepare(flat_set, maps, rows, order):
    """Return (Steps, good pixels, signal of saturation) of a band."""
    part = maps.rows(rows.start, rows.stop)
    signal, _ = read_linear(flat_set.ramps, part, rows, flat_set.offsets)
    steps = prepare_steps(signal, flat_set.ramps[0].times_s[0], order=order)
    return steps, part.dq & BAD == 0, part.saturation_dn - part.bias_dn


def sum_linearity(flat_set, maps, *, order, n_channel):
    """Return the normal equations of each channel's polynomial (`drs.linearity.sum_equations`)."""
    total = 0
    for rows in flat_set.bands:
        steps, good, _ = _prepare(flat_set, maps, rows, order)
        total = total + sum_equations(steps, good, n_channel=n_channel)
    return total


def fit_linearity(flat_set, maps, shapes):
    """Return (Strength, good pixels, signal of saturation in DN) of the whole detector."""
    parts, goods, full = [], [], []
    for rows in flat_set.bands:
        steps, good, full_dn = _prepare(flat_set, maps, rows, shapes.shape[1] + 1)
        parts.append(fit_strength(steps, shapes))
        goods.append(good)
        full.append(np.where(np.isfinite(full_dn), full_dn, 0.0))
    strength = Strength(*(np.concatenate([getattr(part, name) for part in parts]) for name in Strength._fields))
    return strength, np.concatenate(goods), np.concatenate(full)
