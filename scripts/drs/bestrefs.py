"""Ask stock CRDS which references an exposure takes, and write the answer down with checksums.

One process asks for a whole batch (crds takes a second to import, milliseconds per exposure). CRDS is never
trusted with what it does silently: a wildcard in an exposure's header would match every rule, a reference in the
cache is returned unchecked; both are refused here.
"""

from datetime import UTC, datetime
from pathlib import Path

from crds_ligeriri import session
from drs.errors import MachineError, ReductionError, began_with_machine
from drs.headers import scan_headers
from drs.mapping import holds_context
from drs.metadata import read_metadata
from drs.references import (
    NOT_FOUND,
    SWITCHED_OFF,
    find_missing,
    find_reference,
    is_wildcard,
    mapping_path,
    observatory_of,
    read_server_config,
    reference_path,
    sha1,
)

ADVICE = "deliver a reference for it, override it, or choose another context"
CORRECT = "correct override in"
MEND = "cannot be used: copy the cache again"
NIGHT, EXPOSURE = "config.yaml", "exposures.yaml"  # who names an override
PLACE = ("INSTRUME", "DETECTOR")  # an override holds for one detector, and where it matters for one MODE of it
MODE = "INSTMODE"
CASE = ("INSTRUME", "EXPDTST")  # what every lookup needs beside the keywords that a type matches
DEFAULT_CLASSES = ("Match", "UseAfter")  # of a rule file that does not say how it chooses
NO_ENTRY = dict.fromkeys(("file", "size", "sha1", "rmap", "selector", "useafter", "source"))


def resolve(exposures, context, types, cache, overlay=None, *, verify=True):
    """Return exposure -> manifest for a whole batch.

    Parameters
    ----------
    exposures : dict
        exposure -> {"needs": [type, ...], "keys": {FITS keyword: value}, "levels", "override", "own_override"}. The
        keys are INSTRUME, EXPDTST (start of the exposure, UTC) and what the types match. Optional: "levels" {level of
        products: [type, ...]}; "override" {type: path} of the night, a file that is taken where its INSTRUME,
        DETECTOR and INSTMODE are the exposure's (elsewhere CRDS chooses); "own_override" {type: {"file", "reason"}} of
        this exposure. Paths are kept as given; `none` switches a type off.
    context : dict
        {"context", "sha1", ...} of `find_context`, or of a delivery (then "base" and "delivered" as well).
    types : dict
        Of `load_types`.
    cache, overlay : path-like
        Shared cache, only read; the night's own cache, which may be missing.
    verify : bool, optional
        False does not look at the chosen files (size and sha1 stay None): a prediction, in milliseconds.

    Returns
    -------
    dict
        exposure -> {"exposure", "status": "resolved" | "failed", "reason", "context": {"name", "sha1"},
        "crds_version", "keys", "references": {type: {"file", "size", "sha1", "rmap", "selector", "useafter",
        "source": "context" | "night" | "override", "keyword", "reason", "note" (who named an override, and why),
        "status": "found" | "not found" | "n/a" | "not needed"}}, "levels"}

    Raises
    ------
    ReductionError
        The context or the cache cannot be used. An exposure that has no answer gets a failed manifest instead.
    """
    _check_requests(exposures)
    root = context_root(context, cache, overlay)
    files = _Files(context, cache, overlay, verify=verify)
    manifests = {}
    with session(root, observatory_of(context["context"])) as crds:
        rules = Rules(crds, context["context"])
        for exposure, request in sorted(exposures.items()):
            references = _resolve_exposure(request, rules, types, files)
            manifests[exposure] = _manifest(exposure, request, context, references, crds.__version__)
    return manifests


def _check_requests(exposures):
    """Refuse what does not say the types and keywords of an exposure."""
    for exposure, request in exposures.items():
        if not isinstance(request, dict) or not {"needs", "keys"} <= set(request):
            raise ReductionError(
                f"{exposure}: no needs and keys of an exposure; give plan/stages/<stage>.json of a night"
            )


def context_root(context, cache, overlay):
    """Return the cache root that holds the context whole, the overlay first; refuse a context that has changed."""
    read_server_config(cache, observatory_of(context["context"]))
    roots = [Path(root) for root in (overlay, cache) if root is not None]
    found = [root for root in roots if mapping_path(root, context["context"]).is_file()]
    if not found:
        raise ReductionError(
            f"CRDS context {context['context']} is in none of {', '.join(map(str, roots))}; "
            "find the context or deliver again"
        )
    name = context["context"]
    whole = [root for root in found if holds_context(root, name)]
    root = (whole or found)[0]  # of one that is not whole, CRDS says what it lacks
    path = mapping_path(root, context["context"])
    if (actual := sha1(path)) != context["sha1"]:
        raise ReductionError(
            f"{path} has changed: sha1 {actual}, expected {context['sha1']}; find the context or deliver again"
        )
    return root


def delivered_files(context):
    """Return name -> sha1 of the night's own references, those of every tier below included."""
    base = context.get("base")
    below = delivered_files(base) if isinstance(base, dict) else {}
    return {**below, **context.get("delivered", {})}


def _manifest(exposure, request, context, references, version):
    """Return the manifest of one exposure."""
    missing = find_missing(references)
    return {
        "exposure": exposure,
        "status": "failed" if missing else "resolved",
        "reason": "; ".join(missing),
        "context": {"name": context["context"], "sha1": context["sha1"]},
        "crds_version": version,
        "keys": dict(request["keys"]),
        "references": references,
        "levels": request.get("levels", {}),
    }


def _resolve_exposure(request, rules, types, files):
    """Return type -> entry of the manifest for one exposure."""
    keys, override = request["keys"], _read_overrides(request)
    needs = {*request["needs"], *override}
    entries = {
        kind: {**NO_ENTRY, "keyword": facts["keyword"], "status": "not needed", "reason": ""}
        for kind, facts in types.items()
    }
    asked = []
    for kind in sorted(needs):
        if kind not in types:
            entries[kind] = _not_found({**NO_ENTRY, "keyword": ""}, f"no such type; known are {', '.join(types)}")
        elif kind in override and (entry := _override(entries[kind], override[kind], keys, types[kind], files)):
            entries[kind] = entry
        elif kind not in request["needs"]:
            continue
        elif reason := find_unusable_key(keys, types[kind]["match"]):
            entries[kind] = _not_found(entries[kind], reason)
        else:
            asked.append(kind)
    answers = rules.ask(keys, [types[kind]["filekind"].lower() for kind in asked])
    for kind in asked:
        filekind = types[kind]["filekind"].lower()
        entries[kind] = _read_answer(entries[kind], answers[filekind], filekind, keys, rules)
        if entries[kind]["status"] == "found":
            entries[kind] = files.verify(entries[kind], keys["INSTRUME"])
        elif types[kind].get("optional"):
            entries[kind] |= {"status": "n/a", "reason": f"its step is left out: {entries[kind]['reason']}"}
        elif entries[kind]["status"] == NOT_FOUND:
            values = ", ".join(f"{key} = {keys.get(key)}" for key in (*CASE, *types[kind]["match"]))
            entries[kind]["reason"] += f"; asked for {values}; {ADVICE}"
    return entries


def _not_found(entry, reason):
    """Return an entry that says why there is no reference."""
    return {**entry, "status": NOT_FOUND, "reason": reason}


def find_unusable_key(keys, match):
    """Return why an exposure's keywords cannot be matched, or ''."""
    for keyword in (*CASE, *match):
        value = keys.get(keyword)
        if is_wildcard(value):
            found = "missing" if value is None else f"'{value}'"
            return f"{keyword} is {found}, which would match every rule of CRDS; correct the header"
    if matching_date(keys["EXPDTST"]) is None:
        return f"EXPDTST = '{keys['EXPDTST']}' is no date like 2024-09-24T10:00:00; correct the header"
    return ""


def matching_date(text):
    """Return the start of the exposure as CRDS compares it, in UTC to the second; None for no date and time."""
    text = str(text).strip()
    try:
        date = datetime.fromisoformat(text)
        date = date.astimezone(UTC) if date.tzinfo else date
    except (ValueError, OverflowError):
        return None
    return f"{date:%Y-%m-%d %H:%M:%S}" if len(text) > len("2024-09-24") else None


def _read_answer(entry, answer, filekind, keys, rules):
    """Return the entry for CRDS's answer: a name, or 'NOT FOUND' with a text."""
    if answer.startswith("NOT FOUND n/a"):
        return {**entry, "status": "n/a", "reason": "the rules say that none applies"}
    rule = rules.describe(keys["INSTRUME"], filekind)
    if answer.startswith("NOT FOUND"):
        text = " ".join(answer.removeprefix("NOT FOUND").split())
        offered = f"; {rule['rmap']} offers {rule['offers']}" if rule["rmap"] else ""
        return {**_not_found(entry, f"CRDS {rules.name} says: {text}{offered}"), "rmap": rule["rmap"]}
    found = {"file": answer, "rmap": rule["rmap"], "selector": rule["selector"]}
    useafter = rules.find_date(keys["INSTRUME"], filekind, answer)
    return {**entry, **found, "useafter": useafter, "status": "found"}


def _read_overrides(request):
    """Return type -> {"file", "note", "own"} of an exposure's overrides; its own before those of the night."""
    night = {
        kind: {"file": path, "note": NIGHT, "own": False} for kind, path in (request.get("override") or {}).items()
    }
    own = {
        kind: {"file": entry["file"], "note": f"{EXPOSURE}: {entry['reason']}", "own": True}
        for kind, entry in (request.get("own_override") or {}).items()
    }
    return night | own


def _override(entry, named, keys, facts, files):
    """Return the entry of a file that the configuration names; differing keywords are its reason.

    None when an override of the night belongs to another detector, or mode, for which it was not meant.
    """
    path, where = named["file"], NIGHT if not named["own"] else EXPOSURE
    entry = {**entry, "source": "override", "note": named["note"]}
    if path == SWITCHED_OFF:
        return {**entry, "status": "n/a", "reason": f"switched off by {named['note']}"}
    entry["file"] = str(path)
    header = files.read_header(path)
    if isinstance(header, str):
        return _not_found(entry, f"override {path} cannot be read as FITS ({header}); {CORRECT} {where}")
    if absent := [key for key in PLACE if key not in header]:
        return _not_found(entry, f"override {path} does not say its {' and '.join(absent)}; {CORRECT} {where}")
    differing = [key for key in (*PLACE, *facts["match"]) if not _agree(header.get(key, ""), keys.get(key))]
    place = (*PLACE, MODE) if MODE in header else PLACE
    if any(key in place for key in differing):
        if not named["own"]:
            return None
        found, expected = (" ".join(str(keywords.get(key)) for key in place) for keywords in (header, keys))
        return _not_found(entry, f"override {path} is of {found}, the exposure of {expected}; {CORRECT} {where}")
    if header.get("DATAMODL") != facts["model"]:
        reason = f"override {path} is a {header.get('DATAMODL', 'file without DATAMODL')}, not {facts['model']}"
        return _not_found(entry, f"{reason}; {CORRECT} {where}")
    told = [
        f"{key} is {header.get(key, 'missing')} in the reference, {keys.get(key)} in the exposure"
        for key in differing
        if not _agree(header.get(key, ""), "GENERIC") and (key, header.get(key)) != ("SUBARRAY", "FULL")
    ]
    found = {"status": "found", "reason": "; ".join(told), "useafter": header.get("USEAFTER")}
    return files.verify({**entry, **found}, keys["INSTRUME"])


def _agree(value, other):
    """Return True for equal values of a keyword, whatever their case."""
    return str(value).strip().upper() == str(other).strip().upper()


class Rules:
    """The rules of one context, as far as a manifest quotes them; each rmap is read once."""

    def __init__(self, crds, name):
        """Load the context; one that cannot be loaded ends the batch."""
        self.name = name
        self._crds = crds
        self._described, self._dates = {}, {}
        try:
            self._pmap = crds.get_cached_mapping(self.name)
            crds.getrecommendations(
                dict(zip(CASE, ("NONE", "2000-01-01 00:00:00"), strict=True)),
                ["none"],
                context=self.name,
                observatory=observatory_of(self.name),
            )
        except crds.CrdsUnknownInstrumentError:
            pass
        except (Exception, SystemExit) as error:
            raise (MachineError if began_with_machine(error) else ReductionError)(
                f"CRDS context {self.name} cannot be used: {error}; copy the cache again or name another context"
            ) from error

    def ask(self, keys, filekinds):
        """Return filekind -> reference name or 'NOT FOUND ...', as crds answers."""
        if not filekinds:
            return {}
        header = {**keys, "EXPDTST": matching_date(keys["EXPDTST"])}
        try:
            observatory = observatory_of(self.name)
            answers = self._crds.getrecommendations(header, filekinds, context=self.name, observatory=observatory)
        except self._crds.CrdsUnknownInstrumentError as error:
            return dict.fromkeys(filekinds, f"NOT FOUND {error}")
        except (Exception, SystemExit) as error:
            if began_with_machine(error):
                raise MachineError(f"context {self.name} cannot be read ({error}); give the command again") from error
            return dict.fromkeys(filekinds, f"NOT FOUND {error}; the rules of the instrument {MEND}")
        return {kind: answers.get(kind, "NOT FOUND n/a") for kind in filekinds}

    def get_rmap(self, instrument, filekind):
        """Return the rules of a type, as crds has them; CRDS raises where there are none."""
        return self._pmap.get_imap(instrument.lower()).get_rmap(filekind)

    def describe(self, instrument, filekind):
        """Return {"rmap", "selector", "offers"} of a type, empty where the context has no such rule."""
        key = (instrument.lower(), filekind)
        if key not in self._described:
            try:
                rmap = self.get_rmap(instrument, filekind)
            except (Exception, SystemExit) as error:
                if began_with_machine(error):
                    raise MachineError(f"context {self.name} cannot be read ({error}); run again") from error
                self._described[key] = {"rmap": None, "selector": None, "offers": ""}
            else:
                offers = "; ".join(f"{path} {', '.join(values)}" for path, values in rmap.get_parkey_map().items())
                selector = rmap.header.get("classes", DEFAULT_CLASSES)[-1]
                self._described[key] = {"rmap": rmap.basename, "selector": selector, "offers": offers}
        return self._described[key]

    def find_date(self, instrument, filekind, name):
        """Return the date under which the rules hold a reference."""
        key = (instrument.lower(), filekind, name)
        if key not in self._dates:
            matches = self.get_rmap(instrument, filekind).file_matches(name)
            dates = {" ".join(value for _, value in row[-1]) for row in matches}
            self._dates[key] = ", ".join(sorted(dates))
        return self._dates[key]


class _Files:
    """The chosen files; each is looked for and hashed once per batch."""

    def __init__(self, context, cache, overlay, *, verify):
        """Read what the checksums should be: the night's own, then the cache's download_metadata."""
        config = read_server_config(cache, observatory_of(context["context"]))
        metadata = read_metadata(config.get("download_metadata"))
        self._night = delivered_files(context)
        self._expected = {**metadata, **{name: {"sha1sum": digest} for name, digest in self._night.items()}}
        self._cache, self._overlay = cache, overlay or cache
        self._verify, self._facts, self._headers = verify, {}, {}

    def read_header(self, path):
        """Return the PRIMARY keywords of a file, or a text that says why they cannot be read."""
        if path not in self._headers:
            try:
                self._headers[path] = scan_headers(path)["keywords"]
            except (ReductionError, OSError) as error:  # an override's: whoever named it mends it
                self._headers[path] = getattr(error, "strerror", None) or str(error)
        return self._headers[path]

    def verify(self, entry, instrument):
        """Return the entry with source, size and sha1, or as not found when the file is not what it should be."""
        name = entry["file"]
        if entry["source"] != "override":
            entry = {**entry, "source": "night" if name in self._night else "context"}
        if not self._verify:
            return entry
        key = (entry["source"], instrument, name)
        if key not in self._facts:
            self._facts[key] = self._examine(entry, instrument)
        facts = self._facts[key]
        return {**entry, **facts} if "reason" not in facts else {**_not_found(entry, ""), **facts}

    def _examine(self, entry, instrument):
        """Return {"size", "sha1"} of the file, or {"reason"}."""
        root = self._overlay if entry["source"] == "night" else self._cache
        path = find_reference(entry, instrument, [root])
        if path is None:
            missing = reference_path(root, instrument, entry["file"])
            if entry["source"] == "night":  # it was delivered: an answer without it would stay
                raise MachineError(f"{missing}, which this night has delivered, is gone; give the command again")
            return {"reason": f"the chosen file {missing.name} is missing in {missing.parent.name}; fill the cache"}
        facts = {"size": path.stat().st_size, "sha1": sha1(path)}
        expected = {} if entry["source"] == "override" else self._expected.get(entry["file"], {})
        pairs = [("size", "size"), ("sha1", "sha1sum")]
        wrong = [
            f"{ours} {facts[ours]}, expected {expected[theirs]}"
            for ours, theirs in pairs
            if theirs in expected and str(facts[ours]) != str(expected[theirs])
        ]
        if wrong and entry["source"] == "night":
            raise MachineError(f"{path} is not what this night delivered: {'; '.join(wrong)}; delete it, run again")
        if wrong:
            return {"reason": f"the chosen file {path.name} is damaged: {'; '.join(wrong)}; copy it again"}
        return facts
