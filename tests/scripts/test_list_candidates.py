import json
import shutil

import pytest
from astropy.io import fits
from nights import keywords
from reference_cache import TYPES, make_cache, make_request, write_reference

import list_candidates
from drs.bestrefs import resolve
from drs.references import find_context, mapping_path, sha1, write_manifests


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


def test_of_a_manifest(run, cache, tmp_path):
    override = {"flat": str(write_reference(tmp_path, "flat", FILTER="J"))}
    requests = {"a": make_request("flat", FILTER="J", override=override)}
    write_manifests(resolve(requests, find_context(cache, None, {}), TYPES, cache), tmp_path)
    output = tmp_path / "trace.json"
    options = {"cache": cache, "night_cache": tmp_path / "none"}
    result = run(list_candidates.main, manifest=tmp_path / "a.json", type="flat", output=output, **options)
    assert result.exit_code == 0, result.output
    first, second, *_ = result.output.splitlines()
    assert first == f"override by config.yaml: {override['flat']}; without it CRDS chooses:"
    assert second == "flat: iris_img1_flat_20240101t020000_0.0.1.fits"
    document = json.loads(output.read_text())
    assert document["chosen"] == "iris_img1_flat_20240101t020000_0.0.1.fits"
    assert len(document["candidates"]) == 20


def test_of_a_manifest_in_a_context_of_the_night(run, cache, tmp_path):
    shutil.copytree(cache, tmp_path / "crds")
    mapping_path(tmp_path / "crds", "ligeriri_0001.pmap").rename(mapping_path(tmp_path / "crds", "ligeriri_9001.pmap"))
    context = {"context": "ligeriri_9001.pmap"}
    context["sha1"] = sha1(mapping_path(tmp_path / "crds", context["context"]))
    write_manifests(resolve({"a": make_request("dark")}, context, TYPES, cache, tmp_path / "crds"), tmp_path)
    result = run(list_candidates.main, manifest=tmp_path / "a.json", type="dark", cache=cache)
    assert result.output.startswith("dark: iris_img1_dark_20240101t000000_0.0.1.fits\n"), result.output


def test_of_a_file(run, cache, tmp_path):
    fits.PrimaryHDU(header=fits.Header(keywords("SCI", 1))).writeto(tmp_path / "a.fits")
    result = run(list_candidates.main, file=tmp_path / "a.fits", type="dark", cache=cache)
    assert result.output.startswith("dark: iris_img1_dark_20240101t000000_0.0.1.fits\n")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"DETECTOR": None}, "keyword DETECTOR is missing"),
        ({"EXPDTST": None}, "no start time"),
        ({"FILTER": "ANY"}, "FILTER is 'ANY', which would match every rule"),
    ],
)
def test_a_header_that_cannot_be_matched_is_refused(run, cache, tmp_path, changes, text):
    fits.PrimaryHDU(header=fits.Header(keywords("SCI", 1, **changes))).writeto(tmp_path / "a.fits")
    result = run(list_candidates.main, file=tmp_path / "a.fits", type="flat", cache=cache)
    assert result.exit_code == 1
    assert f"Error: {text}" in result.output


def test_one_exposure_is_needed(run, cache):
    assert "give one of --manifest and --file" in run(list_candidates.main, type="dark", cache=cache).output
