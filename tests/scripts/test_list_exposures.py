"""list_exposures: a night's table, plan and requests; unchanged answers leave the files untouched."""

import json

import numpy as np
import pytest
from astropy.io import fits
from nights import keywords
from reference_cache import make_cache

from list_exposures import main


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Return a night's directory with two science files and a cache; it is the working directory."""
    (tmp_path / "raw").mkdir()
    for k in (1, 2):
        write_raw(tmp_path / "raw" / f"s{k}.fits", "SCI", k)
    make_cache(tmp_path / "crds_cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    return tmp_path


def write_raw(path, imtype, expnum, **changes):
    """Write a small Level 0 file."""
    primary = fits.PrimaryHDU()
    primary.header.update(keywords(imtype, expnum, **changes))
    data = fits.ImageHDU(np.zeros((1, 4, 48, 64), np.uint16), name="DATA")
    fits.HDUList([primary, data]).writeto(path)


def list_night(run, **options):
    """Run the command as the workflow does."""
    defaults = {"raw": "raw", "exposures": "exposures.yaml", "cache": "crds_cache", "plan": "plan"}
    return run(main, **(defaults | options))


def test_table_plan_and_requests(run, night):
    for name in ("my_flat.fits", "x.fits"):
        (night / name).write_bytes(b"")
    result = list_night(run, override='{"flat": "my_flat.fits", "wavesol": "x.fits"}')
    assert result.exit_code == 0, result.output
    table = json.loads((night / "plan/night.json").read_text())
    assert [row["status"] for row in table["rows"]] == ["accepted", "accepted"]
    requests = json.loads((night / "plan/stages/science.json").read_text())
    request = requests["2024B-P123-008_IRIS_IMG1_SCI_0001-00"]
    assert {"dark", "flat", "gain"} <= set(request["needs"])
    assert request["override"] == {"flat": "my_flat.fits"}
    assert request["keys"]["FILTER"] == "Y"
    assert json.loads((night / "plan/context.json").read_text())["context"] == "ligeriri_0001.pmap"


def test_a_second_run_changes_no_file(run, night):
    list_night(run)
    stamps = {path: path.stat().st_mtime_ns for path in (night / "plan").rglob("*.json")}
    assert len(stamps) == 7
    list_night(run)
    assert {path: path.stat().st_mtime_ns for path in (night / "plan").rglob("*.json")} == stamps


def test_an_added_exposure_changes_only_its_stage(run, night):
    list_night(run)
    before = {path.name: path.read_bytes() for path in (night / "plan/stages").iterdir()}
    write_raw(night / "raw" / "s3.fits", "SCI", 3)
    list_night(run)
    changed = [path.name for path in (night / "plan/stages").iterdir() if path.read_bytes() != before[path.name]]
    assert changed == ["science.json"]


def test_exclusions_and_corrections(run, night):
    (night / "exposures.yaml").write_text(
        "exclude: [{file: s1.fits, reason: dome light}]\ncorrect: [{file: s2.fits, set: {OBJECT: M 31}, reason: bad}]\n"
    )
    assert list_night(run).exit_code == 0
    rows = {row["file"]: row for row in json.loads((night / "plan/night.json").read_text())["rows"]}
    assert (rows["s1.fits"]["status"], rows["s1.fits"]["reason"]) == ("excluded", "dome light")
    assert rows["s2.fits"]["keys"]["OBJECT"] == "M 31"


def test_dropped_reads(run, night):
    (night / "exposures.yaml").write_text("drop_reads: [{file: s2.fits, reads: [2, 4], reason: poor seeing}]\n")
    assert list_night(run).exit_code == 0
    rows = {row["file"]: row for row in json.loads((night / "plan/night.json").read_text())["rows"]}
    assert (rows["s2.fits"]["dropped"], rows["s1.fits"]["dropped"]) == ([[1, 2], [1, 4]], [])
    assert rows["s2.fits"]["notes"] == ["dropped: reads 2, 4 of group 1: poor seeing"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("exclude: [{file: s9.fits, reason: dome light}]", "not in raw/: s9.fits"),
        ("exclude: [{file: s1.fits}]", "'reason' is a required property"),
        ("exclude: [", "not valid YAML"),
        ("omit: []", "'omit' was unexpected"),
        ("drop_reads: [{file: s1.fits, reads: [0], reason: cloud}]", "0 is less than the minimum of 1"),
        ("drop_reads: [{file: s1.fits, reads: [], reason: cloud}]", "[] should be non-empty"),
        ("drop_reads: [{file: s1.fits, reads: [2]}]", "'reason' is a required property"),
    ],
)
def test_a_wrong_exposures_file_is_refused(run, night, content, text):
    (night / "exposures.yaml").write_text(content)
    result = list_night(run)
    assert result.exit_code == 1
    assert text in result.output


def test_an_empty_night_is_refused(run, night):
    for path in (night / "raw").iterdir():
        path.unlink()
    result = list_night(run)
    assert result.exit_code == 1
    assert "holds no .fits, .fits.gz or .fits.fz file" in result.output
    assert "no folder 'nowhere'" in list_night(run, raw="nowhere").output


def test_an_unknown_context_is_refused(run, night):
    result = list_night(run, context="ligeriri_0999.pmap")
    assert result.exit_code == 1
    assert "ligeriri_0999.pmap" in result.output


def test_an_override_that_does_not_exist_is_refused_at_once(run, night):
    result = list_night(run, override='{"flat": "my_flat.fits"}')
    assert result.exit_code == 1
    assert "override names files that do not exist: my_flat.fits" in result.output


def test_requests_say_which_types_each_level_uses(run, night):
    write_raw(night / "raw" / "d.fits", "DARK", 9)
    list_night(run)
    science = json.loads((night / "plan/stages/science.json").read_text())["2024B-P123-008_IRIS_IMG1_SCI_0001-00"]
    level1 = ["dq", "saturation", "bias", "nonlin", "gain", "readnoise"]
    further = {"level2": ["dark", "flat", "distortion", "flux"], "level3": ["psf"]}
    assert science["levels"] == {"level1": level1, **further}
    (dark,) = json.loads((night / "plan/stages/detector.json").read_text()).values()
    assert dark["levels"] == {"level1": level1}


def test_overrides_of_one_exposure(run, night):
    (night / "mine.fits").write_bytes(b"")
    (night / "exposures.yaml").write_text(
        "override:\n  - {file: s1.fits, flat: mine.fits, dark: none, reason: lamp flickered}\n"
        "  - {file: s1.fits, dark: mine.fits, reason: a better one}\n"
    )
    result = list_night(run, override='{"flat": "none"}')
    assert result.exit_code == 0, result.output
    requests = json.loads((night / "plan/stages/science.json").read_text())
    first, second = (requests[f"2024B-P123-008_IRIS_IMG1_SCI_000{k}-00"] for k in (1, 2))
    assert first["own_override"] == {
        "flat": {"file": "mine.fits", "reason": "lamp flickered"},
        "dark": {"file": "mine.fits", "reason": "a better one"},
    }
    assert "own_override" not in second
    assert second["override"] == {"flat": "none"}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("{file: s9.fits, flat: none, reason: dome light}", "not in raw/: s9.fits"),
        ("{file: s1.fits, flat: none}", "'reason' is a required property"),
        ("{file: s1.fits, reason: dome light}", "does not have enough properties"),
        ("{file: s1.fits, flat: none.fits, reason: dome light}", "files that do not exist: none.fits"),
        ("{file: s1.fits, wavesol: none, reason: dome light}", "overrides wavesol of s1.fits, which takes only dq,"),
    ],
)
def test_a_wrong_override_of_one_exposure_is_refused(run, night, entry, text):
    (night / "exposures.yaml").write_text(f"override: [{entry}]\n")
    result = list_night(run)
    assert result.exit_code == 1
    assert text in result.output


def test_without_a_crds_cache_the_table_is_there_for_filling_one(run, night):
    result = list_night(run, cache="none")
    assert result.exit_code == 1
    assert "none is not a CRDS cache" in result.output
    assert {"rows", "needs"} <= set(json.loads((night / "plan/night.json").read_text()))


def test_a_name_that_no_terminal_can_show_is_escaped(run, night):
    (night / "exposures.yaml").write_text('exclude: [{file: "\\u202Eb\\e[31m.fits", reason: clouds}]\n')
    result = list_night(run)
    assert result.exit_code == 1
    assert "not in raw/: \\u202eb\\x1b[31m.fits" in result.output


def test_a_cut_cache_of_headers_is_made_again(run, night):
    list_night(run)
    before = (night / "plan/headers.json").read_text()
    (night / "plan/headers.json").write_text(before[:50])
    assert list_night(run).exit_code == 0
    assert (night / "plan/headers.json").read_text() == before
    table = json.loads(before)
    first, second = sorted(table)
    del table[first]["images"]
    table[second]["images"] = [["DATA", "x"]]
    (night / "plan/headers.json").write_text(json.dumps(table))
    assert list_night(run).exit_code == 0
    assert json.loads((night / "plan/headers.json").read_text()) == json.loads(before)


def test_associations_of_an_earlier_form_are_refused(run, night):
    (night / "mine.yaml").write_text("imtypes: {SCI: science}\nstages: {science: {kinds: [science]}}\n")
    result = list_night(run, associations="mine.yaml")
    assert result.exit_code == 1
    assert "mine.yaml does not fit associations.schema.yaml" in result.output
    assert "'recipes' is a required property" in result.output
