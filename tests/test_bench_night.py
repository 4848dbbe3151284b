"""The nights of the benchmark are nights: every file is accepted, of the kind and in the field that it should."""

import json

import bench_night
import pytest
from nights import INSTRUMENTS, RULES

from drs.association import associate
from drs.night import build_rows, scan_raw


def test_a_night_of_headers_is_accepted_and_planned(tmp_path):
    bench_night.make_night(tmp_path, 30, "/cache")
    rows = build_rows(scan_raw(tmp_path / "raw", {}), INSTRUMENTS, RULES, {})
    assert {row["status"] for row in rows} == {"accepted"}
    assert [row["kind"] for row in rows] == ["dark"] * 5 + ["flat"] * 5 + ["science"] * 20
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "raw").iterdir()) < 30 * 20_000
    groups = associate(rows, RULES)["groups"]
    assert sorted(len(entry["members"]) for entry in groups.values()) == [3, 8, 9]
    assert (tmp_path / "config.yaml").read_text() == "crds: {cache: /cache}\n"


def test_the_exponent_of_a_growth_in_proportion_is_one():
    assert bench_night.find_exponent(2.0, 20.0, [100, 1000]) == pytest.approx(1.0)
    assert bench_night.find_exponent(2.0, 200.0, [100, 1000]) == pytest.approx(2.0)


def test_the_trivial_workflow_has_the_same_jobs_and_files(tmp_path):
    wildcards = {"obs": "a", "exp": "1"}
    jobs = [["all", {}, ["made/a_1.fits", "plan.txt"]], ["make", wildcards, ["raw/1.fits", "/config/x.yaml"]]]
    outputs = {"all": [], "make": ["made/{obs,[a-z]+}_{exp}.fits"]}
    snakefile = bench_night.write_trivial(tmp_path, jobs, outputs, ["made/a_1.fits"])
    rules = snakefile.read_text().split("rule ")[1:]
    assert [rule.split(":")[0] for rule in rules] == ["all", "make"]
    assert "INPUTS[f'make {wildcards.exp} {wildcards.obs}']" in rules[1]
    assert "output: 'made/{obs,[a-z]+}_{exp}.fits'" in rules[1]
    assert json.loads((tmp_path / "inputs.json").read_text())["make 1 a"] == ["raw/1.fits", "/config/x.yaml"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "1.fits",
        "Snakefile",
        "inputs.json",
        "plan.txt",
    ]
