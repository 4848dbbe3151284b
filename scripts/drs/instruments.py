"""What the instrument files (config/instruments) say about an exposure: its detector, its mode, how it was read out."""

import re

from drs.errors import ReductionError
from drs.schema import check_document, load_yaml

CORRECT = "correct it in exposures.yaml"
NAME_FIRST = re.compile(r"([A-Z]+)([0-9]{4,5})([A-Z]*)")  # of a grating: K8000a


def read_instruments(folder):
    """Return INSTRUME -> instrument file of a folder, each checked."""
    instruments = {}
    for path in sorted(set(folder.glob("*.yaml")) - {folder / "schema.yaml"}):
        document = load_yaml(path)
        check_document(folder / "schema.yaml", document, name=path)
        instruments[document["name"]] = document
    return instruments


def translate_keywords(keywords, instruments):
    """Return the corrections that bring a header to the words of the instrument files, in the form of exposures.yaml.

    Detectors have had several names, and the mode several keywords. Products, names and CRDS know one of each; what
    the header said stays in the product's HISTORY, as with any other correction.

    Parameters
    ----------
    keywords : mapping
        PRIMARY keywords of a raw file.
    instruments : dict
        INSTRUME -> content of config/instruments/*.yaml.

    Returns
    -------
    list of dict
        {"set": {keyword: value}, "reason"}; empty where the header has the words already, or unknown ones.
    """
    detectors = instruments.get(keywords.get("INSTRUME"), {}).get("detectors", {})
    stated, corrections = keywords.get("DETECTOR"), []
    name = next((name for name, facts in detectors.items() if stated in facts.get("aliases", ())), stated)
    if name != stated:
        corrections.append({"set": {"DETECTOR": name}, "reason": f"{stated} is another name of {name}"})
    facts = detectors.get(name, {})
    elsewhere = facts.get("mode_keywords", {}).get(keywords.get("INSTMODE"))
    if keywords.get(elsewhere) in facts.get("modes", ()):
        corrections.append({"set": {"INSTMODE": keywords[elsewhere]}, "reason": f"{elsewhere} says which mode"})
    return corrections


def find_detector(keywords, instruments):
    """Return (instrument file, facts of the detector) of an exposure; refuse what the files do not hold."""
    instrument = instruments.get(keywords["INSTRUME"])
    if instrument is None:
        raise ReductionError(f"INSTRUME '{keywords['INSTRUME']}' has no file in config/instruments")
    detectors = instrument["detectors"]
    if keywords["DETECTOR"] not in detectors:
        known = ", ".join(detectors)
        raise ReductionError(f"{instrument['name']} has no detector '{keywords['DETECTOR']}', expected one of {known}")
    return instrument, detectors[keywords["DETECTOR"]]


def find_mode(keywords, detector, units):
    """Return the mode of an exposure: imager, lenslet or slicer.

    Parameters
    ----------
    keywords : mapping
        INSTMODE, which may be absent where the detector has one mode; OBSNAME, whose unit must agree.
    detector : dict
        Facts of the detector.
    units : dict
        Unit of an OBSNAME (<unit>-<suffix>) -> mode.
    """
    modes, stated = detector["modes"], keywords.get("INSTMODE")
    elsewhere = detector.get("mode_keywords", {}).get(stated)
    if stated is None and len(modes) == 1:
        (mode,) = modes.values()
    elif stated in modes:
        mode = modes[stated]
    else:
        found = "missing" if stated is None else f"'{stated}'"
        also = f" and {elsewhere} {keywords.get(elsewhere, 'missing')!a}" if elsewhere else ""
        expected = " or ".join(modes)
        name = keywords["DETECTOR"]
        raise ReductionError(f"INSTMODE of detector {name} is {found}{also}, expected {expected}: {CORRECT}")
    obsname = str(keywords.get("OBSNAME", ""))
    if units.get(obsname.partition("-")[0], mode) != mode:
        raise ReductionError(f"OBSNAME '{obsname}' is not of mode {mode}, which INSTMODE and DETECTOR say: {CORRECT}")
    return mode


def find_optics(keywords, detector):
    """Return INSTMODE, SCALE and GRATING of an exposure, None where unknown; an imager has one of each.

    Parameters
    ----------
    keywords : mapping
        Come before the facts of the detector.
    detector : dict
        Facts of the detector.
    """
    only = {"INSTMODE": next(iter(detector["modes"])) if len(detector["modes"]) == 1 else None}
    only |= {"SCALE": detector.get("scale_arcsec"), "GRATING": "MIRROR" if "scale_arcsec" in detector else None}
    return {key: keywords.get(key, value) for key, value in only.items()}


def check_optics(keys, detector):
    """Refuse SCALE and GRATING that the field of a spectrograph's mode does not have, naming those that it has.

    Parameters
    ----------
    keys : dict
        Of `find_optics`; what is None is not known, and left to what needs it.
    detector : dict
        Facts of the detector.
    """
    field = detector.get("fields", {}).get(keys["INSTMODE"], {})
    for key, known in (("SCALE", "scales_arcsec"), ("GRATING", "gratings")):
        listed = {_spell(value) for value in field.get(known, [keys[key]])}
        if keys[key] is not None and _spell(keys[key]) not in listed:
            names = ", ".join(map(str, field[known]))
            raise ReductionError(f"{key} {keys[key]!a} is none of {keys['INSTMODE']}, which has {names}: {CORRECT}")


def _spell(value):
    """Return a value of a header in one form: gratings are written 4000-H+K, 4000-HK or HK4000."""
    if not isinstance(value, str):
        return value
    text = value.upper().replace("+", "")
    parts = NAME_FIRST.fullmatch(text)
    return f"{parts[2]}-{parts[1]}{parts[3]}" if parts else text


def find_readout(keywords, detector):
    """Return how a detector was read out: {"border_pix", "n_channel", "reference_output_pix"}.

    Parameters
    ----------
    keywords : mapping
        NCHAN and DETXSIZE come before the facts of the detector.
    detector : dict
        Facts of the detector.

    Raises
    ------
    ReductionError
        Channels that are not equal, or do not lie side by side along the rows.
    """
    if keywords.get("CHANVERT") is False:
        raise ReductionError("CHANVERT is F: output channels must lie side by side along the rows; " + CORRECT)
    n_channel = int(keywords.get("NCHAN", detector["n_channel"]))
    columns = int(keywords.get("DETXSIZE", detector["size_x_pix"]))
    if columns % n_channel:
        found = f"{n_channel} output channels (NCHAN) do not divide {columns} columns (DETXSIZE)"
        raise ReductionError(f"{found}: give NCHAN and DETXSIZE of the whole detector in exposures.yaml")
    return {**{key: detector[key] for key in ("border_pix", "reference_output_pix")}, "n_channel": n_channel}
