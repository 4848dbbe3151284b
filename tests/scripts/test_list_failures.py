"""list_failures: rejected files and the last word of logs that end in an error."""

import json

from list_failures import main


def test_rejections_notes_and_failures_are_listed(run, tmp_path):
    rows = [
        {"file": "b.fits", "status": "rejected", "reason": "truncated", "notes": []},
        {
            "file": "c.fits",
            "status": "accepted",
            "reason": "",
            "notes": ["bytes behind the last HDU"],
            "id": "x",
            "obs": "x",
            "exp": "1",
            "kind": "dark",
        },
    ]
    (tmp_path / "plan").mkdir()
    (tmp_path / "level2").mkdir()
    (tmp_path / "level2" / "old.fits").write_bytes(b"")
    night = {"rows": rows, "stages": {}, "masters": {}, "skies": {}, "groups": {}, "level1_only": {}}
    (tmp_path / "plan" / "night.json").write_text(json.dumps(night))
    logs = tmp_path / "logs" / "fit_ramp"
    logs.mkdir(parents=True)
    (logs / "good.log").write_text("INFO fine\nWARNING but\n")
    (logs / "bad.log").write_text("INFO start\nError: no gain:\n  deliver one\n")
    (logs / "crash.log").write_text(
        "Traceback (most recent call last):\n  File x\nZeroDivisionError: division by zero\n"
    )
    (logs / "refused.log").write_text("INFO start\nERROR drs.product: lamp off\n")
    result = run(main, night=tmp_path / "plan" / "night.json", logs=tmp_path / "logs")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "raw/b.fits: rejected: truncated"
    assert lines[1] == "raw/c.fits: accepted with a note: bytes behind the last HDU"
    assert lines[2].startswith("failed: Error: no gain: deliver one (log: ")
    assert lines[3].startswith("failed: ZeroDivisionError: division by zero (log: ")
    assert lines[4].startswith("failed: ERROR drs.product: lamp off (log: ")
    assert lines[5] == "level2/old.fits is not in the plan (any more): left from an earlier run"
    assert len(lines) == 6


def test_a_night_without_table_and_logs_has_nothing_to_say(run, tmp_path):
    result = run(main, night=tmp_path / "absent.json", logs=tmp_path / "absent")
    assert (result.exit_code, result.output) == (0, "")
