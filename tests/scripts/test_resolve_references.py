import json

import pytest
from click.testing import CliRunner
from reference_cache import TYPES_FILE, list_bytes, make_cache, make_request, write_reference

import resolve_references
from drs.references import find_context


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def run(cache, tmp_path):
    exposures = {"good": make_request("dark", "dq"), "bad": make_request("flat", FILTER="K")}
    (tmp_path / "exposures.json").write_text(json.dumps(exposures))
    (tmp_path / "context.json").write_text(json.dumps(find_context(cache, None, {})))

    def call():
        options = {
            "exposures": tmp_path / "exposures.json",
            "context": tmp_path / "context.json",
            "cache": cache,
            "overlay": tmp_path / "overlay",
            "types": TYPES_FILE,
            "manifests": tmp_path / "references",
            "output": tmp_path / "index.json",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return CliRunner().invoke(resolve_references.main, arguments)

    return call


def test_manifests_and_index_are_written(run, cache, tmp_path):
    result = run()
    assert result.exit_code == 0, result.output
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["context"]["name"] == "ligeriri_0001.pmap"
    assert {name: entry["status"] for name, entry in index["exposures"].items()} == {
        "good": "resolved",
        "bad": "failed",
    }
    assert "value='K'" in index["exposures"]["bad"]["reason"]
    before = list_bytes(tmp_path)
    assert run().exit_code == 0
    assert list_bytes(tmp_path) == before


def test_an_override_that_differs_warns_once_for_all_exposures(run, tmp_path, caplog):
    flat = write_reference(tmp_path, "flat", FILTER="J")
    requests = {name: make_request("flat", override={"flat": str(flat)}) for name in ("a", "b")}
    (tmp_path / "exposures.json").write_text(json.dumps(requests))
    assert run().exit_code == 0
    told = "FILTER is J in the reference, Y in the exposure"
    assert caplog.messages[0] == f"a, b: override of flat: {flat.name} by config.yaml; {told}"


def test_an_unusable_context_ends_the_command(run, tmp_path):
    (tmp_path / "context.json").write_text(json.dumps({"context": "ligeriri_0009.pmap", "sha1": "0" * 40}))
    result = run()
    assert result.exit_code == 1
    assert "Error: CRDS context ligeriri_0009.pmap is in none of" in result.output
    assert not (tmp_path / "index.json").exists()


def test_an_unusable_list_of_exposures_ends_the_command(run, tmp_path):
    (tmp_path / "exposures.json").write_text("[]")
    result = run()
    assert result.exit_code == 1
    assert "holds no JSON object" in result.output
