"""Repairs of CRDS rule files that were made for another state of CRDS or of the instruments; each is a line."""

from collections import Counter
from typing import NamedTuple

from drs.errors import ReductionError
from drs.references import OBSERVATORY
from drs.rulefile import RuleFile, Selector, list_files

DATE = ("META.DATE",)  # what the add-on fills with the start of the exposure
OTHER_DATES = (("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"), ("DATE-OBS", "TIME-OBS"), ("EXPDTST",))
SUBARRAY = "META.SUBARRAY.NAME"
TYPES = {"MASK": "DQ"}  # earlier name of a type in the team's cache -> its name now
NOT_APPLICABLE = "N/A"
WORDS = ("name", "observatory", "derived_from", "filekind", "instrument")  # texts of a header
NO_FILE = (NOT_APPLICABLE, "OMIT", "TEMP_N/A", "TEMP_OMIT")


class Mended(NamedTuple):
    """A rule file after its repairs: its name in the source, as it was, as it is now, whether that differs."""

    source: str
    original: RuleFile
    rules: RuleFile
    changed: bool


def mend_rules(parsed, observatory, files, instruments, rename):
    """Return ({new name: Mended}, [(file, found, done)]) for the rule files of a cache.

    Parameters
    ----------
    parsed : dict
        File name -> RuleFile.
    observatory : str
        To whose name the file names begin.
    files : set of str
        Names of the references that the source has, as files or as pointers; where it has none, nothing is known of
        them and no rule is taken out for its file.
    instruments : dict
        INSTRUME -> content of config/instruments/*.yaml.
    rename : dict
        Value of a case -> value in its place.
    """
    for name, rules in parsed.items():
        if wrong := _find_malformed(rules):
            raise ReductionError(f"{name} is no rule file of CRDS ({wrong}): mend it or leave it out")
    names = _new_names(parsed, observatory)
    known = {name.lower() for name in files}
    mended, lines, useless = {}, [], set()
    for name, rules in parsed.items():
        told = []
        new = _mend_header(rules, names[name], names, told)
        if isinstance(rules.selector, Selector):
            new = _mend_cases(new, rename, told)
            if known and not _drop_missing(new.selector, known).cases:
                useless.add(names[name])
            elif known:
                new = _report_dropped(new, known, told)
            told += _notes(new, instruments)
        mended[names[name]] = (name, rules, new)
        lines += [(name, *line) for line in told]
    for name, (source, rules, new) in mended.items():
        if not isinstance(new.selector, Selector):
            new, told = _mend_entries(new, names, mended, useless)
            lines += [(source, *line) for line in told]
        mended[name] = Mended(source, rules, new, new != rules)
    order = list(parsed)
    return mended, sorted(lines, key=lambda line: order.index(line[0]))


def _find_malformed(rules):
    """Return what of a rule file has not the form that the repairs take for granted, or ''."""
    if wrong := [key for key in WORDS if not isinstance(rules.header.get(key) or "", str)]:
        return f"{wrong[0]} of its header is no text"
    if not isinstance(rules.selector, Selector):
        entries = [item for pair in rules.selector.items() for item in pair]
        return "" if all(isinstance(item, str) for item in entries) else "its selector names other things than files"
    parkey = rules.header.get("parkey", ((),))
    if not isinstance(parkey, tuple) or not parkey or not all(_is_words(keys) for keys in parkey):
        return "parkey of its header is no tuple of tuples of keywords"
    count = len(parkey[0])
    for key, _ in rules.selector.cases:
        if not isinstance(key, str | tuple) or (count and len(_values(key)) != count):
            return f"case {str(key)[:80]} has not the {count} keywords of parkey"
    return ""


def _is_words(value):
    """Return True for a tuple of texts."""
    return isinstance(value, tuple) and all(isinstance(word, str) for word in value)


def _new_names(parsed, observatory):
    """Return file name -> name in the new cache: lower case, of our observatory, with today's name of the type."""
    names = {}
    for name in parsed:
        new = OBSERVATORY + name.lower().removeprefix(observatory.lower())
        for old, kind in TYPES.items():
            new = new.replace(f"_{old.lower()}_", f"_{kind.lower()}_")
        names[name] = new
    if twice := [new for new, count in Counter(names.values()).items() if count > 1]:
        sources = sorted(name for name in names if names[name] in twice)
        raise ReductionError(f"{', '.join(sources)} would have the same name: leave one out of the source")
    return names


def _mend_header(rules, name, names, told):
    """Return the rules with a header that agrees with the new name and with what exposures are matched by."""
    header = dict(rules.header)
    if str(header.get("observatory", "")).lower() != OBSERVATORY:
        told.append((f"is of observatory {header.get('observatory')}", f"written as {name}"))
        header["observatory"] = OBSERVATORY.upper()
    stated = header.get("name")
    if stated != name and names.get(stated) != name:
        told.append((f"calls itself {stated}", f"named {name}"))
    header["name"] = name
    parent = header.get("derived_from", "")
    if not parent:
        told.append(("does not say what it is derived from", "set to NONE"))
    header["derived_from"] = names.get(parent, parent) or "NONE"
    kind = str(header.get("filekind", "")).upper()
    if kind in TYPES:
        told.append((f"is of type {kind}", f"called {TYPES[kind]}, its name now"))
        header["filekind"] = TYPES[kind]
    parkey = header.get("parkey", ())
    if len(parkey) == 2 and parkey[1] in OTHER_DATES:
        told.append((f"matches the date by {' and '.join(parkey[1])}", f"matched by {DATE[0]}, the exposure's start"))
        header["parkey"] = (parkey[0], DATE)
    return rules._replace(header=header)


def _mend_cases(rules, rename, told):
    """Return the rules with each key once, values renamed, and one case for all subarrays of the same references."""
    cases = _merge_repeated(rules.selector, told)
    renamed = [(_rename(key, rename), value) for key, value in cases.cases]
    if changed := [f"{old} -> {new}" for old, new in rename.items() if _uses(cases, old)]:
        told.append(("holds values that were to be renamed", f"renamed {', '.join(changed)}"))
    cases = cases._replace(cases=renamed)
    keys = rules.header.get("parkey", ((),))[0]
    if SUBARRAY in keys:
        every = "GENERIC" if SUBARRAY in rules.header.get("substitutions", {}) else "CUSTOM|FULL"
        cases = _join_subarrays(cases, keys.index(SUBARRAY), every, told)
    return rules._replace(selector=cases)


def _merge_repeated(selector, told):
    """Return the selector with each key once: the last holds, as in CRDS."""
    counts = Counter(key for key, _ in selector.cases)
    if twice := [str(key) for key, count in counts.items() if count > 1]:
        told.append((f"holds {', '.join(twice)} more than once", "the last one kept, as CRDS does"))
    last = dict(selector.cases)
    cases = [
        (key, _merge_repeated(value, told) if isinstance(value, Selector) else value) for key, value in last.items()
    ]
    return selector._replace(cases=cases)


def _values(key):
    """Return the values of a case's key; rules of one keyword have a text for it."""
    return tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)


def _uses(selector, value):
    """Return True when a case holds a value, alone or in an or-key."""
    return any(value in text.split("|") for key, _ in selector.cases for text in _values(key))


def _rename(key, rename):
    """Return a case's key with values renamed."""
    if not rename:
        return key
    values = tuple("|".join(rename.get(part, part) for part in text.split("|")) for text in _values(key))
    return values if isinstance(key, tuple) else values[0]


def _join_subarrays(selector, position, every, told):
    """Return the selector with one case, `every`, where the cases CUSTOM and FULL hold the same references.

    A reference that is delivered later covers the detector and serves both; it would overlap two separate cases.
    """
    found = {}
    for key, value in selector.cases:
        if isinstance(key, tuple):
            found.setdefault((key[:position], key[position + 1 :]), {})[key[position]] = value
    joined = {
        (*before, every, *after): values["FULL"]
        for (before, after), values in found.items()
        if {"CUSTOM", "FULL"} <= values.keys() and values["CUSTOM"] == values["FULL"]
    }
    if not joined:
        return selector
    told.append(("has SUBARRAY CUSTOM and FULL as cases of the same references", f"joined to {every}"))
    parts = {(*key[:position], part, *key[position + 1 :]) for key in joined for part in ("CUSTOM", "FULL")}
    kept = [(key, value) for key, value in selector.cases if key not in parts]
    return selector._replace(cases=[*kept, *joined.items()])


def _drop_missing(selector, known):
    """Return the selector without the cases whose files are not known (in lower case)."""
    cases = []
    for key, value in selector.cases:
        if isinstance(value, Selector):
            value = _drop_missing(value, known)
            keep = bool(value.cases)
        else:
            keep = all(name.lower() in known for name in list_files((value,)))
        if keep:
            cases.append((key, value))
    return selector._replace(cases=cases)


def _report_dropped(rules, known, told):
    """Return the rules without the cases whose files are not known; say which."""
    selector = _drop_missing(rules.selector, known)
    if lost := sorted(set(list_files(rules.selector)) - set(list_files(selector))):
        told.append((f"names {', '.join(lost)}, which the cache does not have", "taken out"))
    return rules._replace(selector=selector)


def _mend_entries(rules, names, mended, useless):
    """Return (rules, lines) of a pmap or imap whose entries all lead to rules that can be used."""
    told, selector = [], {}
    lower = {old.lower(): new for old, new in names.items()}
    for key, value in rules.selector.items():
        kind = TYPES.get(str(key).upper(), key)
        name = lower.get(str(value).lower(), value)
        if value in NO_FILE:
            name = value
        elif name not in mended:
            told.append((f"{key} leads to {value}, which does not exist", f"set to {NOT_APPLICABLE}"))
            name = NOT_APPLICABLE
        elif name in useless:
            files = ", ".join(list_files(mended[name][2].selector)) or "no file"
            told.append((f"{key} leads to {value}, whose {files} the cache does not have", f"set to {NOT_APPLICABLE}"))
            name = NOT_APPLICABLE
        selector[kind] = name
    return rules._replace(selector=selector), told


def _notes(rules, instruments):
    """Return lines on cases that no exposure of today has: changed only when asked to."""
    keys, told = rules.header.get("parkey", ((),))[0], []
    named = {name.upper(): facts for name, facts in instruments.items()}
    facts = named.get(str(rules.header.get("instrument")).upper())
    for keyword, path in (("DETECTOR", "META.INSTRUMENT.DETECTOR"), ("INSTERA", "META.INSTRUMENT.ERA")):
        if facts is None or path not in keys:
            continue
        expected = list(facts["detectors"]) if keyword == "DETECTOR" else [facts["era"]]
        position = keys.index(path)
        found = {part for key, _ in rules.selector.cases for part in _values(key)[position].split("|")}
        if found and not found & {*expected, NOT_APPLICABLE}:
            what = f"serves {keyword} {', '.join(sorted(found))}; {facts['name']} has {', '.join(expected)}"
            told.append((what, f"left so; to serve {expected[0]}: --rename {min(found)}={expected[0]}"))
    return told
