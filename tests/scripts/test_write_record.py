"""write_record on the files of a small night."""

import json

from finished_night import CONFIG, make_finished_night

from write_record import main


def test_the_record_is_written_once(run, tmp_path):
    night = make_finished_night(tmp_path / "night")
    made = (night / "run.json").read_bytes()
    output = night / "again.json"
    result = run(main, night=night / "plan/night.json", config=json.dumps(CONFIG), output=output)
    assert result.exit_code == 0, result.output
    assert output.read_bytes() == made


def test_settings_that_are_no_json_are_refused(run, tmp_path):
    night = make_finished_night(tmp_path / "night")
    result = run(main, night=night / "plan/night.json", config="{", output=night / "again.json")
    assert result.exit_code == 2
    assert "is not JSON" in result.output
