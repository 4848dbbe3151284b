import json
import shutil

import pytest
from reference_cache import ALL_TYPES, REPO, list_bytes

from drs import specs
from drs.schema import load_yaml, product_models

ADD_ON = REPO / "scripts" / "crds_ligeriri" / "ligeriri"
INSTRUMENTS = [load_yaml(REPO / "config" / "instruments" / name) for name in ("iris.yaml", "liger.yaml")]
PARKEYS = {"INSTRUME": "I", "DETECTOR": "D", "FILTER": "A.F", "SUBARRAY": "S", "INSTERA": "E"}
FACTS = {"filekind": "DARK", "keyword": "R_DARK", "model": "DarkModel", "match": ["INSTERA", "DETECTOR", "FILTER"]}
FACTS |= {"selector": "UseAfter", "title": "Dark rate"}


def test_what_is_in_the_repository_is_what_is_made(tmp_path):
    for name in ("specs", "tpns"):
        (tmp_path / name).mkdir()
    (tmp_path / "tpns" / "all_gone.tpn").write_text("of a type that was dropped")
    specs.write_specs(ALL_TYPES, INSTRUMENTS, tmp_path)
    made = list_bytes(tmp_path)
    assert made == {name: text for name, text in list_bytes(ADD_ON).items() if name.split("/")[0] in ("specs", "tpns")}


def test_a_second_run_changes_no_file(tmp_path):
    shutil.copytree(ADD_ON, tmp_path / "ligeriri")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "ligeriri" / "tpns").iterdir()}
    specs.write_specs(ALL_TYPES, INSTRUMENTS, tmp_path / "ligeriri")
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_every_type_has_a_model_a_keyword_and_a_filekind_of_its_own():
    assert {facts["model"] for facts in ALL_TYPES.values()} <= set(product_models())
    for item in ("filekind", "keyword", "model"):
        assert len({facts[item] for facts in ALL_TYPES.values()}) == len(ALL_TYPES)


def test_checks_of_a_type():
    text = specs.format_checks({"dark": FACTS}, INSTRUMENTS, PARKEYS)["all_dark.tpn"]
    assert "REFTYPE  H  C  R  DARK\nA.F  H  C  R\nA.F  X  X  R  (A_F!='ANY')\nSCI" in text
    assert "DQ  A  X  R  (has_type(DQ_ARRAY,'INT'))\n" in text
    assert "D  H" not in text


def test_checks_of_an_instrument_name_its_detectors_and_their_other_names():
    texts = specs.format_checks({}, INSTRUMENTS, PARKEYS)
    assert "I  H  C  R  LIGER\nD  H  C  R  IMG,IFS,IFU\n" in texts["liger_all.tpn"]
    assert set(texts) == {"all_all.tpn", "iris_all.tpn", "liger_all.tpn"}


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("RectificationModel", "(ndim(RECTMAT_ARRAY,4))"),
        ("TraceModel", "(ndim(EDGES_ARRAY,3))"),
        ("DrizzleParametersModel", None),
    ],
)
def test_checks_of_arrays_follow_the_schema_of_the_model(model, line):
    text = specs.format_checks({"x": {**FACTS, "model": model}}, [], PARKEYS)["all_dark.tpn"]
    assert "_ARRAY" in text if line else "_ARRAY" not in text
    assert not line or line in text


def test_the_table_names_every_type_for_every_instrument():
    table = json.loads(specs.format_table({"dark": FACTS}, INSTRUMENTS))
    assert sorted(table) == ["all", "iris", "liger"]
    assert table["iris"]["dark"]["suffix"] == "dark"
    assert table["all"]["dark"]["keyword"] == "R_DARK"


def test_a_type_that_takes_generic_serves_every_value_by_it():
    header = specs.make_header("Liger", "dark", {**FACTS, "values": {"SUBARRAY": ["GENERIC"]}}, PARKEYS)
    assert header["substitutions"] == {"S": {"GENERIC": "N/A"}}
    assert header["parkey"] == (("E", "D", "A.F"), ("META.DATE",))
    assert header["classes"] == ("Match", "UseAfter")
    assert "substitutions" not in specs.make_header("Liger", "dark", FACTS, PARKEYS)
