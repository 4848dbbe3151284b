"""What CRDS is asked for each exposure of a night: keywords, types, and the files that the observer names instead."""

from pathlib import Path

from drs.errors import ReductionError
from drs.night import REFERENCE_KEYS
from drs.references import SWITCHED_OFF

OF_LEVEL3 = ("psf",)  # types that its catalogues use, not its images
CORRECT = "correct the files under override in config.yaml or exposures.yaml"


def find_own_overrides(rows, needs, observer):
    """Return exposure -> {type: {"file", "reason"}} of the overrides in exposures.yaml."""
    exposures = {file: row["id"] for row in rows if row["status"] == "accepted" for file in row["files"]}
    own = {}
    for entry in observer.get("override", ()):
        identity = exposures.get(entry["file"])
        files = {key: value for key, value in entry.items() if key not in ("file", "reason")}
        if unused := sorted(set(files) - set(needs.get(identity, files))):
            raise ReductionError(
                f"exposures.yaml overrides {', '.join(unused)} of {entry['file']}, which takes only "
                f"{', '.join(needs[identity])}: leave it out"
            )
        own.setdefault(identity, {}).update(
            {reftype: {"file": path, "reason": entry["reason"]} for reftype, path in files.items()}
        )
    return own


def list_files(overrides):
    """Return the files that overrides name; refuse those that do not exist."""
    own = [entry["file"] for entries in overrides["own"].values() for entry in entries.values()]
    named = sorted({path for path in (*overrides["night"].values(), *own) if path != SWITCHED_OFF})
    if missing := [path for path in named if not Path(path).is_file()]:
        raise ReductionError(f"override names files that do not exist: {', '.join(missing)}; {CORRECT}")
    return named


def make_requests(rows, needs, level1, overrides):
    """Return what CRDS is asked for each exposure of a stage, and which types each level of its products uses."""
    requests = {}
    for identity, row in rows.items():
        keys = {key: row["keys"][key] for key in REFERENCE_KEYS if row["keys"].get(key) is not None}
        wanted = {reftype: path for reftype, path in overrides["night"].items() if reftype in needs[identity]}
        further = [reftype for reftype in needs[identity] if reftype not in level1]
        requests[identity] = {"needs": needs[identity], "keys": keys, "levels": {"level1": level1}, "override": wanted}
        levels = {
            "level2": [t for t in further if t not in OF_LEVEL3],
            "level3": [t for t in further if t in OF_LEVEL3],
        }
        requests[identity]["levels"] |= {level: types for level, types in levels.items() if types}
        if identity in overrides["own"]:
            requests[identity]["own_override"] = overrides["own"][identity]
    return requests
