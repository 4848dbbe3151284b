"""Schemas: every file of the configuration is valid, and what is wrong is named."""

import csv
from pathlib import Path

import pytest

from drs.errors import ReductionError
from drs.schema import PRODUCTS, check_document, find_problems, keyword_descriptions, load_yaml, product_models

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_default_configuration_is_valid_and_complete():
    check_document(CONFIG / "schema.yaml", load_yaml(CONFIG / "config.yaml"), name="config.yaml")


def test_every_key_of_the_configuration_is_described():
    def undescribed(schema, path=""):
        for key, entry in schema.get("properties", {}).items():
            if "$ref" not in entry and "description" not in entry and "properties" not in entry:
                yield f"{path}{key}"
            yield from undescribed(entry, f"{path}{key}.")

    assert list(undescribed(load_yaml(CONFIG / "schema.yaml"))) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fitramp": {}}, "'fitramp' was unexpected"),
        (
            {"make_dark": {"clip_sigma": -1, "hot_threshold_sigma": 10, "maximum_rate_e_per_s": 2}},
            "make_dark.clip_sigma: -1 is less",
        ),
        ({"override": {"flatt": "x"}}, "flatt"),
        ({"crds": {"cache": "x", "context": "latest"}}, "crds.context"),
    ],
)
def test_a_wrong_setting_is_named(change, text):
    problems = find_problems(CONFIG / "schema.yaml", load_yaml(CONFIG / "config.yaml") | change)
    assert len(problems) == 1
    assert text in problems[0]


def test_instruments_and_filters():
    for name in ("iris", "liger"):
        check_document(
            CONFIG / "instruments" / "schema.yaml", load_yaml(CONFIG / f"instruments/{name}.yaml"), name=name
        )
    lines = (CONFIG / "instruments" / "filters.csv").read_text().splitlines()[1:]
    for row in csv.DictReader(lines):
        assert float(row["wave_min_um"]) < float(row["wave_centre_um"]) < float(row["wave_max_um"])


def test_the_associations_are_valid_and_what_is_wrong_is_named():
    rules, schema = load_yaml(CONFIG / "associations.yaml"), CONFIG / "associations.schema.yaml"
    check_document(schema, rules, name="associations.yaml")
    for change, text in (
        ({"recipes": {"camera": {}}}, "'camera' is not one of"),
        ({"level1": ["dq", "ghost"]}, "'ghost' is not one of"),
        ({"stages": {"detector": {"kinds": ["dark"]}}}, "'optics' is a required"),
        ({"sky": rules["sky"] | {"max_gap": 1}}, "'max_gap' was unexpected"),
    ):
        assert any(text in problem for problem in find_problems(schema, rules | change)), text
    assert "'level1' is a required property" in find_problems(schema, {k: v for k, v in rules.items() if k != "level1"})


def test_a_chi_square_map_is_part_of_a_rate():
    keywords = {"TELESCOP": "TMT", "INSTRUME": "IRIS", "DRSVER": "0", "IMTYPE": "SCI", "SEMID": "2024B"}
    keywords |= {"PROGNUM": "P1", "OBSNUM": "1", "EXPDTST": "2024-09-25T06:00:00", "EXPTIME": 1.0, "FILTER": "H"}
    image = {"dtype": "float32", "ndim": 2, "unit": "electron/s"}
    extensions = {"SCI": image, "ERR": image, "DQ": {"dtype": "uint32", "ndim": 2}, "CHISQ": image | {"unit": ""}}
    for model, detector in (("ImagerModel", "IMG1"), ("IFUImageModel", "IFS")):
        document = {"keywords": keywords | {"DATAMODL": model, "DETECTOR": detector, "DATALVL": 1}}
        schema = PRODUCTS / f"{model}.yaml"
        assert find_problems(schema, document | {"extensions": extensions}) == []
        wrong = find_problems(schema, document | {"extensions": extensions | {"CHISQ": image}})
        assert wrong == ["extensions.CHISQ.unit: 'electron/s' is not one of ['']"]
    document["keywords"]["DATALVL"] = 2
    assert find_problems(schema, document | {"extensions": extensions}) == ["keywords.DATALVL: 2 is not one of [1]"]


def test_all_defects_are_named_at_once(tmp_path):
    with pytest.raises(ReductionError) as error:
        check_document(
            CONFIG / "exposures.schema.yaml", {"exclude": [{"file": "a"}], "wrong": 1}, name="exposures.yaml"
        )
    assert "'reason' is a required" in str(error.value)
    assert "'wrong' was unexpected" in str(error.value)


def test_yaml_that_cannot_be_parsed_is_named_with_its_line(tmp_path):
    path = tmp_path / "exposures.yaml"
    path.write_text("exclude:\n  - file: [\n")
    with pytest.raises(ReductionError, match=r"(?s)exposures\.yaml is not valid YAML.*line"):
        load_yaml(path)


@pytest.mark.parametrize("text", ["2024-09-24T05:00:00", "2024-09-24 05:00:00", "2024-09-24", "2024-09-24T05:00:00Z"])
def test_dates_stay_text(tmp_path, text):
    path = tmp_path / "exposures.yaml"
    path.write_text(f"correct:\n  - {{file: a.fits, set: {{EXPDTST: {text}}}, reason: clock}}\n")
    document = load_yaml(path)
    assert document["correct"][0]["set"] == {"EXPDTST": text}
    check_document(CONFIG / "exposures.schema.yaml", document, name=path)


def test_other_values_keep_their_type(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("{a: 1, b: 1.5, c: true, d: null, e: text, f: 1.0e+3}")
    found = load_yaml(path)
    assert found == {"a": 1, "b": 1.5, "c": True, "d": None, "e": "text", "f": 1000.0}


@pytest.mark.parametrize(
    "content", [b"a: .nan", b"a: [1, -.inf]", b"a: 1.0e+999", b"a: 0x_", b"a: caf\xe9", b"a: \x1b"]
)
def test_what_neither_json_nor_fits_holds_is_no_yaml(tmp_path, content):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ReductionError, match=r"a\.yaml is not valid YAML"):
        load_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("correction", "legal"),
    [
        ({"OBJECT": "M 15 ~!'"}, True),
        ({"OBJECT": ""}, True),
        ({"EXPNUM": 3, "PA": 1.5, "SIMPLE": True}, True),
        ({"OBJECT": "α Cen"}, False),
        ({"OBJECT": "M\n15"}, False),
        ({"OBJECT": "M 15\n"}, False),
        ({"OBJECT": "\x1b[0m"}, False),
        ({"OBJECT\n": "M 15"}, False),
        ({"OBJECT": None}, False),
    ],
)
def test_a_correction_is_what_a_card_can_hold(correction, legal):
    document = {"correct": [{"file": "a.fits", "set": correction, "reason": "headers"}]}
    assert (find_problems(CONFIG / "exposures.schema.yaml", document) == []) == legal


def test_models_resolve_their_references():
    for model in product_models():
        assert find_problems(PRODUCTS / f"{model}.yaml", {"keywords": {}, "extensions": {}}), model
    assert keyword_descriptions()["EXPTIME"].startswith("[s]")
