"""Which exposure goes with which: masters, skies and Level 3 groups as a pure function of the night table."""

import math
from datetime import datetime, timedelta

from drs.night import slug

APART = ("DETECTOR", "READMODE", "SUBARRAY", "SUBARRID")  # in which the parts of a mosaic may differ
HOURS_PER_DAY = 24.0
THROUGH_SKY = ("TWIFLAT", "SKYFLAT")
ALWAYS = ("detector", "optics", "science")  # stages of every night; others only with exposures of their own


def associate(rows, rules):
    """Return the plan of a night.

    Parameters
    ----------
    rows : list of dict
        The accepted rows of `drs.night.build_rows`.
    rules : dict
        Content of config/associations.yaml.

    Returns
    -------
    plan : dict
        `order`: stages in running order; `stages`: stage -> exposure ids; `needs`: id -> types of references;
        `masters`, `skies`, `groups`: product name -> {members, keys, ...}; `sky`: science id -> {choice, reason,
        rejected}; `too_few`: groups that make no product, with the reason; `level1_only`: id -> why nothing is made
        beyond Level 1.
    """
    accepted = sorted((row for row in rows if row["status"] == "accepted"), key=_order)
    going_on = [row for row in accepted if _find_recipe(row, rules) is not None]
    too_few = []
    masters = _plan_masters(going_on, rules["masters"], too_few)
    images = [row for row in going_on if row["mode"] == "imager"]
    skies = _plan_skies(images, rules["sky"], too_few)
    cubes = [row for row in going_on if row["mode"] != "imager"]
    science = _of_kind(images, "science")
    kinds = {row["kind"] for row in going_on}
    stages = [stage for stage, own in rules["stages"].items() if stage in ALWAYS or kinds & set(own)]
    return {
        "order": stages,
        "stages": {stage: [row["id"] for row in accepted if _stage(row, rules, stages) == stage] for stage in stages},
        "needs": {row["id"]: [*rules["level1"], *(_find_recipe(row, rules) or ())] for row in accepted},
        "masters": masters,
        "skies": skies,
        "sky": _choose_skies(images, skies, rules["sky"]) | _choose_sky_cubes(cubes, rules),
        "groups": _plan_groups(science, rules["combine"]) | _plan_cubes(_of_kind(cubes, "science"), rules),
        "too_few": too_few,
        "level1_only": {
            row["id"]: f"{row['mode']}: Level 1 only, no recipe for {row['kind']} exposures yet"
            for row in accepted
            if _find_recipe(row, rules) is None
        },
    }


def _find_recipe(row, rules):
    """Return the references that an exposure needs beyond those of Level 1; None where nothing more is made of it."""
    return rules["recipes"].get(row["mode"], {}).get(row["kind"])


def _stage(row, rules, stages):
    """Return the stage in which an exposure is resolved: the first for one that waits for no calibration."""
    listed = [stage for stage in stages if row["kind"] in rules["stages"][stage]]
    return listed[0] if listed and _find_recipe(row, rules) is not None else stages[0]


def _order(row):
    """Order of rows everywhere: start, then identity, so that ties have one answer."""
    return row["start_mjd"], row["id"]


def _split(rows, same):
    """Return lists of rows that agree in the keywords `same` (and in detector size), in order of their start."""
    sets = {}
    for row in rows:
        key = tuple(row["keys"].get(name) for name in (*same, "DETXSIZE", "DETYSIZE"))
        sets.setdefault(key, []).append(row)
    return list(sets.values())


def _calibration_name(reftype, first, planned):
    """Return the documented name of a calibration, dated by the start of its first exposure.

    What shares instrument, detector and second with another one gets a word for its configuration.
    """
    keys = first["keys"]
    date = keys["EXPDTST"][:19].replace("-", "").replace(":", "")
    stem = f"{keys['INSTRUME']}_{keys['DETECTOR']}_{reftype}"
    words = "".join(
        character for character in f"{keys['READMODE']}{keys['FILTER']}{keys['PUPIL']}" if character.isalnum()
    )
    name, serial = f"{stem}_{date}_0.0.1".lower(), keys["SUBARRID"]
    while name in planned:
        name, serial = f"{stem}_{words}{serial}_{date}_0.0.1".lower(), serial + 1
    return name


def _describe(rows, same):
    """Return the members and the shared keywords of a planned product."""
    return {
        "members": [row["id"] for row in rows],
        "keys": {name: rows[0]["keys"].get(name) for name in same},
        "useafter": rows[0]["night_middle"],
        "mid_mjd": sum(row["start_mjd"] for row in rows) / len(rows),
    }


def _plan_masters(accepted, masters, too_few):
    """Return the night's own calibrations."""
    planned = {}
    for name, rule in masters.items():
        reftype = rule.get("type", name)
        own = [row for row in _of_kind(accepted, rule["kind"]) if row["mode"] in rule.get("modes", [row["mode"]])]
        sets = _split(own, rule["same"])
        for rows in sorted(sets, key=lambda rows: rows[0]["keys"]["IMTYPE"] in THROUGH_SKY):
            name = _calibration_name(reftype, rows[0], planned)
            entry = {**_describe(rows, rule["same"]), "type": reftype, "stage": rule["stage"]}
            if rule.get("from") == "noon":
                entry["useafter"] = _noon_before(rows[0]["night_middle"])
            if lacking := _add_partners(entry, accepted, rule, planned):
                if entry.get("further") or rule["stage"] not in ALWAYS:
                    too_few.append({"name": name, "type": reftype, "members": entry["members"], "reason": lacking})
                continue
            if "minus" in rule:
                entry["minus"] = _find_minus(rows[0], accepted, rule)
            through_sky = rows[0]["keys"]["IMTYPE"] in THROUGH_SKY or "type" in rule
            if found := _find_preferred(entry, planned, through_sky=through_sky):
                reason = f"{found} is made of the lamp: {rule['kind']} exposures through the sky are not needed"
                too_few.append({"name": name, "type": reftype, "members": entry["members"], "reason": reason})
                continue
            if rows[0]["keys"]["SUBARRAY"] == "FULL":
                _keep_or_note(name, entry, rule["minimum"], planned, too_few)
            else:
                reason = "exposures of a subarray: calibrations are made from full frames"
                too_few.append({"name": name, "type": reftype, "members": entry["members"], "reason": reason})
    return planned


def _find_minus(row, accepted, rule):
    """Return the ids of the exposures, of the same keywords but IMTYPE, that are subtracted from those of a master."""
    same = [key for key in rule["same"] if key != "IMTYPE"]
    others = [other for other in accepted if other["kind"] == rule["minus"]]
    return [other["id"] for other in others if all(other["keys"][key] == row["keys"][key] for key in same)]


def _find_preferred(entry, planned, *, through_sky):
    """Return the name of a planned calibration in whose place one through the sky would be chosen; else None."""
    if not through_sky:
        return None
    keys = entry["keys"] | {"IMTYPE": None}
    same = [n for n, e in planned.items() if e["type"] == entry["type"] and e["keys"] | {"IMTYPE": None} == keys]
    return next(iter(same), None)


def _noon_before(middle):
    """Return the noon (ISO) at which the night with this midnight begins."""
    return (datetime.fromisoformat(middle) - timedelta(hours=HOURS_PER_DAY / 2)).isoformat()


def _add_partners(entry, accepted, rule, planned):
    """Add to a master's entry (in place) its further exposures and the master it is made with; return what lacks."""
    keys = entry["keys"]
    if "with" in rule:
        rows = [r for r in accepted if r["kind"] == rule["with"] and all(r["keys"][key] == keys[key] for key in keys)]
        entry |= {"further": [row["id"] for row in rows], "further_minimum": rule["with_minimum"]}
        if len(rows) < rule["with_minimum"]:
            return f"{len(rows)} {rule['with']} exposures, at least {rule['with_minimum']} needed"
    if "uses" in rule:
        used = [n for n, e in planned.items() if e["type"] == rule["uses"] and e["members"] == entry["members"]]
        if not used:
            return f"no {rule['uses']} is made of these exposures"
        entry["uses"] = used[0]
    return ""


def _plan_skies(accepted, rule, too_few):
    """Return the combined skies; a pause longer than max_gap_h starts a new one."""
    planned = {}
    for rows in _split([row for row in accepted if row["kind"] == "sky"], rule["same"]):
        run = [rows[0]]
        for row in [*rows[1:], None]:
            gap_h = math.inf if row is None else HOURS_PER_DAY * (row["start_mjd"] - run[-1]["start_mjd"])
            if gap_h <= rule["max_gap_h"]:
                run.append(row)
                continue
            entry = {**_describe(run, rule["same"]), "type": "sky"}
            _keep_or_note(_calibration_name("sky", run[0], planned), entry, rule["minimum"], planned, too_few)
            run = [row]
    return planned


def _keep_or_note(name, entry, minimum, planned, too_few):
    """Plan a product that has its minimum of members; note the others."""
    found, entry["minimum"] = len(entry["members"]), minimum
    if found >= minimum:
        planned[name] = entry
    else:
        reason = f"{found} exposures, at least {minimum} needed"
        too_few.append({"name": name, "type": entry["type"], "members": entry["members"], "reason": reason})


def _of_kind(rows, kind):
    """Return the rows of one kind."""
    return [row for row in rows if row["kind"] == kind]


def _choose_skies(images, skies, rule):
    """Return science id -> choice of its sky frame, for images."""
    return {row["id"]: _choose_sky(row, skies, rule) for row in _of_kind(images, "science")}


def _choose_sky_cubes(cubes, rules):
    """Return science id -> choice of its sky, for cubes: an exposure of the sky, by its id."""
    rule = rules["sky"] | {"same": _join(rules["sky"]["same"], rules["cubes"]["same"])}
    offered = {row["id"]: {"keys": row["keys"], "mid_mjd": row["start_mjd"]} for row in _of_kind(cubes, "sky")}
    none = "no fitting sky exposure: spectrum of the blank spaxels"
    chosen = {row["id"]: _choose_sky(row, offered, rule) for row in _of_kind(cubes, "science")}
    return {key: entry if entry["choice"] else {**entry, "reason": none} for key, entry in chosen.items()}


def _join(first, second):
    """Return two lists of keywords as one, each keyword once."""
    return [*first, *(name for name in second if name not in first)]


def _plan_cubes(science, rules):
    """Return the Level 3 groups of cubes: one target and configuration of a spectrograph."""
    rule = rules["combine"] | {"same": _join(rules["combine"]["same"], rules["cubes"]["same"])}
    groups = {name: entry for name, entry in _plan_groups(science, rule).items() if not entry.get("mosaic")}
    return {name: {**entry, "cubes": True} for name, entry in groups.items()}


def _choose_sky(row, skies, rule):
    """Return the nearest fitting sky of a science exposure, and why the others were not chosen."""
    rejected, fitting = [], []
    for name, sky in skies.items():
        differing = [key for key in rule["same"] if sky["keys"].get(key) != row["keys"].get(key)]
        gap_h = HOURS_PER_DAY * abs(sky["mid_mjd"] - row["start_mjd"])
        if differing:
            rejected.append({"name": name, "reason": f"other {', '.join(differing)}"})
        elif gap_h > rule["max_gap_h"]:
            rejected.append({"name": name, "reason": f"{gap_h:.2f} h away, at most {rule['max_gap_h']} h"})
        else:
            fitting.append((gap_h, name))
    if not fitting:
        return {
            "choice": None,
            "reason": "no fitting sky exposures: other dithers or median",
            "rejected": rejected,
        }
    gap_h, choice = min(fitting)
    rejected += [{"name": name, "reason": f"{gap:.2f} h away, farther"} for gap, name in sorted(fitting)[1:]]
    return {"choice": choice, "reason": f"nearest, {gap_h:.2f} h away", "rejected": rejected}


def _plan_groups(science, rule):
    """Return the Level 3 groups: one target and configuration, one position angle."""
    planned = {}
    for rows in _split(science, rule["same"]):
        keys = rows[0]["keys"]
        stem = "{SEMID}-{PROGNUM}_{INSTRUME}_{DETECTOR}".format(**keys)
        angles = _split_angles(rows, rule["max_pa_difference_deg"])
        for members in angles:
            parts = [stem, slug(keys["OBJECT"]), slug(keys["FILTER"]), keys["NIGHT"]]
            if len(angles) > 1:
                parts.append(f"pa{members[0]['keys']['PA'] or 0:.1f}")
            if keys["SUBARRID"]:
                parts.append(f"{keys['SUBARRID']:02d}")
            name, serial = "_".join(parts), 2
            while name in planned:
                name, serial = f"{'_'.join(parts)}_{serial}", serial + 1
            planned[name] = _describe(members, rule["same"])
    return planned | _plan_mosaics(science, rule, planned)


def _plan_mosaics(science, rule, groups):
    """Return the mosaics of several detectors, and of full frames with their subarrays, where there are any."""
    planned = {}
    for rows in _split(science, [key for key in rule["same"] if key not in APART]):
        for members in _split_angles(rows, rule["max_pa_difference_deg"]):
            keys = members[0]["keys"]
            detectors = sorted({row["keys"]["DETECTOR"] for row in members})
            if len(detectors) == 1 and len({row["keys"]["SUBARRID"] for row in members}) == 1:
                continue
            parts = ["{SEMID}-{PROGNUM}_{INSTRUME}".format(**keys), detectors[0] if len(detectors) == 1 else "MOSAIC"]
            parts += [slug(keys["OBJECT"]), slug(keys["FILTER"]), keys["NIGHT"], "merged"]
            stem, serial = "_".join(parts), 2
            name = stem
            while name in groups or name in planned:
                name, serial = f"{stem}_{serial}", serial + 1
            planned[name] = {**_describe(members, rule["same"]), "mosaic": True}
    return planned


def _split_angles(rows, max_difference_deg):
    """Return runs of rows whose position angle stays within `max_difference_deg` of the first one's."""
    runs = []
    for row in rows:
        for run in runs:
            difference = (row["keys"]["PA"] or 0.0) - (run[0]["keys"]["PA"] or 0.0)
            if abs((difference + 180.0) % 360.0 - 180.0) <= max_difference_deg:
                run.append(row)
                break
        else:
            runs.append([row])
    return runs
