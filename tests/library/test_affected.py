from drs.affected import find_affected, format_affected


def make_manifest(**entries):
    return {"references": {kind: {"file": file, "status": status} for kind, (file, status) in entries.items()}}


def test_what_differs_is_listed_with_old_and_new():
    old = {
        "a": make_manifest(dark=("d1", "found"), flat=("f1", "found"), dq=(None, "n/a")),
        "b": make_manifest(dark=("d1", "found"), flat=("f1", "found")),
    }
    new = {
        "a": make_manifest(dark=("d2", "found"), flat=("f1", "found"), dq=("q1", "found")),
        "b": make_manifest(dark=("d1", "found"), flat=(None, "not found")),
    }
    rows = find_affected(old, new)
    assert [tuple(row.values()) for row in rows] == [
        ("a", "dark", "d1", "d2"),
        ("a", "dq", "N/A", "q1"),
        ("b", "flat", "f1", "not found"),
    ]
    assert format_affected(rows, 3).splitlines()[0] == "a dark: d1 -> d2"
    assert format_affected(rows, 3).splitlines()[-1] == "2 of 3 exposures are affected"
    assert format_affected(find_affected(old, old), 2) == "0 of 2 exposures are affected"
