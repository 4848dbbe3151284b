"""What another CRDS context changes: old and new reference of each exposure and type."""


def find_affected(old, new):
    """Return [{"exposure", "type", "old", "new"}] of all references that differ between two sets of manifests.

    Parameters
    ----------
    old, new : dict
        exposure -> manifest of the same exposures, of `drs.bestrefs.resolve`.
    """
    rows = []
    for exposure in sorted(old):
        before, after = (manifests[exposure]["references"] for manifests in (old, new))
        for kind in sorted(before):
            names = {"old": _name(before[kind]), "new": _name(after[kind])}
            if names["old"] != names["new"]:
                rows.append({"exposure": exposure, "type": kind, **names})
    return rows


def _name(entry):
    """Return the file of an entry, or why there is none."""
    return entry["file"] if entry["status"] == "found" else {"n/a": "N/A"}.get(entry["status"], entry["status"])


def format_affected(rows, n_exposures):
    """Return the rows as text for a terminal, one line each, and their number."""
    affected = len({row["exposure"] for row in rows})
    lines = [f"{row['exposure']} {row['type']}: {row['old']} -> {row['new']}" for row in rows]
    return "\n".join([*lines, f"{affected} of {n_exposures} exposures are affected"])
