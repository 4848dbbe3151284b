"""What Snakemake does not know: a document whose files were lost is taken away, so that it is made again."""

import shutil

import pytest
from finished_night import MASTER, OBS, make_finished_night

from drs.files import write_json
from drs.references import mapping_path, read_json, reference_path
from drs.upkeep import drop_broken

INDEX, CONTEXT = "references/detector.json", "references/contexts/detector.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished night whose own cache holds its rules."""
    night = make_finished_night(tmp_path_factory.mktemp("finished") / "night")
    for folder in ("mappings", "config"):
        shutil.copytree(night / "crds_cache" / folder, night / "references/crds" / folder)
    return night


@pytest.fixture
def night(finished, tmp_path):
    """Return a copy of it."""
    return shutil.copytree(finished, tmp_path / "night")


def list_left(night):
    """Return which of the documents are there after the upkeep."""
    drop_broken(night / "references", night / "references/crds", ["detector", "science"])
    return [name for name in (INDEX, CONTEXT) if (night / name).is_file()]


def test_a_whole_night_is_left_as_it_is(night):
    assert list_left(night) == [INDEX, CONTEXT]


@pytest.mark.parametrize("lost", [f"references/{OBS}_0001-00.json", f"references/level1/{OBS}_0002-00.json"])
def test_an_index_goes_with_its_manifests(night, lost):
    (night / lost).unlink()
    assert list_left(night) == [CONTEXT]


def test_a_context_goes_with_what_was_delivered(night):
    reference_path(night / "references/crds", "iris", f"{MASTER}.fits").unlink()
    assert list_left(night) == [INDEX]


@pytest.mark.parametrize("name", ["ligeriri_0001.pmap", "ligeriri_iris_0001.imap", "ligeriri_liger_gain_0001.rmap"])
def test_a_context_goes_with_its_rules(night, name):
    mapping_path(night / "references/crds", name).unlink()
    assert list_left(night) == [INDEX]


def test_a_context_goes_with_the_config_of_its_cache(night):
    (night / "references/crds/config/ligeriri/server_config").unlink()
    assert list_left(night) == [INDEX]


def test_a_context_that_holds_nothing_of_the_night_needs_no_rules(night):
    shutil.rmtree(night / "references/crds")
    write_json(night / CONTEXT, read_json(night / CONTEXT) | {"delivered": {}})
    assert list_left(night) == [INDEX, CONTEXT]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"exposures": 1, "delivered": 1}', '{"exposures": {"a": 2}}'])
def test_nonsense_is_taken_away(night, text):
    for name in (INDEX, CONTEXT):
        (night / name).write_text(text)
    assert list_left(night) == []
