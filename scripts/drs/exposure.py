"""Header of a rate image: what the raw header says, corrected, and the times that follow from the reads."""

import re
from datetime import UTC, datetime, timedelta

from drs.errors import ReductionError
from drs.headers import parse_utc
from drs.product import VERSION

WCS = re.compile(
    r"(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CROTA)\d|(PC|CD|PV|PS)\d_\d|WCSAXES|RADE?C?SYSA?|RADESYS|LONPOLE|LATPOLE"
)
LEGAL = re.compile(r"[A-Z0-9_-]{1,8}")
DROPPED = ("DATE", "CHECKSUM", "DATASUM", "LONGSTRN", "DRSVER", "FILENAME", "FILETYPE")
OF_ONE_READ = ("RAMP_NO", "READ_NO", "COMPLETE", "ITIME", "RST_TIME", "FRM_TIME")
MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
JD_MINUS_MJD = 2400000.5
MJD_END = 1e6  # no exposure is later
MODELS = dict.fromkeys(("SLICER", "LENSLET", "IFS"), "IFUImageModel")  # INSTMODE -> model; else ImagerModel


def rate_keywords(raw, defaults=()):
    """Return the keywords of a rate image, times that follow from the reads aside.

    Parameters
    ----------
    raw : mapping
        PRIMARY keywords of the raw file. World coordinates of its axes, which are not those of an image, and what
        holds for one read alone are left out.
    defaults : mapping
        Keywords that hold where the raw file has none; None is no value.
    """
    known = {key: value for key, value in dict(defaults).items() if value is not None}
    keywords = {
        key: value
        for key, value in {**known, **raw}.items()
        if LEGAL.fullmatch(key) and not WCS.fullmatch(key) and key not in (*DROPPED, *OF_ONE_READ)
    }
    model = MODELS.get(keywords.get("INSTMODE"), "ImagerModel")
    keywords |= {"DATAMODL": model, "DATALVL": 1, "DATAQUAL": "GOOD", "DRSVER": VERSION}
    return {"EXPTIME": 0.0, **keywords}


def time_keywords(keywords, times_s):
    """Return the keywords of time and sampling.

    Parameters
    ----------
    keywords : mapping
        EXPDTST, EXPMJDST or EXPJDST (in this order) give the start; likewise for middle and end, if they are there.
        Text with a time zone is converted to UTC, text without one is UTC.
    times_s : ndarray, (n_group, n_read)
        Times of the reads since the reset of their group.

    Returns
    -------
    dict
        EXPTIME (first to last read), TOTTIME, NGROUPS, NREADS, EXPDTST and EXPMJDST, EXPMJDMD, EXPMJDEN; EXPDTMID and
        EXPDTEND where they are not in UTC. Without an end in the header the groups follow each other without a pause.
    """
    n_group, n_read = times_s.shape
    exptime = float((times_s[:, -1] - times_s[:, 0]).mean())
    found = {"EXPTIME": exptime, "TOTTIME": exptime * n_group, "NGROUPS": n_group, "NREADS": n_read}
    start = _mjd(keywords, "EXPDTST", "EXPMJDST", "EXPJDST")
    if start is None:
        raise ReductionError("no start time: give EXPDTST as 2024-09-24T05:00:00 in exposures.yaml")
    end = _mjd(keywords, "EXPDTEND", "EXPMJDEN", "EXPJDEND")
    end = start + float(times_s[:, -1].sum()) / 86400 if end is None else end
    middle = _mjd(keywords, "EXPDTMID", "EXPMJDMD", "EXPJDMID")
    middle = (start + end) / 2 if middle is None else middle
    moments = {"EXPMJDST": start, "EXPMJDMD": middle, "EXPMJDEN": end}
    found |= {key: round(value, 9) for key, value in moments.items()}
    for key, mjd in {"EXPDTST": start, "EXPDTMID": middle, "EXPDTEND": end}.items():
        text = keywords.get(key)
        has_zone = bool(text) and datetime.fromisoformat(text).tzinfo is not None
        if has_zone or (key == "EXPDTST" and not text):
            found[key] = _iso(mjd)
    return found


def _iso(mjd):
    """Return an MJD as ISO text (UTC) with milliseconds."""
    moment = MJD_ZERO + timedelta(milliseconds=round(mjd * 86_400_000))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00")


def _mjd(keywords, text_key, *number_keys):
    """Return a moment as MJD, from ISO text or from MJD or JD; None when the header has none."""
    try:
        if text := keywords.get(text_key):
            return (parse_utc(text) - MJD_ZERO) / timedelta(days=1)
        for key in number_keys:
            if key in keywords:
                value = float(keywords[key])
                value = value - JD_MINUS_MJD if value > JD_MINUS_MJD else value
                if not 0 <= value < MJD_END:
                    raise ValueError(f"{key} is {keywords[key]}")
                return value
    except (TypeError, ValueError, OverflowError) as error:
        raise ReductionError(
            f"{text_key} or {' or '.join(number_keys)} cannot be read ({error}); correct it"
        ) from error
    return None


def correction_lines(raw, corrections):
    """Return one HISTORY line per corrected keyword: old value, new value, reason."""
    lines = []
    for correction in corrections:
        for key, value in correction["set"].items():
            lines.append(f"corrected {key} = {value!r} (was {raw.get(key)!r}): {correction['reason']}")
    return tuple(lines)
