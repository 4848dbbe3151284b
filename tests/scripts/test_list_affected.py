"""The list of what another context changes, compared with that of stock crds."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from astropy.io import fits
from nights import keywords
from reference_cache import REPO, add_context, make_cache, make_request

import list_affected

CONTEXTS = {"old_context": "ligeriri_0001.pmap", "new_context": "ligeriri_0002.pmap"}
LINE = re.compile(r"type='(\w+)' data='([^']+)' ::  New best reference: '([^']+)' --> '([^']+)'")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Return a cache with a second context: another flat in J, another gain of IMG2, no dark of IMG3, no bias."""
    cache = make_cache(tmp_path_factory.mktemp("cache") / "crds")
    flat, gain = "iris_img1_flat_20240101t020000", "iris_img2_gain_20240101t000000"
    changes = {"flat": {f"{flat}_0.0.1": f"{flat}_0.0.2"}, "gain": {f"{gain}_0.0.1": f"{gain}_0.0.2"}}
    changes |= {
        "dark": {"('0.0.1', 'IMG3'": "('0.0.1', 'IFS2'"},
        "bias": {"'2024-01-01 00:00:00'": "'2025-01-01 00:00:00'"},
    }
    add_context(cache, "0002", changes)
    return cache


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return files of three detectors and filters with all keywords that stock crds looks for."""
    folder = tmp_path_factory.mktemp("raw")
    said = {"INSTERA": "0.0.1", "READMODE": "DEFAULT", "PUPIL": "CLEAR", "SUBARRAY": "FULL"}
    for detector in ("IMG1", "IMG2", "IMG3"):
        for name in "YJ":
            header = fits.Header(keywords("SCI", 1, DETECTOR=detector, FILTER=name, **said))
            fits.PrimaryHDU(header=header).writeto(folder / f"{detector}_{name}.fits".lower())
    return sorted(folder.iterdir())


def ask_stock(cache, files):
    """Return {(file, type, old, new)} of stock crds, and the exposures of its --print-affected-details."""
    command = [sys.executable, REPO / "scripts/lcrds.py", "bestrefs", "--files", *(path.name for path in files)]
    command += [
        "--old-context",
        "ligeriri_0001.pmap",
        "--new-context",
        "ligeriri_0002.pmap",
        "--print-affected-details",
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environment |= {"CRDS_PATH": str(cache), "CRDS_READONLY_CACHE": "1"}
    environment["CRDS_EXPLICIT_GARBAGE_COLLECTION"] = "False"
    output = {"capture_output": True, "text": True, "check": False}
    run = subprocess.run(list(map(str, command)), env=environment, cwd=files[0].parent, **output)
    rows = {(file, kind.lower(), old, new) for kind, file, old, new in LINE.findall(run.stdout + run.stderr)}
    details = {tuple(line.split()) for line in run.stdout.splitlines() if re.match(r"img\d_\w\.fits iris ", line)}
    return rows, details


def test_it_is_equal_to_stock_crds(run, cache, files, tmp_path):
    result = run(list_affected.main, file=files, cache=cache, output=tmp_path / "affected.json", **CONTEXTS)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "affected.json").read_text())["affected"]
    stock, details = ask_stock(cache, files)
    assert len(stock) == 9
    changed = [row for row in rows if row["new"] != "not found" or row["type"] == "bias"]
    names = {"not found": "n/a"}  # stock says so where no date holds
    assert {(row["exposure"], row["type"], row["old"], names.get(row["new"], row["new"])) for row in changed} == stock
    listed = {}
    for row in changed:
        listed.setdefault(row["exposure"], []).append(row["type"])
    assert {(exposure, "iris", *sorted(types)) for exposure, types in listed.items()} == details
    failed = [row for row in rows if row not in changed]  # stock prints an error for these
    assert {(row["exposure"], row["type"]) for row in failed} == {("img3_j.fits", "dark"), ("img3_y.fits", "dark")}
    assert (
        "img1_j.fits flat: iris_img1_flat_20240101t020000_0.0.1.fits -> iris_img1_flat_20240101t020000_0.0.2.fits"
        in (result.output)
    )
    assert result.output.endswith("6 of 6 exposures are affected\n")


def test_files_of_one_name_in_two_folders_are_both_told(run, cache, files, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(next(path for path in files if path.name == "img1_j.fits"), tmp_path / folder / "x.fits")
    result = run(
        list_affected.main, file=[tmp_path / "a" / "x.fits", tmp_path / "b" / "x.fits"], cache=cache, **CONTEXTS
    )
    assert result.output.endswith("2 of 2 exposures are affected\n")
    assert f"{tmp_path / 'b' / 'x.fits'} flat: " in result.output


def test_only_needed_types_of_a_night_and_its_own_calibrations(run, cache, tmp_path):
    requests = tmp_path / "science.json"
    requests.write_text(json.dumps({"a": make_request("gain", DETECTOR="IMG2"), "b": make_request("dark", FILTER="J")}))
    result = run(list_affected.main, request=requests, cache=cache, **CONTEXTS)
    assert result.output.splitlines()[1:] == ["1 of 2 exposures are affected"]
    assert result.output.startswith("a gain: ")
    (tmp_path / "night.json").write_text(json.dumps({"masters": {}}))
    with_night = run(list_affected.main, request=requests, night=tmp_path / "night.json", cache=cache, **CONTEXTS)
    assert with_night.output == result.output


def test_bad_input(run, cache, files, tmp_path, caplog):
    result = run(list_affected.main, file=files, cache=cache, **(CONTEXTS | {"new_context": "ligeriri_0009.pmap"}))
    assert result.exit_code == 1
    assert "CRDS context 'ligeriri_0009.pmap' (from config) is not in" in result.output
    assert "no exposure is given" in run(list_affected.main, cache=cache, **CONTEXTS).output
    (tmp_path / "text.fits").write_text("no FITS")
    result = run(list_affected.main, file=[tmp_path / "text.fits", files[0]], cache=cache, **CONTEXTS)
    assert result.exit_code == 0
    assert "text.fits is left out: not a FITS file" in caplog.text
    assert "of 1 exposures" in result.output
