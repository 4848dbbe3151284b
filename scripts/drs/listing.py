"""The plan of a night as text for a terminal: exposures, references with the reason of each, combinations."""

SOURCES = {"context": "CRDS context", "night": "made this night", "override": "override"}


def format_plan(plan):
    """Return the plan (of `drs.prediction.tabulate`) as text.

    References that several exposures share are listed once, as a numbered set that the exposures name.
    """
    sets = number_reference_sets(plan["exposures"])
    lines = [f"{len(plan['exposures'])} exposures are reduced, {len(plan['not_reduced'])} files are not"]
    level1_only = sum(bool(entry["level1_only"]) for entry in plan["exposures"].values())
    lines += [f"{level1_only} exposures get Level 1 only"] if level1_only else []
    lines += ["", "EXPOSURES"]
    for identity, entry in plan["exposures"].items():
        lines += _format_exposure(identity, entry, sets)
    lines += ["", "REFERENCES"]
    for number, (entry, count) in enumerate(_describe_sets(plan["exposures"], sets), 1):
        lines += _format_references(number, entry["references"], count)
    for section, title in (("masters", "CALIBRATIONS OF THIS NIGHT"), ("skies", "SKY FRAMES"), ("groups", "LEVEL 3")):
        lines += ["", title]
        lines += [f"  {name}: {len(entry['members'])} exposures" for name, entry in plan[section].items()] or ["  none"]
    lines += ["", "TOO FEW EXPOSURES FOR"]
    lines += [f"  {entry['name']}: {entry['reason']}" for entry in plan["too_few"]] or ["  nothing"]
    lines += ["", "NOT REDUCED"]
    lines += [f"  raw/{row['file']}: {row['status']}: {row['reason']}" for row in plan["not_reduced"]] or ["  nothing"]
    lines += [f"  note on raw/{entry['file']}: {'; '.join(entry['notes'])}" for entry in plan["notes"]]
    return "\n".join(lines) + "\n"


def number_reference_sets(exposures):
    """Return set of reference files -> its number, in the order of first use."""
    sets = {}
    for entry in exposures.values():
        sets.setdefault(_files(entry), len(sets) + 1)
    return sets


def _files(entry):
    """Return the reference files of an exposure, the key of its set."""
    return tuple(sorted((kind, reference["file"]) for kind, reference in entry["references"].items()))


def _describe_sets(exposures, sets):
    """Return for each set, in order, one exposure that has it and how many do."""
    having = {
        number: [entry for entry in exposures.values() if sets[_files(entry)] == number] for number in sets.values()
    }
    return [(entries[0], len(entries)) for entries in having.values()]


def _format_exposure(identity, entry, sets):
    """Return the lines of one exposure."""
    lines = [f"  {entry['start'][:19]}  {entry['kind']:<12} {entry['filter']:<7} {entry['object'] or '-'}  {identity}"]
    if entry["status"] != "resolved":
        lines.append(f"      NOT REDUCED: {entry['reason']}")
    lines.append(f"      raw/{entry['file']}, references: set {sets[_files(entry)]}")
    if entry["level1_only"]:
        lines.append(f"      {entry['level1_only']}")
    if entry["sky"]:
        instead = "median of the image" if entry["mode"] == "imager" else "blank spaxels"
        lines.append(f"      sky: {entry['sky']['choice'] or instead} ({entry['sky']['reason']})")
        lines += [f"      not {other['name']}: {other['reason']}" for other in entry["sky"]["rejected"]]
    return lines + [f"      -> {product}" for product in [*entry["products"], *entry["used_by"]]]


def _format_references(number, references, count):
    """Return the lines of a set: every file, where it comes from, and the rule that chose it."""
    lines = [f"  set {number}, {count} exposure{'s' if count > 1 else ''}"]
    for kind, reference in sorted(references.items()):
        if reference["status"] == "found":
            rule = (
                f"{reference['selector']} {reference['useafter']} in {reference['rmap']}" if reference["rmap"] else ""
            )
            lines.append(f"      {kind:<10} {reference['file']}: {SOURCES[reference['source']]}; {rule}".rstrip("; "))
        else:
            lines.append(f"      {kind:<10} {reference['status']}: {reference['reason']}".rstrip(": "))
    return lines
