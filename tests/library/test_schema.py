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
        ({"make_dark": {"clip_sigma": -1, "hot_threshold_sigma": 10}}, "make_dark.clip_sigma: -1 is less"),
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


def test_models_resolve_their_references():
    for model in product_models():
        assert find_problems(PRODUCTS / f"{model}.yaml", {"keywords": {}, "extensions": {}}), model
    assert keyword_descriptions()["EXPTIME"].startswith("[s]")
