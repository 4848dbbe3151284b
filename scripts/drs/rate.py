"""One exposure from reads to a rate image: the steps of Level 1 in their order, block by block, in bounded memory.

Two passes over the reads: one for the reference pixels, one for everything else. What reaches beyond a block is
met by a halo of rows (growth of saturation, neighbours of jumps), by a second look at the rows of snowballs, and, for
the photon noise, which depends on a pixel's surroundings, by a pass over the finished rates.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from drs.chain import STRONG, Chain, make_chain
from drs.dq import Flag
from drs.errors import ReductionError
from drs.jumps import SNOWBALL, Events, collect_events, mask_snowballs, snowball_rows, spread_jumps
from drs.ramp import Search, fit_ramp, refit_ramp
from drs.refpix import Offsets, ReferencePixels
from drs.region import is_subarray
from drs.seeing import find_poor_intervals
from drs.signal import calibrate_reads
from drs.variance import estimate_poisson_variance

PLANES = {"SCI": "f4", "ERR": "f4", "DQ": "u4", "VAR_POISSON": "f4", "VAR_RNOISE": "f4", "NREADS": "u2", "CHISQ": "f4"}
PHOTONS = "photon_factor"  # a plane that is not written
NOISE_ROWS = 120  # handled at a time for the photon noise
MAX_READS = 65535  # what NREADS can say
UNLIKE_NEIGHBOURS = np.uint32(Flag.DO_NOT_USE | Flag.HOT | Flag.DEAD | Flag.REFERENCE_PIXEL)
STEPS = ("dq_init", "saturation", "bias", "refpix", "nonlin", "gain", "jump", "fit_ramp")
NO_SNOWBALLS = np.empty(0, SNOWBALL)


class Settings(NamedTuple):
    """Parameters of Level 1; config/schema.yaml says what each means."""

    method: str
    n_coadd: int
    jump_threshold_sigma: float
    jump_flicker: float
    jump_neighbour_sigma: float
    large_jump_e: float
    after_jump_s: float
    snowball_minimum_pix: int
    snowball_growth: float
    saturation_grow_pix: int
    refpix_smoothing_rows: int
    noise_box_pix: int
    block_rows: int
    skipped: tuple

    @property
    def search(self):
        """The search for jumps; None where it is skipped."""
        if "jump" in self.skipped:
            return None
        return Search(self.jump_threshold_sigma, self.jump_flicker, self.jump_neighbour_sigma, self.large_jump_e)

    @property
    def halo(self):
        """Rows around a block on which its result depends."""
        return (0 if "saturation" in self.skipped else self.saturation_grow_pix) + (self.search is not None)


@dataclass(frozen=True)
class Reduction:
    """An exposure and all that its reduction needs.

    Attributes
    ----------
    exposure : drs.raw.Ramp
    maps : drs.detector.Maps
        Calibration of its pixels, by rows.
    chain : Chain
    offsets : Offsets or None
        Of the reference pixels.
    used : ndarray, bool, (n_group, n_read)
        The reads of the chain.
    settings : Settings
    """

    exposure: object
    maps: object
    chain: Chain
    offsets: Offsets | None
    used: np.ndarray
    settings: Settings

    def fit_block(self, rows, padded, reads_dn, snowballs=NO_SNOWBALLS):
        """Calibrate and fit the reads of `padded`.

        Parameters
        ----------
        rows, padded : slice
            Rows of the detector; the same with a halo.
        reads_dn : ndarray, (n_group, n_read, rows of `padded`, nx)
        snowballs : ndarray, SNOWBALL
            Events whose surroundings are left out.

        Returns
        -------
        fit : RampFit
            Of the rows `padded`, flags of the maps included; right for `rows`.
        members : ndarray
            Of extended jumps among `rows`.
        """
        signal, variance_e2 = self._calibrate(padded, reads_dn)
        settings, search = self.settings, self.settings.search
        options = {"method": settings.method, "n_coadd": settings.n_coadd, "search": search}
        fit = fit_ramp(signal.signal_e, self.chain, variance_e2, **options, chi_square=True)
        members = np.empty(0)
        if search is not None and fit.found.shape[0]:
            bad = signal.dq & np.uint32(Flag.DO_NOT_USE) != 0  # these jump by themselves
            fit.found[:, bad] &= ~STRONG
            onset = np.where(bad, np.int32(self.exposure.shape[1]), signal.onset)
            members = collect_events(fit.found, rows, onset, padded=padded)
            times_s, after_jump_s = self.exposure.times_s, settings.after_jump_s
            excluded, touched = spread_jumps(fit.found, times_s, after_jump_s=after_jump_s)
            if snowballs.size:
                chain_shape = (fit.found.shape[0], *self.exposure.shape[2:])
                masked = mask_snowballs(snowballs, padded, chain_shape, times_s, after_jump_s=after_jump_s)
                excluded, touched = excluded | masked, touched | masked.any(axis=0)
            pixels = np.nonzero(touched)
            again = refit_ramp(signal.signal_e, self.chain, variance_e2, fit.rate, excluded, pixels, **options)
            for whole, values in zip(fit[:-1], again[:-1], strict=True):
                whole[pixels] = values
        return _without_ramp(fit._replace(dq=fit.dq | signal.dq)), members

    def _calibrate(self, padded, reads_dn):
        """Return (Signal, variance of a read with the noise of the reference pixels' offsets) of some rows."""
        maps, offsets, settings = self.maps.rows(padded.start, padded.stop), {}, self.settings
        variance_e2 = maps.read_variance_e2
        if self.offsets is not None:
            offsets = {"column_dn": self.offsets.column_dn, "row_dn": self.offsets.row_dn[..., padded]}
            added_dn2 = self.chain.n_average * self.offsets.variance_dn2[self.used].mean(dtype=np.float32)
            variance_e2 = variance_e2 + added_dn2 * maps.gain_e_per_dn**2
        grow_pix = 0 if "saturation" in settings.skipped else settings.saturation_grow_pix
        return calibrate_reads(reads_dn, maps, **offsets, lead=self._lead(), grow_pix=grow_pix), variance_e2

    def _lead(self):
        """Return how much further the last one of the averaged reads is than their mean, in steps of stored reads."""
        half_s = (self.exposure.n_average - 1) / 2 * self.exposure.average_step_s
        return (half_s / np.diff(self.exposure.times_s, prepend=0.0)).astype(np.float32)


def find_gaps(exposure, start_mjd, seeing, maximum_arcsec):
    """Return which intervals to leave out for their seeing, and what the header says about the reads.

    Parameters
    ----------
    exposure : drs.raw.Ramp
    start_mjd : float
    seeing : drs.seeing.Seeing or None
    maximum_arcsec : float

    Returns
    -------
    poor : ndarray, bool, (n_group, n_read), or None
    notes : list of str
    """
    source, notes = exposure.times_source, []
    if source not in ("TIMES", "ITIME"):
        notes.append(f"times of the reads: none stated, made from {source}")
    notes += [f"left out: read {read + 1} of group {group + 1}" for group, read in np.argwhere(~exposure.usable)]
    if seeing is None:
        return None, notes
    poor, unknown = find_poor_intervals(exposure.times_s, start_mjd, seeing, maximum_arcsec=maximum_arcsec)
    within = np.s_[:, 1:]  # what came before the first read of a group is in no difference
    counts = f"{np.count_nonzero(poor[within])} intervals of {poor[within].size}"
    counts += f", {np.count_nonzero(unknown[within])} of unknown seeing kept"
    return poor, [*notes, f"left out for seeing above {maximum_arcsec} arcsec: {counts}"]


def prepare(exposure, maps, settings, *, poor, border_pix, n_channel):
    """Return the Reduction of an exposure; this is the pass for the reference pixels.

    Parameters
    ----------
    exposure : drs.raw.Ramp
    maps : drs.detector.Maps
    settings : Settings
    poor : ndarray, bool, (n_group, n_read), or None
        Intervals to leave out.
    border_pix : int
        Width of the border of reference pixels; 0 is no correction with them.
    n_channel : int
        Output channels.
    """
    offsets, used = None, exposure.usable
    if border_pix:
        readout = {"border_pix": border_pix, "n_channel": n_channel}
        pixels = ReferencePixels(exposure.shape, usable=exposure.usable, **readout)
        for rows, _, reads_dn in exposure.blocks(settings.block_rows):
            pixels.add(rows, reads_dn, maps.rows(rows.start, rows.stop))
        offsets = pixels.estimate(smoothing_rows=settings.refpix_smoothing_rows)
        used = used & offsets.present
    times = {"n_average": exposure.n_average, "average_step_s": exposure.average_step_s}
    chain = make_chain(exposure.times_s, usable=used, poor=poor, **times)
    return Reduction(exposure, maps, chain, offsets, used, settings)


def reduce_exposure(reduction, spool):
    """Fill the planes of a rate image.

    Parameters
    ----------
    reduction : Reduction
    spool : drs.planes.Spool
        With the planes PLANES and PHOTONS.

    Returns
    -------
    snowballs : ndarray, SNOWBALL
        Those that were masked.

    Raises
    ------
    ReductionError
        No pixel has a rate.
    """
    exposure, settings, events, n_rate = reduction.exposure, reduction.settings, Events(), 0
    for rows, padded, reads_dn in exposure.blocks(settings.block_rows, settings.halo):
        fit, members = reduction.fit_block(rows, padded, reads_dn)
        if members.size:
            events.add(members)
        n_rate += _write_fit(spool, fit, rows, padded)
    if not n_rate:
        raise ReductionError(_explain_no_rate(reduction))
    n_difference, image = exposure.times_s.size - 1, exposure.shape[2:]
    limits = {"minimum_pix": settings.snowball_minimum_pix, "growth": settings.snowball_growth}
    snowballs = NO_SNOWBALLS
    if settings.snowball_minimum_pix:
        snowballs = events.find_snowballs((n_difference, *image), **limits)
    for rows in find_runs(snowball_rows(snowballs, image[0]), exposure.count_rows(settings.block_rows, settings.halo)):
        padded = slice(max(rows.start - settings.halo, 0), min(rows.stop + settings.halo, image[0]))
        reads_dn = exposure.read_rows(padded.start, padded.stop)
        fit, _ = reduction.fit_block(rows, padded, reads_dn, snowballs)
        _write_fit(spool, fit, rows, padded)
    _add_photon_noise(spool, image[0], settings.noise_box_pix)
    return snowballs


def explain_no_offsets(keywords, border_pix):
    """Return why an exposure has no border of reference pixels to correct with; None where it has."""
    if is_subarray(keywords):
        return "reference pixels are used in full frames only"
    return None if border_pix else "a border of 0 reference pixels was stated"


def describe_steps(reduction, no_offsets):
    """Return (step, why it was skipped or None, its parameters) of every step, for the header.

    Parameters
    ----------
    reduction : Reduction
    no_offsets : str or None
        Why there are no reference pixels to correct with, where there are none.
    """
    settings, chain = reduction.settings, reduction.chain
    reasons = dict.fromkeys(settings.skipped, "by configuration")
    if "gain" in reasons:
        reasons["gain"] = "by configuration, 1 electron/DN assumed"
    if no_offsets:
        reasons.setdefault("refpix", no_offsets)
    if np.count_nonzero(chain.live) < 2:
        reasons.setdefault("jump", "one difference of reads shows no jump")
    names = {
        "saturation": ("saturation_grow_pix",),
        "refpix": ("refpix_smoothing_rows",),
        "jump": ("jump_threshold_sigma", "jump_flicker", "jump_neighbour_sigma", "large_jump_e", "after_jump_s"),
        "fit_ramp": ("method", "n_coadd", "noise_box_pix"),
    }
    steps = []
    for step in STEPS:
        parameters = {name: getattr(settings, name) for name in names.get(step, ())}
        if step == "jump" and settings.snowball_minimum_pix:
            parameters |= {name: getattr(settings, name) for name in ("snowball_minimum_pix", "snowball_growth")}
        steps.append((step, reasons.get(step), {} if step in reasons else parameters))
    return steps


def _write_fit(spool, fit, rows, padded):
    """Write the result for `rows`; return how many pixels have a rate."""
    part = slice(rows.start - padded.start, rows.stop - padded.start)
    arrays = {"SCI": fit.rate, "VAR_RNOISE": fit.var_rnoise, PHOTONS: fit.photon_factor, "DQ": fit.dq}
    arrays |= {"CHISQ": fit.chi_square, "NREADS": np.minimum(fit.n_reads, MAX_READS).astype(np.uint16)}
    for name, array in arrays.items():
        spool.write(name, rows, array[part])
    return np.count_nonzero(np.isfinite(fit.rate[part]))


def _without_ramp(fit):
    """Return a fit without values where there is no ramp of the sky: reference pixels, guide windows."""
    nowhere = fit.dq & np.uint32(Flag.NON_SCIENCE) != 0
    if not nowhere.any():
        return fit
    dq = np.where(nowhere, fit.dq & ~np.uint32(Flag.JUMP_DET | Flag.SATURATED), fit.dq)
    names = ("rate", "var_rnoise", "photon_factor", "chi_square")
    values = {name: np.where(nowhere, np.float32(np.nan), getattr(fit, name)) for name in names}
    return fit._replace(**values, dq=dq, n_reads=np.where(nowhere, 0, fit.n_reads))


def _explain_no_rate(reduction):
    """Return why no pixel has a rate, and what to do."""
    chain, n_left = reduction.chain, np.count_nonzero(reduction.chain.live)
    if n_left == 0:
        n_read = reduction.exposure.times_s.size
        return (
            f"no interval between two reads is left: {chain.times.size} of {n_read} reads are used, the intervals "
            "between them were left out; take some back (drop_reads, seeing_maximum_arcsec), or exclude the exposure"
        )
    return (
        f"no pixel has a rate from {chain.times.size} reads: all are saturated before their second read, or flagged; "
        "exclude the exposure in exposures.yaml, or correct the saturation or dq reference"
    )


def exposure_keywords(reduction):
    """Return EXPTIME and TOTTIME of what was not left out, s: the intervals of all ramps, and their mean."""
    chain = reduction.chain
    total_s = float(np.diff(chain.times)[chain.live].sum())
    return {"EXPTIME": total_s / chain.shape[0], "TOTTIME": total_s}


def _add_photon_noise(spool, ny, box_pix):
    """Write VAR_POISSON and ERR, from the rates of each pixel and its surroundings."""
    step = max(NOISE_ROWS // box_pix, 1) * box_pix
    for start in range(0, ny, step):
        rows = slice(start, min(start + step, ny))
        padded = slice(max(rows.start - box_pix, 0), min(rows.stop + box_pix, ny))
        part = slice(rows.start - padded.start, rows.stop - padded.start)
        rate, photons, var_rnoise, dq = (spool.read(name, padded) for name in ("SCI", PHOTONS, "VAR_RNOISE", "DQ"))
        excluded = dq & UNLIKE_NEIGHBOURS != 0
        var_poisson = estimate_poisson_variance(rate, photons, var_rnoise, excluded, box_pix=box_pix)[part]
        spool.write("VAR_POISSON", rows, var_poisson)
        spool.write("ERR", rows, np.sqrt(var_poisson + var_rnoise[part]))


def find_runs(touched, block_rows):
    """Return slices of at most `block_rows` rows that hold all rows where `touched` (bool, (ny,)) is True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], touched, [False]]).astype(np.int8)))
    runs = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        steps = [*range(int(start), int(stop), block_rows), int(stop)]
        runs += [slice(*pair) for pair in pairwise(steps)]
    return runs
