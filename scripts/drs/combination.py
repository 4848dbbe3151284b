"""Images of one field become a mosaic, band by band of its rows, in memory that does not grow with the mosaic.

Images put onto the mosaic's pixels (`exact`, `drizzle`) take two passes: the median of all, then each image with that
median in place of bad pixels and of what differs from it. Shifted images (`shift`) take one.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from drs.blotting import blot, estimate_lost, find_outliers
from drs.clipping import clip_frames, find_median
from drs.dq import Flag
from drs.drizzling import drizzle_rows
from drs.errors import ReductionError
from drs.pixelmap import PixelMap, find_rows, locate_centres, locate_rows

PLANES = {"SCI": "f4", "ERR": "f4", "DQ": "u4", "WHT": "f4", "CON": "u2", "EXP": "f4"}
WORKING = {"median": "f4", "correlation": "f4"}  # planes that are not written
UNITS = {"SCI": "electron/s", "ERR": "electron/s", "WHT": "s", "EXP": "s"}
METHODS = ("exact", "drizzle", "shift")
MINIMUM_COVERAGE = 0.9  # of an output pixel by good pixels; with less, a steep profile is filled in from one side
SLIVER = 1e-6  # what rounding leaves of a drop beside the edge of an output pixel
MINIMUM_FRAMES = 3  # of two that differ, none is known to be wrong
HALO = 2  # rows of an image around those used: neighbours of outliers and their derivative
LOST = np.uint32(Flag.DO_NOT_USE)  # among the flags of pixels that are used: what stands in for a pixel
STACK_BYTES = 1 << 27
SAMPLE_ROWS = 16
MAX_TURN_PIX = 1.0


class Settings(NamedTuple):
    """Parameters of a combination; config/schema.yaml says what each means."""

    method: str
    kernel: str
    pixfrac: float
    statistic: str
    clip: str
    clip_sigma: float
    clip_gradient: float
    clip_neighbour_sigma: float


@dataclass(frozen=True)
class Member:
    """One image of a combination.

    Attributes
    ----------
    planes : dict
        SCI, ERR and DQ: Planes, or arrays of their interface (`read(rows)`).
    pixelmap : PixelMap
        Of its pixels on the mosaic.
    time_s : float
        Exposure time, the weight of its pixels. Not that of the intervals that a pixel used: the core of a star that
        falls on the middle of a pixel saturates sooner, and a weight that falls with the signal makes stars faint.
    variance_floor : float
        Smallest variance that counts in the rejection.
    excluded : int
        Flags of pixels that are not used, DO_NOT_USE among them.
    """

    planes: dict
    pixelmap: PixelMap
    time_s: float
    variance_floor: float = 0.0
    excluded: int = int(Flag.DO_NOT_USE)

    def read(self, rows):
        """Return values, variance, time in s (0: not usable) and flags of some rows."""
        values, error, dq = (self.planes[name].read(rows) for name in ("SCI", "ERR", "DQ"))
        usable = (dq & np.uint32(self.excluded) == 0) & np.isfinite(values) & np.isfinite(error) & (error > 0)
        time_s = np.where(usable, np.float32(self.time_s), np.float32(0))
        flags = np.where(usable, dq, np.uint32(0))
        return np.where(usable, values, np.float32(0)), np.where(usable, error**2, np.float32(0)), time_s, flags


def open_member(planes, pixelmap, time_s, excluded=0):
    """Return a member after a look at every 16th row; None without a usable pixel. `excluded`: flags besides."""
    member = Member(planes, pixelmap, float(time_s), excluded=int(excluded) | int(Flag.DO_NOT_USE))
    variance = []
    for row in range(0, pixelmap.shape[0], SAMPLE_ROWS):
        rows = slice(row, row + 1)
        _, noise, time, _ = member.read(rows)
        variance.append(noise[time > 0])
    variance = np.concatenate(variance)
    if not variance.size and not _has_any(member):
        return None
    floor = float(np.median(variance)) if variance.size else 0.0
    return replace(member, variance_floor=floor)


def _has_any(member):
    """Say whether a member has a usable pixel."""
    return any((member.read(slice(row, row + 1))[2] > 0).any() for row in range(member.pixelmap.shape[0]))


def combine(members, shape, settings, spool, *, tile_rows=None):
    """Fill the planes of a mosaic.

    Parameters
    ----------
    members : list of Member
    shape : tuple
        (ny, nx) of the mosaic.
    settings : Settings
    spool : drs.planes.Spool
        With PLANES and WORKING of this shape; filled.
    tile_rows : int, optional
        Rows of the mosaic at a time; by default what 128 MiB hold. The result is the same.

    Returns
    -------
    correlation : float
        Noise of wide apertures over what the errors of single pixels give when taken as independent.
    n_rejected : int
        Pixels of all images that were rejected.
    """
    planes = 1 if settings.method != "shift" else 4
    fitting = STACK_BYTES // (4 * planes * len(members) * shape[1])
    step = tile_rows or int(min(max(fitting, 16), 256))
    bands = [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]
    if settings.method == "shift":
        shifts = [_find_shift(member) for member in members]
        return 1.0, sum(_shift_band(members, shifts, band, shape, settings, spool) for band in bands)
    judged = len(members) >= MINIMUM_FRAMES
    for band in bands if judged else ():
        spool.write("median", band, _find_band_median(members, band, shape, settings))
    n_rejected = sum(_combine_band(members, band, shape, settings, spool, judged) for band in bands)
    return _measure_correlation(spool, shape), n_rejected


def _spread(frame, member, start, band, shape, settings):
    """Return the sums and flags of rows of a member (from `start` on) in a band; too little coverage counts nothing."""
    *planes, flags = frame
    window = (start, band.start, band.stop - band.start, shape[1])
    exact = settings.method == "exact"
    kernel, pixfrac = ("square", 1.0) if exact else (settings.kernel, settings.pixfrac)
    sums, dq = drizzle_rows(planes, member.pixelmap, window, kernel=kernel, pixfrac=pixfrac, flags=flags)
    sums *= sums[4] > (MINIMUM_COVERAGE if exact else SLIVER)
    return sums, dq


def _find_band_median(members, band, shape, settings):
    """Return the median of all members in a band, NaN where fewer than three have a value."""
    values = np.full((len(members), band.stop - band.start, shape[1]), np.nan, np.float32)
    no_flags = np.empty((0, 0), np.uint32)
    settings = settings._replace(method="exact")
    for k, member in enumerate(members):
        rows = find_rows(member.pixelmap, band.start, band.stop)
        if rows.stop > rows.start:
            *frame, _ = member.read(rows)
            sums, _ = _spread((*frame, no_flags), member, rows.start, band, shape, settings)
            with np.errstate(invalid="ignore"):
                values[k] = sums[0] / sums[1]
    return find_median(values, MINIMUM_FRAMES)


def _read_clean(member, rows, shape, settings, spool, n_frame):
    """Return some rows of a member, values, variance, time and flags, with the median in place of what is lost."""
    n_row = member.pixelmap.shape[0]
    wide = slice(max(rows.start - HALO, 0), min(rows.stop + HALO, n_row))
    values, variance, time_s, flags = member.read(wide)
    places = locate_rows(member.pixelmap, wide)
    low = min(max(int(np.floor(places[1].min())) - 2, 0), shape[0])
    high = max(min(int(np.ceil(places[1].max())) + 4, shape[0]), low)
    if high == low:
        median = np.full(values.shape, np.nan, np.float32), np.ones(values.shape, bool)
    else:
        median = blot(spool.read("median", slice(low, high)), places, low)
    floored = np.maximum(variance, np.float32(member.variance_floor))
    limits = {"clip_sigma": settings.clip_sigma, "clip_gradient": settings.clip_gradient}
    outlier = find_outliers(
        (values, floored, time_s > 0), median, **limits, neighbour_sigma=settings.clip_neighbour_sigma
    )
    time_s[outlier], flags[outlier] = 0, np.uint32(Flag.OUTLIER)
    # images whose pixels saturate are the brighter ones: the others say too little
    lost = (time_s == 0) & (member.planes["DQ"].read(wide) & np.uint32(Flag.SATURATED) == 0)
    filled, noise2, estimated = estimate_lost(median, lost, noise2=member.variance_floor, n_frame=n_frame)
    values[estimated], variance[estimated] = filled[estimated], noise2[estimated]
    time_s[estimated] = member.time_s
    flags[estimated] |= LOST | np.uint32(Flag.FLUX_ESTIMATED)
    part = slice(rows.start - wide.start, rows.stop - wide.start)
    return [plane[part] for plane in (values, variance, time_s, flags)]


def _combine_band(members, band, shape, settings, spool, judged):
    """Fill a band of the mosaic; return how many marks of outliers fell there."""
    size = (band.stop - band.start, shape[1])
    total, seen, time_s = np.zeros((4, *size)), np.zeros(size), np.zeros(size)
    n_used, dq = np.zeros(size, np.uint16), np.zeros(size, np.uint32)
    n_rejected = 0
    for member in members:
        rows = find_rows(member.pixelmap, band.start, band.stop)
        if rows.stop == rows.start:
            continue
        frame = _read_clean(member, rows, shape, settings, spool, len(members)) if judged else member.read(rows)
        sums, flags = _spread(frame, member, rows.start, band, shape, settings)
        total += sums[:4]
        used = (sums[1] > 0) & (flags & LOST == 0)
        n_used += used
        seen += np.where(used, sums[1], 0)
        time_s += np.divide(sums[1], sums[4], out=np.zeros(size), where=used)
        dq |= flags & ~LOST
        n_rejected += np.count_nonzero(flags & np.uint32(Flag.OUTLIER))
    signal, weight, variance, aperture_variance = total
    empty = weight == 0
    weight[empty] = np.nan
    dq[empty] |= np.uint32(Flag.DO_NOT_USE)
    made = {"SCI": signal / weight, "ERR": np.sqrt(variance) / weight, "DQ": dq, "CON": n_used, "EXP": time_s}
    made |= {"WHT": seen, "correlation": aperture_variance / np.where(empty, np.nan, variance)}
    for name, array in made.items():
        spool.write(name, band, array.astype({**PLANES, **WORKING}[name], copy=False))
    return n_rejected


def _measure_correlation(spool, shape):
    """Return the root of the median ratio of the variance of wide apertures to that of independent pixels.

    Resampling shares an input pixel between output pixels: their errors shrink, their sum's does not (Casertano et
    al. 2000, AJ 120, 2747, appendix; 1.5 for many random dithers of whole pixels).
    """
    ratio = [spool.read("correlation", slice(row, row + 1)) for row in range(0, shape[0], 1 + shape[0] // 512)]
    ratio = np.concatenate(ratio)
    ratio = ratio[np.isfinite(ratio)]
    return float(max(np.sqrt(np.median(ratio)), 1.0)) if ratio.size else 1.0


def _find_shift(member):
    """Return the whole pixels (x, y) by which a member is shifted; refuse one that is turned or stretched."""
    ny, nx = member.pixelmap.shape
    x, y = np.array([(nx - 1) / 2, 0, nx - 1, 0, nx - 1]), np.array([(ny - 1) / 2, 0, 0, ny - 1, ny - 1])
    moved = locate_centres(member.pixelmap, x, y) - [x, y]
    turn = np.abs(moved - moved[:, :1]).max()
    if turn > MAX_TURN_PIX:
        raise ReductionError(
            f"an image is turned or distorted by {turn:.1f} pixels at its edge against the mosaic, at most "
            f"{MAX_TURN_PIX:.0f} can be shifted by whole pixels; use combine_images: {{method: exact}}"
        )
    return tuple(int(np.rint(shift)) for shift in moved[:, 0])


def _shift_band(members, shifts, band, shape, settings, spool):
    """Fill a band of the mosaic with shifted members; return how many of their pixels were rejected."""
    wide = slice(max(band.start - 1, 0), min(band.stop + 1, shape[0]))  # the steepness needs the neighbours
    size = (len(members), wide.stop - wide.start, shape[1])
    values, variance, time_s, flags = (np.zeros(size, dtype) for dtype in ("f4", "f4", "f4", "u4"))
    for k, (member, (dx, dy)) in enumerate(zip(members, shifts, strict=True)):
        ny, nx = member.pixelmap.shape
        rows = slice(min(max(wide.start - dy, 0), ny), max(min(wide.stop - dy, ny), 0))
        left, right = max(dx, 0), min(nx + dx, shape[1])
        if rows.stop <= rows.start or right <= left:
            continue
        part = (k, slice(rows.start + dy - wide.start, rows.stop + dy - wide.start), slice(left, right))
        for target, plane in zip((values, variance, time_s, flags), member.read(rows), strict=True):
            target[part] = plane[:, left - dx : right - dx]
    options = {"clip_sigma": settings.clip_sigma, "clip_gradient": settings.clip_gradient}
    clipped = clip_frames(values, variance, time_s, statistic=settings.statistic, scale=settings.clip, **options)
    flags[clipped.rejected] = np.uint32(Flag.OUTLIER)
    dq = np.bitwise_or.reduce(flags, axis=0)
    dq[clipped.n_used == 0] |= np.uint32(Flag.DO_NOT_USE)
    made = {"SCI": clipped.value, "ERR": np.sqrt(clipped.variance), "DQ": dq, "CON": clipped.n_used}
    made |= {"WHT": clipped.weight, "EXP": clipped.weight}
    inner = slice(band.start - wide.start, band.stop - wide.start)
    for name, array in made.items():
        spool.write(name, band, np.ascontiguousarray(array[inner]))
    return int(np.count_nonzero(clipped.rejected[:, inner]))
