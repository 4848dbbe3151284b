"""The command: same bytes again, refusals."""

import pytest
from click.testing import CliRunner

import simulate_night
from drs.errors import ReductionError
from drs.headers import scan_headers
from drs.simulation.night import EFFECTS, OPTIONAL


def run(*arguments):
    return CliRunner().invoke(simulate_night.main, [str(argument) for argument in arguments])


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_command_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        result = run(tmp_path / name, "--preset", "tiny", "--seed", 3)
        assert result.exit_code == 0, result.output
    first = contents(tmp_path / "first")
    assert first == contents(tmp_path / "second")
    assert {path.parts[0] for path in first} == {"raw", "truth", "crds_cache", "config.yaml"}
    assert (tmp_path / "first" / "config.yaml").read_text() == "crds:\n  cache: crds_cache\n"
    again = run(tmp_path / "first")
    assert again.exit_code == 1
    assert "holds files already" in again.output
    assert contents(tmp_path / "first") == first


def test_seed_and_effects_change_the_files(tmp_path):
    quiet = [argument for name in EFFECTS if name != "read_noise" for argument in ("--without", name)]
    for seed in (3, 4):
        assert run(tmp_path / f"{seed}", "--seed", seed, *quiet).exit_code == 0
    first, second = contents(tmp_path / "3"), contents(tmp_path / "4")
    assert first.keys() == second.keys()
    raw = [path for path in first if path.parts[0] == "raw"]
    assert len(raw) == 46 - 2 + 2 * 8  # the three defects are off, two darks have a file for every read
    assert all(first[path] != second[path] for path in raw)


def test_optional_effects_change_the_files_in_the_same_way_again(tmp_path):
    extra = [argument for name in OPTIONAL for argument in ("--with", name)]
    for name, options in (("plain", []), ("first", extra), ("second", extra)):
        assert run(tmp_path / name, "--seed", 3, *options).exit_code == 0
    first = contents(tmp_path / "first")
    assert first == contents(tmp_path / "second")
    plain = contents(tmp_path / "plain")
    assert first.keys() == plain.keys()
    assert all(first[path] != plain[path] for path in first if path.parts[0] == "raw")
    changed = {
        path.name.split("_")[2] for path in first if path.parts[1:2] == ("references",) and first[path] != plain[path]
    }
    assert changed == {"bias", "dq", "readnoise"}  # of pixels that are unstable


def test_one_file_is_truncated_one_has_no_detector(tmp_path):
    assert run(tmp_path).exit_code == 0
    broken, nameless = [], []
    for path in sorted((tmp_path / "raw").iterdir()):
        try:
            keywords = scan_headers(path)["keywords"]
        except ReductionError as error:
            broken.append((path.name, str(error)))
            continue
        if "DETECTOR" not in keywords:
            nameless.append(path.name)
    assert len(broken) == len(nameless) == 1
    assert "truncated" in broken[0][1]


@pytest.mark.parametrize(
    "arguments",
    [["--preset", "huge"], ["--without", "gravity"], ["--with", "gravity"], ["--without", "ipc"], ["--seed", "-1"]],
)
def test_unknown_choices_are_refused(tmp_path, arguments):
    assert run(tmp_path, *arguments).exit_code == 2
    assert not any(tmp_path.iterdir())
