"""The night table: one row per raw file, made from headers alone.

A row is accepted with its identity, kind and configuration, or it is rejected, excluded or set aside with the
reason. Names of files are never parsed; two files with one identity are both rejected.
"""

import math
import os
import re
import stat
from datetime import UTC, datetime, timedelta

from drs.errors import ReductionError, show
from drs.headers import SUFFIXES, parse_utc, read_keywords, scan_headers
from drs.instruments import find_detector, find_mode, find_optics, find_readout, translate_keywords
from drs.keywords import CONFIGURATION, IDENTITY
from drs.reads import gather_exposures
from drs.schema import PRODUCTS, load_schema

MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
JD_MINUS_MJD = 2400000.5
MS_PER_DAY = 86_400_000
YEARS = (1990, 2100)  # of every exposure; a start outside is a mistake
PRINTABLE = re.compile(r"[ -~]*")  # what a FITS card can hold
REQUIRED = ("INSTRUME", "DETECTOR", "EXPNUM")
REFERENCE_KEYS = ("INSTRUME", "DETECTOR", "INSTERA", "READMODE", "FILTER", "PUPIL", "SUBARRAY", "EXPDTST")
REFERENCE_KEYS += ("INSTMODE", "SCALE", "GRATING")  # of a spectrograph, where its header has them
DEFAULTS = {
    "PROGNUM": "P001",
    "OBSNUM": "001",
    "SUBARRID": 0,
    "SUBARRAY": "FULL",
    "READMODE": "DEFAULT",
    "PUPIL": "CLEAR",
    "OBJECT": "",
}


def scan_raw(folder, cache):
    """Return the header scans of all FITS files of a folder, reading only files that changed.

    Parameters
    ----------
    folder : Path
        The night's `raw/`.
    cache : dict
        Earlier result of this function.

    Returns
    -------
    scans : dict
        File name -> {size, mtime_ns, and either keywords, images, notes or error}. A damaged file that still says
        which read of an exposure it holds has its keywords too. A name that is no plain text is shown with escapes
        and not opened.
    """
    scans = {}
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(SUFFIXES):
            continue
        if (shown := _show_name(path.name)) != path.name:
            scans[shown] = {"error": "its name holds bytes or characters that are no plain text: rename the file"}
            continue
        try:
            facts = path.stat()
            stamp = {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}
            if not stat.S_ISREG(facts.st_mode):
                raise ReductionError("not a file: take it out of raw/")
            known = cache.get(path.name, {})
            if all(known.get(key) == value for key, value in stamp.items()):
                scans[path.name] = known
            else:
                scans[path.name] = {**stamp, **scan_headers(path)}
        except ReductionError as error:
            scans[path.name] = {**stamp, "error": str(error), **_rest_of_read(path)}
        except OSError as error:
            scans[path.name] = {"error": f"cannot be opened ({error.strerror}): check the file or link"}
    return scans


def _rest_of_read(path):
    """Return {keywords} of a damaged file with one read, {} for other files."""
    try:
        keywords = read_keywords(path) if path.is_file() else {}
    except (ReductionError, OSError):
        return {}
    return {"keywords": keywords} if "READ_NO" in keywords else {}


def _show_name(name):
    """Return a file's name as any terminal and JSON hold it: what is not printable UTF-8, and backslashes, escaped."""
    return show(os.fsencode(name.replace("\\", "\\\\")).decode(errors="backslashreplace")).replace("\n", "\\n")


def build_rows(scans, instruments, associations, corrections):
    """Return one row per exposure or unused file, in order of start time and name; depends on its arguments alone.

    Parameters
    ----------
    scans : dict
        Result of `scan_raw`.
    instruments : dict
        INSTRUME -> content of config/instruments/*.yaml.
    associations : dict
        Content of config/associations.yaml.
    corrections : dict
        Content of the night's exposures.yaml: `exclude` [{file, reason}], `correct` [{file, set, reason}],
        `drop_reads` [{file, group, reads, reason}] and `override` [{file, reason, <type>: path}].

    Returns
    -------
    rows : list of dict
        With `file` and `files` (several where every read has its own; `file` is that of the first), `dropped`
        [[group, read], ...], `status` (accepted, rejected, excluded, set aside), `reason`, `notes`, and for accepted
        rows `id`, `obs`, `exp`, `kind`, `mode`, `readout`, `keys`, `start_mjd`, `corrections`.
    """
    _check_files_exist(corrections, scans)
    excluded = {entry["file"]: entry["reason"] for entry in reversed(corrections.get("exclude", ()))}
    exposures = gather_exposures(scans, corrections)
    rows = [_build_row(exposure, excluded, instruments, associations) for exposure in exposures]
    _reject_shared_identities(rows)
    return sorted(rows, key=lambda row: (row.get("start_mjd", math.inf), row["file"]))


def _check_files_exist(corrections, scans):
    """Refuse an exposures.yaml that names a file the night does not hold."""
    entries = [entry for listed in corrections.values() for entry in listed]
    if unknown := sorted({entry["file"] for entry in entries} - set(scans)):
        raise ReductionError(f"exposures.yaml names files that are not in raw/: {', '.join(unknown)}")


def _build_row(exposure, excluded, instruments, associations):
    """Return the row of one exposure, or of one file that is none."""
    row = {key: exposure[key] for key in ("file", "files")}
    row |= {"status": "rejected", "reason": "", "notes": exposure["notes"], "dropped": exposure["dropped"]}
    if exposure["file"] in excluded:
        return {**row, "status": "excluded", "reason": excluded[exposure["file"]]}
    scan = exposure["scan"]
    if "error" in scan:
        return {**row, "reason": scan["error"]}
    keywords, applied = dict(scan["keywords"]), exposure["corrections"]
    translated = translate_keywords(keywords, instruments)
    for entry in translated:
        keywords.update(entry["set"])
    applied = [*applied, *translated]
    row["corrections"] = [{"set": entry["set"], "reason": entry["reason"]} for entry in applied]
    try:
        found = _classify(keywords, scan["images"], instruments, associations)
    except ReductionError as error:
        return {**row, "reason": str(error)}
    if exposure["problem"] and found["status"] == "accepted":
        return {**row, "reason": exposure["problem"], "start_mjd": found["start_mjd"]}
    return {**row, **found}


def find_reference_keys(keywords, instruments):
    """Return the keywords by which CRDS chooses references for a file of any level, as the night table has them.

    Parameters
    ----------
    keywords : dict
        PRIMARY keywords of the file.
    instruments : dict
        INSTRUME -> content of config/instruments/*.yaml.
    """
    keywords = dict(keywords)
    for entry in translate_keywords(keywords, instruments):
        keywords.update(entry["set"])
    if missing := [key for key in ("INSTRUME", "DETECTOR") if key not in keywords]:
        raise ReductionError(f"keyword {', '.join(missing)} is missing: CRDS chooses by it; mend the header")
    instrument, detector = find_detector(keywords, instruments)
    keys = {**DEFAULTS, "INSTERA": instrument["era"], "FILTER": "NONE", **keywords, **find_optics(keywords, detector)}
    known = {key: keys[key] for key in REFERENCE_KEYS if keys.get(key) is not None}
    return known | {"EXPDTST": _iso(_start_mjd(keywords))}


def _classify(keywords, images, instruments, associations):
    """Return identity, kind and configuration of one exposure; refuse what cannot be placed."""
    _check_keywords(keywords)
    instrument, detector = find_detector(keywords, instruments)
    kind, imtype = _find_kind(keywords, associations)
    start_mjd = _start_mjd(keywords)
    night_mjd, night = _night(start_mjd, instrument)
    keys = {**DEFAULTS, "SEMID": _semester(night_mjd), "INSTERA": instrument["era"], "FILTER": "NONE"}
    known = (*CONFIGURATION, *IDENTITY, "OBJECT")
    keys |= {key: keywords[key] for key in known if key in keywords}
    keys |= {key: int(keys[key]) for key in ("EXPNUM", "SUBARRID")}
    keys |= {"IMTYPE": imtype, "NIGHT": night, "EXPDTST": _iso(start_mjd), **find_optics(keywords, detector)}
    for key in ("RA", "DEC", "PA", "AIRMASS", "EXPTIME", "DETXSIZE", "DETYSIZE"):
        keys[key] = keywords.get(key)
    if kind == "engineering":
        return {
            "status": "set aside",
            "reason": f"engineering exposure (IMTYPE {imtype})",
            "start_mjd": start_mjd,
        }
    if keywords.get("DATAQUAL") == "BAD":
        return {"status": "excluded", "reason": "its header says DATAQUAL = BAD", "start_mjd": start_mjd}
    mode, readout = find_mode(keywords, detector, associations["units"]), find_readout(keywords, detector)
    _check_shape(images)
    _check_needs(kind, keys)
    obs = "{SEMID}-{PROGNUM}-{OBSNUM}_{INSTRUME}_{DETECTOR}_{IMTYPE}".format(**keys)
    exp = f"{keys['EXPNUM']:04d}-{keys['SUBARRID']:02d}"
    return {
        "status": "accepted",
        "id": f"{obs}_{exp}",
        "obs": obs,
        "exp": exp,
        "kind": kind,
        "mode": mode,
        "readout": readout,
        "keys": keys,
        "start_mjd": start_mjd,
        "night_middle": _iso(night_mjd + 0.5)[:19],
    }


def _check_keywords(keywords):
    """Refuse a header without the keywords of an identity, or with an illegal value."""
    missing = [key for key in REQUIRED if key not in keywords]
    if "IMTYPE" not in keywords and "OBSNAME" not in keywords:
        missing.append("IMTYPE (or OBSNAME)")
    if missing:
        raise ReductionError(f"keyword {', '.join(missing)} is missing: give it in exposures.yaml (correct: set:)")
    for key, value in keywords.items():
        if isinstance(value, str) and not PRINTABLE.fullmatch(value):
            raise ReductionError(f"keyword {key} is {value!a}, expected printable ASCII: correct it in exposures.yaml")
    schema = load_schema(PRODUCTS / "common.yaml")
    legal = schema.schema["$defs"]["keywords"]["properties"]
    for key in sorted(legal.keys() & keywords.keys() - {"TELESCOP", "DRSVER", "DATAMODL"}):
        for error in schema.evolve(schema=legal[key]).iter_errors(keywords[key]):
            raise ReductionError(f"keyword {key} is illegal: {error.message}: correct it in exposures.yaml")


def _find_kind(keywords, associations):
    """Return (kind, IMTYPE) from IMTYPE and OBSNAME, which must agree."""
    imtypes, obsnames = associations["imtypes"], associations["obsnames"]
    imtype, obsname = keywords.get("IMTYPE"), str(keywords.get("OBSNAME", ""))
    suffix = obsname.rpartition("-")[2]
    if imtype is None:
        if suffix not in obsnames:
            raise ReductionError(f"OBSNAME '{obsname}' ends in none of {', '.join(obsnames)}")
        kind = obsnames[suffix]
        return kind, next(name for name, other in imtypes.items() if other == kind)
    if imtype not in imtypes:
        raise ReductionError(f"IMTYPE '{imtype}' is none of {', '.join(imtypes)}")
    if obsnames.get(suffix, imtypes[imtype]) != imtypes[imtype] and imtypes[imtype] != "engineering":
        raise ReductionError(f"IMTYPE '{imtype}' and OBSNAME '{obsname}' disagree: correct one in exposures.yaml")
    return imtypes[imtype], imtype


def _start_mjd(keywords):
    """Return the MJD of the exposure's start: EXPDTST, EXPMJDST, EXPJDST, or DATE-OBS (with TIME-OBS)."""
    text = keywords.get("EXPDTST") or keywords.get("DATE-OBS")
    try:
        if text:
            if "T" not in text and keywords.get("TIME-OBS"):
                text = f"{text}T{keywords['TIME-OBS']}"
            return _check_date((parse_utc(text) - MJD_ZERO) / timedelta(days=1), text)
        for key in ("EXPMJDST", "EXPJDST"):
            if key in keywords:
                value = float(keywords[key])
                return _check_date(value - JD_MINUS_MJD if value > JD_MINUS_MJD else value, f"{key} {value}")
    except (TypeError, ValueError, OverflowError) as error:
        raise ReductionError(f"the start time cannot be read ({error}): give EXPDTST as 2024-09-24T05:00:00") from error
    raise ReductionError("no start time (EXPDTST, EXPMJDST or DATE-OBS): give EXPDTST in exposures.yaml")


def _check_date(mjd, found):
    """Return the MJD of a start, rounded to 0.1 ms; refuse one that is no exposure's."""
    first, last = ((datetime(year, 1, 1, tzinfo=UTC) - MJD_ZERO).days for year in YEARS)
    if not first <= mjd < last:
        advice = "give EXPDTST as 2024-09-24T05:00:00 in exposures.yaml"
        raise ReductionError(f"the start time {found} is outside {YEARS[0]} to {YEARS[1]}: {advice}")
    return round(mjd, 9)


def _iso(mjd):
    """Return an MJD as ISO text (UTC) with milliseconds."""
    moment = MJD_ZERO + timedelta(milliseconds=round(mjd * MS_PER_DAY))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00")


def _night(start_mjd, instrument):
    """Return the MJD of the noon before the exposure and the night's name, the local date at that noon."""
    noon = instrument["night_starts_ut_h"] / 24
    night_mjd = math.floor(start_mjd - noon) + noon
    return night_mjd, _iso(night_mjd)[:10].replace("-", "")


def _semester(night_mjd):
    """Return Keck's semester of a night: A is February to July, B August to January."""
    date = MJD_ZERO + timedelta(days=night_mjd)
    if date.month == 1:
        return f"{date.year - 1}B"
    return f"{date.year}{'A' if date.month < 8 else 'B'}"


def _check_shape(images):
    """Refuse a file whose first image cannot be a ramp."""
    if not images:
        raise ReductionError("no image extension: expected the reads of a ramp in DATA")
    name, shape = next((image for image in images if image[0] in ("DATA", "SCI")), images[0])
    if len(shape) not in (3, 4) or 0 in shape:
        raise ReductionError(f"{name or 'the image'} has axes {tuple(shape)}: expected 3 or 4 axes, a stack of reads")


def _check_needs(kind, keys):
    """Refuse what cannot be calibrated: a science frame without pointing, a light frame without filter."""
    pointed = ("RA", "DEC", "PA", "FILTER")
    needs = {"science": pointed, "flux-star": pointed, **dict.fromkeys(("sky", "flat", "pinhole"), ("FILTER",))}
    absent = [key for key in needs.get(kind, ()) if keys[key] in (None, "NONE")]
    if absent:
        raise ReductionError(f"a {kind} exposure without {', '.join(absent)}: give it in exposures.yaml")


def _reject_shared_identities(rows):
    """Reject (in place) all rows that claim one identity, naming their files."""
    files = {}
    for row in rows:
        if row["status"] == "accepted":
            files.setdefault(row["id"], []).append(row["file"])
    for row in rows:
        if row["status"] == "accepted" and len(files[row["id"]]) > 1:
            named = ", ".join(files[row["id"]])
            row["status"] = "rejected"
            row["reason"] = f"identity {row['id']} is claimed by {named}: exclude all but one in exposures.yaml"


def slug(text):
    """Return `text` as part of a file name: letters, digits and + . - only."""
    return re.sub(r"[^A-Za-z0-9+.-]+", "-", text).strip("-.") or "none"
