import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_cache import TYPES, TYPES_FILE, list_bytes, make_cache, make_request

from drs import references
from drs.bestrefs import resolve
from drs.errors import MachineError, ReductionError
from drs.schema import load_yaml, product_models


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def context(cache):
    return references.find_context(cache, None, {})


@pytest.fixture
def copied(cache, tmp_path):
    return shutil.copytree(cache, tmp_path / "crds")


def test_types_agree_with_products_and_are_unique():
    assert {facts["model"] for facts in TYPES.values()} <= set(product_models())
    for item in ("filekind", "keyword", "model"):
        assert len({facts[item] for facts in TYPES.values()}) == len(TYPES)
    assert {facts["selector"] for facts in TYPES.values()} == {"UseAfter", "ClosestTime"}


def test_types_refuse_an_unknown_keyword(tmp_path):
    types = load_yaml(TYPES_FILE)
    types["dark"]["match"] = ["MOONAGE"]
    path = tmp_path / "references.yaml"
    path.write_text(json.dumps(types))
    with pytest.raises(ReductionError, match="MOONAGE"):
        references.load_types(path)


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        ("ligeriri_0002.pmap", {"CRDS_CONTEXT": "ligeriri_0003.pmap"}, ("ligeriri_0002.pmap", "config")),
        (None, {"CRDS_CONTEXT": "ligeriri_0003.pmap"}, ("ligeriri_0003.pmap", "CRDS_CONTEXT")),
        (None, {}, ("ligeriri_0001.pmap", "operational")),
    ],
)
def test_find_context_precedence(copied, configured, environ, expected):
    for number in ("0002", "0003"):
        path = references.mapping_path(copied, f"ligeriri_{number}.pmap")
        path.write_text(f"of another content: {number}")
    found = references.find_context(copied, configured, environ)
    assert (found["context"], found["source"]) == expected
    assert found["sha1"] == references.sha1(references.mapping_path(copied, expected[0]))


def test_find_context_refuses_an_unknown_context_and_names_what_there_is(cache):
    with pytest.raises(ReductionError, match=r"jwst_1200\.pmap.*CRDS_CONTEXT.*it has ligeriri_0001\.pmap"):
        references.find_context(cache, None, {"CRDS_CONTEXT": "jwst_1200.pmap"})
    with pytest.raises(ReductionError, match=r"from config"):
        references.find_context(cache, "../../ligeriri_0001.pmap", {})


def test_find_context_refuses_a_missing_or_broken_server_config(copied):
    config = copied / "config" / "ligeriri" / "server_config"
    config.write_text("__import__('os').system('true')")
    with pytest.raises(ReductionError, match="not a Python dictionary"):
        references.find_context(copied, None, {})
    config.write_bytes(b"{'operational_context': '\xff'}")
    with pytest.raises(ReductionError, match="not a Python dictionary"):
        references.find_context(copied, None, {})
    config.write_text("{'operational_context': 7}")
    with pytest.raises(ReductionError, match=r"CRDS context '7' .from operational. is not in"):
        references.find_context(copied, None, {})
    config.write_text("{}")
    with pytest.raises(ReductionError, match="no operational_context"):
        references.find_context(copied, None, {})
    config.unlink()
    with pytest.raises(ReductionError, match=r"server_config cannot be read.*give the root of a cache"):
        references.find_context(copied, "ligeriri_0001.pmap", {})


@pytest.mark.parametrize("value", [None, "", " ", "N/A", "n/a", "ANY", "*", "Not applicable", "()", "UNDEFINED"])
def test_is_wildcard(value):
    assert references.is_wildcard(value)


@settings(deadline=None)
@given(st.one_of(st.text(), st.sampled_from(["N/A-2", "any", " any ", "(", "Y", "0", "-2147483648"]).map(str)))
def test_every_value_that_crds_takes_for_a_wildcard_is_one(value):
    from crds.core.utils import condition_value

    if condition_value(value) in ("N/A", "*"):
        assert references.is_wildcard(value)


LEVELS = {"level1": ["gain"], "level2": ["dark", "flat"]}


@pytest.fixture
def manifests(cache, context):
    return resolve({"a": {**make_request("gain", "dark", "flat"), "levels": LEVELS}}, context, TYPES, cache)


@pytest.mark.parametrize(
    ("part", "value"),
    [("context", None), ("context", {"name": "x"}), ("keys", 7), ("references", []), ("references", {"dark": 5})],
)
def test_a_manifest_that_was_edited_to_nonsense_is_refused(manifests, tmp_path, part, value):
    (tmp_path / "a.json").write_text(json.dumps({**manifests["a"], part: value}))
    with pytest.raises(ReductionError, match="is not a manifest of references; delete it and resolve again"):
        references.read_manifest(tmp_path / "a.json")


def list_stamps(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.json"))}


def test_a_manifest_is_written_with_a_part_per_level(manifests, tmp_path):
    index = references.write_manifests(manifests, tmp_path)["exposures"]["a"]
    assert list(list_stamps(tmp_path)) == ["a.json", "level1/a.json", "level2/a.json"]
    whole = references.read_manifest(tmp_path / "a.json")
    facts = {"status": "resolved", "reason": "", "reasons": [], "levels": ["level1", "level2"]}
    assert index == facts | {"sha1": references.sha1(tmp_path / "a.json")}
    assert whole == manifests["a"]
    for level, types in LEVELS.items():
        part = references.read_manifest(tmp_path / level / "a.json")
        assert part.pop("references") == {kind: whole["references"][kind] for kind in types}
        assert part == {key: whole[key] for key in whole if key not in ("levels", "references")}


def test_the_same_answer_of_another_context_leaves_the_parts(manifests, tmp_path):
    references.write_manifests(manifests, tmp_path)
    before = list_stamps(tmp_path)
    references.write_manifests(manifests, tmp_path)
    assert list_stamps(tmp_path) == before
    manifests["a"]["context"] = {"name": "ligeriri_0002.pmap", "sha1": "0" * 40}
    manifests["a"]["references"]["dark"]["rmap"] = "ligeriri_iris_dark_0002.rmap"
    references.write_manifests(manifests, tmp_path)
    after = list_stamps(tmp_path)
    assert [name for name in after if after[name] != before[name]] == ["a.json"]
    assert references.read_manifest(tmp_path / "a.json")["context"]["name"] == "ligeriri_0002.pmap"
    assert references.read_manifest(tmp_path / "level2/a.json")["context"]["name"] == "ligeriri_0001.pmap"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda manifest: manifest["references"]["dark"].update(sha1="0" * 40), ["level2/a.json"]),
        (lambda manifest: manifest["references"]["dark"].update(source="night"), ["level2/a.json"]),
        (lambda manifest: manifest["references"]["flat"].update(status="n/a"), ["level2/a.json"]),
        (lambda manifest: manifest["references"]["flat"].update(status="not found"), ["level2/a.json"]),
        (lambda manifest: manifest["references"]["flat"].update(note="by another"), ["level2/a.json"]),
        (lambda manifest: manifest["references"]["gain"].update(sha1="0" * 40), ["level1/a.json"]),
        (lambda manifest: manifest["keys"].update(READMODE="FAST"), ["level1/a.json", "level2/a.json"]),
    ],
)
def test_another_answer_replaces_the_parts_that_it_concerns(manifests, tmp_path, change, parts):
    first = references.write_manifests(manifests, tmp_path)
    before = list_stamps(tmp_path)
    change(manifests["a"])
    second = references.write_manifests(manifests, tmp_path)
    assert first["exposures"]["a"]["sha1"] != second["exposures"]["a"]["sha1"]
    after = list_stamps(tmp_path)
    assert [name for name in after if after[name] != before[name]] == ["a.json", *parts]
    assert references.read_manifest(tmp_path / "a.json") == manifests["a"]


def test_a_missing_flat_leaves_level_1_resolved(cache, context, tmp_path):
    request = {**make_request("gain", "dark", "flat", FILTER="K"), "levels": LEVELS}
    index = references.write_manifests(resolve({"a": request}, context, TYPES, cache), tmp_path)["exposures"]["a"]
    (reason,) = index["reasons"]
    assert (index["status"], index["reason"]) == ("failed", reason)
    assert set(references.open_references(tmp_path / "level1/a.json", ["gain"], [cache])) == {"gain"}
    with pytest.raises(ReductionError, match=r"not resolved: flat: .*value='K' is not in"):
        references.open_references(tmp_path / "level2/a.json", ["dark"], [cache])


def test_write_manifests_replaces_a_damaged_manifest(cache, context, tmp_path):
    (tmp_path / "a.json").write_text("{")
    references.write_manifests(resolve({"a": make_request("dark")}, context, TYPES, cache), tmp_path)
    assert references.read_manifest(tmp_path / "a.json")["status"] == "resolved"


def test_manifests_hold_no_path_of_the_machine(cache, context, tmp_path):
    exposures = {"a": make_request(*TYPES), "b": make_request("flat", FILTER="K"), "c": make_request("dark")}
    references.write_manifests(resolve(exposures, context, TYPES, cache), tmp_path)
    for text in list_bytes(tmp_path).values():
        assert str(cache).encode() not in text
        assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.fixture
def opened(copied, tmp_path):
    context = references.find_context(copied, None, {})
    requests = {"good": make_request("dark", "dq"), "bad": make_request("flat", FILTER="K")}
    references.write_manifests(resolve(requests, context, TYPES, copied), tmp_path / "manifests")
    return tmp_path / "manifests"


def test_open_references_returns_verified_paths(opened, copied, tmp_path):
    paths = references.open_references(opened / "good.json", ("dark", "dq"), [tmp_path / "overlay", copied])
    assert paths["dark"].name == "iris_img1_dark_20240101t000000_0.0.1.fits"
    assert set(paths) == {"dark", "dq"}


def test_open_references_passes_over_another_file_of_the_same_name(opened, copied, tmp_path):
    name = "iris_img1_dark_20240101t000000_0.0.1.fits"
    other = references.reference_path(tmp_path / "overlay", "IRIS", name)
    other.parent.mkdir(parents=True)
    other.write_bytes(b"left over")
    paths = references.open_references(opened / "good.json", ["dark"], [tmp_path / "overlay", copied])
    assert copied in paths["dark"].parents


def test_open_references_refuses_what_was_not_resolved(opened, copied):
    with pytest.raises(ReductionError, match=r"not resolved: flat: .*value='K' is not in"):
        references.open_references(opened / "bad.json", ["flat"], [copied])
    with pytest.raises(ReductionError, match="no flat reference: not needed"):
        references.open_references(opened / "good.json", ["flat"], [copied])
    with pytest.raises(ReductionError, match="no wavesol reference: not in the manifest"):
        references.open_references(opened / "good.json", ["wavesol"], [copied])
    (opened / "none.json").write_text("{")
    with pytest.raises(ReductionError, match="cannot be read as JSON"):
        references.open_references(opened / "none.json", ["dark"], [copied])


def test_open_references_refuses_a_changed_or_missing_file(opened, copied):
    path = references.reference_path(copied, "IRIS", "iris_img1_dark_20240101t000000_0.0.1.fits")
    data = bytearray(path.read_bytes())
    data[-3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReductionError, match=r"dark reference has changed: .*expected .*restore the file"):
        references.open_references(opened / "good.json", ["dark"], [copied])
    path.write_bytes(data[:-1])
    with pytest.raises(ReductionError, match="has changed"):
        references.open_references(opened / "good.json", ["dark"], [copied])
    path.unlink()
    with pytest.raises(MachineError, match="fill the cache"):  # no reason to refuse an exposure for good
        references.open_references(opened / "good.json", ["dark"], [copied])
    (opened / "good.json").unlink()
    with pytest.raises(FileNotFoundError):
        references.open_references(opened / "good.json", ["dark"], [copied])


def test_a_changed_reference_of_the_night_is_no_refusal(opened, copied):
    """This workflow makes it: what the manifest says and the file are of two moments."""
    manifest = json.loads((opened / "good.json").read_text())
    manifest["references"]["dark"] |= {"source": "night", "sha1": "0" * 40}
    (opened / "good.json").write_text(json.dumps(manifest))
    with pytest.raises(MachineError, match="dark reference has changed"):
        references.open_references(opened / "good.json", ["dark"], [copied])


def test_header_keywords(cache, context):
    manifest = resolve({"a": make_request("dark", "nonlin")}, context, TYPES, cache)["a"]
    assert references.header_keywords(manifest) == {
        "CRDS_CTX": "ligeriri_0001.pmap",
        "CRDS_VER": manifest["crds_version"],
        "R_DARK": "iris_img1_dark_20240101t000000_0.0.1.fits",
        "R_LINEAR": "iris_img1_nonlin_20240101t000000_0.0.1.fits",
        "R_PARS": "N/A",
    }
    assert references.override_lines(manifest) == ()


def test_only_the_references_that_are_used_are_named_and_only_of_this_detector():
    entries = {kind: {"status": "found", "file": f"{kind}.fits"} for kind in ("gain", "flat")}
    manifest = {"keys": {"INSTRUME": "IRIS", "DETECTOR": "IMG1"}, "references": entries}
    used = references.select_references(manifest, ["gain", "bias"], {"INSTRUME": "IRIS", "DETECTOR": "IMG1"})
    assert list(used["references"]) == ["gain"]
    with pytest.raises(ReductionError, match="of DETECTOR 'IMG1', the exposure of 'IMG2'"):
        references.select_references(manifest, ["gain"], {"INSTRUME": "IRIS", "DETECTOR": "IMG2"})
