import pytest

from drs.errors import ReductionError
from drs.night import REFERENCE_KEYS
from drs.request import find_own_overrides, list_files, make_requests

ROWS = [
    {"id": "a", "status": "accepted", "files": ["a1.fits", "a2.fits"], "keys": dict.fromkeys(REFERENCE_KEYS, "x")},
    {"id": None, "status": "rejected", "files": ["bad.fits"]},
]
NEEDS = {"a": ["gain", "flat"]}


def observer(**entry):
    return {"override": [{"reason": "dust", **entry}]}


def test_any_file_of_an_exposure_names_it():
    for file in ROWS[0]["files"]:
        own = find_own_overrides(ROWS, NEEDS, observer(file=file, flat="f.fits"))
        assert own == {"a": {"flat": {"file": "f.fits", "reason": "dust"}}}
    assert find_own_overrides(ROWS, NEEDS, {}) == {}


def test_a_type_that_the_exposure_does_not_take_is_refused():
    with pytest.raises(ReductionError, match=r"overrides dark of a1.fits, which takes only gain, flat: leave it out"):
        find_own_overrides(ROWS, NEEDS, observer(file="a1.fits", dark="d.fits", flat="f.fits"))


def test_files_are_listed_once_and_must_exist(tmp_path):
    path = tmp_path / "f.fits"
    overrides = {"night": {"flat": str(path), "dark": "none"}, "own": {"a": {"flat": {"file": str(path)}}}}
    with pytest.raises(ReductionError, match=r"files that do not exist: .*f.fits; correct the files"):
        list_files(overrides)
    path.write_bytes(b"")
    assert list_files(overrides) == [str(path)]


def test_requests_by_level_and_with_overrides_of_needed_types_only():
    own = {"a": {"flat": {"file": "mine.fits", "reason": "dust"}}}
    overrides = {"night": {"gain": "g.fits", "dark": "d.fits"}, "own": own}
    assert make_requests({"a": ROWS[0]}, NEEDS, ["gain"], overrides) == {
        "a": {
            "needs": ["gain", "flat"],
            "keys": ROWS[0]["keys"],
            "levels": {"level1": ["gain"], "level2": ["flat"]},
            "override": {"gain": "g.fits"},
            "own_override": own["a"],
        }
    }
    only = make_requests({"a": ROWS[0]}, {"a": ["gain"]}, ["gain"], {"night": {}, "own": {}})["a"]
    assert only["levels"] == {"level1": ["gain"]}
