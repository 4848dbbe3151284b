import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from reference_cache import ALL_TYPES, REPO, list_bytes, make_cache, make_request, write_reference

from drs import bestrefs, derivation, ingest
from drs.errors import ReductionError
from drs.references import find_context, mapping_path, read_server_config, reference_path, sha1

NOBODY = 65534


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def cache(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "crds")


@pytest.fixture
def deliver(cache):
    def call(*paths, **options):
        return ingest.ingest(paths, ALL_TYPES, cache, **options)

    return call


def list_final(cache):
    """Return what list_bytes does, without the file of the lock, which stays."""
    return {name: content for name, content in list_bytes(cache).items() if name != ".lock"}


def resolve(cache, *needs, **keys):
    context = find_context(cache, None, {})
    return bestrefs.resolve({"a": make_request(*needs, **keys)}, context, ALL_TYPES, cache)["a"]["references"]


def test_all_steps_of_an_ingest(cache, deliver, tmp_path):
    dark, flat = write_reference(tmp_path, "dark"), write_reference(tmp_path, "flat", FILTER="K")
    before = list_bytes(cache)
    made = deliver(dark, flat)
    assert (made["operational"], made["context"]) == ("ligeriri_0001.pmap", "ligeriri_0002.pmap")
    config = read_server_config(cache)
    assert {config[key] for key in ingest.OPERATIONAL} == {"ligeriri_0002.pmap"}
    assert config["download_metadata"][dark.name] == {"size": dark.stat().st_size, "sha1sum": sha1(dark)}
    new = {f"mappings/ligeriri/{name}" for name in made["made"]}
    new |= {f"references/ligeriri/iris/{path.name}" for path in (dark, flat)}
    after = list_final(cache)
    assert set(after) - set(before) == new
    assert {name for name in before if before[name] != after[name]} == {"config/ligeriri/server_config"}
    assert set(config["mappings"]) == {Path(name).name for name in after if name.startswith("mappings/")}
    chosen = resolve(cache, "dark", "flat", FILTER="K")
    assert [chosen[kind]["file"] for kind in ("dark", "flat")] == [dark.name, flat.name]
    assert resolve(cache, "flat", DETECTOR="IMG2")["flat"]["rmap"] == "ligeriri_iris_flat_0002.rmap"


def test_a_link_is_delivered_under_its_own_name(cache, deliver, tmp_path):
    dark = write_reference(tmp_path, "dark")
    stored = dark.rename(tmp_path / "SHA256-0f3a.fits")
    dark.symlink_to(stored.name)
    deliver(dark)
    assert resolve(cache, "dark")["dark"]["file"] == dark.name
    assert not reference_path(cache, "IRIS", dark.name).is_symlink()


def test_the_next_delivery_takes_the_next_serials(cache, deliver, tmp_path):
    deliver(write_reference(tmp_path, "dark"))
    made = deliver(write_reference(tmp_path, "flat", FILTER="K"))
    assert made["names"] == {
        "ligeriri_iris_flat_0001.rmap": "ligeriri_iris_flat_0002.rmap",
        "ligeriri_iris_0002.imap": "ligeriri_iris_0003.imap",
        "ligeriri_0002.pmap": "ligeriri_0003.pmap",
    }
    assert resolve(cache, "dark")["dark"]["file"] == "iris_img1_dark_20240924t000000_0.0.1.fits"


def test_metadata_that_stock_crds_left_packed_are_kept(cache, deliver, tmp_path):
    from crds.client.proxy import crds_encode

    old = {"old.fits": {"size": 3, "sha1sum": "a" * 40}}
    config = {**read_server_config(cache), "download_metadata": crds_encode(old)}
    ingest.config_path(cache).write_text(repr(config))
    dark = write_reference(tmp_path, "dark")
    deliver(dark)
    facts = {"size": dark.stat().st_size, "sha1sum": sha1(dark)}
    assert read_server_config(cache)["download_metadata"] == {**old, dark.name: facts}


def test_an_older_context_can_be_built_on(cache, deliver, tmp_path, caplog):
    deliver(write_reference(tmp_path, "dark"))
    made = deliver(write_reference(tmp_path, "dark", DETECTOR="IMG2"), context="ligeriri_0001.pmap")
    assert made["names"]["ligeriri_iris_dark_0001.rmap"] == "ligeriri_iris_dark_0003.rmap"
    assert "ligeriri_0001.pmap is built on, not ligeriri_0002.pmap" in caplog.text
    assert resolve(cache, "dark")["dark"]["file"] == "iris_img1_dark_20240101t000000_0.0.1.fits"


def test_the_first_reference_of_a_spectrograph_type(cache, deliver, tmp_path):
    path = write_reference(tmp_path, "fibre")
    made = deliver(path)
    assert "ligeriri_iris_fibre_0001.rmap" in made["made"]
    assert "new -> ligeriri_iris_fibre_0001.rmap" in ingest.format_changes(made, dry_run=False)
    keys = {"DETECTOR": "IFS", "INSTMODE": "LENSLET", "SCALE": 0.014, "GRATING": "K4000"}
    assert resolve(cache, "fibre", **keys)["fibre"]["file"] == path.name
    other = resolve(cache, "fibre", **{**keys, "SCALE": 0.025})["fibre"]
    assert other["status"] == "n/a"  # a type that is optional


def test_a_dry_run_tells_the_same_and_changes_nothing(cache, deliver, tmp_path):
    path = write_reference(tmp_path, "dark")
    before = list_bytes(cache)
    tried = deliver(path, dry_run=True)
    assert list_bytes(cache) == before
    lines = ingest.format_changes(tried, dry_run=True)
    assert "ligeriri_iris_dark_0001.rmap -> ligeriri_iris_dark_0002.rmap" in lines
    assert lines[-1] == "ligeriri_0002.pmap would be operational, after ligeriri_0001.pmap"
    assert ingest.format_changes(deliver(path), dry_run=False)[:-1] == lines[:-1]


def test_the_same_delivery_again_has_nothing_to_do(cache, deliver, tmp_path):
    paths = [write_reference(tmp_path, "dark"), write_reference(tmp_path, "gain")]
    deliver(*paths)
    before = list_bytes(cache)
    made = deliver(*paths)
    assert (made["context"], made["delivered"]) == ("ligeriri_0002.pmap", {})
    assert made["held"] == [path.name for path in paths]
    assert ingest.format_changes(made, dry_run=False)[-1].startswith("nothing to deliver: ligeriri_0002.pmap stays")
    assert list_bytes(cache) == before


def test_a_reference_of_the_same_case_is_refused_unless_told(cache, deliver, tmp_path):
    path = write_reference(tmp_path, "dark", USEAFTER="2024-01-01T00:00:00", version="0.0.2")
    before = list_bytes(cache)
    with pytest.raises(ReductionError, match=r"0\.0\.2\.fits takes the place of iris_img1_dark.*--supersede") as caught:
        deliver(path)
    assert "\n" not in str(caught.value)
    assert list_final(cache) == before
    assert deliver(path, supersede=True)["context"] == "ligeriri_0002.pmap"
    assert resolve(cache, "dark")["dark"]["file"] == path.name
    assert reference_path(cache, "IRIS", "iris_img1_dark_20240101t000000_0.0.1.fits").exists()


@pytest.mark.parametrize("known", [True, False])
def test_the_bytes_of_another_name_are_refused(cache, deliver, tmp_path, known):
    path = write_reference(tmp_path, "dark")
    deliver(path)
    if not known:
        config = ingest.config_path(cache)
        config.write_text(config.read_text().replace("download_metadata", "unknown"))
    copy = shutil.copy(path, tmp_path / "iris_img1_dark_20240925t000000_0.0.1.fits")
    with pytest.raises(ReductionError, match=rf"20240925t.* has the same bytes as .*{path.name}"):
        deliver(copy)


def test_the_same_bytes_twice_in_a_delivery_are_refused(deliver, tmp_path, monkeypatch):
    path = write_reference(tmp_path, "dark")
    copy = shutil.copy(path, tmp_path / "iris_img1_dark_20240925t000000_0.0.1.fits")
    described = [{"path": Path(p), "name": Path(p).name, "instrument": "iris"} for p in (path, copy)]
    monkeypatch.setattr(ingest, "describe_references", lambda *arguments: described)
    with pytest.raises(ReductionError, match=r"20240925t.* and .*20240924t.* are the same bytes"):
        deliver(path, copy)


def test_other_bytes_of_a_name_are_refused(deliver, tmp_path):
    deliver(write_reference(tmp_path, "dark"))
    with pytest.raises(ReductionError, match="has this name and other bytes; give the new reference another date"):
        deliver(write_reference(tmp_path, "dark", value=2.0))


def test_a_name_that_differs_by_the_case_of_letters_is_refused(cache, deliver, tmp_path):
    path = write_reference(tmp_path, "dark")
    other = reference_path(cache, "IRIS", path.name.upper())
    other.write_bytes(b"published long ago")
    with pytest.raises(ReductionError, match=rf"{path.name} and .*{other.name} differ by the case of letters only"):
        deliver(path)


def test_two_of_one_case_are_refused_with_both_named(cache, deliver, tmp_path):
    one, two = write_reference(tmp_path, "dark"), write_reference(tmp_path, "dark", version="0.0.2")
    with pytest.raises(ReductionError, match=rf"{two.name} and .*{one.name} are one case of CRDS"):
        deliver(one, two)
    assert not (cache / ingest.WORK).exists()


def break_checksum(cache):
    path = mapping_path(cache, "ligeriri_iris_gain_0001.rmap")
    path.write_text(path.read_text().replace("IMG1", "IMG4"))


def write_code(cache):
    path = mapping_path(cache, "ligeriri_iris_gain_0001.rmap")
    path.write_text(path.read_text().replace("Match({", "__import__('os').system('true') or Match({"))


def lose_rules(cache):
    mapping_path(cache, "ligeriri_liger_gain_0001.rmap").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            break_checksum,
            r"ligeriri_0001\.pmap in .* cannot be used: sha1sum mismatch in 'ligeriri_iris_gain_0001\.rmap'",
        ),
        (write_code, r"ligeriri_0001\.pmap in .* cannot be used: .*ligeriri_iris_gain_0001\.rmap"),
        (lose_rules, r"cannot be used: .*ligeriri_liger_gain_0001\.rmap"),
    ],
)
def test_a_damaged_context_is_refused(cache, deliver, tmp_path, damage, message):
    damage(cache)
    before = list_bytes(cache)
    with pytest.raises(ReductionError, match=message) as caught:
        deliver(write_reference(tmp_path, "dark"))
    assert "\n" not in str(caught.value)
    assert list_final(cache) == before


def test_an_unknown_context_is_refused(deliver, tmp_path):
    with pytest.raises(ReductionError, match=r"'ligeriri_0099\.pmap' .*is not in .*; it has ligeriri_0001\.pmap"):
        deliver(write_reference(tmp_path, "dark"), context="ligeriri_0099.pmap")


def test_a_folder_that_is_no_cache_is_refused(tmp_path):
    with pytest.raises(ReductionError, match="is not a CRDS cache of observatory ligeriri"):
        ingest.ingest([write_reference(tmp_path, "dark")], ALL_TYPES, tmp_path)
    assert not (tmp_path / ".lock").exists()


@contextlib.contextmanager
def limited_files(n_byte):
    """Let no file of this process grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_byte, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_byte", [0, 500, 10_000])
def test_a_full_disk_leaves_the_cache_as_it_was(cache, deliver, tmp_path, n_byte):
    paths = [write_reference(tmp_path, kind) for kind in ("dark", "gain")]
    before = list_bytes(cache)
    with limited_files(n_byte), pytest.raises(ReductionError, match=r"cannot be written \(File too large") as caught:
        deliver(*paths)
    assert "\n" not in str(caught.value)
    assert list_final(cache) == before
    assert deliver(*paths)["context"] == "ligeriri_0002.pmap"


@pytest.mark.parametrize("n_byte", [0, 500])
def test_a_dry_run_without_room_is_refused_too(deliver, tmp_path, n_byte):
    path = write_reference(tmp_path, "dark")
    with limited_files(n_byte), pytest.raises(ReductionError, match=r"\(File too large.*make room, or name another"):
        deliver(path, dry_run=True)


@contextlib.contextmanager
def no_rights():
    """Be a user who owns nothing."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_cache_that_cannot_be_written_is_refused_but_a_dry_run_is_not(whole):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        cache = shutil.copytree(whole, Path(folder, "crds"))
        path = write_reference(Path(folder), "dark")
        cache.chmod(0o555)
        before = list_bytes(cache)
        try:
            with no_rights():
                with pytest.raises(
                    ReductionError, match=r"cannot be written \(Permission denied\); deliver as the user"
                ):
                    ingest.ingest([path], ALL_TYPES, cache)
                assert ingest.ingest([path], ALL_TYPES, cache, dry_run=True)["context"] == "ligeriri_0002.pmap"
        finally:
            cache.chmod(0o755)
        assert list_bytes(cache) == before


class Killed(BaseException):
    """Stands for what ends a process without a word."""


def stop_at(monkeypatch, number):
    """Let the delivery's copy of the given number not return, and nothing after it run."""
    count = 0

    def copy(source, target):
        nonlocal count
        count += 1
        if count == number:
            raise Killed
        derivation.copy_file(source, target)

    monkeypatch.setattr(ingest, "copy_file", copy)
    monkeypatch.setattr(ingest, "_take_back", lambda cache: None)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_next_delivery_takes_back_what_a_killed_one_left(cache, deliver, tmp_path, monkeypatch, number):
    before = list_bytes(cache)
    dark = write_reference(tmp_path, "dark")
    with monkeypatch.context() as patch:
        stop_at(patch, number)
        with pytest.raises(Killed):
            deliver(dark)
    left = reference_path(cache, "IRIS", ".iris_img1_dark_20240924t000000_0.0.1.fits.77.part")
    left.write_bytes(b"half")
    assert (cache / ingest.WORK / ingest.JOURNAL).exists()
    with pytest.raises(ReductionError, match="REFTYPE"):
        deliver(write_reference(tmp_path, "gain", REFTYPE="NONE"))
    assert list_final(cache) == before


def test_what_is_in_use_since_a_kill_is_not_taken_back(cache, deliver, tmp_path, monkeypatch):
    dark = write_reference(tmp_path, "dark")
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "_take_back", lambda cache: None)
        deliver(dark)
    assert (cache / ingest.WORK / ingest.JOURNAL).exists()
    deliver(write_reference(tmp_path, "gain"))
    assert not (cache / ingest.WORK).exists()
    assert resolve(cache, "dark")["dark"]["file"] == dark.name


def test_a_rule_file_without_a_serial_is_refused(cache):
    rename = ingest._next_serials(cache, {"mappings": ["ligeriri_iris_0041.imap"]})
    assert rename("ligeriri_iris_0001.imap") == "ligeriri_iris_0042.imap"
    assert rename("ligeriri_iris_sky_0000.rmap") == "ligeriri_iris_sky_0001.rmap"
    with pytest.raises(ReductionError, match=r"hst\.pmap has no serial number"):
        rename("hst.pmap")


def test_killed_deliveries_leave_a_whole_cache():
    command = [sys.executable, REPO / "tests" / "kill_delivery.py", "--kills=4", "--seed=11"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"killed True, ligeriri_0001\.pmap", done.stdout)
