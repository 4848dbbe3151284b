"""What jumps do around themselves: charge in neighbours, transients after large ones, and snowballs.

All arrays run over the differences between successive reads of a ramp, the groups in one chain: difference d lies
between reads d and d + 1 of the chain, n_difference = n_group n_read - 1; those across a reset never hold a jump.

The rules are those of JWST's jump step, of which the instruments' users know the parameters (jump step of the JWST
pipeline's documentation; Regan 2024, JWST-STScI-008545): the four neighbours of a strong jump have got charge by
diffusion and capacitive coupling; after a large one there are transients for some time; a snowball, an extended event
with a saturated or strongly hit core, has a halo below the threshold, masked by a circle grown from its members.
"""

import logging

import numpy as np
from numba import njit

from drs.chain import LARGE, STRONG

MIN_NEIGHBOURS = 3  # of 8, in the same difference, for a pixel to belong to an extended event
RING = 2.0  # strong members per root of the saturating ones; a full ring around a core has 2 sqrt(pi) = 3.5
MAX_MEMBERS = 300_000
MEMBER = np.dtype([("DIFFERENCE", "i4"), ("Y", "i4"), ("X", "i4"), ("STRONG", "?")])
SNOWBALL = np.dtype([("DIFFERENCE", "i4"), ("Y", "f8"), ("X", "f8"), ("RADIUS_PIX", "f8")])

logger = logging.getLogger(__name__)


def spread_jumps(found, times_s, *, after_jump_s):
    """Return which differences jumps make unusable.

    These are the jumps, the four neighbours of STRONG ones in the same difference, and after LARGE ones the
    differences of the same pixel and group that end within `after_jump_s` of the read that ends the jump's
    difference (the jump came before it). Complete for the rows that have one more row at each side, or none there.

    Parameters
    ----------
    found : ndarray, uint8, (n_difference, ny, nx)
        Bits JUMP, STRONG, LARGE of each difference.
    times_s : ndarray, float64, (n_group, n_read)
        Times of the reads since the reset of their group.
    after_jump_s : float
        Duration of the transients.

    Returns
    -------
    excluded : ndarray, bool, (n_difference, ny, nx)
    touched : ndarray, bool, (ny, nx)
        True where a difference is excluded that holds no jump itself.
    """
    stops = _find_stops(found.shape, times_s, after_jump_s)
    excluded, touched = np.zeros(found.shape, np.bool_), np.zeros(found.shape[1:], np.bool_)
    found = np.ascontiguousarray(found)
    _spread_kernel(found, _as_words(found), stops, excluded, touched)
    return excluded, touched


def _find_stops(shape, times_s, after_jump_s):
    """Return, for a jump in each difference, the first later difference that is not excluded by it, int64."""
    n_group, n_read = times_s.shape
    if len(shape) != 3 or shape[0] != n_group * n_read - 1:
        raise ValueError(f"{shape[0]} differences do not fit {n_group} groups of {n_read} reads")
    stops = np.empty(shape[0], np.int64)
    for difference in range(shape[0]):
        group, read = divmod(difference + 1, n_read)  # the read that ends the difference
        n_after = np.count_nonzero(times_s[group, read + 1 :] - times_s[group, read] <= after_jump_s)
        stops[difference] = difference + 1 + n_after
    return stops


def _as_words(array):
    """Return the bytes of a contiguous array as uint64, eight by eight; what is left over is not in it."""
    flat = array.reshape(-1)
    return flat[: flat.size // 8 * 8].view(np.uint64)


@njit(cache=True, error_model="numpy", nogil=True)
def _exclude_kernel(found, difference, y, x, excluded, touched):
    """Exclude one difference of a pixel, where there is such a pixel."""
    _, ny, nx = found.shape
    if 0 <= y < ny and 0 <= x < nx:
        excluded[difference, y, x] = True
        touched[y, x] |= found[difference, y, x] == 0


@njit(cache=True, error_model="numpy", nogil=True)
def _spread_kernel(found, words, stops, excluded, touched):
    """Fill `excluded` and `touched`; eight pixels without a jump are passed over at once."""
    _, ny, nx = found.shape
    flat, size = found.reshape(-1), found.size
    for word in range((size + 7) // 8):
        if word < words.size and words[word] == 0:
            continue
        for i in range(8 * word, min(8 * word + 8, size)):
            flags = flat[i]
            if flags == 0:
                continue
            difference, y, x = i // (ny * nx), i // nx % ny, i % nx
            excluded[difference, y, x] = True
            if flags & STRONG:
                for step in (-1, 1):
                    _exclude_kernel(found, difference, y + step, x, excluded, touched)
                    _exclude_kernel(found, difference, y, x + step, excluded, touched)
            if flags & LARGE:
                for later in range(difference + 1, stops[difference]):
                    _exclude_kernel(found, later, y, x, excluded, touched)


def collect_events(found, rows, onset, *, padded=None):
    """Return the members of extended events in some rows.

    Candidates are STRONG jumps, and pixels that saturate, in the difference that ends with their first saturated
    read; members are those with at least 3 candidates among their 8 neighbours in the same difference.

    Parameters
    ----------
    found : ndarray, uint8, (n_difference, n_padded, nx)
        Jumps of the padded rows.
    rows : slice
        Rows of the detector whose members are wanted.
    onset : ndarray, int16, (n_group, n_padded, nx)
        First saturated read of each group; n_read where there is none.
    padded : slice, optional
        Rows of the detector in the arrays: `rows` and one more at each side, where there is one. None is `rows` alone.

    Returns
    -------
    members : ndarray, MEMBER, (n_member,)
        DIFFERENCE, Y and X on the detector, STRONG (else saturating).
    """
    padded = rows if padded is None else padded
    n_read = (found.shape[0] + 1) // len(onset)
    if onset.shape[1:] != found.shape[1:] or n_read * len(onset) != found.shape[0] + 1:
        raise ValueError(f"jumps {found.shape} and saturation {onset.shape} do not fit each other")
    found, onset = np.ascontiguousarray(found), np.ascontiguousarray(onset)
    first, last = rows.start - padded.start, rows.stop - padded.start
    members = np.empty((256, 4), np.int32)
    n_member = _collect_kernel(found, _as_words(found), onset, n_read, first, last, members)
    if n_member > len(members):
        members = np.empty((n_member, 4), np.int32)
        _collect_kernel(found, _as_words(found), onset, n_read, first, last, members)
    table = np.empty(n_member, MEMBER)
    for i, name in enumerate(MEMBER.names):
        table[name] = members[:n_member, i]
    table["Y"] += padded.start
    return table


@njit(cache=True, error_model="numpy", nogil=True)
def _is_event_kernel(found, onset, n_read, difference, y, x):
    """Whether a candidate has enough other candidates around it."""
    _, ny, nx = found.shape
    group, read = (difference + 1) // n_read, (difference + 1) % n_read
    n = 0
    for v in range(max(y - 1, 0), min(y + 2, ny)):
        for u in range(max(x - 1, 0), min(x + 2, nx)):
            n += (found[difference, v, u] & STRONG) != 0 or onset[group, v, u] == read
    return n > MIN_NEIGHBOURS  # itself included


@njit(cache=True, error_model="numpy", nogil=True)
def _collect_kernel(found, words, onset, n_read, first, last, members):
    """Write members of the rows from first to last, as far as there is room; return how many there are."""
    _, ny, nx = found.shape
    flat, size, n = found.reshape(-1), found.size, 0
    for word in range((size + 7) // 8):
        if word < words.size and words[word] == 0:
            continue
        for i in range(8 * word, min(8 * word + 8, size)):
            if not flat[i] & STRONG:
                continue
            difference, y, x = i // (ny * nx), i // nx % ny, i % nx
            if first <= y < last and _is_event_kernel(found, onset, n_read, difference, y, x):
                if n < len(members):
                    members[n, 0], members[n, 1], members[n, 2], members[n, 3] = difference, y, x, 1
                n += 1
    for group in range(onset.shape[0]):
        for y in range(first, last):
            for x in range(nx):
                read = onset[group, y, x]
                if read < 1 or read >= n_read:
                    continue
                difference = group * n_read + read - 1
                if found[difference, y, x] & STRONG or not _is_event_kernel(found, onset, n_read, difference, y, x):
                    continue
                if n < len(members):
                    members[n, 0], members[n, 1], members[n, 2], members[n, 3] = difference, y, x, 0
                n += 1
    return n


class Events:
    """Members of extended events of an exposure, gathered block by block in bounded memory.

    More than MAX_MEMBERS are no snowballs but a defect (bias of another detector, lost guiding): this is logged, and no
    snowball is found; the jumps themselves stay. That depends on the number of all members only, thus not on the
    blocks.
    """

    def __init__(self):
        """Start without members."""
        self._blocks, self._size = [], 0

    def add(self, members):
        """Keep the members of a block of rows, as returned by `collect_events`."""
        self._size += len(members)
        self._blocks = [*self._blocks, members] if self._size <= MAX_MEMBERS else []

    def find_snowballs(self, shape, *, minimum_pix, growth):
        """Return the snowballs of the exposure; see the function `find_snowballs`."""
        if self._size > MAX_MEMBERS:
            logger.warning(
                "%d pixels belong to extended jumps, at most %d are expected: no snowball is masked; check bias and "
                "gain references, and the threshold of jumps",
                self._size,
                MAX_MEMBERS,
            )
        members = np.concatenate([np.empty(0, MEMBER), *self._blocks])
        return find_snowballs(members, shape, minimum_pix=minimum_pix, growth=growth)


def find_snowballs(members, shape, *, minimum_pix, growth):
    """Return the snowballs among the members of extended events.

    A snowball is a set of members of one difference that touch each other, corners included; with at least
    `minimum_pix` members, and strong jumps at least along half the circumference of the part that saturates (the
    core of a star saturates in one read as well, but without jumps around).

    Parameters
    ----------
    members : ndarray, MEMBER, (n_member,)
        In any order.
    shape : tuple
        (n_difference, ny, nx) of the exposure.
    minimum_pix : int
        Members of the smallest snowball.
    growth : float
        Radius to mask, in radii of a circle of the members' area.

    Returns
    -------
    snowballs : ndarray, SNOWBALL, (n_snowball,)
        DIFFERENCE, centre Y and X (0-based), RADIUS_PIX; ordered by these.
    """
    _, ny, nx = shape
    key = (members["DIFFERENCE"].astype(np.int64) * (ny + 2) + members["Y"] + 1) * (nx + 2) + members["X"] + 1
    members, key = members[np.argsort(key)], np.sort(key)
    pairs = [np.empty((2, 0), np.int64)]
    for step in (1, nx + 1, nx + 2, nx + 3):  # right, and the three below
        place = np.searchsorted(key, key + step)
        here = np.flatnonzero(key[np.minimum(place, len(key) - 1)] == key + step)
        pairs.append(np.stack([here, place[here]]))
    first, second = np.concatenate(pairs, axis=1)
    n_event, label = _label_connected(len(key), first, second)
    area = np.bincount(label, minlength=n_event)
    n_strong = np.bincount(label, weights=members["STRONG"], minlength=n_event)
    snowballs = np.empty(n_event, SNOWBALL)
    snowballs["DIFFERENCE"][label] = members["DIFFERENCE"]
    for name in ("Y", "X"):
        snowballs[name] = np.bincount(label, weights=members[name], minlength=n_event) / area
    snowballs["RADIUS_PIX"] = growth * np.sqrt(area / np.pi)
    snowballs = snowballs[(area >= minimum_pix) & (n_strong >= RING * np.sqrt(area - n_strong))]
    return np.sort(snowballs, order=["DIFFERENCE", "Y", "X"])


def _label_connected(n, first, second):
    """Return the number of connected sets of n nodes, and the set (from 0) of each; `first`, `second`: nodes of edges.

    As scipy.sparse.csgraph, whose import takes a third of a start of the program: the smallest node of a set spreads
    over its edges, and doubles its way at each turn.
    """
    label = np.arange(n)
    while (label[first] != label[second]).any():
        smallest = np.minimum(label[first], label[second])
        for node in (first, second):
            np.minimum.at(label, label[node], smallest)
        label = label[label]
    roots, label = np.unique(label, return_inverse=True)
    return len(roots), label


def mask_snowballs(snowballs, rows, shape_chain, times_s, *, after_jump_s):
    """Return which differences of some rows snowballs make unusable.

    Parameters
    ----------
    snowballs : ndarray, SNOWBALL, (n_snowball,)
        As returned by `find_snowballs`.
    rows : slice
        Rows of the detector.
    shape_chain : tuple
        (n_difference, ny, nx) of the exposure.
    times_s : ndarray, float64, (n_group, n_read)
        Times of the reads.
    after_jump_s : float
        Duration of the transients, as in `spread_jumps`.

    Returns
    -------
    excluded : ndarray, bool, (n_difference, n_row, nx)
    """
    n_difference, _, nx = shape_chain
    stops = _find_stops(shape_chain, times_s, after_jump_s)
    excluded = np.zeros((n_difference, rows.stop - rows.start, nx), bool)
    for difference, y, x, radius in snowballs:
        low, high = _clip_range(y, radius, rows.start, rows.stop)
        left, right = _clip_range(x, radius, 0, nx)
        ys, xs = np.ogrid[low:high, left:right]
        inside = (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
        excluded[difference : stops[difference], low - rows.start : high - rows.start, left:right] |= inside
    return excluded


def _clip_range(centre, radius, start, stop):
    """Return the pixels from centre - radius to centre + radius that are within start and stop, as (first, end)."""
    first = min(max(int(np.ceil(centre - radius)), start), stop)
    return first, max(min(int(np.floor(centre + radius)) + 1, stop), first)


def snowball_rows(snowballs, ny):
    """Return which rows of the detector a snowball's circle touches, bool (ny,)."""
    touched = np.zeros(ny, bool)
    for _, y, _, radius in snowballs:
        touched[slice(*_clip_range(y, radius, 0, ny))] = True
    return touched
