import hashlib
import os
import re
import shutil

import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_cache import (
    ALL_TYPES,
    TYPES,
    list_bytes,
    make_cache,
    make_request,
    optics_of,
    read_rows,
    write_reference,
)

from drs import bestrefs, references
from drs.errors import ReductionError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture(scope="module")
def context(cache):
    return references.find_context(cache, None, {})


@pytest.fixture
def copied(cache, tmp_path):
    return shutil.copytree(cache, tmp_path / "crds")


def pack(metadata):
    """Return metadata as servers pack them, and stock crds leaves them in a server_config."""
    from crds.client.proxy import crds_encode

    return crds_encode(metadata)


def resolve_one(request, context, cache, overlay=None):
    return bestrefs.resolve({"a": request}, context, TYPES, cache, overlay)["a"]


def add_reference(cache, rmap, old, new):
    """Add a second date to the first rule of an rmap, with a valid checksum."""
    from crds_ligeriri import session

    path = references.mapping_path(cache, rmap)
    text = path.read_text()
    line = f"        '2024-01-01 00:00:00' : '{old}',\n"
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + f"        '2026-01-01 00:00:00' : '{new}',\n"))
    with session(cache):
        from crds.refactoring.checksum import add_checksum

        add_checksum(str(path))


def test_every_reference_of_the_csv_is_chosen_by_its_own_keys(cache, context):
    exposures, expected = {}, {}
    for row in read_rows():
        keys = {"INSTRUME": row["instrument"], "DETECTOR": row["detector"], "FILTER": "K", **optics_of(row)}
        exposures[row["file"]] = make_request(row["type"], **keys)
        expected[row["file"]] = row
    manifests = bestrefs.resolve(exposures, context, ALL_TYPES, cache)
    for name, manifest in manifests.items():
        row = expected[name]
        entry = manifest["references"][row["type"]]
        path = references.reference_path(cache, row["instrument"], name)
        assert manifest["status"] == "resolved"
        assert entry == {
            "file": name,
            "size": path.stat().st_size,
            "sha1": references.sha1(path),
            "rmap": f"ligeriri_{row['instrument'].lower()}_{row['type']}_0001.rmap",
            "selector": ALL_TYPES[row["type"]]["selector"],
            "useafter": row["useafter"].replace("T", " "),
            "source": "context",
            "keyword": ALL_TYPES[row["type"]]["keyword"],
            "status": "found",
            "reason": "",
        }


@pytest.mark.parametrize(
    ("start", "dark", "bias"),
    [
        ("2020-01-01T00:00:00", "2024", None),
        ("2024-01-01T00:00:00", "2024", "2024"),
        ("2024-12-30T00:00:00", "2024", "2024"),
        ("2025-01-02T00:00:00", "2026", "2024"),
        ("2025-12-31T23:59:59", "2026", "2024"),
        ("2026-01-01T00:00:00Z", "2026", "2026"),
        ("2026-01-01T09:59:59.9+10:00", "2026", "2024"),
        ("2030-01-01T00:00:00", "2026", "2026"),
    ],
)
def test_closest_time_and_use_after(copied, start, dark, bias):
    for kind in ("dark", "bias"):
        path = write_reference(copied / "references" / "ligeriri" / "iris", kind, USEAFTER="2026-01-01T00:00:00")
        old = path.name.replace("2026", "2024")
        add_reference(copied, f"ligeriri_iris_{kind}_0001.rmap", old, path.name)
    context = references.find_context(copied, None, {})
    chosen = resolve_one(make_request("dark", "bias", EXPDTST=start), context, copied)["references"]
    assert chosen["dark"]["file"] == f"iris_img1_dark_{dark}0101t000000_0.0.1.fits"
    assert chosen["dark"]["useafter"] == f"{dark}-01-01 00:00:00"
    assert chosen["bias"]["file"] == (bias and f"iris_img1_bias_{bias}0101t000000_0.0.1.fits")
    assert chosen["bias"]["status"] == ("found" if bias else "not found")


@pytest.mark.parametrize("subarray", ["FULL", "CUSTOM"])
def test_a_subarray_takes_the_full_frame_references(cache, context, subarray):
    manifest = resolve_one(make_request("dark", "bias", "dq", SUBARRAY=subarray), context, cache)
    assert manifest["status"] == "resolved"
    assert manifest["references"]["dq"]["file"] == "iris_img1_dq_20240101t000000_0.0.1.fits"


def test_not_found_says_what_was_asked_what_there_is_and_what_to_do(cache, context):
    manifest = resolve_one(make_request("flat", "dark", FILTER="K"), context, cache)
    assert manifest["status"] == "failed"
    assert manifest["references"]["dark"]["status"] == "found"
    entry = manifest["references"]["flat"]
    assert entry["status"] == "not found"
    assert entry["rmap"] == "ligeriri_iris_flat_0001.rmap"
    assert manifest["reason"] == f"flat: {entry['reason']}"
    for text in (
        "value='K' is not in ['H', 'J', 'KS', 'Y', 'Z']",
        "META.INSTRUMENT.FILTER H, J, KS, Y, Z",
        "FILTER = K",
        "deliver a reference for it, override it, or choose another context",
    ):
        assert text in entry["reason"]


@pytest.mark.parametrize("value", ["N/A", "ANY", "*", "NOT APPLICABLE", "n/a ", "", None])
@pytest.mark.parametrize("keyword", ["FILTER", "DETECTOR", "INSTRUME", "INSTERA", "READMODE"])
def test_a_wildcard_in_a_matched_keyword_is_refused(cache, context, keyword, value):
    manifest = resolve_one(make_request("flat", **{keyword: value}), context, cache)
    assert manifest["status"] == "failed"
    assert f"{keyword} is " in manifest["reason"]
    assert "match every rule" in manifest["reason"]


def test_a_wildcard_in_a_keyword_that_no_needed_type_matches_is_fine(cache, context):
    assert resolve_one(make_request("dark", FILTER="N/A"), context, cache)["status"] == "resolved"


@settings(deadline=None)
@given(st.sampled_from(["DETECTOR", "FILTER", "READMODE"]), st.text(max_size=12))
def test_no_value_but_the_rules_own_finds_a_flat(cache, context, keyword, value):
    allowed = {
        "DETECTOR": ["IMG1", "IMG2", "IMG3", "IMG4"],
        "FILTER": ["Z", "Y", "J", "H", "KS"],
        "READMODE": ["DEFAULT"],
    }
    manifest = resolve_one(make_request("flat", **{keyword: value}), context, cache)
    expected = value.strip().upper() in allowed[keyword]
    assert (manifest["status"] == "resolved") == expected


@pytest.mark.parametrize("start", ["yesterday", "2024-09-24", "2024-13-01T00:00:00", "20:00:00"])
def test_a_start_that_is_no_date_is_refused(cache, context, start):
    manifest = resolve_one(make_request("dark", EXPDTST=start), context, cache)
    assert manifest["status"] == "failed"
    assert "EXPDTST" in manifest["reason"]


def test_one_failed_exposure_leaves_the_others(cache, context):
    exposures = {
        "unknown instrument": make_request("dark", INSTRUME="NIRC2"),
        "unknown type": make_request("wavesol"),
        "good": make_request("dark"),
    }
    manifests = bestrefs.resolve(exposures, context, TYPES, cache)
    assert {name: manifest["status"] for name, manifest in manifests.items()} == {
        "unknown instrument": "failed",
        "unknown type": "failed",
        "good": "resolved",
    }
    assert "nirc2" in manifests["unknown instrument"]["reason"]
    assert "no such type" in manifests["unknown type"]["reason"]


def test_not_applicable_is_no_failure(copied):
    from crds_ligeriri import session

    path = references.mapping_path(copied, "ligeriri_iris_0001.imap")
    path.write_text(path.read_text().replace("'ligeriri_iris_gain_0001.rmap'", "'N/A'"))
    with session(copied):
        from crds.refactoring.checksum import add_checksum

        add_checksum(str(path))
    context = references.find_context(copied, None, {})
    manifest = resolve_one(make_request("gain"), context, copied)
    assert manifest["status"] == "resolved"
    assert manifest["references"]["gain"]["status"] == "n/a"
    assert references.header_keywords(manifest)["R_GAIN"] == "N/A"


@pytest.mark.parametrize("form", [dict, pack])
def test_a_missing_or_damaged_reference_fails_the_exposures_that_take_it(copied, form):
    path = references.reference_path(copied, "IRIS", "iris_img1_dark_20240101t000000_0.0.1.fits")
    config = copied / "config" / "ligeriri" / "server_config"
    metadata = {path.name: {"size": path.stat().st_size, "sha1sum": references.sha1(path)}}
    config.write_text(repr({**references.read_server_config(copied), "download_metadata": form(metadata)}))
    context = references.find_context(copied, None, {})
    exposures = {"one": make_request("dark"), "other": make_request("dark", DETECTOR="IMG2")}
    data = bytearray(path.read_bytes())
    data[-3000] ^= 1
    path.write_bytes(data)
    manifests = bestrefs.resolve(exposures, context, TYPES, copied)
    assert "is damaged: sha1" in manifests["one"]["reason"]
    assert manifests["other"]["status"] == "resolved"
    path.write_bytes(data[:-1])
    assert "is damaged: size" in bestrefs.resolve(exposures, context, TYPES, copied)["one"]["reason"]
    path.unlink()
    assert "is missing" in bestrefs.resolve(exposures, context, TYPES, copied)["one"]["reason"]


@pytest.mark.parametrize("request_", [5, {"needs": ["dark"]}, {"keys": {}}])
def test_what_is_no_request_is_refused(cache, context, request_):
    with pytest.raises(ReductionError, match="rows: no needs and keys of an exposure"):
        bestrefs.resolve({"rows": request_}, context, TYPES, cache)


def test_a_prediction_does_not_look_at_the_files(copied):
    context = references.find_context(copied, None, {})
    requests = {"a": make_request("dark"), "b": make_request("flat", FILTER="K")}
    checked = bestrefs.resolve(requests, context, TYPES, copied)
    shutil.rmtree(copied / "references")
    predicted = bestrefs.resolve(requests, context, TYPES, copied, verify=False)
    assert predicted["b"] == checked["b"]
    dark = checked["a"]["references"]["dark"]
    assert predicted["a"]["references"]["dark"] == {**dark, "size": None, "sha1": None}


def test_an_override_is_taken_and_its_differences_are_told(cache, context, tmp_path):
    path = write_reference(tmp_path, "flat", FILTER="J", READMODE="FAST", PUPIL="COLD")
    manifest = resolve_one(make_request("flat", FILTER="K", override={"flat": str(path)}), context, cache)
    entry = manifest["references"]["flat"]
    assert (manifest["status"], entry["source"], entry["sha1"]) == ("resolved", "override", references.sha1(path))
    (line,) = references.override_lines(manifest)
    assert line.startswith(f"override of flat: {path.name} by config.yaml; ")
    assert "FILTER is J in the reference, K in the exposure" in line
    assert "PUPIL is COLD in the reference, CLEAR in the exposure" in line
    references.write_manifests({"a": manifest}, tmp_path / "manifests")
    assert references.open_references(tmp_path / "manifests" / "a.json", ["flat"], [cache])["flat"] == path


@pytest.mark.parametrize("other", [{"DETECTOR": "IMG2"}, {"INSTRUME": "Liger", "DETECTOR": "IMG", "FILTER": "H"}])
def test_an_override_holds_for_its_own_detector(cache, context, tmp_path, other):
    path = write_reference(tmp_path, "flat", FILTER="Y")
    override = {"flat": str(path)}
    requests = {
        "own": make_request("flat", override=override),
        "other": make_request("flat", override=override, **other),
    }
    found = bestrefs.resolve(requests, context, TYPES, cache)
    assert found["own"]["references"]["flat"]["source"] == "override"
    requests["other"].pop("override")
    assert found["other"] == bestrefs.resolve(requests, context, TYPES, cache)["other"]
    assert found["other"]["references"]["flat"]["source"] == "context"
    assert references.override_lines(found["other"]) == ()


def test_an_override_of_a_spectrograph_holds_for_its_own_mode(cache, context, tmp_path):
    path = write_reference(tmp_path, "wavesol", INSTRUME="Liger", TELESCOP="Keck", FILTER="K")  # of lenslets
    keys = {"INSTRUME": "Liger", "DETECTOR": "IFS", "INSTMODE": "LENSLET", "SCALE": 0.031, "GRATING": "K4000"}
    keys |= {"FILTER": "K"}
    slices = make_request("wavesol", override={"wavesol": str(path)}, **keys | {"INSTMODE": "SLICER"})
    own = slices | {"override": None, "own_override": {"wavesol": {"file": str(path), "reason": "mine"}}}
    requests = {"own": make_request("wavesol", override={"wavesol": str(path)}, **keys), "slices": slices, "named": own}
    found = bestrefs.resolve(requests, context, ALL_TYPES, cache)
    found = {name: manifest["references"]["wavesol"] for name, manifest in found.items()}
    assert (found["own"]["source"], found["own"]["status"]) == ("override", "found")
    assert found["own"]["reason"] == "SCALE is 0.014 in the reference, 0.031 in the exposure"
    assert found["slices"]["source"] != "override"
    text = "is of Liger IFS LENSLET, the exposure of Liger IFS SLICER; correct override in exposures.yaml"
    assert text in found["named"]["reason"]


def test_an_override_of_a_type_that_is_not_needed(cache, context, tmp_path):
    override = {"flat": str(write_reference(tmp_path, "flat"))}
    chosen = resolve_one(make_request("dark", override=override), context, cache)["references"]
    assert chosen["flat"]["source"] == "override"
    other = resolve_one(make_request("dark", override=override, DETECTOR="IMG2"), context, cache)
    assert (other["status"], other["references"]["flat"]["status"]) == ("resolved", "not needed")


def test_an_override_that_is_no_such_reference_fails(cache, context, tmp_path):
    path = write_reference(tmp_path, "dark")
    manifest = resolve_one(make_request(override={"flat": str(path)}), context, cache)
    assert "is a DarkModel, not FlatModel; correct override in config.yaml" in manifest["reason"]
    manifest = resolve_one(make_request(override={"flat": "nowhere.fits"}), context, cache)
    assert manifest["status"] == "failed"
    assert "nowhere.fits cannot be read as FITS (No such file" in manifest["reason"]
    path.write_bytes(path.read_bytes()[:5000])
    manifest = resolve_one(make_request("flat", override={"flat": str(path)}, DETECTOR="IMG2"), context, cache)
    assert manifest["status"] == "failed"
    assert "cannot be read as FITS (truncated" in manifest["reason"]


def test_an_override_that_does_not_say_its_detector_fails(cache, context, tmp_path):
    path = write_reference(tmp_path, "flat")
    fits.delval(path, "DETECTOR")
    manifest = resolve_one(make_request("flat", override={"flat": str(path)}), context, cache)
    assert "does not say its DETECTOR; correct override in config.yaml" in manifest["reason"]


def test_an_override_of_one_exposure_comes_first_and_its_reason_is_kept(cache, context, tmp_path):
    night = write_reference(tmp_path, "flat", version="0.0.2", FILTER="Y")
    own = write_reference(tmp_path, "flat", FILTER="J")
    named = {"flat": {"file": str(own), "reason": "the lamp flickered"}}
    request = {**make_request("flat", override={"flat": str(night)}), "own_override": named}
    manifest = resolve_one(request, context, cache)
    entry = manifest["references"]["flat"]
    assert (entry["file"], entry["source"]) == (str(own), "override")
    assert entry["note"] == "exposures.yaml: the lamp flickered"
    told = "the lamp flickered; FILTER is J in the reference, Y in the exposure"
    assert references.override_lines(manifest) == (f"override of flat: {own.name} by exposures.yaml: {told}",)
    manifest = resolve_one({**request, "keys": {**request["keys"], "DETECTOR": "IMG2"}}, context, cache)
    assert f"{own} is of IRIS IMG1, the exposure of IRIS IMG2; correct override in exposures.yaml" in manifest["reason"]


def test_a_type_that_is_switched_off_is_recorded(cache, context):
    night = make_request("flat", "dark", override={"flat": "none"})
    own = {**make_request("flat", "dark"), "own_override": {"flat": {"file": "none", "reason": "seen through clouds"}}}
    for request, note in ((night, "config.yaml"), (own, "exposures.yaml: seen through clouds")):
        manifest = resolve_one(request, context, cache)
        assert manifest["status"] == "resolved"
        entry = manifest["references"]["flat"]
        assert (entry["status"], entry["file"]) == ("n/a", None)
        assert entry["reason"] == f"switched off by {note}"
        assert references.find_switched_off(manifest) == ["flat"]
        assert references.header_keywords(manifest)["R_FLAT"] == "N/A"
        assert references.override_lines(manifest) == (f"override of flat: none by {note}",)


def test_a_changed_or_missing_context_is_refused(copied):
    context = references.find_context(copied, None, {})
    with pytest.raises(ReductionError, match="has changed"):
        bestrefs.resolve({}, {**context, "sha1": "0" * 40}, TYPES, copied)
    with pytest.raises(ReductionError, match="is in none of"):
        bestrefs.resolve({}, {**context, "context": "ligeriri_0007.pmap"}, TYPES, copied)
    references.mapping_path(copied, "ligeriri_iris_0001.imap").write_text("not a mapping")
    manifest = resolve_one(make_request("dark"), context, copied)
    assert manifest["status"] == "failed"
    path = references.mapping_path(copied, "ligeriri_0001.pmap")
    path.write_text(path.read_text().replace("IRIS", "IRIZ"))
    with pytest.raises(ReductionError, match=r"cannot be used: .*sha1sum mismatch"):
        bestrefs.resolve({}, references.find_context(copied, None, {}), TYPES, copied)


def test_the_cache_and_the_environment_stay_as_they_were(cache, context, monkeypatch):
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_1200.pmap")
    monkeypatch.setenv("CRDS_SERVER_URL", "https://example.org")
    monkeypatch.setenv("CRDS_MAPPATH", "/nowhere")
    before, files = dict(os.environ), list_bytes(cache)
    first = resolve_one(make_request(*TYPES), context, cache)
    second = resolve_one(make_request(*TYPES), context, cache)
    assert first == second
    assert first["status"] == "resolved"
    assert dict(os.environ) == before
    assert list_bytes(cache) == files


def test_a_thousand_exposures_in_one_process(cache, context):
    exposures = {
        f"exposure_{k:04d}": make_request(
            *TYPES,
            DETECTOR=f"IMG{1 + k % 4}",
            FILTER="ZYJHK"[k % 5],
            EXPDTST=f"2024-09-24T{k // 60:02d}:{k % 60:02d}:00",
        )
        for k in range(1000)
    }
    manifests = bestrefs.resolve(exposures, context, TYPES, cache)
    failed = [manifest for manifest in manifests.values() if manifest["status"] == "failed"]
    assert (len(manifests), len(failed)) == (1000, 200)
    chosen = {entry["file"] for manifest in manifests.values() for entry in manifest["references"].values()}
    assert len(chosen - {None}) == 4 * (7 + 4)


def edit_rules(cache, name, old, new, *, checksum):
    """Edit a mapping, with or without its checksum."""
    path = references.mapping_path(cache, name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if checksum:
        digest = sha1_of_mapping(path)
        path.write_text(re.sub(r"'sha1sum' : '[0-9a-f]{40}'", f"'sha1sum' : '{digest}'", path.read_text()))


def sha1_of_mapping(path):
    """Return the checksum of a mapping as crds counts it: without the line that holds it."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return hashlib.sha1("".join(line for line in lines if "sha1sum" not in line).encode()).hexdigest()


@pytest.mark.parametrize(
    ("new", "checksum", "text"),
    [
        ("selector = __import__('os').system('touch hacked') or Match(", True, "must be a selector call"),
        ("import os\nselector = Match(", True, "Illegal"),
        ("selector = Match( ", False, "sha1sum mismatch"),
    ],
)
def test_rules_with_code_or_a_stale_checksum_fail_their_instrument_only(copied, new, checksum, text, monkeypatch):
    monkeypatch.chdir(copied)
    edit_rules(copied, "ligeriri_iris_flat_0001.rmap", "selector = Match(", new, checksum=checksum)
    requests = {
        "flat": make_request("flat"),
        "dark": make_request("dark"),
        "liger": make_request("flat", INSTRUME="Liger", DETECTOR="IMG", FILTER="H"),
    }
    manifests = bestrefs.resolve(requests, references.find_context(copied, None, {}), TYPES, copied)
    assert {name: manifest["status"] for name, manifest in manifests.items()} == {
        "dark": "failed",
        "flat": "failed",
        "liger": "resolved",
    }
    for name in ("flat", "dark"):
        reason = manifests[name]["reason"]
        assert text in reason
        assert "ligeriri_iris_flat_0001.rmap" in reason
        assert "copy the cache again" in reason
        assert "\n" not in reason
    assert not (copied / "hacked").exists()
