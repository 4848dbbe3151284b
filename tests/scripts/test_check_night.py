"""check_night: says what failed, and fails; is silent otherwise."""

import json

import pytest

from check_night import main


@pytest.fixture
def night(tmp_path):
    """Return options of a night with a rejected file, a resolved exposure and a good product."""
    files = {
        "night": {"rows": [{"file": "cut.fits", "status": "rejected", "reason": "truncated"}]},
        "index": {"exposures": {"A": {"status": "resolved", "reason": ""}}},
        "quality": {"product": "level1/A.fits", "refused": None},
        "delivery": {"context": "x", "left_out": {}},
    }
    for name, document in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    return {name: tmp_path / f"{name}.json" for name in files} | {"output": tmp_path / "outcome.txt"}


def test_a_good_night(run, night):
    result = run(main, **night)
    assert result.exit_code == 0, result.output
    assert night["output"].exists()


def test_rejected_files_fail_a_strict_run(run, night):
    result = run(main, strict=True, **night)
    assert result.exit_code == 1
    assert "raw/cut.fits: truncated" in result.output


@pytest.mark.parametrize(
    ("name", "document", "text"),
    [
        ("quality", {"product": "level1/A.fits", "refused": "lamp off"}, "level1/A.fits: lamp off"),
        ("delivery", {"left_out": {"iris_dark.fits": "bad PEDIGREE"}}, "iris_dark.fits is not delivered: bad PEDIGREE"),
        (
            "index",
            {"exposures": {"A": {"status": "failed", "reason": "NOT FOUND", "reasons": ["NOT FOUND"]}}},
            "A: NOT FOUND",
        ),
    ],
)
def test_what_failed_is_named(run, night, name, document, text):
    night[name].write_text(json.dumps(document))
    result = run(main, **night)
    assert result.exit_code == 1
    assert text in result.output
    assert not night["output"].exists()


def test_a_cause_is_named_once_not_with_its_consequences(run, night):
    reasons = ["flat: not in K", "gain: damaged"]
    index = {"exposures": {"A": {"status": "failed", "reason": "; ".join(reasons), "reasons": reasons}}}
    night["index"].write_text(json.dumps(index))
    refused = "references/level1/A.json: references were not resolved: gain: damaged"
    night["quality"].write_text(json.dumps({"product": "level1/A.fits", "refused": refused}))
    result = run(main, **night)
    assert result.exit_code == 1
    assert "1 failed" in result.output
    assert "A: flat: not in K; gain: damaged" in result.output
