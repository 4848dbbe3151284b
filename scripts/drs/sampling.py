"""How a ramp was sampled: its axes, the times of its reads, and how many reads were averaged into each.

A group is one ramp bounded by resets, a read one sample of it. Three orders of axes exist (numpy):
(n_group, n_read, ny, nx), (ny, nx, n_group, n_read), and (n_read, ny, nx) for one group; the shape of TIMES tells.
"""

import numpy as np

from drs.errors import ReductionError

FIRST, LAST = "reads first", "reads last"
REFERENCE_COLUMNS = (64, 100)  # of the reference output, stored to the right of the detector's columns
STAMP = 1e12  # READTIME above this is not a duration in s but a moment: microseconds since MJD 0
MICROSECOND_S = 1e-6


def find_axes(shape, times_shape):
    """Return what the axes of an image are.

    Parameters
    ----------
    shape : tuple
        Shape of the image, numpy order.
    times_shape : tuple or None
        Shape of TIMES.

    Returns
    -------
    shape : tuple
        (n_group, n_read, ny, nx)
    order : str
        FIRST or LAST: where the reads stand.
    """
    if len(shape) not in (3, 4) or 0 in shape:
        raise ReductionError(f"DATA has shape {shape}; expected (n_group, n_read, ny, nx) or (n_read, ny, nx)")
    if len(shape) == 3:
        if times_shape not in (None, shape[:1], (1, *shape[:1])):
            raise ReductionError(f"TIMES has shape {times_shape}, DATA {shape}; expected TIMES (1, {shape[0]})")
        return (1, *shape), FIRST
    if times_shape is None:
        raise ReductionError(f"no extension TIMES, so the order of the four axes {shape} is not known; add TIMES")
    fits_first, fits_last = times_shape == shape[:2], times_shape == shape[2:]
    if fits_first == fits_last:
        raise ReductionError(
            f"TIMES of shape {times_shape} does not tell which axes of DATA {shape} are groups and reads; it must be "
            "the shape of either the first or the last two axes"
        )
    return (shape, FIRST) if fits_first else ((*shape[2:], *shape[:2]), LAST)


def cut_reference_output(shape, size):
    """Return the shape without the columns of the reference output.

    Parameters
    ----------
    shape : tuple
        (n_group, n_read, ny, nx) as stored.
    size : (ny, nx) or None
        Of the detector. A stored image of as many rows that is wider by REFERENCE_COLUMNS holds the reference output
        (2112 columns of 2048, 4160 of 4096); any other disagreement is left to who compares sizes.
    """
    if size is None or shape[2] != size[0]:
        return shape
    least, most = REFERENCE_COLUMNS
    return (*shape[:2], *size) if least <= shape[3] - size[1] <= most else shape


def check_counts(shape, keywords):
    """Refuse a header whose NGROUPS or NREADS is not what the data hold."""
    for key, found in (("NGROUPS", shape[0]), ("NREADS", shape[1])):
        if keywords.get(key, found) != found:
            raise ReductionError(
                f"{key} is {keywords[key]}, but DATA has {found} (n_group, n_read, ny, nx = {shape}); correct {key} "
                "in exposures.yaml, or transfer the file again"
            )


def find_times(stored, shape, keywords):
    """Return the times of the reads of one file.

    Parameters
    ----------
    stored : ndarray or None
        TIMES, s since the reset of the group.
    shape : tuple
        (n_group, n_read, ny, nx)
    keywords : mapping

    Returns
    -------
    times_s : ndarray, float64, (n_group, n_read)
    source : str
        TIMES, READTIME (interval of the reads) or EXPTIME (time from the first to the last read, so that it spans
        n_read - 1 intervals); a first read is one interval after the reset.
    """
    n_group, n_read = shape[:2]
    if stored is not None:
        return _check_increase(np.array(stored, dtype=np.float64).reshape(n_group, n_read), "TIMES"), "TIMES"
    for key, n_interval in (("READTIME", 1), ("EXPTIME", n_read - 1)):
        value = keywords.get(key)
        if is_number(value) and 0 < value < STAMP:
            if n_interval < 1:
                raise ReductionError("no extension TIMES and no READTIME, and one read has no EXPTIME; add READTIME")
            step_s = value / n_interval
            return np.tile(np.arange(1, n_read + 1, dtype=np.float64) * step_s, (n_group, 1)), key
    raise ReductionError("no extension TIMES, and neither READTIME nor EXPTIME is a number of seconds; add one of them")


def find_times_of_files(headers, shape):
    """Return the times of reads that came in files of their own.

    Parameters
    ----------
    headers : mapping
        (group, read), both from 1, -> keywords of its file. Reads that are not in it were dropped; their times are
        interpolated between those of their neighbours.
    shape : tuple
        (n_group, n_read, ny, nx)

    Returns
    -------
    times_s : ndarray, float64, (n_group, n_read)
    source : str
        ITIME: s from the end of the reset to the start of the read. READTIME: where it is a moment (microseconds),
        the time since the moment RST_TIME of the reset; without RST_TIME, a first read is one interval after the
        reset. Else READTIME or EXPTIME as in `find_times`.
    """
    for key, convert in (("ITIME", _plain_times), ("READTIME", _times_of_stamps)):
        with_key = [place for place, keywords in headers.items() if _states_time(key, keywords)]
        if with_key:
            if len(with_key) < len(headers):
                group, read = min(headers.keys() - set(with_key))
                raise ReductionError(f"{key} is missing or no time in read {read} of ramp {group}, others have it")
            return _check_increase(_fill_gaps(convert(headers, shape[:2])), key), key
    return find_times(None, shape, headers[min(headers)])


def _states_time(key, keywords):
    """Say whether a header has the time of its read: ITIME in s, READTIME as a moment."""
    value = keywords.get(key)
    return is_number(value) and (key == "ITIME" or value >= STAMP)


def _plain_times(headers, counts):
    """Return ITIME (n_group, n_read) in s, NaN for reads that are not there."""
    times_s = np.full(counts, np.nan)
    for (group, read), keywords in headers.items():
        times_s[group - 1, read - 1] = keywords["ITIME"]
    return times_s


def _times_of_stamps(headers, counts):
    """Return (n_group, n_read) times since the reset in s from moments in microseconds, NaN for reads not there."""
    times_s = np.full(counts, np.nan)
    first, reset = {}, all(is_number(keywords.get("RST_TIME")) for keywords in headers.values())
    for group, read in sorted(headers):
        keywords = headers[group, read]
        origin = keywords["RST_TIME"] if reset else first.setdefault(group, keywords["READTIME"])
        times_s[group - 1, read - 1] = (keywords["READTIME"] - origin) * MICROSECOND_S
    if reset:
        return times_s
    if counts[1] < 2:
        raise ReductionError("one read per ramp has no interval; add ITIME [s] or RST_TIME to its header")
    times_s = _fill_gaps(times_s)
    return times_s + (times_s[:, 1:2] - 2 * times_s[:, :1])


def _fill_gaps(times_s):
    """Return the times with those of reads that are not there put between, or as far beyond, their neighbours."""
    n_read = times_s.shape[1]
    known = np.isfinite(times_s)
    if known.all():
        return times_s
    pattern = _fill_group(times_s[known.sum(axis=1).argmax()], n_read)
    return np.array([_fill_group(times, n_read) if np.isfinite(times).sum() > 1 else pattern for times in times_s])


def _fill_group(times_s, n_read):
    """Return the times of one group (n_read) without NaN; a single known time is taken as a whole number of steps."""
    numbers = np.arange(1, n_read + 1)
    known = np.flatnonzero(np.isfinite(times_s)) + 1
    if len(known) == 1:
        return numbers * (times_s[known[0] - 1] / known[0])
    at_known = times_s[known - 1]
    filled = np.interp(numbers, known, at_known)
    steps = np.diff(at_known) / np.diff(known)
    before, after = numbers < known[0], numbers > known[-1]
    filled[before] = at_known[0] - (known[0] - numbers[before]) * steps[0]
    filled[after] = at_known[-1] + (numbers[after] - known[-1]) * steps[-1]
    return filled


def _check_increase(times_s, name):
    """Return the times; refuse those that no detector can have."""
    before = np.pad(times_s[:, :-1], [(0, 0), (1, 0)], constant_values=-np.inf)
    if (wrong := np.argwhere(~(np.isfinite(times_s) & (times_s > before)))).size:
        group, read = wrong[0]
        after = f" after {before[group, read]:.10g} s" if read else ""
        raise ReductionError(
            f"{name} must increase from read to read within each group and be finite, but read {read + 1} of group "
            f"{group + 1} is at {times_s[group, read]:.10g} s{after}; correct it, or exclude the exposure"
        )
    return times_s


def find_average(keywords, times_s):
    """Return how many reads were averaged into each stored one, and the time between them.

    Parameters
    ----------
    keywords : mapping
        NFRAMES: reads averaged into one, 1 where it is absent (JWST's word). FRMTIME [s]: time between them.
    times_s : ndarray, float64, (n_group, n_read)
        Mean times of the averaged reads.

    Returns
    -------
    n_average : int
    step_s : float
        FRMTIME; where it is absent, that of reads without a pause: the smallest interval over `n_average` (of one
        read, its time over `n_average`). 0 for reads that are not averages.
    """
    n_average = keywords.get("NFRAMES", 1)
    if isinstance(n_average, bool) or not is_number(n_average) or n_average < 1 or n_average % 1:
        raise ReductionError(
            f"NFRAMES is {n_average!r}, expected a whole number of averaged reads from 1 on; correct it"
        )
    if n_average == 1:
        return 1, 0.0
    interval_s = float(np.diff(times_s, axis=1).min() if times_s.shape[1] > 1 else times_s[0, 0])
    step_s = keywords.get("FRMTIME", interval_s / n_average)
    if not is_number(step_s) or step_s <= 0 or (n_average - 1) * step_s >= interval_s > 0:
        raise ReductionError(
            f"FRMTIME is {step_s!r}, but {n_average} averaged reads must fit into {interval_s:g} s, the interval of "
            "the stored ones; correct FRMTIME or NFRAMES in exposures.yaml"
        )
    return int(n_average), float(step_s)


def is_number(value):
    """Say whether a keyword is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
