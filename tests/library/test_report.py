"""The night report as a function of small documents: what it says first, what it hides, and that it is safe to open."""

import copy
import re
from html.parser import HTMLParser

import pytest

from drs.report import (
    build_report,
    drop_folders,
    format_percent,
    format_seconds,
    group_warnings,
    is_off,
    list_references,
    render_report,
    summarize_benchmarks,
)

NASTY = """<script>alert("x")</script> '"><b>"""
CONTEXT = {"context": "ligeriri_0003.pmap", "sha1": "ab" * 20, "source": "operational"}
GROUP = "2024B-P123_Liger_IMG_x_H_20240923"


def row(number, kind, **keys):
    imtype = {"science": "SCI", "dark": "DARK", "sky": "SKY"}[kind]
    obs, exp = f"2024B-P123-008_Liger_IMG_{imtype}", f"{number:04d}-00"
    standard = {
        "INSTRUME": "Liger", "DETECTOR": "IMG", "NIGHT": "20240923", "EXPDTST": f"2024-09-24T05:{number:02d}:00.000",
        "OBJECT": "x", "FILTER": "H", "EXPTIME": 60.0, "RA": 150.0, "DEC": 60.0, "PA": 0.0,
    }  # fmt: skip
    entry = {"file": f"raw_{number}.fits", "status": "accepted", "reason": "", "notes": [], "corrections": []}
    return {**entry, "id": f"{obs}_{exp}", "obs": obs, "exp": exp, "kind": kind, "keys": {**standard, **keys}}


def measured(stem, *, ratio=1.0, refused=None, history=()):
    numbers = {
        "median": 0.0, "noise": 0.2, "error": 0.2 / ratio, "noise_over_error": ratio, "usable_fraction": 0.98,
        "n_sources": 7, "fwhm_pix": 4.5, "fwhm_arcsec": 0.045, "flags": {"HOT": 0.01}, "percentiles": {},
    }  # fmt: skip
    return {
        "product": f"{stem}.fits", "refused": refused, "measured": None if refused else numbers, "unit": "electron/s",
        "steps": {"S_DARK": "COMPLETE", "S_SKYSUB": "SKIPPED: by configuration"}, "references": {},
        "history": list(history), "n_combined": None,
    }  # fmt: skip


def reference(file="liger_img_dark_20240923t120000_0.0.1.fits", source="context", status="found", reason=""):
    names = {
        "rmap": "ligeriri_liger_dark_0001.rmap",
        "selector": "UseAfter",
        "useafter": "2024-01-01",
        "sha1": "cd" * 20,
    }
    return {"file": file, "source": source, "status": status, "reason": reason, **names}


def manifest(exposure, **references):
    missing = [entry["reason"] for entry in references.values() if entry["status"] == "not found"]
    return {
        "exposure": exposure, "status": "failed" if missing else "resolved", "reason": "; ".join(missing),
        "context": {"name": "ligeriri_0003.pmap", "sha1": ""}, "crds_version": "14.0.3", "references": references,
    }  # fmt: skip


@pytest.fixture
def inputs():
    """Two science exposures, one group; one rejected file; everything else went well."""
    rows = [row(1, "science"), row(2, "science", RA=150.001, DEC=60.0005, OBJECT=NASTY)]
    ids = [entry["id"] for entry in rows]
    rejected = {"file": "cut.fits", "status": "rejected", "reason": "/data/n/raw/cut.fits is truncated", "notes": []}
    night = {
        "rows": [*rows, rejected], "masters": {}, "skies": {}, "too_few": [], "level1_only": {},
        "sky": {i: {"choice": None, "reason": "no fitting sky exposures", "rejected": []} for i in ids},
        "groups": {GROUP: {"members": ids, "keys": {"OBJECT": NASTY, "FILTER": "H"}}},
    }  # fmt: skip
    stems = [f"2024B-P123-008_Liger_IMG_SCI_LVL2_000{k}-00" for k in (1, 2)]
    quality = {("level2", stem): measured(stem) for stem in stems}
    quality["level3", f"{GROUP}_LVL3"] = measured(f"{GROUP}_LVL3", ratio=0.96)
    return {
        "night": night, "plan": {}, "context": CONTEXT, "manifests": {i: manifest(i, dark=reference()) for i in ids},
        "quality": quality, "pictures": {("level3", f"{GROUP}_LVL3"): ("image/png", b"PNG")},
        "benchmarks": {}, "warnings": {},
    }  # fmt: skip


def build(inputs):
    return build_report(**inputs)


def page(inputs):
    return render_report({**build(inputs), "run": {}, "version": "0"})


def problems(inputs):
    return {problem["what"]: problem for problem in build(inputs)["problems"]}


class Reader(HTMLParser):
    """Collects tags, links and visible text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_data(self, data):
        self.text += data


def test_a_good_night_says_so(inputs):
    inputs["night"]["rows"].pop()
    assert build(inputs)["problems"] == []
    assert "Everything planned was made: 3 products." in page(inputs)


def test_exposures_that_end_at_level_1_are_said_plainly(inputs):
    extra = row(3, "science")
    inputs["night"]["rows"].append(extra)
    reason = "slicer: Level 1 only, no recipe for science exposures yet"
    inputs["night"]["level1_only"] = {extra["id"]: reason}
    problem = problems(inputs)["level 1 only"]
    assert (problem["severity"], problem["reasons"]) == ("note", [(reason, [extra["id"]])])
    shown = next(entry for entry in build(inputs)["exposures"] if entry["id"] == extra["id"])
    assert [product["level"] for product in shown["products"]] == ["Level 1"]
    assert "1 exposure reduced to Level 1 only" in Reader(page(inputs)).text


def test_headers_cannot_inject_html(inputs):
    reader = Reader(page(inputs))
    assert "script" not in reader.tags
    assert NASTY in reader.text


def test_page_needs_no_other_file(inputs):
    links = Reader(page(inputs)).links
    assert "data:image/png;base64,UE5H" in links
    assert all(link.startswith(("data:", "#")) for link in links)


def test_no_folder_of_a_machine_is_shown(inputs):
    inputs["manifests"] = {
        name: manifest(name, gain=reference("/home/me/gain.fits", "override", reason="/home/me/gain.fits is FAST"))
        for name in inputs["manifests"]
    }
    inputs["warnings"] = {"fit_ramp": [("fit_ramp/x.log", "'/scratch/a b/y.fits' is old")]}
    html = page(inputs)
    for folder in ("/home", "/data", "/scratch"):
        assert folder not in html
    assert "gain.fits is FAST" in html


def test_same_input_same_bytes(inputs):
    names = list(inputs["manifests"])
    inputs["manifests"][names[0]] = manifest(names[0], dark=reference(None, None, "not found", "no match"))
    inputs["manifests"][names[1]] = manifest(names[1], dark=reference(None, None, "not found", "another"))
    again = copy.deepcopy(inputs)
    again["quality"] = dict(reversed(again["quality"].items()))
    again["manifests"] = dict(reversed(again["manifests"].items()))
    assert page(inputs) == page(again)


def test_rejected_files_come_first(inputs):
    assert build(inputs)["problems"][0] == {
        "severity": "failed", "what": "rejected", "n": 1, "reasons": [("cut.fits is truncated", ["cut.fits"])],
    }  # fmt: skip


def test_refused_products_are_gathered_by_reason(inputs):
    for key in list(inputs["quality"])[:2]:
        inputs["quality"][key] = measured(key[1], refused="no dark reference")
    refused = problems(inputs)["refused"]
    assert (refused["n"], len(refused["reasons"])) == (2, 1)
    assert build(inputs)["n_made"] == 1
    assert "refused: no dark reference" in page(inputs)


def test_a_planned_product_without_numbers_is_missed(inputs):
    del inputs["quality"]["level3", f"{GROUP}_LVL3"]
    assert problems(inputs)["absent"]["reasons"] == [("no Level 3 product", [f"{GROUP}_LVL3"])]


def test_leftovers_of_an_earlier_run_are_not_shown(inputs):
    inputs["quality"]["level2", "old"] = measured("old")
    inputs["pictures"]["level2", "old"] = ("image/png", b"OLD")
    assert ">old<" not in page(inputs)


@pytest.mark.parametrize(("ratio", "off"), [(0.89, True), (0.9, False), (1.1, False), (1.11, True), (None, False)])
def test_ratio_is_marked_outside_its_bounds(ratio, off):
    assert is_off(ratio) is off


def test_numbers_of_the_making_are_shown(inputs):
    key = next(key for key in inputs["quality"] if key[0] == "level2")
    document = inputs["quality"][key]
    document["numbers"], document["measured"]["spectra"] = {"Q_WSRMS": 0.0207783}, {"SKYFROM": "<sky>", "WAVNLINE": 4}
    text = page(inputs)
    for told in ("Q_WSRMS 0.02078", "SKYFROM &lt;sky&gt;", "WAVNLINE 4"):
        assert f"<div>{told}</div>" in text
    assert page(inputs) == text


def test_ratio_counts_in_level_2_and_3_only(inputs):
    calibration = "liger_img_dark_20240924t050000_0.0.1"
    inputs["night"]["masters"] = {calibration: {"members": [], "keys": {}}}
    inputs["quality"]["calibrations", calibration] = measured(calibration, ratio=3.0)
    assert "noise" not in problems(inputs)
    inputs["quality"]["level3", f"{GROUP}_LVL3"] = measured(f"{GROUP}_LVL3", ratio=1.3)
    assert problems(inputs)["noise"]["reasons"][0][1] == [f"{GROUP}_LVL3"]


def test_unresolved_exposures_overrides_left_out_and_warnings(inputs):
    first, second = inputs["manifests"]
    inputs["manifests"][first] = manifest(first, dark=reference(None, None, "not found", "no match"))
    inputs["manifests"][second] = manifest(second, dark=reference("d.fits", "override", reason="READMODE differs"))
    group = ("level3", f"{GROUP}_LVL3")
    inputs["quality"][group] = measured(group[1], history=["left out: a.fits: no dark", "corrected"])
    inputs["warnings"] = {"fit_ramp": [("a.log", "odd"), ("b.log", "odd")]}
    found = problems(inputs)
    assert found["unresolved"]["reasons"] == [("no match", [first])]
    assert found["overrides"]["reasons"] == [("READMODE differs", [f"{second}: dark"])]
    assert found["left out"]["reasons"] == [("a.fits: no dark", [group[1]])]
    assert found["warnings"]["n"] == 2
    order = [problem["severity"] for problem in build(inputs)["problems"]]
    assert order == sorted(order, key=["failed", "check", "note"].index)


def test_offsets_are_on_the_sky(inputs):
    offsets = [entry["offset_arcsec"] for entry in build(inputs)["exposures"]]
    assert offsets == [(0.0, 0.0), (1.8, 1.8)]  # 0.001 deg in RA at DEC 60 is 1.8 arcsec
    inputs["night"]["rows"] = [row(3, "dark")]
    assert build(inputs)["exposures"][0]["offset_arcsec"] is None


def test_products_of_the_plan_win(inputs):
    first = inputs["night"]["rows"][0]["id"]
    inputs["plan"] = {"exposures": {first: {"references": {}, "products": ["level1/only.fits"]}}}
    products = [[product["name"] for product in entry["products"]] for entry in build(inputs)["exposures"]]
    assert products[0] == ["only"]
    assert len(products[1]) == 2


def test_each_reference_file_is_listed_once():
    manifests = {
        "a": manifest("a", dark=reference(), gain=reference(None, None, "n/a")),
        "b": manifest("b", dark=reference(), flat=reference(None, None, "not needed")),
        "c": manifest("c", dark=reference(source="night")),
    }
    listed = list_references(manifests)
    assert listed["types"] == ["dark", "gain"]
    assert [(entry["source"], entry["n"]) for entry in listed["used"]] == [("context", 2), ("night", 1)]
    assert [line["exposure"] for line in listed["matrix"]] == ["a", "b", "c"]
    assert listed["matrix"][0]["cells"][0]["short"] == "20240923t120000_0.0.1"
    assert listed["matrix"][1]["cells"][1] is None


def test_benchmarks_are_summed_by_rule():
    rows = summarize_benchmarks({"a": [(1.0, None), (3.0, 50.0), (8.0, 20.0)], "b": [(20.0, None)]})
    expected = {"rule": "a", "n": 3, "total_s": 12.0, "median_s": 3.0, "max_s": 8.0, "max_mb": 50.0}
    assert rows == [{**expected, "rule": "b", "n": 1, "total_s": 20.0, "median_s": 20.0, "max_s": 20.0, "max_mb": None},
                    expected]  # fmt: skip


def test_equal_warnings_are_said_once():
    grouped = group_warnings({"b": [("1.log", "odd"), ("2.log", "odd")], "a": [("3.log", "/x/y.fits old")]})
    assert grouped == {"a": [("y.fits old", ["3.log"])], "b": [("odd", ["1.log", "2.log"])]}
    assert list(grouped) == ["a", "b"]


def test_an_empty_night_has_a_page(inputs):
    parts = ("masters", "skies", "sky", "groups", "level1_only")
    inputs["night"] = {"rows": [], "too_few": []} | {part: {} for part in parts}
    inputs |= {"manifests": {}, "quality": {}, "pictures": {}}
    assert "No exposure accepted" in page(inputs)


def test_a_large_night_is_folded(inputs):
    rows = [row(number % 60, "science") for number in range(200)]
    for number, entry in enumerate(rows):
        entry["id"], entry["exp"] = f"x{number}", f"{number:04d}-00"
    inputs["night"]["rows"] = rows
    inputs["night"]["groups"] = {}
    assert re.search(r"<details >\s*<summary>Exposures: 200", page(inputs))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/b/c.fits is cut", "c.fits is cut"),
        ("see '/a/b/c.fits'; /d/e.log", "see 'c.fits'; e.log"),
        ("5 km/s/Mpc on 2024/09/24, https://a.org/b", "5 km/s/Mpc on 2024/09/24, https://a.org/b"),
        ("raw/x.fits n/a", "raw/x.fits n/a"),
    ],
)
def test_folders_are_dropped_and_nothing_else(text, expected):
    assert drop_folders(text) == expected


def test_numbers_are_said_in_units_of_an_observer():
    assert [format_percent(value) for value in (None, 0.0, 1e-6, 0.5)] == ["–", "0.00 %", "< 0.01 %", "50.00 %"]
    assert [format_seconds(value) for value in (3.21, 600, 7500)] == ["3.2 s", "10 min", "2 h 05 min"]
