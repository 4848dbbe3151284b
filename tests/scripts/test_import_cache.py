import pytest
from click.testing import CliRunner
from published_cache import DARK, write_cache
from reference_cache import list_bytes

import get_reference
import import_cache


@pytest.fixture
def source(tmp_path):
    return write_cache(tmp_path / "source")


def run(*words):
    return CliRunner().invoke(import_cache.main, list(map(str, words)))


def test_repairs_are_listed_and_a_second_run_does_nothing(source, tmp_path):
    first = run(source, tmp_path / "cache")
    assert first.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    assert (
        "ligeriri_liger_0001.imap: DARK leads to ligeriri_liger_dark_0001.rmap, which does not exist; set to N/A"
        in lines
    )
    assert f"{DARK}: missing, only a Git-LFS pointer (15 bytes, sha256 " in first.stdout
    assert lines[-1].endswith("repairs and remarks")
    before = list_bytes(tmp_path / "cache")
    second = run(source, tmp_path / "cache")
    assert second.stdout.splitlines()[-1] == f"{tmp_path / 'cache'}: nothing to do, the import is there"
    assert len(second.stdout.splitlines()) == 2
    assert list_bytes(tmp_path / "cache") == before


def test_the_result_answers_as_the_team_does(source, tmp_path):
    run(source, tmp_path / "cache", "--rename", "0.0.0=0.0.1")
    frame = tmp_path / "frame.json"
    frame.write_text('{"INSTRUME": "IRIS", "DETECTOR": "IMG1", "EXPDTST": "2024-10-01T08:00:00", "SEMID": "2024B"}')
    result = CliRunner().invoke(get_reference.main, [str(frame), "dark", f"--cache={tmp_path / 'cache'}"])
    assert result.exit_code == 1
    assert result.stdout.rstrip().endswith(f"references/ligeriri/iris/{DARK}")
    assert f"dark: not found: the chosen file {DARK} is missing in iris; fill the cache" in result.stderr


@pytest.mark.parametrize("rename", ["IRIS1", "=IMG1", "IRIS1="])
def test_a_rename_of_nothing_is_refused(source, tmp_path, rename):
    result = run(source, tmp_path / "cache", "--rename", rename)
    assert result.exit_code == 1
    assert f"Error: --rename {rename}: expected OLD=NEW" in result.output


def test_a_folder_without_rules_is_refused(tmp_path):
    result = run(tmp_path, tmp_path / "cache")
    assert result.exit_code == 1
    assert "has no mappings/<observatory>/*.pmap" in result.output
