import hashlib
import json

import pytest
from reference_cache import list_bytes

from drs import filling
from drs.errors import ReductionError
from drs.lock import hold_cache
from drs.references import mapping_path, read_server_config, reference_path
from drs.source import Mirror

DARK = "iris_img1_dark_20240101t000000_0.0.1.fits"
FACTS = {"size": 3, "sha1sum": "a" * 40}


@pytest.fixture(autouse=True)
def without_context(monkeypatch):
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)


@pytest.fixture
def cache(tmp_path):
    """Return a cold cache, held as the functions expect it."""
    with hold_cache(tmp_path / "c"):
        yield tmp_path / "c"


def write_mapping(root, name, selector=""):
    """Write a rule file with a right checksum."""
    lines = ["header = {", f"    'name' : '{name}',", "}", f"selector = {{{selector}}}", ""]
    digest = hashlib.sha1("\n".join(lines).encode()).hexdigest()
    path = mapping_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines[:2], f"    'sha1sum' : '{digest}',", *lines[2:]]))


def make_mirror(root, *serials, config=None):
    """Make a cache of contexts that share one rule file, and one reference."""
    for serial in serials:
        write_mapping(root, f"ligeriri_{serial}.pmap", f"'IRIS': 'ligeriri_iris_{serial}.imap'")
        write_mapping(root, f"ligeriri_iris_{serial}.imap", "'DARK': 'ligeriri_iris_dark_0001.rmap', 'FLAT': 'N/A'")
    write_mapping(root, "ligeriri_iris_dark_0001.rmap")
    reference_path(root, "iris", DARK).parent.mkdir(parents=True, exist_ok=True)
    reference_path(root, "iris", DARK).write_bytes(b"dark")
    contexts = dict.fromkeys(filling.CONTEXTS, f"ligeriri_{serials[-1]}.pmap")
    write_config(root, {"observatory": "ligeriri", **contexts, **(config or {})})
    return Mirror(root)


def write_config(root, document):
    path = root / "config" / "ligeriri" / "server_config"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(repr(document))


def list_maps(cache):
    return sorted(path.name for path in mapping_path(cache, "").iterdir())


def test_a_context_comes_with_the_operational_one(cache, tmp_path):
    mirror = make_mirror(tmp_path / "m", "0001", "0002")
    done = filling.fill_rules(cache, mirror, "ligeriri_0001.pmap")
    assert done["context"] == "ligeriri_0001.pmap"
    assert (done["files"], done["fetched"]) == (6, 5)
    config = read_server_config(cache)
    assert config["operational_context"] == "ligeriri_0002.pmap"
    assert config["mappings"] == list_maps(cache)
    before = list_bytes(cache)
    assert filling.fill_rules(cache, mirror)["context"] == "ligeriri_0002.pmap"
    assert list_bytes(cache) == before


def test_contexts_that_are_not_there_are_not_named(cache, tmp_path, caplog):
    config = {"operational_context": "ligeriri_0009.pmap", "edit_context": "../x.pmap", "latest_context": None}
    mirror = make_mirror(tmp_path / "m", "0001", config=config)
    filling.fill_rules(cache, mirror, "ligeriri_0001.pmap")
    assert "the operational context of" in caplog.text
    assert {read_server_config(cache)[key] for key in filling.CONTEXTS} == {"ligeriri_0001.pmap"}
    with pytest.raises(ReductionError, match=r"ligeriri_0009.pmap is not in"):
        filling.fill_rules(cache, mirror)


def test_a_cache_with_deliveries_keeps_its_own_operational_context(cache, tmp_path):
    mirror = make_mirror(tmp_path / "m", "0001")
    own = {"iris_own.fits": FACTS}
    make_mirror(cache, "0001", "0007", config={"download_metadata": own})
    filling.fill_rules(cache, mirror)
    config = read_server_config(cache)
    assert {config[key] for key in filling.CONTEXTS} == {"ligeriri_0007.pmap"}
    assert config["download_metadata"] == own
    assert "ligeriri_0007.pmap" in config["mappings"]


@pytest.mark.parametrize("damaged", [b"{cut", b"{'a': '\xff'}"])
def test_a_cache_without_readable_configuration_gets_one(cache, tmp_path, damaged):
    mirror = make_mirror(tmp_path / "m", "0001")
    (cache / "config" / "ligeriri").mkdir(parents=True)
    (cache / "config" / "ligeriri" / "server_config").write_bytes(damaged)
    filling.fill_rules(cache, mirror)
    assert read_server_config(cache)["operational_context"] == "ligeriri_0001.pmap"
    assert (cache / "config" / "ligeriri" / "ref_cache_subdir_mode").read_text() == "instrument"


def test_the_context_of_the_environment(cache, tmp_path, monkeypatch):
    mirror = make_mirror(tmp_path / "m", "0001", "0002")
    monkeypatch.setenv("CRDS_CONTEXT", "ligeriri_0001.pmap")
    assert filling.fill_rules(cache, mirror)["context"] == "ligeriri_0001.pmap"


def test_an_edited_rule_file_of_the_source_is_refused(cache, tmp_path):
    mirror = make_mirror(tmp_path / "m", "0001")
    path = mapping_path(tmp_path / "m", "ligeriri_iris_0001.imap")
    path.write_text(path.read_text().replace("N/A", "OMIT"))
    with pytest.raises(ReductionError, match=r"context ligeriri_0001.pmap is incomplete: .* was edited"):
        filling.fill_rules(cache, mirror)
    assert list_maps(cache) == ["ligeriri_iris_dark_0001.rmap"]
    assert not (cache / "config").exists()


def test_references_are_noted_with_their_checksums(cache, tmp_path):
    mirror = make_mirror(tmp_path / "m", "0001")
    filling.fill_rules(cache, mirror)
    wanted = {DARK: "IRIS", "iris_none.fits": "iris", "../x.fits": "iris", "iris_x.fits": "../iris"}
    done = filling.fill_references(cache, mirror, wanted)
    assert (done["files"], done["fetched"], done["bytes"]) == (4, 1, 4)
    assert sorted(done["failed"]) == ["../x.fits", "iris_none.fits", "iris_x.fits"]
    assert reference_path(cache, "iris", DARK).read_bytes() == b"dark"
    stated = read_server_config(cache)["download_metadata"][DARK]
    assert stated == {"size": 4, "sha1sum": hashlib.sha1(b"dark").hexdigest()}


def test_a_whole_reference_of_the_cache_is_not_replaced_by_another_of_its_name(cache, tmp_path):
    stated, other = ({DARK: {"size": 4, "sha1sum": hashlib.sha1(text).hexdigest()}} for text in (b"dark", b"ours"))
    mirror = make_mirror(tmp_path / "m", "0001", config={"download_metadata": stated})
    make_mirror(cache, "0001", config={"download_metadata": other})
    reference_path(cache, "iris", DARK).write_bytes(b"ours")
    for _ in range(2):
        filling.fill_rules(cache, mirror)
        done = filling.fill_references(cache, mirror, {DARK: "IRIS"})
        assert "and neither is damaged" in done["failed"][DARK]
        assert reference_path(cache, "iris", DARK).read_bytes() == b"ours"
        assert read_server_config(cache)["download_metadata"] == other
    reference_path(cache, "iris", DARK).write_bytes(b"hurt")
    filling.fill_rules(cache, mirror)
    assert filling.fill_references(cache, mirror, {DARK: "IRIS"})["failed"] == {}
    assert reference_path(cache, "iris", DARK).read_bytes() == b"dark"


def test_names_of_manifests(tmp_path):
    def write(name, document):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))

    entry = {"file": DARK, "source": "context"}
    others = {
        "flat": {**entry, "source": "night"},
        "dq": {"file": None, "source": None},
        "gain": {**entry, "file": "g"},
    }
    write("a", {"keys": {"INSTRUME": "IRIS"}, "status": "failed", "references": {"dark": entry, **others}})
    write("science", {"exposures": {}})
    assert filling.list_of_manifests(tmp_path) == {DARK: "IRIS", "g": "IRIS"}
    for wrong in ({"references": []}, {"references": {"dark": 1}}, {"references": {"dark": entry}}):
        write("b", wrong)
        with pytest.raises(ReductionError, match="is not a manifest of references"):
            filling.list_of_manifests(tmp_path)
    with pytest.raises(ReductionError, match="holds no manifest"):
        filling.list_of_manifests(tmp_path / "none")


def test_names_tell_their_instrument():
    names = [DARK, "LIGER_IMG_DARK.fits", "ligeriri_iris_dark_0001.fits"]
    assert [name.lower() for name in filling.list_of_names(names).values()] == ["iris", "liger", "iris"]
    with pytest.raises(ReductionError, match="names no instrument"):
        filling.list_of_names(["x.fits"])


def test_progress_is_told_every_few_seconds(monkeypatch, caplog):
    caplog.set_level("INFO")
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(filling.time, "monotonic", lambda: next(clock))
    progress = filling._Progress({"a": {"size": 10_000_000}, "b": {"size": 30_000_000}})
    progress.start("a", 10_000_000)
    progress.start("b", 30_000_000)
    for done in (1_000_000, 15_000_000, 16_000_000):
        progress.tell(done)
    assert [record.getMessage() for record in caplog.records] == [
        "file 1 of 2: a, 10.0 MB (0.0 of 40.0 MB in all)",
        "file 2 of 2: b, 30.0 MB (10.0 of 40.0 MB in all)",
        "file 2 of 2: b, 15.0 of 30.0 MB (25.0 of 40.0 MB in all)",
    ]
