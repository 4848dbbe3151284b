"""The exposures of a preset: when, where the telescope points, what the header says."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from drs.simulation import scene
from drs.simulation.drift import average_reads

MJD_ZERO = datetime(1858, 11, 17)
J2000 = datetime(2000, 1, 1, 12)
UNITS = {"LENSLET": "LEN", "SLICER": "SLI"}  # of an OBSNAME, where it is not the detector


@dataclass(frozen=True)
class Exposure:
    """One exposure of one detector.

    Attributes
    ----------
    name : str
        Name of the file in raw/, unique and without meaning.
    sequence : dict
        Entry of `sequences` in config/presets.yaml.
    keywords : dict
        PRIMARY keywords.
    frames_s : ndarray, (n_group, n_read * n_average)
        Seconds since the reset of each group of every time the detector is read.
    n_average : int
        Each read that is stored is the mean of so many in turn.
    pointing : (ra_deg, dec_deg, pa_deg)
    form : str
        '', '3-d', 'gzip', 'per-read', 'truncated' or 'no-detector'.
    """

    name: str
    sequence: dict
    keywords: dict
    frames_s: np.ndarray
    n_average: int
    pointing: tuple
    form: str

    @property
    def times_s(self):
        """Time of each stored read, (n_group, n_read)."""
        return average_reads(self.frames_s, self.n_average)

    @property
    def identity(self):
        """Key of the exposure's random streams: what it is, not where in the night it comes."""
        return tuple(self.keywords[key] for key in ("INSTRUME", "DETECTOR", "IMTYPE", "OBSNUM", "EXPNUM"))

    @property
    def shape(self):
        """Shape (ny, nx) of an image."""
        return self.keywords["DETYSIZE"], self.keywords["DETXSIZE"]


def detector_geometry(preset, instruments, instrument, detector):
    """Return the geometry of a detector of the preset: the facts of the real one, size and channels of the preset."""
    smaller = {key: preset[key] for key in ("n_channel",) if key in preset}
    return {**instruments[instrument]["detectors"][detector], **smaller, **preset["detectors"][instrument][detector]}


def list_sequences(preset):
    """Return the sequences of a preset: those that it shares with another one, and its own."""
    return [*preset["sequences"], *preset.get("more_sequences", [])]


def plan_exposures(preset, facts, instruments, *, without=()):
    """Return the exposures of a preset in the order of their start.

    Parameters
    ----------
    preset : dict
        One entry of `presets` in config/presets.yaml.
    facts : dict
        Content of config/presets.yaml.
    instruments : dict
        INSTRUME -> content of config/instruments/*.yaml.
    without : collection of str
        Of the effects, `dithers`, `defects` and `guide_windows` matter here.
    """
    exposures = []
    for sequence in list_sequences(preset):
        for index in range(sequence["n_exposure"]):
            form = sequence.get("forms", {}).get(sequence.get("first", 1) + index, "")
            spoilt = form in ("truncated", "no-detector") or sequence["kind"] == "engineering"
            if spoilt and "defects" in without:
                continue
            for place in range(len(sequence["detectors"])):
                instrument = instruments[sequence["instrument"]]
                exposures.append(_plan_exposure(sequence, index, place, preset, facts, instrument, without))
    return sorted(exposures, key=lambda exposure: (exposure.keywords["EXPMJDST"], exposure.name))


def _plan_exposure(sequence, index, place, preset, facts, instrument, without):
    """Return exposure `index` (from 0) of a sequence on its detector number `place`."""
    detector = sequence["detectors"][place]
    geometry = detector_geometry(preset, {instrument["name"]: instrument}, instrument["name"], detector)
    scale_arcsec = geometry.get("scale_arcsec", sequence.get("scale_arcsec"))  # a spectrograph's is that of its mode
    frames_s, n_average = _plan_frames(sequence, preset), sequence.get("n_average", 1)
    length_s = float(frames_s[:, -1].sum())
    wait_s = index * (length_s + facts["overhead_s"]) + place * facts["detector_delay_s"]
    start = datetime.fromisoformat(sequence["start"]) + timedelta(seconds=wait_s)
    middle = start + timedelta(seconds=length_s / 2)
    number = sequence.get("first", 1) + index
    dithers = {**facts, **preset, **sequence}["dithers"]
    dither = dithers[(number - 1) % len(dithers)] if "dithers" not in without else (0.0, 0.0)
    pointing = _point(sequence, [pixels * scale_arcsec for pixels in dither], middle, instrument)
    keywords = {
        "TELESCOP": instrument["telescope"],
        "INSTRUME": instrument["name"],
        "INSTERA": instrument["era"],
        "INSTMODE": sequence.get("instmode", "IMG"),
        "DETECTOR": detector,
        **_observation_keywords(sequence, detector, facts),
        "EXPNUM": number,
        "SCALE": scale_arcsec,
        "DETXSIZE": geometry["size_x_pix"],
        "DETYSIZE": geometry["size_y_pix"],
        "NCHAN": geometry["n_channel"],
        **_time_keywords(start, frames_s, n_average),
        **_window_keywords(sequence, preset, without),
        **_spectrograph_keywords(sequence, index),
        **dict(zip(("RA", "DEC", "PA"), pointing, strict=True)),
        "AIRMASS": _airmass(pointing, middle, instrument),
        "DITHNO": index + 1,
        "DATALVL": 0,
        "DATAMODL": "RampModel",
        "DATAQUAL": "GOOD",
        "FILETYPE": "FITS",
    }
    prefix = facts["instruments"][instrument["name"]]["file_prefix"]
    name = f"{prefix}.{start:%Y%m%d}.{_seconds_of_day(start):08.2f}.fits"
    form = sequence.get("forms", {}).get(number, "")
    return Exposure(name, sequence, keywords, frames_s, n_average, pointing, form)


def _plan_frames(sequence, preset):
    """Return when the detector is read, s, (n_group, n_read * n_average); the last of a mean at the read's time."""
    facts = {**preset, **sequence}
    reads_s = facts["read_interval_s"] * np.arange(1.0, facts["n_read"] + 1.0)
    n_average = sequence.get("n_average", 1)
    before_s = sequence.get("frame_time_s", 0.0) * np.arange(n_average - 1, -1, -1)
    frames_s = (reads_s[:, None] - before_s).ravel()
    return np.tile(frames_s, (sequence.get("n_group", 1), 1))


def has_windows(sequence, without):
    """Say whether guide windows are read in a sequence: on the sky, where the effect is on."""
    return "guide_windows" not in without and sequence["kind"] in ("science", "sky")


def list_windows(sequence, preset):
    """Return the guide windows of a sequence, or else of its preset: first x and y from 1, columns, rows."""
    return sequence.get("guide_windows", preset.get("guide_windows", []))


def _window_keywords(sequence, preset, without):
    """Return the keywords of the guide windows: first pixel, columns and rows of each, from 1."""
    if not has_windows(sequence, without):
        return {}
    keywords = {}
    for k, window in enumerate(list_windows(sequence, preset), start=1):
        keywords |= {f"ODGW{k}PS": " ".join(map(str, window)), f"ODGW{k}ST": "ON"}
    return keywords


def _spectrograph_keywords(sequence, index):
    """Return the keywords of a spectrograph: grating, and the position of the mask in a scan."""
    keywords = {"GRATING": sequence["grating"]} if "grating" in sequence else {}
    return keywords | ({"SCANPOS": index} if sequence["kind"] == "lenslet-scan" else {})


def _observation_keywords(sequence, detector, facts):
    """Return the keywords that all exposures of a sequence share."""
    kind = facts["kinds"][sequence["kind"]]
    return {
        "FILTER": sequence["filter"],
        "PUPIL": "CLEAR",
        "READMODE": "DEFAULT",
        "SUBARRAY": "FULL",
        "SUBARRID": 0,
        "OBSTYPE": kind["obstype"],
        "OBSNAME": f"{UNITS.get(sequence.get('instmode'), detector)}-{kind['suffix']}",
        "IMTYPE": kind["imtype"],
        "OBJECT": sequence["object"],
        "SEMID": facts["semester"],
        "PROGNUM": facts["instruments"][sequence["instrument"]]["program"],
        "OBSNUM": sequence["obsnum"],
    }


def _time_keywords(start, frames_s, n_average):
    """Return the keywords of time: start is the first reset, end the last read, EXPTIME first to last stored read."""
    times_s = average_reads(frames_s, n_average)
    end = start + timedelta(seconds=float(frames_s[:, -1].sum()))
    moments = {"ST": start, "MID": start + (end - start) / 2, "END": end}
    keywords = {f"EXPDT{k}": moment.isoformat(timespec="milliseconds") for k, moment in moments.items()}
    mjd = {"ST": "EXPMJDST", "MID": "EXPMJDMD", "END": "EXPMJDEN"}
    keywords |= {mjd[k]: (moment - MJD_ZERO) / timedelta(days=1) for k, moment in moments.items()}
    keywords["EXPTIME"] = float(times_s[0, -1] - times_s[0, 0])
    keywords["NGROUPS"], keywords["NREADS"] = times_s.shape
    keywords["NFRAMES"] = n_average
    if n_average > 1:
        keywords["FRMTIME"] = float(frames_s[0, 1] - frames_s[0, 0])
    return keywords


def _point(sequence, dither_arcsec, middle, instrument):
    """Return the pointing (ra_deg, dec_deg, pa_deg); calibrations look at the zenith."""
    if "ra_deg" not in sequence:
        return _sidereal_deg(middle, instrument), instrument["latitude_deg"], 0.0
    base = (sequence["ra_deg"], sequence["dec_deg"], sequence["pa_deg"])
    if not any(dither_arcsec):
        return base
    ra_deg, dec_deg = scene.instrument_to_sky(*dither_arcsec, base)
    return float(ra_deg), float(dec_deg), base[2]


def _sidereal_deg(moment, instrument):
    """Return the local mean sidereal time in degrees (Meeus, Astronomical Algorithms, eq. 12.4, linear term)."""
    days = (moment - J2000) / timedelta(days=1)
    return (280.46061837 + 360.98564736629 * days + instrument["longitude_deg"]) % 360.0


def _airmass(pointing, moment, instrument):
    """Return the plane-parallel airmass, the secant of the zenith distance."""
    hour_angle = math.radians(_sidereal_deg(moment, instrument) - pointing[0])
    dec, latitude = math.radians(pointing[1]), math.radians(instrument["latitude_deg"])
    cosine = math.sin(dec) * math.sin(latitude) + math.cos(dec) * math.cos(latitude) * math.cos(hour_angle)
    return round(1.0 / cosine, 4)


def _seconds_of_day(moment):
    """Return the seconds since midnight."""
    return (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
