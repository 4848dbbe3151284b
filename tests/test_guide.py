"""The guide to nights of the spectrographs says what is so: settings, kinds and numbers of exposures, keywords."""

import re

import pytest
import yaml
from nights import CONFIG, RULES
from runs import REPO

from drs.product import STEP_KEYWORDS
from drs.schema import find_problems, keyword_descriptions, load_yaml

GUIDE = (REPO / "rules" / "SPECTROGRAPHS.md").read_text()
SECTIONS = dict(zip(*[iter(re.split(r"^## (.*)\n", GUIDE, flags=re.M)[1:])] * 2, strict=True))
SETTINGS = re.findall(r"`([a-z_]+: [^`]+)`", SECTIONS["What to set"])


def read_table(section):
    """Return the cells of the rows of a section's table."""
    rows = [line.strip("|").split("|") for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_are_legal(text):
    config = load_yaml(CONFIG / "config.yaml")
    for section, value in yaml.safe_load(text).items():
        known = config[section]
        config[section] = known | value if isinstance(known, dict) else value
        assert not isinstance(value, dict) or section == "override" or value.keys() <= known.keys()
        assert config[section] != known
    assert find_problems(CONFIG / "schema.yaml", config) == []


def test_exposures_are_of_kinds_that_are_known_and_as_many_as_are_needed():
    least = {"dark": "dark", "lenslet-scan": "rectmat", "flat": "trace", "arc": "wavesol", "fibre": "fibre"}
    least |= {"telluric": "telluric", "flux-star": "flux"}
    rows = read_table("What to take")
    assert len(rows) == 9
    for _, imtype, lenslets, slicer, _ in rows:
        kind = RULES["imtypes"][imtype]
        for mode, cell in (("lenslet", lenslets), ("slicer", slicer)):
            assert bool(cell) == (kind in RULES["recipes"][mode]), (imtype, mode)
            if cell and kind in least:
                assert int(re.match(r"\d+", cell)[0]) == RULES["masters"][least[kind]]["minimum"]


def test_numbers_to_look_at_are_keywords():
    known = set(keyword_descriptions()) | set(STEP_KEYWORDS.values()) | {"CON"}
    first = " ".join(cells[0] for cells in read_table("What to look at"))
    named = re.findall(r"\b[A-Z][A-Z0-9_]{4,7}\b", first)
    assert len(named) > 20
    assert set(named) - {"HISTORY"} <= known


def test_readers_are_led_there():
    assert "rules/SPECTROGRAPHS.md" in (REPO / "README.md").read_text()
    assert len(GUIDE.splitlines()) < 120
