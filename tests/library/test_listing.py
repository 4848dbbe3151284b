"""The plan as text: nothing of it is left out."""

from drs.listing import format_plan, number_reference_sets


def make_reference(file, source="context", status="found"):
    """Return a manifest's entry."""
    return {
        "file": file,
        "source": source,
        "status": status,
        "reason": "",
        "selector": "UseAfter",
        "useafter": "2024-01-01 00:00:00",
        "rmap": "x.rmap",
    }


def make_exposure(start, dark, **changes):
    """Return an exposure of the plan."""
    entry = {
        "file": "a.fits",
        "kind": "science",
        "mode": "imager",
        "object": "M 15",
        "filter": "Y",
        "start": start,
        "products": ["level1/x.fits"],
        "used_by": ["level3/g.fits"],
    }
    entry |= {"status": "resolved", "reason": "", "references": {"dark": dark}, "sky": None}
    entry["level1_only"] = ""
    return entry | changes


def make_plan(**exposures):
    """Return a plan of these exposures."""
    return {
        "exposures": exposures,
        "masters": {"iris_dark": {"members": ["A", "B"]}},
        "skies": {},
        "groups": {"g": {"members": ["A"]}},
        "too_few": [{"name": "iris_flat", "reason": "2 exposures, at least 5 needed"}],
        "not_reduced": [{"file": "cut.fits", "status": "rejected", "reason": "truncated"}],
        "notes": [{"file": "a.fits", "notes": ["bytes behind the last HDU"]}],
    }


def test_everything_is_said():
    sky = {
        "choice": "iris_sky",
        "reason": "nearest, 0.20 h away",
        "rejected": [{"name": "old_sky", "reason": "2 h away"}],
    }
    failed = make_exposure(
        "2024-09-25T07:00:00.000", make_reference("", status="not found"), status="failed", reason="no dark in K"
    )
    text = format_plan(
        make_plan(A=make_exposure("2024-09-25T06:00:00.000", make_reference("d1.fits", "night"), sky=sky), B=failed)
    )
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "2 exposures are reduced, 1 files are not",
        "2024-09-25T06:00:00  science      Y       M 15  A",
        "raw/a.fits, references: set 1",
        "sky: iris_sky (nearest, 0.20 h away)",
        "not old_sky: 2 h away",
        "-> level1/x.fits",
        "-> level3/g.fits",
        "NOT REDUCED: no dark in K",
        "dark       d1.fits: made this night; UseAfter 2024-01-01 00:00:00 in x.rmap",
        "dark       not found",
        "iris_dark: 2 exposures",
        "iris_flat: 2 exposures, at least 5 needed",
        "raw/cut.fits: rejected: truncated",
        "note on raw/a.fits: bytes behind the last HDU",
    ):
        assert line in lines, line


def test_exposures_that_end_at_level_1_are_counted_and_say_why():
    only = "slicer: Level 1 only, no recipe for arc exposures yet"
    entry = make_exposure("2024-09-25T06:00:00", make_reference("d1.fits"), kind="arc", level1_only=only)
    other = make_exposure("2024-09-25T06:01:00", make_reference("d1.fits"))
    lines = [line.strip() for line in format_plan(make_plan(A=entry, B=other)).splitlines()]
    assert lines[:2] == ["2 exposures are reduced, 1 files are not", "1 exposures get Level 1 only"]
    assert lines.count(only) == 1
    assert "Level 1" not in format_plan(make_plan(B=other))


def test_exposures_with_the_same_files_share_a_set():
    first, other = make_reference("d1.fits"), make_reference("d2.fits")
    exposures = {"A": make_exposure("t", first), "B": make_exposure("t", other), "C": make_exposure("t", first)}
    assert list(number_reference_sets(exposures).values()) == [1, 2]
    text = format_plan(make_plan(**exposures))
    assert "set 1, 2 exposures" in text
    assert "set 2, 1 exposure\n" in text
