import json

from click.testing import CliRunner
from reference_cache import REPO, TYPES_FILE

import write_specs


def run(tmp_path, types):
    folder = tmp_path / "ligeriri"
    for name in ("specs", "tpns"):
        (folder / name).mkdir(parents=True)
    options = ["--types", types, "--instruments", REPO / "config" / "instruments", "--output", folder]
    return CliRunner().invoke(write_specs.main, list(map(str, options))), folder


def test_the_description_of_the_types_is_written(tmp_path):
    result, folder = run(tmp_path, TYPES_FILE)
    assert result.exit_code == 0, result.output
    assert "RECTMAT" in (folder / "tpns" / "all_rectmat.tpn").read_text()
    assert "liger" in json.loads((folder / "specs" / "combined_specs.json").read_text())
    assert (folder / "specs" / "liger_wavesol.rmap").is_file()


def test_a_type_without_keys_is_refused(tmp_path):
    path = tmp_path / "types.yaml"
    path.write_text("dark: {filekind: DARK}\n")
    result, folder = run(tmp_path, path)
    assert result.exit_code == 1
    assert "'match' is a required property" in result.output
    assert not list((folder / "tpns").iterdir())
