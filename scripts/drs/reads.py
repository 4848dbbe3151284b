"""Exposures that came as one file per read: which files belong together, and in which order.

An exposure has NUMRAMPS ramps, each bounded by resets, of NUMREADS reads. Every file says which read it holds by
RAMP_NO and READ_NO, both from 1, and by COMPLETE whether it was read to its end (IRIS detector assemblies). Names of
files tell nothing.
"""

from itertools import pairwise

from drs.errors import ReductionError

IDENTITY = ("INSTRUME", "DETECTOR", "DET_ID", "IMTYPE", "OBSNAME", "SEMID", "PROGNUM", "OBSNUM", "EXPNUM", "SUBARRID")
OF_ONE_READ = ("READ_NO", "RAMP_NO")  # a correction holds for all reads of an exposure, so it cannot set these
COUNTS = {"ramps": ("NUMRAMPS", "NGROUPS"), "reads": ("NUMREADS", "NREADS")}


def is_read(scan):
    """Say whether a header scan is that of a file with one read; a damaged file may be one by what is left of it."""
    if "READ_NO" not in scan.get("keywords", ()):
        return False
    if "images" not in scan:
        return True
    image = find_image(scan["images"])
    return image is not None and len(scan["images"][image][1]) == 2


def find_image(images, *, least_axes=2):
    """Return the index of the image with the reads: DATA, SCI, or the first with most axes that is not TIMES; or None.

    Parameters
    ----------
    images : sequence of (EXTNAME, shape)
    least_axes : int
        Of an image that is neither DATA nor SCI.
    """
    names = [name for name, _ in images]
    for name in ("DATA", "SCI"):
        if name in names:
            return names.index(name)
    for n_axes in (3, least_axes):
        for index, (name, shape) in enumerate(images):
            if name != "TIMES" and len(shape) >= n_axes:
                return index
    return None


def name_exposure(keywords):
    """Return the keywords of a read with EXPNUM, the number of its exposure, which its file may call EXP_NO."""
    if "EXPNUM" in keywords or "EXP_NO" not in keywords:
        return dict(keywords)
    return {**keywords, "EXPNUM": keywords["EXP_NO"]}


def order_reads(headers, dropped=()):
    """Return how many ramps and reads an exposure has, and the file of each read.

    Parameters
    ----------
    headers : sequence of (name, keywords)
        Of the files, in any order.
    dropped : collection of (group, read)
        Reads, from 1, that are not used: these may be missing, and need not be complete.

    Returns
    -------
    n_group, n_read : int
    places : dict
        (group, read) -> index of the file in `headers`, in this order.

    Raises
    ------
    ReductionError
        A read is there twice, missing, or not complete, or the headers disagree on how many there are.
    """
    places = {}
    for index, (name, keywords) in enumerate(headers):
        place = find_place(keywords, name)
        if place in places:
            twice = f"{headers[places[place]][0]}, {name}"
            raise ReductionError(f"{_name(place)} is there twice: {twice}; exclude one of them in exposures.yaml")
        if keywords.get("COMPLETE", True) is not True and place not in dropped:
            raise ReductionError(
                f"{_name(place)} is not complete ({name}: COMPLETE is {keywords['COMPLETE']!r}); exclude this file in "
                "exposures.yaml to go without this read"
            )
        places[place] = index
    n_group = _count(headers, "ramps", max(group for group, _ in places))
    n_read = _count(headers, "reads", max(read for _, read in places))
    for place, index in places.items():
        if place[0] > n_group or place[1] > n_read:
            found = f"{headers[index][0]} is {_name(place)}"
            raise ReductionError(f"{found}, but there are {n_group} ramps of {n_read} reads: correct its header")
    _check_complete(n_group, n_read, {*places, *dropped})
    return n_group, n_read, dict(sorted(places.items()))


def find_place(keywords, name):
    """Return (group, read) of a file, both from 1; a file without RAMP_NO is of the first ramp."""
    place = keywords.get("RAMP_NO", 1), keywords.get("READ_NO")
    for key, value in zip(("RAMP_NO", "READ_NO"), place, strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ReductionError(f"{name}: {key} is {value!r}, expected a whole number from 1 on; exclude this file")
    return place


def _name(place):
    """Return (group, read) in words."""
    return f"read {place[1]} of ramp {place[0]}"


def _count(headers, what, largest):
    """Return how many ramps, or reads of a ramp, the headers state; `largest`, the largest number, if they do not."""
    for key in COUNTS[what]:
        stated = {}
        for name, keywords in headers:
            if key in keywords:
                stated.setdefault(keywords[key], name)
        if len(stated) > 1:
            (one, first), (other, second) = list(stated.items())[:2]
            raise ReductionError(f"{key} is {one} in {first}, but {other} in {second}; correct it in exposures.yaml")
        for count, name in stated.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ReductionError(f"{name}: {key} is {count!r}, expected a whole number from 1 on; correct it")
            return count
    return largest


def _check_complete(n_group, n_read, places):
    """Refuse an exposure of which reads are missing, and name them by their numbers."""
    reads = {}
    for group, read in places:
        if group <= n_group and read <= n_read:
            reads.setdefault(group, []).append(read)
    gaps = {group: _name_gaps(reads[group], n_read) for group in sorted(reads)}
    missing = [f"reads {numbers} of ramp {group}" for group, numbers in gaps.items() if numbers]
    if no_group := _name_gaps(reads, n_group):
        missing.append(f"all of ramp {no_group}")
    if missing:
        more = f" and more, in {len(missing)} ramps" if len(missing) > 8 else ""
        raise ReductionError(
            f"missing: {'; '.join(missing[:8])}{more} (NUMRAMPS {n_group}, NUMREADS {n_read}); bring these files, or "
            "name the reads in exposures.yaml (drop_reads) to go without them"
        )


def _name_gaps(numbers, last):
    """Return the whole numbers from 1 to `last` that are not there, as in '3, 5-7'."""
    edges = [0, *sorted(numbers), last + 1]
    gaps = [(low + 1, high - 1) for low, high in pairwise(edges) if high - low > 1]
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in gaps)


def gather_exposures(scans, corrections):
    """Return what the files of a night are: exposures of one file, and exposures of one file per read.

    Parameters
    ----------
    scans : dict
        File name -> header scan, with `keywords` and `images` or with `error`.
    corrections : dict
        Content of exposures.yaml.

    Returns
    -------
    exposures : list of dict
        `file` (of the first read), `files` (in the order of ramps and reads), `scan` (as of one file with all reads),
        its keywords corrected; `corrections` that were applied; `dropped` [[group, read], ...]; `notes`; `problem`:
        why its reads make no ramp, or ''. Read files that are excluded or damaged are there for themselves as well.
    """
    by_file = {kind: _by_file(corrections.get(kind, ())) for kind in ("exclude", "correct", "drop_reads")}
    exposures, reads = [], {}
    for file, scan in scans.items():
        if is_read(scan):
            reads[file] = scan
        if not is_read(scan) or "error" in scan or file in by_file["exclude"]:
            exposures.append(_single(file, scan, by_file))
    for members in _group_reads(reads, by_file["correct"]):
        good = [member for member in members if member["file"] not in by_file["exclude"]]
        whole = [member for member in good if "error" not in member["scan"]]
        if whole:
            exposures.append(_join(members, good, whole, by_file))
    return exposures


def _by_file(entries):
    """Return file -> entries of a list of exposures.yaml."""
    by_file = {}
    for entry in entries:
        by_file.setdefault(entry["file"], []).append(entry)
    return by_file


def _single(file, scan, by_file):
    """Return the exposure that one file is."""
    applied = by_file["correct"].get(file, []) if "error" not in scan else []
    entries = by_file["drop_reads"].get(file, [])
    return {
        "file": file,
        "files": [file],
        "scan": _correct(scan, applied) if applied else scan,
        "corrections": applied,
        "dropped": [list(place) for place in sorted(_find_dropped(entries))],
        "notes": [*scan.get("notes", ()), *map(_describe_drop, entries)],
        "problem": "",
    }


def _correct(scan, entries):
    """Return a scan with the corrections of its keywords."""
    changes = {key: value for entry in entries for key, value in entry["set"].items()}
    return {**scan, "keywords": {**scan["keywords"], **changes}}


def _find_dropped(entries):
    """Return the (group, read) that entries of drop_reads name."""
    return {(int(entry.get("group", 1)), int(read)) for entry in entries for read in entry["reads"]}


def _describe_drop(entry):
    """Return an entry of drop_reads in words."""
    reads = ", ".join(map(str, sorted(entry["reads"])))
    return f"dropped: reads {reads} of group {entry.get('group', 1)}: {entry['reason']}"


def _group_reads(reads, corrections):
    """Return lists of the reads that share an identity: {file, scan, corrections} each.

    A correction that names one read is one of the exposure that the headers make it part of. It can change which
    exposure that is, so the reads are grouped a second time after it.
    """
    members = [
        {"file": file, "scan": {**scan, "keywords": name_exposure(scan["keywords"])}, "corrections": []}
        for file, scan in reads.items()
    ]
    if not corrections:
        return _group(members)
    corrected = []
    for group in _group(members):
        entries = [entry for member in group for entry in corrections.get(member["file"], ())]
        corrected += [{**m, "scan": _correct(m["scan"], entries), "corrections": entries} for m in group]
    return _group(corrected)


def _group(members):
    """Return the lists of members of one identity; one that does not say which exposure it is of stays alone."""
    groups = {}
    for member in members:
        keywords = member["scan"]["keywords"]
        key = tuple(str(keywords.get(key)) for key in IDENTITY) if "EXPNUM" in keywords else member["file"]
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def _join(members, good, whole, by_file):
    """Return the exposure that some reads make; `good` are those not excluded, `whole` of these those not damaged."""
    entries = [entry for member in members for entry in by_file["drop_reads"].get(member["file"], ())]
    notes = [f"{member['file']}: {note}" for member in whole for note in member["scan"]["notes"]]
    notes += [_describe_drop(entry) for entry in entries]
    applied = []
    for member in members:
        applied += [entry for entry in member["corrections"] if entry not in applied]
    dropped, ordered, shape, problem = set(), whole, (1, len(whole)), ""
    try:
        excluded = _find_excluded(members, good, by_file["exclude"])
        shape, ordered, dropped = _arrange(good, whole, _find_dropped(entries), set(excluded))
        notes += [f"dropped: {_name(place)}: {excluded[place]}" for place in sorted(dropped & excluded.keys())]
    except ReductionError as error:
        problem = str(error)
    if wrong := sorted({key for entry in applied for key in entry["set"]} & set(OF_ONE_READ)):
        problem = (
            f"a correction holds for all reads of an exposure, so it cannot set {', '.join(wrong)}; exclude the file"
        )
    first = ordered[0]["scan"]
    image = first["images"][find_image(first["images"])][1]
    return {
        "file": ordered[0]["file"],
        "files": [member["file"] for member in ordered],
        "scan": {"keywords": first["keywords"], "images": [("DATA", (*shape, *image))]},
        "corrections": applied,
        "dropped": [list(place) for place in sorted(dropped)],
        "notes": notes,
        "problem": problem,
    }


def _find_excluded(members, good, exclusions):
    """Return (group, read) -> reason of the reads that are there in excluded files only."""
    places = {find_place(member["scan"]["keywords"], member["file"]) for member in good}
    excluded = {}
    for member in members:
        for entry in exclusions.get(member["file"], ()):
            place = find_place(member["scan"]["keywords"], member["file"])
            if place not in places:
                excluded[place] = f"{entry['reason']} ({member['file']})"
    return excluded


def _arrange(good, whole, named, excluded):
    """Return ((n_group, n_read), members in order, dropped (group, read)) of an exposure; refuse one with a fault."""
    headers = [(member["file"], member["scan"]["keywords"]) for member in good]
    for member, header in zip(good, headers, strict=True):
        if "error" in member["scan"] and find_place(header[1], header[0]) not in named:
            found = f"{_name(find_place(header[1], header[0]))} is damaged: {header[0]}: {member['scan']['error']}"
            raise ReductionError(f"{found}; or exclude this file in exposures.yaml to go without this read")
    headers = [(member["file"], member["scan"]["keywords"]) for member in whole]
    n_group, n_read, places = order_reads(headers, named | excluded)
    if beyond := sorted(place for place in named if place[0] > n_group or place[1] > n_read):
        raise ReductionError(f"drop_reads names {_name(beyond[0])}, but there are {n_group} ramps of {n_read} reads")
    ordered = [whole[index] for index in places.values()]
    check_shapes([(m["file"], m["scan"]["images"][find_image(m["scan"]["images"])][1]) for m in ordered])
    return (n_group, n_read), ordered, {p for p in named | excluded if p[0] <= n_group and p[1] <= n_read}


def check_shapes(shapes):
    """Refuse reads of one exposure that differ in shape: sequence of (file, shape)."""
    (first, expected), *others = shapes
    for file, shape in others:
        if tuple(shape) != tuple(expected):
            sizes = f"{first} has {tuple(expected)}, {file} has {tuple(shape)}"
            raise ReductionError(f"the reads differ in shape (y, x): {sizes}; exclude what does not belong")
