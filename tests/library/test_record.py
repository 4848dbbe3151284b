"""The record of a run: complete, the same from run to run, and short in the report."""

import hashlib
import json
import shutil

import pytest
from finished_night import CONFIG, OBS, REPO

from drs import record
from drs.errors import MachineError, ReductionError
from drs.provenance import hash_all
from drs.record import describe_code, find_changed, keep_earlier, list_versions, make_record, summarize_record

RATE = f"level1/{OBS}_LVL1_0001-00.fits"


def test_inputs_and_products_have_their_sha256(finished):
    made = make_record(finished, REPO, CONFIG)
    files = {**made["inputs"], **made["products"]}
    assert set(made["inputs"]) == {"raw/1.fits", "raw/2.fits"}
    assert len(made["products"]) == 7
    for name, sha256 in files.items():
        assert hashlib.sha256((finished / name).read_bytes()).hexdigest() == sha256, name
    assert {name.split("_")[2] for name in made["references"]} == {"dq", "gain"}
    assert made["config"] == CONFIG
    assert made["context"]["context"] == "ligeriri_0001.pmap"
    assert list(made["contexts"]["detector"]["delivered"]) == ["iris_img1_dark_20240925t060000_0.0.1.fits"]


def test_only_what_no_product_names_is_hashed(finished, monkeypatch):
    hashed = []
    monkeypatch.setattr(record, "hash_all", lambda paths: hashed.extend(paths) or hash_all(paths))
    make_record(finished, REPO, CONFIG)
    inside = {str(path.relative_to(finished)) for path in hashed if path.is_relative_to(finished)}
    assert RATE not in inside  # the master dark names it
    assert not any(name.startswith("raw/") for name in inside)


def test_a_record_has_no_place_and_no_time(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "other")
    first, second = (make_record(folder, REPO, CONFIG) for folder in (finished, tmp_path / "other"))
    assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert str(finished) not in json.dumps(first)


def test_files_that_settings_name_are_inputs(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "night")
    (folder / "config.yaml").write_text("{}")
    (folder / "gaia.ecsv").write_text("stars")
    (folder / "hd2.fits").write_text("a star")
    named = {"calibrate_image": {"astrometry_catalogue": "gaia.ecsv", "sky": "auto"}}
    named |= {"make_sensitivity": {"standards": {"HD-2": "hd2.fits", "HD-3": "not_there.fits"}, "order": 3}}
    made = make_record(folder, REPO, CONFIG | named)
    assert made["inputs"]["gaia.ecsv"] == hashlib.sha256(b"stars").hexdigest()
    assert made["inputs"]["hd2.fits"] == hashlib.sha256(b"a star").hexdigest()
    assert "not_there.fits" not in made["inputs"]
    assert "config.yaml" in made["inputs"]


def test_versions_are_those_of_packages():
    versions = list_versions()
    assert set(versions["packages"]) >= {"numpy", "astropy", "crds", "snakemake"}
    assert versions["python"].startswith("3.")


def test_code_has_one_digest_that_any_edit_changes(tmp_path):
    (tmp_path / "scripts/drs/__pycache__").mkdir(parents=True)
    (tmp_path / "Snakefile").write_text("rule all:\n")
    (tmp_path / "scripts/drs/a.py").write_text("1")
    (tmp_path / "scripts/drs/__pycache__/a.nbc").write_text("kernel")
    code = describe_code(tmp_path)
    assert list(code["files"]) == ["Snakefile", "scripts/drs/a.py"]
    assert code["commit"] is None
    (tmp_path / "scripts/drs/a.py").write_text("2")
    assert describe_code(tmp_path)["sha256"] != code["sha256"]


def test_the_report_shows_what_is_not_the_default(finished):
    made = make_record(finished, REPO, CONFIG)
    shown = summarize_record(made, CONFIG | {"strict": True, "fit_ramp": {"method": "ols"}})
    assert shown["settings"] == [("fit_ramp: method", "mcds"), ("strict", False)]
    assert shown["counts"] == {"inputs": 2, "references": 2, "products": 7}
    assert "numpy" in shown["versions"]
    assert summarize_record({}, {}) == {}


def test_a_setting_that_has_no_default_is_shown():
    assert find_changed({"a": {"b": 1, "c": None}, "d": {"x": 2}}, {"a": {"b": 1}}) == [("d", {"x": 2})]


def test_a_folder_without_plan_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"night.json"):
        make_record(tmp_path, REPO, CONFIG)
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan/night.json").write_text("{")
    with pytest.raises(ReductionError, match=r"night.json cannot be read"):
        make_record(tmp_path, REPO, CONFIG)


def make_run(version, products):
    return {
        "versions": {"drs": version},
        "code": {"commit": None, "sha256": version, "files": {}},
        "products": products,
    }


def test_products_of_earlier_runs_keep_their_versions():
    first = keep_earlier(make_run("1", {"a": "x", "b": "x", "c": "x"}), {})
    assert first["earlier"] == []
    assert keep_earlier(make_run("1", first["products"]), first) == first
    second = keep_earlier(make_run("2", {"a": "x", "b": "y", "c": "x"}), first)
    assert [(entry["versions"]["drs"], entry["products"]) for entry in second["earlier"]] == [("1", ["a", "c"])]
    third = keep_earlier(make_run("3", {"a": "x", "b": "y", "c": "z", "d": "x"}), second)
    assert [(e["code"]["sha256"], e["products"]) for e in third["earlier"]] == [("1", ["a"]), ("2", ["b"])]
    back = keep_earlier(make_run("1", third["products"]), third)
    assert [(e["versions"]["drs"], e["products"]) for e in back["earlier"]] == [("2", ["b"]), ("3", ["c", "d"])]


@pytest.mark.parametrize("change", ["unlink", "touch"])
def test_raw_files_that_changed_after_they_were_listed_are_not_recorded(finished, tmp_path, change):
    folder = shutil.copytree(finished, tmp_path / "night")
    facts = (folder / "raw/1.fits").stat()
    listed = {"1.fits": {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}, "x.fits": {"error": "of a link"}}
    (folder / "plan/headers.json").write_text(json.dumps(listed))
    make_record(folder, REPO, CONFIG)
    getattr(folder / "raw/1.fits", change)()
    with pytest.raises(MachineError, match="changed after the night was listed"):
        make_record(folder, REPO, CONFIG)
