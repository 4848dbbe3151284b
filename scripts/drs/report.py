"""The night report: what the plan, the references, the quality numbers and the logs say, as one page.

`build_report` is a pure function of plain documents, `render_report` fills templates/report.html. The page holds no
time of writing and no folder of a machine: the same input gives the same bytes.
"""

import base64
import math
import re
from collections import Counter
from pathlib import Path
from statistics import median

import jinja2

from drs.naming import ON_SKY, list_products

LEVELS = {"level3": "Level 3", "calibrations": "Calibrations", "level2": "Level 2", "level1": "Level 1"}
PLOTS = {"spectra": "Spectra", "maps": "Maps"}  # pictures that are no preview of a product
JUDGED = ("level3", "level2")  # in Level 1 and in calibrations the detector's own pattern adds to the noise
NOISE_OVER_ERROR = (0.9, 1.1)
TOO_NOISY = "more noise than the errors say: structure of the sky, a crowded field, residuals of dark or flat"
TOO_QUIET = "less noise than the errors say: errors too large, or neighbouring pixels correlated by resampling"
UNUSED = ("rejected", "excluded", "set aside")
PROBLEMS = {
    "failed": ("rejected", "unresolved", "refused", "absent"),
    "check": ("too few", "noise", "overrides", "left out", "warnings"),
    "note": ("level 1 only", "excluded", "set aside"),
}
LEFT_OUT = "left out: "
TELLING_HISTORY = (LEFT_OUT, "override")
ARCSEC_PER_DEG = 3600.0
PATH = re.compile(r"(?<![\w/.<])/(?:[^\s/'\"<>:,;]+/)+")
TEMPLATES = Path(__file__).with_name("templates")


def build_report(night, *, plan, context, manifests, quality, pictures, benchmarks, warnings):
    """Return everything the page shows, as plain lists and dictionaries.

    Parameters
    ----------
    night : dict
        Content of plan/night.json.
    plan : dict
        Content of plan/plan.json, for the products of each exposure; {} without.
    context : dict
        {"context", "sha1", "source"} of the run.
    manifests : dict
        exposure -> manifest of references.
    quality : dict
        (folder, stem) of a product -> its quality numbers.
    pictures : dict
        (folder, stem) of a product -> (MIME type, bytes) of its preview.
    benchmarks : dict
        rule -> list of (seconds, MB of memory or None), one per job.
    warnings : dict
        rule -> list of (log, text).
    """
    planned = plan_products(night, plan)
    quality = {key: quality[key] for key in planned if key in quality}
    manifests = dict(sorted(manifests.items()))
    listed = list_quality(quality)
    return {
        "facts": summarize_night(night, context, manifests),
        "n_expected": len(_expected(planned, quality)),
        "n_made": sum(document["refused"] is None for document in quality.values()),
        "problems": find_problems(night, manifests, quality, planned, warnings),
        "not_used": [_not_used(row) for row in night["rows"] if row["status"] != "accepted"],
        "noted": [_not_used(row) for row in _accepted(night) if _notes(row)],
        "exposures": list_exposures(night, plan, quality),
        "combinations": list_combinations(night, quality),
        "too_few": night["too_few"],
        "references": list_references(manifests),
        "pictures": list_pictures(pictures, listed, planned),
        "quality": {folder: rows for folder in LEVELS if (rows := [r for r in listed if r["folder"] == folder])},
        "benchmarks": summarize_benchmarks(benchmarks),
        "warnings": group_warnings(warnings),
    }


def drop_folders(text):
    """Return a text with absolute paths cut to their file names."""
    return PATH.sub("", str(text))


def plan_products(night, plan):
    """Return (folder, stem) of every planned product -> the exposures it is made from, in the order of the page."""
    single = {key: [row["id"]] for row in _accepted(night) for key in _own_products(row, night, plan)}
    return {
        **{("level3", f"{name}_LVL3"): entry["members"] for name, entry in night["groups"].items()},
        **{("calibrations", name): entry["members"] for name, entry in {**night["masters"], **night["skies"]}.items()},
        **{key: single[key] for key in sorted(single, key=lambda key: key[0] != "level2")},
    }


def _accepted(night):
    """Return the accepted rows of a night."""
    return [row for row in night["rows"] if row["status"] == "accepted"]


def _own_products(row, night, plan):
    """Return (folder, stem) of an exposure's own products: those of plan.json, or what its kind makes."""
    files = plan.get("exposures", {}).get(row["id"], {}).get("products")
    if files is None:
        files = list_products(row, night)
    return [(Path(file).parent.name, Path(file).stem) for file in files]


def summarize_night(night, context, manifests):
    """Return the facts of the headline: night, instrument, times, exposures per kind, context."""
    accepted = _accepted(night)
    kinds = Counter(row["kind"] for row in accepted)
    starts = sorted(row["keys"]["EXPDTST"][:19] for row in accepted)
    used = Counter(manifest["context"]["name"] for manifest in manifests.values())
    return {
        "nights": sorted({row["keys"]["NIGHT"] for row in accepted}),
        "detectors": sorted({f"{row['keys']['INSTRUME']} {row['keys']['DETECTOR']}" for row in accepted}),
        "first": starts[0] if starts else None,
        "last": starts[-1] if starts else None,
        "n_files": len(night["rows"]),
        "statuses": dict(sorted(Counter(row["status"] for row in night["rows"]).items())),
        "kinds": {kind: (n, _total_time(accepted, kind)) for kind, n in sorted(kinds.items())},
        "context": {key: context.get(key) for key in ("context", "sha1", "source")},
        "contexts_used": dict(sorted(used.items())),
        "crds_versions": sorted({manifest["crds_version"] for manifest in manifests.values()}),
    }


def _total_time(rows, kind):
    """Return the sum of the exposure times of one kind, in s."""
    return sum(row["keys"].get("EXPTIME") or 0.0 for row in rows if row["kind"] == kind)


def find_problems(night, manifests, quality, planned, warnings):
    """Return what an observer should know first: {severity, what, n, reasons}, worst first.

    `severity` is 'failed' (something is not there), 'check' (there, but look at it) or 'note', `what` one of
    PROBLEMS (the page has the words), `reasons` a list of (reason, names), one per different reason.
    """
    by_status = {status: [row for row in night["rows"] if row["status"] == status] for status in UNUSED}
    found = {status: [(row["file"], row["reason"]) for row in rows] for status, rows in by_status.items()}
    found["unresolved"] = [(name, m["reason"]) for name, m in manifests.items() if m["status"] != "resolved"]
    found["too few"] = [(f"{entry['type']} {entry['name']}", entry["reason"]) for entry in night["too_few"]]
    found["level 1 only"] = list(night["level1_only"].items())
    found["warnings"] = [(rule, text) for rule, lines in sorted(warnings.items()) for _, text in lines]
    found["overrides"] = [
        (f"{exposure}: {kind}", entry["reason"])
        for exposure, manifest in manifests.items()
        for kind, entry in manifest["references"].items()
        if entry["status"] == "found" and entry["reason"]
    ]
    found |= _find_product_problems(quality, planned)
    return [
        {"severity": severity, "what": what, "n": len(found[what]), "reasons": _gather_by_reason(found[what])}
        for severity, kinds in PROBLEMS.items()
        for what in kinds
        if found[what]
    ]


def _expected(planned, quality):
    """Return the planned products that should have quality numbers: Level 1 only where any of it has."""
    has_level1 = any(folder == "level1" for folder, _ in quality)
    return [key for key in planned if key[0] != "level1" or has_level1]


def _find_product_problems(quality, planned):
    """Return problem -> (name, reason) of the products that it befell."""
    good = [(folder, stem, document) for (folder, stem), document in quality.items() if document["refused"] is None]
    ratios = [(stem, document["measured"]["noise_over_error"]) for folder, stem, document in good if folder in JUDGED]
    return {
        "refused": [(stem, doc["refused"]) for (_, stem), doc in quality.items() if doc["refused"] is not None],
        "absent": [
            (stem, f"no {LEVELS[folder]} product")
            for folder, stem in _expected(planned, quality)
            if (folder, stem) not in quality
        ],
        "noise": [(stem, TOO_NOISY if ratio > 1 else TOO_QUIET) for stem, ratio in ratios if is_off(ratio)],
        "left out": [
            (stem, line.removeprefix(LEFT_OUT))
            for _, stem, document in good
            for line in document["history"]
            if line.startswith(LEFT_OUT)
        ],
    }


def _gather_by_reason(pairs):
    """Return [(reason, names)] of (name, reason) pairs, in the order of their first."""
    reasons = {}
    for name, reason in pairs:
        reasons.setdefault(drop_folders(reason), []).append(name)
    return list(reasons.items())


def is_off(ratio):
    """Return True where noise over error says that the errors do not hold."""
    return ratio is not None and not NOISE_OVER_ERROR[0] <= ratio <= NOISE_OVER_ERROR[1]


def _notes(row):
    """Return what is to be said about a file: its notes and the observer's corrections."""
    corrections = [
        f"{', '.join(f'{key} set to {value}' for key, value in sorted(entry['set'].items()))}: {entry['reason']}"
        for entry in row.get("corrections", ())
    ]
    return [drop_folders(note) for note in (*row["notes"], *corrections)]


def _not_used(row):
    """Return a row of the table of files."""
    return {key: row[key] for key in ("file", "status")} | {
        "reason": drop_folders(row["reason"]),
        "notes": _notes(row),
    }


def list_exposures(night, plan, quality):
    """Return one row per accepted exposure: when, what, where, what is made from it, its sky and why."""
    goes_into, first = {}, {}
    for name, entry in [*night["masters"].items(), *night["skies"].items(), *night["groups"].items()]:
        for member in entry["members"]:
            goes_into.setdefault(member, []).append(name)
            first.setdefault(member, entry["members"][0])
    rows = {row["id"]: row for row in _accepted(night)}
    return [
        {
            "id": identity,
            "file": row["file"],
            "kind": row["kind"],
            "keys": row["keys"],
            "start": row["keys"]["EXPDTST"][:19].replace("T", " "),
            "offset_arcsec": _offset_arcsec(row, rows[first.get(identity, identity)]),
            "products": [
                {"level": LEVELS.get(key[0], key[0]), "name": key[1], "state": _state(quality.get(key))}
                for key in _own_products(row, night, plan)
            ],
            "goes_into": goes_into.get(identity, []),
            "sky": night["sky"].get(identity),
        }
        for identity, row in rows.items()
    ]


def _offset_arcsec(row, first_row):
    """Return (east, north) of a pointing from the first of its set, in arcsec; None for lamps and without pointing."""
    keys, first = row["keys"], first_row["keys"]
    if row["kind"] not in ON_SKY or None in (keys["RA"], keys["DEC"], first["RA"], first["DEC"]):
        return None
    turn = (keys["RA"] - first["RA"] + 180.0) % 360.0 - 180.0
    east = turn * math.cos(math.radians(first["DEC"])) * ARCSEC_PER_DEG
    return tuple(round(value, 3) + 0.0 for value in (east, (keys["DEC"] - first["DEC"]) * ARCSEC_PER_DEG))


def _state(document):
    """Return 'made', 'refused', or '' for a product of which nothing is known."""
    if document is None:
        return ""
    return "made" if document["refused"] is None else "refused"


def list_combinations(night, quality):
    """Return section -> rows {name, type, members, keys, state} of masters, skies and Level 3 groups."""
    sections = {"Calibrations": "masters", "Skies": "skies", "Level 3 groups": "groups"}
    return {
        title: [
            {
                "name": name,
                "members": entry["members"],
                "keys": {key: value for key, value in entry["keys"].items() if value not in (None, "")},
                "state": _state(
                    quality.get(("level3", f"{name}_LVL3") if part == "groups" else ("calibrations", name))
                ),
            }
            for name, entry in night[part].items()
        ]
        for title, part in sections.items()
        if night[part]
    }


def list_references(manifests):
    """Return the files that were chosen, each once with how it was chosen, and the matrix exposure x type."""
    entries = [item for manifest in manifests.values() for item in manifest["references"].items()]
    types = sorted({kind for kind, entry in entries if entry["status"] != "not needed"})
    used, matrix = {}, []
    for exposure, manifest in manifests.items():
        cells = {kind: _cell(entry) for kind, entry in manifest["references"].items()}
        matrix.append({"exposure": exposure, "cells": [cells.get(kind) for kind in types]})
        for kind, cell in cells.items():
            if cell and cell["file"]:
                entry = used.setdefault((kind, cell["file"], cell["source"]), {**cell, "type": kind, "n": 0})
                entry["n"] += 1
    return {"types": types, "used": [used[key] for key in sorted(used, key=str)], "matrix": matrix}


def _cell(entry):
    """Return what the matrix shows of one reference, None for one that is not needed."""
    if entry["status"] == "not needed":
        return None
    cell = {key: entry.get(key) or "" for key in ("rmap", "selector", "useafter", "sha1", "source", "status")}
    file = Path(entry.get("file") or "").name
    parts = file.removesuffix(".fits").split("_")
    short = "_".join(parts[3:]) if len(parts) > 4 else file
    told = "; ".join(filter(None, (entry.get("note"), entry.get("reason"))))
    return cell | {"file": file, "short": short, "reason": drop_folders(told)}


def list_quality(quality):
    """Return one row per product of its quality numbers, and what to note about its making."""
    rows = []
    for (folder, stem), document in quality.items():
        numbers = document["measured"] or {}
        steps = {key.removeprefix("S_"): value for key, value in sorted(document["steps"].items())}
        skipped = [f"{key} {value.lower()}" for key, value in steps.items() if value.startswith("SKIPPED")]
        told = [line for line in document["history"] if line.startswith(TELLING_HISTORY)]
        flags = sorted(numbers.get("flags", {}).items(), key=lambda item: (item[0] == "DO_NOT_USE", -item[1], item[0]))
        rows.append(
            {
                "folder": folder,
                "stem": stem,
                "document": document,
                "numbers": numbers,
                "own": {**document.get("numbers", {}), **numbers.get("spectra", {})},
                "flags": flags,
                "refused": drop_folders(document["refused"]) if document["refused"] is not None else None,
                "off": folder in JUDGED and is_off(numbers.get("noise_over_error")),
                "n_complete": sum(value == "COMPLETE" for value in steps.values()),
                "notes": [drop_folders(line) for line in (*skipped, *told)],
            }
        )
    return rows


def list_pictures(pictures, listed, planned):
    """Return folder -> pictures in the order of the page, each as a data URI with its row of the quality table."""
    rows = {(row["folder"], row["stem"]): row for row in listed}
    shown = {folder: [] for folder in (*LEVELS, *PLOTS)}
    for key in [*planned, *sorted(key for key in pictures if key[0] in PLOTS)]:
        if key in pictures:
            mime, content = pictures[key]
            uri = f"data:{mime};base64,{base64.b64encode(content).decode()}"
            shown[key[0]].append({"stem": key[1], "uri": uri, "row": rows.get(key)})
    return {folder: entries for folder, entries in shown.items() if entries}


def summarize_benchmarks(benchmarks):
    """Return one row per rule: jobs, total, median and longest time in s, largest memory in MB; longest total first."""
    rows = []
    for rule, jobs in benchmarks.items():
        seconds, memory = [job[0] for job in jobs], [job[1] for job in jobs if job[1] is not None]
        row = {"rule": rule, "n": len(jobs), "total_s": sum(seconds), "median_s": median(seconds)}
        rows.append(row | {"max_s": max(seconds), "max_mb": max(memory) if memory else None})
    return sorted(rows, key=lambda row: (-row["total_s"], row["rule"]))


def group_warnings(warnings):
    """Return rule -> [(text, logs)], equal texts of a rule once."""
    grouped = {}
    for rule, lines in sorted(warnings.items()):
        for log, text in lines:
            grouped.setdefault(rule, {}).setdefault(drop_folders(text), []).append(log)
    return {rule: list(texts.items()) for rule, texts in grouped.items()}


def render_report(report):
    """Return the page as HTML; every text is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "digits": format_digits,
        "short": drop_folders,
        "percent": format_percent,
        "time": format_seconds,
    }
    return environment.get_template("report.html").render(report, levels=LEVELS | PLOTS)


def format_digits(value, digits=4):
    """Return a number with some significant digits, a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def format_percent(fraction):
    """Return a fraction as percentage; what is not zero does not become 0.00."""
    if fraction is None:
        return "–"
    return f"{100 * fraction:.2f} %" if fraction == 0 or fraction >= 5e-5 else "< 0.01 %"


def format_seconds(seconds):
    """Return a time in the units an observer thinks in."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
