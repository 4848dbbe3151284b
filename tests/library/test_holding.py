import pytest
from reference_cache import N_MAPPING, make_cache

from drs.errors import ReductionError
from drs.holding import Holding
from drs.references import mapping_path, reference_path, sha1

DARK = "iris_img1_dark_20240101t000000_0.0.1.fits"
FACTS = {"size": 3, "sha1sum": "a" * 40}


@pytest.fixture
def cache(tmp_path):
    return make_cache(tmp_path / "crds")


def test_files_are_found_by_name_in_their_place_only(cache):
    holding = Holding(cache)
    assert holding.find(DARK) == reference_path(cache, "iris", DARK)
    assert holding.find("ligeriri_0001.pmap") == mapping_path(cache, "ligeriri_0001.pmap")
    assert holding.find("server_config") is None
    reference_path(cache, "iris", f".{DARK}.part").write_text("")
    reference_path(cache, "iris", "folder.fits").mkdir()
    names = holding.list_names()
    assert {DARK, "ligeriri_0001.pmap"} <= set(names)
    assert not {"folder.fits", f".{DARK}.part", "iris"} & set(names)
    assert len(holding.list_mappings("ligeriri_0001.pmap")) == N_MAPPING
    with pytest.raises(ReductionError, match="is refused"):
        holding.find("../config/ligeriri/server_config")


def test_links_out_of_the_cache_are_left_out_for_a_server(cache, tmp_path):
    (tmp_path / "secret").write_text("x")
    reference_path(cache, "iris", "iris_link.fits").symlink_to(tmp_path / "secret")
    assert Holding(cache).find("iris_link.fits")
    assert Holding(cache, follow_links=False).find("iris_link.fits") is None
    assert "iris_link.fits" not in Holding(cache, follow_links=False).list_names()


def test_facts_are_those_stated_else_measured_again_after_a_change(cache):
    holding = Holding(cache)
    path = reference_path(cache, "iris", DARK)
    for content in (b"abc", b"abcd"):
        path.write_bytes(content)
        assert holding.describe([DARK, "iris_none.fits"]) == {DARK: {"size": len(content), "sha1sum": sha1(path)}}
    config = cache / "config" / "ligeriri" / "server_config"
    text = config.read_text().strip().removesuffix("}")
    config.write_text(f"{text}, 'download_metadata': {{{DARK!r}: {FACTS}}}}}")
    assert holding.describe([DARK]) == {DARK: FACTS}


def test_a_context_that_is_not_whole_is_refused(cache):
    mapping_path(cache, "ligeriri_iris_dark_0001.rmap").unlink()
    with pytest.raises(ReductionError, match=r"ligeriri_iris_dark_0001.rmap of context ligeriri_0001.pmap is not in"):
        Holding(cache).list_mappings("ligeriri_0001.pmap")


def test_a_reference_is_not_read_as_a_context(cache, monkeypatch):
    holding = Holding(cache)
    monkeypatch.setattr("pathlib.Path.read_text", None)
    with pytest.raises(ReductionError, match=f"{DARK} is no context such as"):
        holding.list_mappings(DARK)


def test_what_is_no_cache_is_refused(tmp_path):
    with pytest.raises(ReductionError, match="is not a CRDS cache"):
        Holding(tmp_path)


def test_a_configuration_that_was_replaced_is_read_again(cache):
    holding = Holding(cache)
    path = cache / "config" / "ligeriri" / "server_config"
    new = path.with_name("new")
    new.write_text("{'operational_context': 'ligeriri_0002.pmap'}")
    new.replace(path)
    assert holding.read_config()["operational_context"] == "ligeriri_0002.pmap"
