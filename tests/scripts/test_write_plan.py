"""write_plan: the plan names the calibrations that the night will make, before they exist."""

import json
import re
from pathlib import Path

import pytest
from nights import INSTRUMENTS, RULES, ifs_scan, scan
from reference_cache import make_cache

from drs.association import associate
from drs.night import build_rows
from drs.references import find_context
from drs.request import make_requests
from write_plan import main

TYPES = Path(__file__).resolve().parents[2] / "config" / "references.yaml"
NO_OVERRIDES = {"night": {}, "own": {}}


STAGES = ("detector", "optics", "science")  # of a night that does not calibrate the detector


@pytest.fixture
def options(tmp_path):
    """Return the options for a night of darks (IMG1), four flats, and science with and without flat."""
    scans = {f"d{k}.fits": scan("DARK", k, start=f"2024-09-25T01:0{k}:00", FILTER="NONE") for k in range(5)}
    scans |= {f"f{k}.fits": scan("FLAT", 10 + k, start=f"2024-09-25T02:0{k}:00") for k in range(4)}
    scans |= {"s.fits": scan("SCI", 20), "k.fits": scan("SCI", 21, FILTER="K"), "cut.fits": {"error": "truncated at"}}
    context = find_context(make_cache(tmp_path / "crds_cache"), None, {})
    (tmp_path / "context.json").write_text(json.dumps(context))
    options = {
        "night": tmp_path / "night.json",
        "context": tmp_path / "context.json",
        "types": TYPES,
        "cache": tmp_path / "crds_cache",
        "table": tmp_path / "plan.json",
        "output": tmp_path / "plan.txt",
    }
    plan_night(options, scans)
    return options


def plan_night(options, scans):
    """Write the night table and the requests of these scans."""
    rows = build_rows(scans, INSTRUMENTS, RULES, {})
    plan = associate(rows, RULES)
    options["night"].write_text(json.dumps({"rows": rows, **plan}))
    options["request"] = [options["night"].with_name(f"{stage}.json") for stage in plan["stages"]]
    for path, stage in zip(options["request"], plan["stages"], strict=True):
        members = {row["id"]: row for row in rows if row.get("id") in plan["stages"][stage]}
        path.write_text(json.dumps(make_requests(members, plan["needs"], RULES["level1"], NO_OVERRIDES)))


def test_the_plan_says_what_crds_will_choose_and_why(run, options):
    result = run(main, **options)
    assert result.exit_code == 0, result.output
    plan = json.loads(options["table"].read_text())
    science = plan["exposures"]["2024B-P123-008_IRIS_IMG1_SCI_0020-00"]
    dark, flat = science["references"]["dark"], science["references"]["flat"]
    assert (dark["file"], dark["source"]) == ("iris_img1_dark_20240925t010000_0.0.1.fits", "night")
    assert (flat["file"], flat["source"]) == ("iris_img1_flat_20240101t010000_0.0.1.fits", "context")
    assert "level3/2024B-P123_IRIS_IMG1_M-15_Y_20240924_LVL3.fits" in science["used_by"]
    missing = plan["exposures"]["2024B-P123-008_IRIS_IMG1_SCI_0021-00"]
    assert missing["status"] == "failed"
    assert "FILTER" in missing["reason"]
    assert plan["not_reduced"] == [{"file": "cut.fits", "status": "rejected", "reason": "truncated at"}]
    text = options["output"].read_text()
    for part in (
        "NOT REDUCED",
        "cut.fits: rejected: truncated at",
        "4 exposures, at least 5 needed",
        "made this night",
        "median of the image",
    ):
        assert part in text, part
    assert str(options["cache"]) not in text


def test_the_plan_of_a_kind_without_recipe_ends_at_level_1_and_says_so(run, options):
    scans = {f"d{k}.fits": ifs_scan("DARK", k, start=f"2024-09-25T01:0{k}:00", DETECTOR="IFU") for k in range(5)}
    plan_night(options, scans | {"s.fits": ifs_scan("PSF", 20, INSTMODE="IFS", IFSMODE="SLICER")})
    result = run(main, **options)
    assert result.exit_code == 0, result.output
    science = json.loads(options["table"].read_text())["exposures"]["2024B-P123-008_IRIS_IFS_PSF_0020-00"]
    assert (science["status"], science["mode"], science["used_by"]) == ("resolved", "slicer", [])
    assert science["products"] == ["level1/2024B-P123-008_IRIS_IFS_PSF_LVL1_0020-00.fits"]
    found = {kind: entry["file"] for kind, entry in science["references"].items() if entry["status"] == "found"}
    assert found == {kind: f"iris_ifs_{kind}_20240101t000000_0.0.1.fits" for kind in RULES["level1"]}
    text = options["output"].read_text()
    assert "slicer: Level 1 only, no recipe for psf-star exposures yet" in text
    assert "iris_ifs_dark_20240925t010000_0.0.1: 5 exposures" in text


def test_the_plan_of_slices_has_traces_wavelengths_and_cubes(run, options):
    optics = {"INSTMODE": "SLICER", "SCALE": 0.05, "GRATING": "4000-H", "FILTER": "HN3"}
    scans = {"f.fits": ifs_scan("FLAT", 1, start="2024-09-25T01:00:00", **optics)}
    scans |= {"a.fits": ifs_scan("ARC", 2, start="2024-09-25T02:00:00", OBJECT="ARGON", **optics)}
    plan_night(options, scans | {"s.fits": ifs_scan("SCI", 20, **optics)})
    result = run(main, **options)
    assert result.exit_code == 0, result.output
    exposures = json.loads(options["table"].read_text())["exposures"]
    arc, science = (exposures[f"2024B-P123-008_IRIS_IFS_{name}-00"] for name in ("ARC_0002", "SCI_0020"))
    assert arc["references"]["trace"]["file"] == "iris_ifs_trace_20240925t010000_0.0.1.fits"
    assert arc["references"]["wavesol"]["file"] == "iris_ifs_wavesol_20240101t010000_0.0.1.fits"
    assert science["references"]["trace"]["file"] == "iris_ifs_trace_20240925t010000_0.0.1.fits"
    assert science["references"]["wavesol"]["file"] == "iris_ifs_wavesol_20240925t020000_0.0.1.fits"
    assert science["products"][1] == "level2/2024B-P123-008_IRIS_IFS_SCI_LVL2_0020-00.fits"


def test_the_plan_of_lenslets_has_matrices_cubes_and_their_sky(run, options):
    optics = {"INSTMODE": "LENSLET", "SCALE": 0.009, "GRATING": "4000-H", "FILTER": "HN3"}
    scans = {f"d{k}.fits": ifs_scan("DARK", k, start=f"2024-09-25T01:0{k}:00", **optics) for k in range(5)}
    scans |= {f"s{k}.fits": ifs_scan("SCAN", 20 + k, start=f"2024-09-25T02:{k:02d}:00", **optics) for k in range(16)}
    scans |= {"e.fits": ifs_scan("SCI", 40, **optics), "f.fits": ifs_scan("SKY", 41, **optics)}
    plan_night(options, scans | {"g.fits": ifs_scan("SCI", 42, **optics | {"FILTER": "HN4"})})
    result = run(main, **options)
    assert result.exit_code == 0, result.output
    exposures = json.loads(options["table"].read_text())["exposures"]
    science = exposures["2024B-P123-008_IRIS_IFS_SCI_0040-00"]
    assert science["references"]["rectmat"]["file"] == "iris_ifs_rectmat_20240925t020000_0.0.1.fits"
    assert science["references"]["wavesol"]["file"] == "iris_ifs_wavesol_20240101t000000_0.0.1.fits"
    assert science["products"][1] == "level2/2024B-P123-008_IRIS_IFS_SCI_LVL2_0040-00.fits"
    missing = exposures["2024B-P123-008_IRIS_IFS_SCI_0042-00"]
    assert missing["status"] == "failed"
    assert "FILTER" in missing["reason"]
    text = options["output"].read_text()
    assert "sky: 2024B-P123-008_IRIS_IFS_SKY_0041-00 (nearest" in text
    assert "sky: blank spaxels (no fitting sky exposure" in text
    assert "iris_ifs_rectmat_20240925t020000_0.0.1: 16 exposures" in text
    assert re.search(r"LEVEL 3\n  \S+_IFS_\S+_HN3_\S+: 1 exposures", text)


def test_a_cache_without_the_context_is_refused(run, options):
    options["context"].write_text(json.dumps({"context": "ligeriri_0777.pmap", "sha1": "0"}))
    result = run(main, **options)
    assert result.exit_code == 1
    assert "ligeriri_0777.pmap" in result.output


def test_an_exposure_of_the_late_night_takes_the_calibrations_of_its_own_night(run, options):
    scans = {f"d{k}.fits": scan("DARK", k, start=f"2024-09-24T23:0{k}:00") for k in range(5)}
    scans |= {f"e{k}.fits": scan("DARK", 30 + k, start=f"2024-09-25T23:0{k}:00") for k in range(5)}
    scans |= {
        "s.fits": scan("SCI", 20, start="2024-09-25T15:50:00"),
        "t.fits": scan("SCI", 21, start="2024-09-25T22:10:00"),
    }
    plan_night(options, scans)
    assert run(main, **options).exit_code == 0
    plan = json.loads(options["table"].read_text())["exposures"]
    darks = [plan[f"2024B-P123-008_IRIS_IMG1_SCI_00{n}-00"]["references"]["dark"]["file"] for n in (20, 21)]
    assert darks == ["iris_img1_dark_20240924t230000_0.0.1.fits", "iris_img1_dark_20240925t230000_0.0.1.fits"]
