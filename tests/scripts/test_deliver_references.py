import json

import pytest
from click.testing import CliRunner
from reference_cache import TYPES_FILE, make_cache, write_reference

import deliver_references
from drs.references import find_context, mapping_path, sha1


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def run(cache, tmp_path):
    (tmp_path / "context.json").write_text(json.dumps(find_context(cache, None, {})))

    def call(tier, *paths, leave_out=False):
        options = {
            "context": tmp_path / "context.json",
            "cache": cache,
            "overlay": tmp_path / "overlay",
            "tier": tier,
            "types": TYPES_FILE,
            "output": tmp_path / "delivery.json",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        arguments += map(str, paths)
        arguments += ["--leave-out"] if leave_out else []
        return CliRunner().invoke(deliver_references.main, arguments)

    return call


def test_a_delivery_is_a_new_context(run, tmp_path):
    path = write_reference(tmp_path, "dark")
    result = run("detector", path)
    assert result.exit_code == 0, result.output
    delivered = json.loads((tmp_path / "delivery.json").read_text())
    assert delivered["delivered"] == {path.name: sha1(path)}
    assert delivered["sha1"] == sha1(mapping_path(tmp_path / "overlay", "ligeriri_9001.pmap"))


def test_no_reference_repeats_the_base(run, tmp_path):
    assert run("optics").exit_code == 0
    assert json.loads((tmp_path / "delivery.json").read_text())["context"] == "ligeriri_0001.pmap"


def test_a_reference_of_another_tier_ends_the_command(run, tmp_path):
    result = run("optics", write_reference(tmp_path, "dark"))
    assert result.exit_code == 1
    assert "Error:" in result.output
    assert "is not delivered in tier optics, which takes DISTORTION, FIBRE, FLAT" in result.output
    assert not (tmp_path / "delivery.json").exists()


def test_a_refused_reference_is_left_out_and_the_others_are_delivered(run, tmp_path):
    good = write_reference(tmp_path, "dark")
    bad = write_reference(tmp_path, "dark", DETECTOR="IMG2", PEDIGREE="INFLIGHT 2024-09-25 2024-09-24")
    result = run("detector", good, bad, leave_out=True)
    assert result.exit_code == 0, result.output
    delivered = json.loads((tmp_path / "delivery.json").read_text())
    assert list(delivered["delivered"]) == [good.name]
    assert "Start date > stop date" in delivered["left_out"][bad.name]
    assert run("detector", good, bad).exit_code == 1
