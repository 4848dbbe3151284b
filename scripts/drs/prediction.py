"""The plan before anything is reduced: the references that CRDS will choose, calibrations of the night included."""

from pathlib import Path
from tempfile import TemporaryDirectory

from astropy.io import fits

from drs import bestrefs
from drs.delivery import deliver
from drs.naming import list_products


def predict_references(night, requests, context, types, cache):
    """Return exposure id -> manifest as CRDS will answer, stage by stage.

    The calibrations that the night will make are stood in for by files that hold only their header, delivered to a
    throw-away copy of the context by the same code that will deliver the real ones.

    Parameters
    ----------
    night : dict
        Content of plan/night.json.
    requests : dict
        stage -> content of plan/stages/<stage>.json.
    context : dict
        Content of plan/context.json.
    types : dict
        Of `drs.references.load_types`.
    cache : Path
    """
    manifests = {}
    with TemporaryDirectory(prefix="prediction_") as folder:
        overlay = Path(folder, "crds")
        for stage, exposures in requests.items():
            manifests |= bestrefs.resolve(exposures, context, types, cache, overlay, verify=False)
            planned = {name: entry for name, entry in night["masters"].items() if entry["stage"] == stage}
            if planned:
                stubs = [_write_stub(Path(folder), name, entry, types) for name, entry in planned.items()]
                context = deliver(stubs, context, stage, types, cache, overlay, certify=False)
    return manifests


def _write_stub(folder, name, entry, types):
    """Write the header of a planned calibration as a file of its own; return its path."""
    known = {key: value for key, value in entry["keys"].items() if value is not None}
    header = fits.Header({key: value for key, value in known.items() if key not in ("NIGHT", "SUBARRID")})
    header["REFTYPE"] = types[entry["type"]]["filekind"]
    header["USEAFTER"] = entry["useafter"]
    path = folder / f"{name}.fits"
    fits.PrimaryHDU(header=header).writeto(path)
    return path


def tabulate(night, manifests):
    """Return the plan as a document: for every exposure its products, references and sky, with the reasons.

    Parameters
    ----------
    night : dict
        Content of plan/night.json.
    manifests : dict
        Of `predict_references`.
    """
    used_by = {}
    for section, pattern in (
        ("masters", "calibrations/{}"),
        ("skies", "calibrations/{}"),
        ("groups", "level3/{}_LVL3"),
    ):
        for name, entry in night[section].items():
            for identity in entry["members"]:
                used_by.setdefault(identity, []).append(pattern.format(name) + ".fits")
    exposures = {}
    for row in night["rows"]:
        if row["status"] != "accepted":
            continue
        identity = row["id"]
        products = list_products(row, night)
        manifest = manifests[identity]
        exposures[identity] = {
            "file": row["file"],
            "kind": row["kind"],
            "mode": row["mode"],
            "object": row["keys"]["OBJECT"],
            "filter": row["keys"]["FILTER"],
            "start": row["keys"]["EXPDTST"],
            "products": products,
            "used_by": used_by.get(identity, []),
            "status": manifest["status"],
            "reason": manifest["reason"],
            "references": manifest["references"],
            "sky": night["sky"].get(identity),
            "level1_only": night["level1_only"].get(identity, ""),
        }
    set_apart = [row for row in night["rows"] if row["status"] != "accepted"]
    return {
        "exposures": exposures,
        "masters": night["masters"],
        "skies": night["skies"],
        "groups": night["groups"],
        "too_few": night["too_few"],
        "not_reduced": [{key: row[key] for key in ("file", "status", "reason")} for row in set_apart],
        "notes": [{"file": row["file"], "notes": row["notes"]} for row in night["rows"] if row["notes"]],
    }
