import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from reference_cache import REPO, TYPES_FILE, list_bytes, make_cache, write_reference

import deliver_references
from drs.references import find_context, mapping_path, read_server_config, sha1


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
    assert "is not delivered in tier optics, which takes DISTORTION, FLAT" in result.output
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


def by_hand(*arguments):
    return CliRunner().invoke(deliver_references.main, list(map(str, arguments)))


@pytest.fixture
def operations(cache, tmp_path):
    return shutil.copytree(cache, tmp_path / "operations")


def test_one_command_delivers_to_an_operations_cache(operations, tmp_path):
    path, before = write_reference(tmp_path, "flat", FILTER="K"), list_bytes(operations)
    tried = by_hand(path, "--cache", operations, "--dry-run")
    assert tried.exit_code == 0, tried.output
    added = f"ligeriri_iris_flat_0002.rmap: add {path.name} (0.0.1, IMG1, DEFAULT, K, CLEAR, 2024-09-24 00:00:00)"
    assert added in tried.stdout
    assert list_bytes(operations) == before
    done = by_hand(path, "--cache", operations)
    assert done.exit_code == 0, done.output
    assert added in done.stdout
    assert done.stdout.splitlines()[-1] == "ligeriri_0002.pmap is operational, after ligeriri_0001.pmap"
    assert read_server_config(operations)["operational_context"] == "ligeriri_0002.pmap"


def test_a_refused_file_ends_the_command_in_one_line(operations, tmp_path):
    path = write_reference(tmp_path, "dark", USEAFTER="2024-01-01T00:00:00", version="0.0.2")
    done = by_hand(path, "--cache", operations)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: {path.name} takes the place of iris_img1_dark_2024")
    assert by_hand(path, "--cache", operations, "--supersede").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "give FILES to deliver"), (("--tier", "detector"), "--tier needs --context, --overlay and --output")],
)
def test_options_of_the_other_use_are_refused(operations, options, message):
    done = by_hand("--cache", operations, *options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_two_deliveries_at_once_follow_each_other(operations, tmp_path):
    paths = [write_reference(tmp_path, kind) for kind in ("dark", "gain")]
    script = [sys.executable, REPO / "scripts" / "deliver_references.py", "--cache", operations]
    both = [subprocess.Popen([*script, path], stderr=subprocess.PIPE, text=True) for path in paths]
    for process in both:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert read_server_config(operations)["operational_context"] == "ligeriri_0003.pmap"
    imap = mapping_path(operations, "ligeriri_iris_0003.imap").read_text()
    assert "ligeriri_iris_dark_0002.rmap" in imap
    assert "ligeriri_iris_gain_0002.rmap" in imap
