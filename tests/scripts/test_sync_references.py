"""Cold caches filled over loopback, by our command and by stock crds, through every fault that a network has."""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from faults import FaultyServer, serving
from reference_cache import N_MAPPING, list_bytes, make_cache, make_request

import sync_references
from drs import bestrefs, filling, references
from drs.lock import hold_cache
from drs.transfer import find_part

REPO = Path(__file__).resolve().parents[2]
SCRIPTS = REPO / "scripts"
CONTEXT = "ligeriri_0001.pmap"
DARK = "iris_img1_dark_20240101t000000_0.0.1.fits"
FLAT = "iris_img1_flat_20240101t010000_0.0.1.fits"
BIG = "iris_img1_dark_20250101t000000_0.0.1.fits"
BIG_BYTES = 3_000_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = make_cache(tmp_path_factory.mktemp("served") / "crds")
    references.reference_path(root, "iris", BIG).write_bytes(os.urandom(BIG_BYTES))
    return root


@pytest.fixture
def server(served, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    monkeypatch.delenv("CRDS_SERVER_URL", raising=False)
    with serving(FaultyServer(served)) as running:
        yield running


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def sync(server, cache):
    """Return a function that runs the command on the faulty server, impatiently."""

    def call(*options, source=None):
        patience = ["--timeout=0.3", "--tries=3", "--wait=0.01"]
        source = source or f"--server={server.url}"
        return CliRunner().invoke(sync_references.main, [f"--cache={cache}", source, *patience, *options])

    return call


def check_cache(cache, served):
    """Every file with a final name is that of the served cache, and the contexts are whole."""
    for name, content in list_bytes(cache).items():
        if not Path(name).name.startswith(".") and not name.startswith("config"):
            assert content == (served / name).read_bytes(), name
    if (cache / "config").exists():
        with bestrefs.session(cache) as crds:
            assert len(crds.get_cached_mapping(CONTEXT).mapping_names()) == N_MAPPING


def list_references(cache):
    return sorted(path.name for path in (cache / "references").rglob("*.fits") if path.name[0] != ".")


def write_night(tmp_path, **requests):
    rows = [{"id": name, "keys": request["keys"]} for name, request in requests.items()]
    needs = {name: request["needs"] for name, request in requests.items()}
    path = tmp_path / "night.json"
    path.write_text(json.dumps({"rows": [*rows, {"file": "x.fits", "status": "rejected"}], "needs": needs}))
    return path


def test_a_night_gets_its_references_and_no_other(sync, cache, served, tmp_path):
    night = write_night(tmp_path, a=make_request("dark", "flat"), b=make_request("flat", FILTER="K"))
    result = sync(f"--night={night}")
    assert result.exit_code == 0, result.output
    assert list_references(cache) == [DARK, FLAT]
    check_cache(cache, served)
    context = references.find_context(cache, None, {})
    manifests = bestrefs.resolve(
        {"a": make_request("dark", "flat")}, context, references.load_types(REPO / "config" / "references.yaml"), cache
    )
    assert manifests["a"]["status"] == "resolved"
    before = list_bytes(cache)
    assert sync(f"--night={night}").exit_code == 0
    assert list_bytes(cache) == before

    references.write_manifests(manifests, tmp_path / "manifests")
    references.reference_path(cache, "iris", DARK).unlink()
    (tmp_path / "manifests" / "science.json").write_text('{"exposures": {}}')
    assert sync(f"--manifests={tmp_path / 'manifests'}").exit_code == 0
    assert list_bytes(cache) == before


def test_rules_only_then_files_by_name(sync, cache, served, caplog):
    caplog.set_level("INFO")
    assert sync().exit_code == 0
    assert list_references(cache) == []
    assert sync(f"--files={DARK}", f"--files={BIG}").exit_code == 0
    assert list_references(cache) == [DARK, BIG]
    assert f"file 2 of 2: {BIG}, 3.0 MB" in caplog.text
    assert "0 were there, 2 fetched" in caplog.text
    config = references.read_server_config(cache)
    assert config["operational_context"] == CONTEXT
    assert config["download_metadata"][BIG]["size"] == BIG_BYTES


def test_a_mirror_is_only_read(sync, cache, served, tmp_path):
    before = list_bytes(served)
    result = sync(f"--files={DARK}", source=f"--mirror={served}")
    assert result.exit_code == 0, result.output
    assert list_bytes(served) == before
    check_cache(cache, served)
    assert references.read_server_config(cache)["download_metadata"][DARK]["sha1sum"] == references.sha1(
        references.reference_path(served, "iris", DARK)
    )
    assert "is both cache and mirror" in sync(source=f"--mirror={cache}").output


def test_a_damaged_mirror_gives_nothing(sync, cache, served, tmp_path):
    mirror = tmp_path / "mirror"
    assert sync(f"--files={DARK}").exit_code == 0
    shutil.copytree(cache, mirror)
    shutil.rmtree(cache)
    references.reference_path(mirror, "iris", DARK).write_bytes(b"wrong")
    result = sync(f"--files={DARK}", source=f"--mirror={mirror}")
    assert result.exit_code == 1
    assert "was cut after 5 of" in result.output
    path = references.mapping_path(mirror, CONTEXT)
    path.write_text(path.read_text().replace("simulated", "invented"))
    shutil.rmtree(cache)
    result = sync(source=f"--mirror={mirror}")
    assert result.exit_code == 1
    assert f"{CONTEXT}" in result.output
    assert not references.mapping_path(cache, CONTEXT).exists()


@pytest.mark.parametrize(
    "fault", ["wrong", "short", "dropped body", "drop", "page", "long", 500, 429, "hang", "silent"]
)
def test_a_fault_is_survived_by_trying_again(fault, sync, server, cache, served):
    server.faults = {DARK: [fault], "ligeriri_iris_dark_0001.rmap": [fault]}
    result = sync(f"--files={DARK}")
    assert result.exit_code == 0, result.output
    check_cache(cache, served)
    assert list_references(cache) == [DARK]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("wrong", "is damaged: sha1"),
        ("short", "was cut after"),
        ("dropped body", "was cut after"),
        ("drop", "does not answer (Remote end closed connection"),
        ("page", "was cut after 26 of"),
        ("long", "is longer than the"),
        (500, "answers 500"),
        (404, "answers 404"),
        ("hang", "timed out"),
        ("silent", "timed out"),
    ],
)
def test_a_lasting_fault_leaves_no_file_and_the_same_command_completes(fault, told, sync, server, cache, served):
    server.faults = {DARK: [fault] * 9}
    began = time.monotonic()
    result = sync(f"--files={DARK}", f"--files={FLAT}")
    assert time.monotonic() - began < 15
    assert result.exit_code == 1
    assert told in result.output
    assert "1 of 2 references are missing" in result.output
    assert list_references(cache) == [FLAT]
    check_cache(cache, served)
    server.faults = {}
    result = sync(f"--files={DARK}", f"--files={FLAT}")
    assert result.exit_code == 0, result.output
    assert list_references(cache) == [DARK, FLAT]
    check_cache(cache, served)
    assert not find_part(references.reference_path(cache, "iris", DARK)).exists()


@pytest.mark.parametrize("fault", ["wrong", "short", 500, "drop"])
def test_without_a_rule_file_there_is_no_context(fault, sync, server, cache, served):
    server.faults = {"ligeriri_iris_dark_0001.rmap": [fault] * 9}
    result = sync()
    assert result.exit_code == 1
    assert "ligeriri_iris_dark_0001.rmap" in result.output
    assert not list((cache / "mappings").rglob("ligeriri*.[pi]map")) or not (cache / "config").exists()
    assert not references.mapping_path(cache, CONTEXT).exists()
    server.faults = {}
    assert sync().exit_code == 0
    check_cache(cache, served)


def test_a_damaged_file_is_replaced_by_a_verified_one_only(sync, server, cache, served):
    assert sync(f"--files={DARK}").exit_code == 0
    path = references.reference_path(cache, "iris", DARK)
    damaged = bytes(255 - byte for byte in path.read_bytes())
    path.write_bytes(damaged)
    rules = references.mapping_path(cache, "ligeriri_iris_dark_0001.rmap")
    rules.write_text("cut")
    server.faults = {DARK: ["wrong"] * 9}
    assert sync(f"--files={DARK}").exit_code == 1
    assert path.read_bytes() == damaged
    assert "ClosestTime" in rules.read_text()
    server.faults = {}
    assert sync(f"--files={DARK}").exit_code == 0
    check_cache(cache, served)


def test_a_cut_download_is_resumed(sync, server, cache, served):
    server.faults = {BIG: ["dropped body"]}
    assert sync(f"--files={BIG}").exit_code == 0
    assert [asked for name, asked in server.asked if name == BIG] == [None, f"bytes={BIG_BYTES // 2}-"]
    path = references.reference_path(cache, "iris", BIG)
    path.unlink()
    whole = references.reference_path(served, "iris", BIG).read_bytes()
    for left in (whole[:1000], whole, b"x" * 1000, whole + b"more", b""):
        server.faults = {BIG: ["no range"]} if left == b"" else {}
        find_part(path).write_bytes(left)
        result = sync(f"--files={BIG}")
        assert result.exit_code == 0, result.output
        assert path.read_bytes() == whole
        path.unlink()
    server.faults = {BIG: ["no range"]}
    find_part(path).write_bytes(whole[:1000])
    assert sync(f"--files={BIG}").exit_code == 0
    assert path.read_bytes() == whole


def test_a_server_that_is_down_is_told_and_given_up(sync, server, cache, served):
    result = sync(source="--server=http://localhost:9")
    assert result.exit_code == 1
    assert "Error: http://localhost:9/json/get_server_info/" in result.output
    assert "does not answer" in result.output
    assert "try again later, or name another --server or a --mirror" in result.output
    assert sync().exit_code == 0
    server.faults = {"*": ["drop"] * 99}
    names = list_references(served)[:6]
    result = sync(*[f"--files={name}" for name in names])
    assert result.exit_code == 1
    assert "does not deliver, given up" in result.output
    assert len({name for name, _ in server.asked if name in names}) == filling.GIVE_UP_AFTER
    check_cache(cache, served)


ESCAPES = [
    "../../../evil.fits",
    "..",
    "/etc/evil.fits",
    "iris/../../evil_iris_x.fits",
    ".hidden_iris_.fits",
    "a\nb_iris_.fits",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_never_leave_the_cache(name, sync, server, cache, tmp_path):
    server.changes = {"get_mapping_names": lambda names: [*names, f"{name}.rmap"]}
    result = sync()
    assert result.exit_code == 1
    assert "is no name of a file of CRDS and is refused" in result.output
    server.changes = {}
    manifest = {"status": "resolved", "keys": {"INSTRUME": "IRIS"}}
    manifest["references"] = {"dark": {"file": name, "source": "context"}}
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.json").write_text(json.dumps(manifest))
    result = sync(f"--manifests={tmp_path / 'manifests'}")
    assert result.exit_code == 1
    assert "is no name of a file of CRDS and is refused" in result.output
    manifest = {
        **manifest,
        "keys": {"INSTRUME": "../../.."},
        "references": {"dark": {"file": DARK, "source": "context"}},
    }
    (tmp_path / "manifests" / "a.json").write_text(json.dumps(manifest))
    assert "is no instrument" in sync(f"--manifests={tmp_path / 'manifests'}").output
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name or "hidden" in path.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "manifests"]


def test_a_disk_that_is_too_small_is_told_before(sync, cache, monkeypatch):
    assert sync().exit_code == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9_000_000, 8_000_000, 1_000_000))
    result = sync(f"--files={BIG}")
    assert result.exit_code == 1
    assert "has room for 1.0 MB, 3.0 MB are needed" in result.output


def test_a_disk_that_fills_up_leaves_no_file(sync, server, cache, served):
    """A limit on the size of files, which ends a write as a full disk does."""
    assert sync().exit_code == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (BIG_BYTES // 2, limits[1]))
        result = sync(f"--files={BIG}", f"--files={DARK}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.exit_code == 1
    assert "cannot be written (File too large); free some space and give the same command again" in result.output
    assert list_references(cache) == [DARK]
    assert not find_part(references.reference_path(cache, "iris", BIG)).exists()
    assert sync(f"--files={BIG}", f"--files={DARK}").exit_code == 0
    check_cache(cache, served)


@pytest.fixture
def small_disk(cache):
    """A disk of 1 MB on the place of the cache."""
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(cache)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a small disk")
    yield cache
    subprocess.run(["umount", "-l", str(cache)], check=True)


def test_a_small_disk(small_disk, sync, served, monkeypatch):
    result = sync(f"--files={BIG}")
    assert result.exit_code == 1
    assert "3.0 MB are needed" in result.output
    monkeypatch.setattr(filling, "_check_room", lambda *_: None)  # as when another fills the disk meanwhile
    result = sync(f"--files={BIG}", f"--files={DARK}")
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert list_references(small_disk) == [DARK]
    assert shutil.disk_usage(small_disk).free > 500_000
    check_cache(small_disk, served)


@pytest.mark.parametrize("block", [".lock", "mappings", "references", "config"])
def test_a_cache_that_is_not_writable_is_told(block, sync, cache, served):
    """A file or folder in the place of the other kind stops root too."""
    place = cache / block
    if block == ".lock":
        place.mkdir(parents=True)
    else:
        cache.mkdir()
        place.write_text("")
    result = sync(f"--files={DARK}")
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert "name a cache that you may write" in result.output
    place.rmdir() if block == ".lock" else place.unlink()
    assert sync(f"--files={DARK}").exit_code == 0
    check_cache(cache, served)


def test_one_filler_at_a_time(sync, cache, served, caplog):
    caplog.set_level("INFO")
    held = hold_cache(cache)
    thread = threading.Thread(target=sync, args=(f"--files={DARK}",))
    thread.start()
    time.sleep(0.3)
    assert not (cache / "mappings").exists()
    held.close()
    thread.join()
    assert "another process writes to" in caplog.text
    assert list_references(cache) == [DARK]
    check_cache(cache, served)


def test_deliveries_of_a_cache_are_not_overwritten(sync, server, cache, served, tmp_path):
    assert sync().exit_code == 0
    rules = references.mapping_path(cache, "ligeriri_iris_dark_0001.rmap")
    text = rules.read_text().replace("2024-01-01", "2024-01-02")
    body = "".join(line for line in text.splitlines(True) if "sha1sum" not in line)
    own = re.sub(r"'sha1sum' : '\w+'", f"'sha1sum' : '{hashlib.sha1(body.encode()).hexdigest()}'", text)
    rules.write_text(own)
    result = sync()
    assert result.exit_code == 1
    assert "this cache has deliveries of its own" in result.output
    assert rules.read_text() == own


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--context=ligeriri_0099.pmap"], "ligeriri_0099.pmap"),
        (["--context=../x.pmap"], "is no context such as ligeriri_0001.pmap"),
        (["--files=some.fits"], "names no instrument between '_'"),
        (["--files=ligeriri_iris_dark_0001.rmap"], "rule files come with their context"),
        (["--files=iris_img9_dark_20240101t000000_0.0.1.fits"], "does not know its size and sha1"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, told, sync, cache):
    result = sync(*options)
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output


def test_bad_sources_are_refused(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CRDS_SERVER_URL", raising=False)
    for source, told in [
        ([], "no source: give --server URL"),
        (["--server=ftp://localhost"], "is no address of a server"),
        (["--server=file:///etc"], "is no address of a server"),
        (["--server=https://crds-serverless-mode.stsci.edu"], "stands for having no server"),
        ([f"--mirror={tmp_path}"], "is not a CRDS cache"),
    ]:
        result = CliRunner().invoke(sync_references.main, [f"--cache={cache}", *source])
        assert result.exit_code == 1
        assert told in result.output
    assert not cache.exists()


def test_bad_answers_of_a_server_are_refused(sync, server, cache, served):
    for change, told in [
        ({"get_server_info": lambda info: {**info, "observatory": "hst"}}, "serves observatory 'hst'"),
        ({"get_server_info": lambda info: "hello"}, "expected 'ligeriri'"),
        (
            {"get_server_info": lambda info: {**info, "mapping_url": {"ligeriri": "file:///etc"}}},
            "no address of a server",
        ),
        ({"get_server_info": lambda info: {**info, "mapping_url": None}}, "states no mapping_url"),
        ({"get_mapping_names": lambda names: [*names[:-1], "passwd"]}, "no rule file"),
        ({"get_mapping_names": lambda names: None}, "knows no context"),
        ({"get_mapping_names": lambda names: [CONTEXT]}, "which the source does not count to its context"),
    ]:
        server.changes = change
        result = sync()
        assert result.exit_code == 1, told
        assert told in result.output
        assert not references.mapping_path(cache, CONTEXT).exists()
    server.changes = {"get_server_info": lambda info: {k: v for k, v in info.items() if k != "download_metadata"}}
    assert sync(f"--files={DARK}").exit_code == 0
    check_cache(cache, served)


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments_leave_a_valid_cache(seed, server, served, cache):
    names = list_references(served)
    chosen = [f"--files={name}" for name in [*names[:: len(names) // 8], BIG]]
    arguments = [sys.executable, REPO / "tests" / "killed_fills.py", "55", seed, served, cache]
    arguments += [f"--server={server.url}", *chosen]
    server.faults = {"*": ["slow"] * 100_000}
    run = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    killed, cut = map(int, re.findall(r"\d+", run.stdout))
    assert killed == 55
    assert cut >= 5  # in the middle of a file; how many depends on the load of the machine


def run_stock(cache, url, *options):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CRDS_")}
    environ |= {"CRDS_PATH": str(cache), "CRDS_SERVER_URL": url, "CRDS_CLIENT_RETRY_DELAY_SECONDS": "0"}
    command = [sys.executable, SCRIPTS / "lcrds.py", "sync", "--contexts", CONTEXT, *options]
    return subprocess.run(list(map(str, command)), env=environ, capture_output=True, text=True, check=False)


def test_stock_crds_fills_a_cache_from_our_server_and_finds_ours_right(sync, server, cache, served, tmp_path):
    run = run_stock(tmp_path / "stock", server.url, "--fetch-references")
    assert run.returncode == 0, run.stderr
    stock = list_bytes(tmp_path / "stock")
    wanted = {name: content for name, content in list_bytes(served).items() if "config" not in name and BIG not in name}
    assert {name: stock.get(name) for name in wanted} == wanted
    result = sync(*[f"--files={name}" for name in list_references(served)])
    assert result.exit_code == 0, result.output
    run = run_stock(cache, server.url, "--check-files", "--check-sha1sum", "--fetch-references")
    assert run.returncode == 0, run.stderr
    assert "Fetching" not in run.stderr
    check_cache(cache, served)


def test_what_stock_crds_leaves_damaged_is_mended(sync, server, cache, served):
    server.faults = {DARK: ["wrong"] * 9, FLAT: ["dropped body"] * 9}
    run_stock(cache, server.url, "--fetch-references")
    server.faults = {}
    result = sync(f"--files={DARK}", f"--files={FLAT}")
    assert result.exit_code == 0, result.output
    check_cache(cache, served)


@pytest.mark.parametrize("table", [{"rows": 5, "needs": []}, {"rows": [{"id": "a"}], "needs": {"a": ["dark"]}}, {}])
def test_what_is_no_table_of_a_night_is_refused(sync, tmp_path, table):
    (tmp_path / "night.json").write_text(json.dumps(table))
    result = sync(f"--night={tmp_path / 'night.json'}")
    assert result.exit_code == 1
    assert "is no table of a night; give NIGHT/plan/night.json" in result.output
