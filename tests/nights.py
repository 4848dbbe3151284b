"""Header scans of an invented night, for the tests of the night table and of the associations."""

from pathlib import Path

from drs.schema import load_yaml

CONFIG = Path(__file__).resolve().parents[1] / "config"
RULES = load_yaml(CONFIG / "associations.yaml")
INSTRUMENTS = {name: load_yaml(CONFIG / "instruments" / f"{name.lower()}.yaml") for name in ("IRIS", "Liger")}


def keywords(imtype, expnum, start="2024-09-25T06:00:00.000", **changes):
    """Return the keywords of an IRIS exposure; a change to None takes a keyword away."""
    made = {
        "INSTRUME": "IRIS",
        "DETECTOR": "IMG1",
        "FILTER": "Y",
        "IMTYPE": imtype,
        "SEMID": "2024B",
        "PROGNUM": "P123",
        "OBSNUM": "008",
        "EXPNUM": expnum,
        "EXPDTST": start,
        "OBJECT": "M 15",
        "RA": 322.49,
        "DEC": 12.17,
        "PA": 0.0,
        "EXPTIME": 60.0,
        "DETXSIZE": 64,
        "DETYSIZE": 48,
    } | changes
    return {key: value for key, value in made.items() if value is not None}


def scan(imtype, expnum, *, shape=(1, 8, 48, 64), **changes):
    """Return the header scan of one exposure."""
    return {
        "size": 1,
        "mtime_ns": 1,
        "keywords": keywords(imtype, expnum, **changes),
        "images": [("DATA", shape)],
        "notes": [],
    }


def ifs_scan(imtype, expnum, **changes):
    """Return the header scan of an exposure of the IRIS spectrograph, by default of the slicer."""
    scale = 0.009 if "LENSLET" in (changes.get("INSTMODE"), changes.get("IFSMODE")) else 0.05
    return scan(imtype, expnum, **{"DETECTOR": "IFS", "INSTMODE": "SLICER", "SCALE": scale} | changes)


def night(**scans):
    """Return scans by file name (the argument's name)."""
    return {f"{name}.fits": entry for name, entry in scans.items()}
