"""Why CRDS chose a reference: every file of the rules with the key that failed, or the date that lost.

CRDS first matches keys (of the rules that match, those with the most keys that are no wildcards come first), then
compares dates: UseAfter takes the latest date up to the exposure's start, ClosestTime the nearest. The choice itself is
always that of crds; what is said here about the others is worked out with the matchers of crds.
"""

from datetime import datetime

from crds_ligeriri import session
from drs.bestrefs import Rules, context_root, find_unusable_key, matching_date
from drs.errors import ReductionError

DAY_S = 86400.0
CHOSEN = "chosen"
KNOWN = ("UseAfter", "ClosestTime", "Match")


def trace_selection(keys, kind, context, types, cache, overlay=None):
    """Return why CRDS chooses what it does for one exposure and one type.

    Parameters
    ----------
    keys : dict
        FITS keyword -> value, as `drs.bestrefs.resolve` takes them.
    kind : str
        Type of reference.
    context : dict
        {"context", "sha1"}.
    types : dict
        Of `drs.references.load_types`.
    cache, overlay : path-like
        Shared cache, and the night's own, which may be missing.

    Returns
    -------
    dict
        {"type", "context", "keys", "rmap", "selector", "chosen": file or None, "answer": what CRDS says where it chose
        none, "candidates": [{"file", "rule": {keyword: value}, "date", "status": "chosen" | "rejected", "reason"}]},
        the chosen one first, then those that failed by the fewest keys.
    """
    if kind not in types:
        raise ReductionError(f"no type of reference '{kind}'; known are {', '.join(types)}")
    if reason := find_unusable_key(keys, types[kind]["match"]):
        raise ReductionError(reason)
    filekind = types[kind]["filekind"].lower()
    with session(context_root(context, cache, overlay)) as crds:
        rules = Rules(crds, context["context"])
        answer = rules.ask(keys, [filekind])[filekind]
        described = rules.describe(keys["INSTRUME"], filekind)
        if described["selector"] not in (None, *KNOWN):
            raise ReductionError(
                f"{described['rmap']} chooses by {described['selector']}, expected {', '.join(KNOWN)}: "
                "its choice can be seen in the manifest, but not traced"
            )
        chosen = None if answer.startswith("NOT FOUND") else answer
        candidates = []
        if described["rmap"]:
            candidates = _list_candidates(rules.get_rmap(keys["INSTRUME"], filekind), keys)
    return {
        "type": kind,
        "context": context["context"],
        "keys": {key: keys.get(key) for key in ("INSTRUME", *types[kind]["match"], "EXPDTST")},
        "rmap": described["rmap"],
        "selector": described["selector"],
        "chosen": chosen,
        "answer": "" if chosen else " ".join(answer.removeprefix("NOT FOUND").split()),
        "candidates": _judge(candidates, chosen, described["selector"], matching_date(keys["EXPDTST"])),
    }


def _list_candidates(rmap, keys):
    """Return every rule of every file: {"file", "rule", "date", "failed": [text], "weight": keys that match}."""
    from crds.core.selectors import matcher
    from crds.core.utils import condition_value
    from crds.ligeriri.locate import PARKEYS

    keywords, paths = {path: keyword for keyword, path in PARKEYS.items()}, PARKEYS
    words = rmap.header.get("substitutions", {})  # of the rules' own, such as GENERIC for any value
    candidates = []
    for name in sorted(set(rmap.reference_names())):
        for _, *rows in rmap.file_matches(name):
            rule = {keywords.get(path, path): value for row in rows for path, value in row}
            date = rule.pop("EXPDTST", None)
            patterns = {key: words.get(paths.get(key, key), {}).get(value, value) for key, value in rule.items()}
            results = {key: matcher(text).match(condition_value(keys.get(key, ""))) for key, text in patterns.items()}
            failed = [f"{key} is {rule[key]}, {keys.get(key)} in the exposure" for key in rule if results[key] == -1]
            weight = sum(result == 1 for result in results.values())
            candidates.append({"file": name, "rule": rule, "date": date, "failed": failed, "weight": weight})
    return candidates


def _judge(candidates, chosen, selector, start):
    """Return the candidates with status and reason, the chosen one first."""
    fitting = [entry for entry in candidates if entry["file"] == chosen and not entry["failed"]]
    best = min(fitting, key=lambda entry: (-entry["weight"], _distance(entry, start, selector)), default=None)
    judged = []
    for entry in candidates:
        status = CHOSEN if entry is best else "rejected"
        reason = _explain(entry, best, selector, start)
        judged.append({key: entry[key] for key in ("file", "rule", "date")} | {"status": status, "reason": reason})
    order = {
        id(new): (new["status"] != CHOSEN, len(old["failed"])) for new, old in zip(judged, candidates, strict=True)
    }
    return sorted(judged, key=lambda entry: (*order[id(entry)], entry["file"], entry["date"] or ""))


def _explain(entry, best, selector, start):
    """Return why a candidate was, or was not, chosen."""
    if entry["failed"]:
        return "; ".join(entry["failed"])
    late = selector == "UseAfter" and entry["date"] > start
    if late:
        return f"holds from {entry['date']} on, after the start of the exposure"
    if best is None:
        return "CRDS did not choose it"
    if entry["weight"] < best["weight"]:
        return f"its rule matches {entry['weight']} keys, that of the chosen one {best['weight']}"
    if selector == "UseAfter":
        latest = f"the latest date up to {start}"
        return latest if entry is best else f"holds from {entry['date']} on, the chosen one from {best['date']} on"
    if selector == "ClosestTime":
        days, least = (_distance(other, start, selector) / DAY_S for other in (entry, best))
        if entry is best:
            return f"the nearest date, {days:.3f} d from {start}"
        return f"{days:.3f} d from {start}, the chosen one {least:.3f} d"
    return "all keys match" if entry is best else "matches as well as the chosen one, which CRDS takes first"


def _distance(entry, start, selector):
    """Return what dates are compared by, in seconds: the smallest wins."""
    if entry["date"] is None:
        return 0.0
    gap_s = (datetime.fromisoformat(start) - datetime.fromisoformat(entry["date"])).total_seconds()
    return abs(gap_s) if selector == "ClosestTime" or gap_s >= 0 else float("inf")


def format_trace(trace):
    """Return a trace as text for a terminal."""
    asked = ", ".join(f"{key} = {value}" for key, value in trace["keys"].items())
    rules = f"{trace['rmap']} ({trace['selector']})" if trace["rmap"] else "no rules"
    lines = [f"{trace['type']}: {trace['chosen'] or 'none: ' + trace['answer']}", f"  asked for {asked}"]
    lines += [f"  rules: {rules} of {trace['context']}"]
    for entry in trace["candidates"]:
        word = "chosen" if entry["status"] == CHOSEN else "not"
        lines.append(f"  {word:<6} {entry['file']}: {entry['reason']}")
    return "\n".join(lines)
