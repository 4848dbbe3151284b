"""What a job asks for: base and size, doubled at the second attempt; every rule has its needs."""

import re
from pathlib import Path

import pytest

from drs.needs import Needs
from drs.schema import load_yaml

REPO = Path(__file__).resolve().parents[2]
TABLE = "start_mb: 300\nrules:\n  fit_ramp: {mb: 350, mb_per_mb: 0.5, minutes: 5, seconds_per_mb: 30}\n"


@pytest.fixture
def needs(tmp_path):
    (tmp_path / "resources.yaml").write_text(TABLE)
    return Needs(tmp_path / "resources.yaml").of("fit_ramp")


@pytest.fixture
def inputs(tmp_path):
    """Two files of 1 and 3 MB, which take no place on the disk."""
    paths = [tmp_path / "a.fits", tmp_path / "b.fits"]
    for path, size in zip(paths, (1_000_000, 3_000_000), strict=True):
        with path.open("wb") as stream:
            stream.truncate(size)
    return list(map(str, paths))


@pytest.mark.parametrize(("attempt", "mem_mb", "runtime"), [(1, 652, 7), (2, 1304, 14), (3, 1956, 21)])
def test_needs_follow_the_inputs_and_grow_with_each_attempt(needs, inputs, attempt, mem_mb, runtime):
    assert needs["mem_mb"](None, inputs, attempt) == mem_mb
    assert needs["runtime"](None, inputs, attempt) == runtime


def test_an_input_yet_to_be_made_is_told_to_snakemake_by_name(needs, inputs):
    with pytest.raises(FileNotFoundError) as caught:
        needs["mem_mb"](None, [*inputs, "level1/x.fits"], 1)
    assert caught.value.filename == "level1/x.fits"  # how Snakemake knows that it is one of the inputs


def test_every_rule_with_a_command_takes_its_needs_from_the_table():
    table = load_yaml(REPO / "config" / "resources.yaml")
    asked = {}
    for path in (REPO / "rules").glob("*.smk"):
        parts = re.split(r"^(?:rule|checkpoint) (\w+):\n", path.read_text(), flags=re.M)
        bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
        asked |= {n: re.findall(r'NEEDS\.of\("(\w+)"\)', body) for n, body in bodies.items() if "shell:" in body}
    assert asked == {name: [name] for name in table["rules"]}
    for need in table["rules"].values():
        assert set(need) == {"mb", "mb_per_mb", "minutes", "seconds_per_mb"}
        assert all(value >= 0 for value in need.values())
