import shutil

import numpy as np
import pytest
from astropy.io import fits
from reference_cache import ALL_TYPES, TYPES, list_bytes, make_cache, make_reference, make_request, write_reference

from drs import bestrefs, delivery, product, references
from drs.errors import MachineError, ReductionError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture(scope="module")
def context(cache):
    return references.find_context(cache, None, {})


@pytest.fixture
def overlay(tmp_path):
    return tmp_path / "overlay"


@pytest.fixture
def deliver(cache, context, overlay):
    def call(paths, tier="detector", base=context, **options):
        return delivery.deliver(paths, base, tier, TYPES, cache, overlay, **options)

    return call


def resolve_one(request, context, cache, overlay):
    return bestrefs.resolve({"a": request}, context, TYPES, cache, overlay)["a"]


def test_dark_then_flat_end_to_end(cache, overlay, deliver, tmp_path):
    files = list_bytes(cache)
    dark = write_reference(tmp_path, "dark", value=7.0)
    first = deliver([dark])
    assert first["context"] == "ligeriri_9001.pmap"
    assert first["delivered"] == {dark.name: references.sha1(dark)}
    flat = write_reference(tmp_path, "flat", value=7.0, FILTER="Ks")
    second = deliver([flat], "optics", first)
    assert second["context"] == "ligeriri_9002.pmap"
    assert second["base"] == first
    assert references.sha1(references.mapping_path(overlay, second["context"])) == second["sha1"]

    manifest = resolve_one(make_request("dark", "flat", FILTER="Ks", SUBARRAY="CUSTOM"), second, cache, overlay)
    assert manifest["status"] == "resolved"
    for kind, path, rmap in (("dark", dark, "dark_9001"), ("flat", flat, "flat_9002")):
        entry = manifest["references"][kind]
        assert (entry["file"], entry["source"], entry["sha1"]) == (path.name, "night", references.sha1(path))
        assert (entry["rmap"], entry["useafter"]) == (f"ligeriri_iris_{rmap}.rmap", "2024-09-24 00:00:00")
    references.write_manifests({"a": manifest}, tmp_path / "manifests")
    paths = references.open_references(tmp_path / "manifests" / "a.json", ["dark", "flat"], [overlay, cache])
    assert product.read(paths["flat"]).arrays["SCI"][0, 0] == 7.0

    other = resolve_one(make_request("dark", "flat", DETECTOR="IMG2"), second, cache, overlay)
    assert other["references"]["flat"]["file"] == "iris_img2_flat_20240101t010000_0.0.1.fits"
    assert {other["references"][kind]["source"] for kind in ("dark", "flat")} == {"context"}
    assert list_bytes(cache) == files


def test_an_exposure_that_a_delivery_does_not_concern_keeps_its_references(cache, context, overlay, deliver, tmp_path):
    request = make_request("dark", "flat", DETECTOR="IMG3") | {"levels": {"level2": ["dark", "flat"]}}
    references.write_manifests({"a": resolve_one(request, context, cache, overlay)}, tmp_path / "manifests")
    before = list_bytes(tmp_path / "manifests/level2")
    delivered = deliver([write_reference(tmp_path, "dark")])
    references.write_manifests({"a": resolve_one(request, delivered, cache, overlay)}, tmp_path / "manifests")
    assert before
    assert list_bytes(tmp_path / "manifests/level2") == before


def test_every_type_and_instrument_can_be_delivered(cache, overlay, deliver, tmp_path):
    liger = {"INSTRUME": "Liger", "DETECTOR": "IMG", "TELESCOP": "Keck"}
    detector = [kind for kind in TYPES if TYPES[kind]["tier"] == "detector"]
    paths = [write_reference(tmp_path, kind) for kind in detector]
    paths += [write_reference(tmp_path, kind, **liger) for kind in detector]
    delivered = deliver(paths)
    assert len(delivered["delivered"]) == len(paths)
    text = references.mapping_path(overlay, "ligeriri_9001.pmap").read_text()
    assert "'Liger' : 'ligeriri_liger_9001.imap'" in text
    assert "LIGER'" not in text.split("selector")[1]
    for keys in ({}, {"INSTRUME": "Liger", "DETECTOR": "IMG"}):
        for subarray in ("FULL", "CUSTOM"):
            manifest = resolve_one(make_request(*detector, SUBARRAY=subarray, **keys), delivered, cache, overlay)
            assert manifest["status"] == "resolved"
            assert {manifest["references"][kind]["source"] for kind in detector} == {"night"}


def test_new_rules_know_their_names_and_origins(context, overlay, deliver, tmp_path):
    first = deliver([write_reference(tmp_path, "dark")])
    deliver([write_reference(tmp_path, "flat")], "optics", first)
    origins = {
        "ligeriri_iris_dark_9001.rmap": "ligeriri_iris_dark_0001.rmap",
        "ligeriri_iris_9001.imap": "ligeriri_iris_0001.imap",
        "ligeriri_9001.pmap": "ligeriri_0001.pmap",
        "ligeriri_iris_flat_9002.rmap": "ligeriri_iris_flat_0001.rmap",
        "ligeriri_iris_9002.imap": "ligeriri_iris_9001.imap",
        "ligeriri_9002.pmap": "ligeriri_9001.pmap",
    }
    paths = references.mapping_path(overlay, "").glob("*_900?.?map")
    assert sorted(path.name for path in paths) == sorted(origins)
    for name, origin in origins.items():
        text = references.mapping_path(overlay, name).read_text()
        assert f"'name' : '{name}'" in text
        assert f"'derived_from' : '{origin}'" in text


def test_one_night_delivers_flats_of_several_filters(cache, overlay, deliver, tmp_path):
    paths = []
    for name in ("Y", "Ks", "K"):
        path = tmp_path / f"iris_img1_flat_{name.lower()}_clear_20240924t000000_0.0.1.fits"
        product.write(path, make_reference("flat", FILTER=name))
        paths.append(path)
    delivered = deliver(paths, "optics")
    for name, path in zip(("Y", "Ks", "K"), paths, strict=True):
        manifest = resolve_one(make_request("flat", FILTER=name), delivered, cache, overlay)
        assert manifest["references"]["flat"]["file"] == path.name


def test_the_same_delivery_gives_the_same_bytes(overlay, deliver, tmp_path):
    paths = [write_reference(tmp_path, "dark"), write_reference(tmp_path, "gain", DETECTOR="IMG2")]
    first, before = deliver(paths), list_bytes(overlay)
    assert deliver(paths[::-1]) == first
    assert list_bytes(overlay) == before
    shutil.rmtree(overlay)
    assert deliver(paths) == first
    assert list_bytes(overlay) == before


def test_a_new_delivery_of_a_tier_replaces_the_old_one(cache, overlay, deliver, tmp_path):
    dark, gain = write_reference(tmp_path, "dark"), write_reference(tmp_path, "gain")
    deliver([dark, gain])
    delivered = deliver([gain])
    assert not references.mapping_path(overlay, "ligeriri_iris_dark_9001.rmap").exists()
    manifest = resolve_one(make_request("dark", "gain"), delivered, cache, overlay)
    assert manifest["references"]["gain"]["source"] == "night"
    assert manifest["references"]["dark"]["file"] == "iris_img1_dark_20240101t000000_0.0.1.fits"


def test_without_references_the_base_is_repeated(context, overlay, deliver):
    delivered = deliver([])
    assert {key: delivered[key] for key in ("context", "sha1")} == {key: context[key] for key in ("context", "sha1")}
    assert delivered["delivered"] == {}
    assert not overlay.exists()


def test_a_refused_product_is_left_out_with_its_reason(cache, context, overlay, deliver, tmp_path):
    path = tmp_path / "iris_img1_dark_20240924t000000_0.0.1.fits"
    with product.mark_refusal(path, make_reference("dark"), mark=True):
        raise ReductionError("two darks, at least three are needed")
    delivered = deliver([path])
    assert delivered["left_out"] == {path.name: "two darks, at least three are needed"}
    assert delivered["context"] == context["context"]
    gain = write_reference(tmp_path, "gain")
    assert list(deliver([path, gain])["delivered"]) == [gain.name]


def test_a_delivery_can_be_predicted_from_headers(cache, overlay, deliver, tmp_path):
    path = tmp_path / "iris_img1_dark_20240924t000000_0.0.1.fits"
    header = fits.Header({"INSTRUME": "IRIS", "DETECTOR": "IMG1", "INSTERA": "0.0.1", "READMODE": "DEFAULT"})
    header.update({"SUBARRAY": "FULL", "REFTYPE": "DARK", "USEAFTER": "2024-09-24T00:00:00"})
    fits.PrimaryHDU(header=header).writeto(path)
    predicted = deliver([path], certify=False)
    manifest = resolve_one(make_request("dark"), predicted, cache, overlay)
    assert manifest["references"]["dark"]["file"] == path.name
    with pytest.raises(ReductionError):
        deliver([path])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"REFTYPE": "FLAT"}, "REFTYPE 'FLAT' is not delivered in tier detector, which takes BIAS, DARK"),
        ({"READMODE": "ANY"}, "READMODE is 'ANY'"),
        ({"SUBARRAY": "CUSTOM"}, "SUBARRAY is 'CUSTOM', expected FULL"),
        ({"DETECTOR": "IMG2"}, "is named iris_img2_dark_"),
        ({"PEDIGREE": "INFLIGHT 2024-99-24 2024-99-24"}, "PEDIGREE"),
        ({"DETECTOR": None}, "DETECTOR is ''"),
        ({"AUTHOR": None}, "AUTHOR"),
    ],
)
def test_a_bad_reference_is_refused_and_the_overlay_stays(cache, overlay, deliver, tmp_path, keywords, message):
    good = deliver([write_reference(tmp_path, "gain")])
    before = list_bytes(overlay)
    path = write_reference(tmp_path, "dark")
    with fits.open(path, mode="update") as hdus:
        for keyword, value in keywords.items():
            if value is None:
                del hdus[0].header[keyword]
            else:
                hdus[0].header[keyword] = value
        hdus[0].add_checksum()
    with pytest.raises(ReductionError, match=message):
        deliver([write_reference(tmp_path, "gain", value=2.0), path])
    assert list_bytes(overlay) == before
    assert resolve_one(make_request("gain"), good, cache, overlay)["references"]["gain"]["source"] == "night"


def test_what_only_crds_finds_is_refused_with_its_text(overlay, deliver, tmp_path):
    path = write_reference(tmp_path, "dark", PEDIGREE="INFLIGHT 2024-99-24 2024-99-24")
    with pytest.raises(ReductionError, match=r"CRDS refuses(.|\n)*PEDIGREE(.|\n)*nothing was delivered"):
        deliver([path])
    assert not overlay.exists()


@pytest.mark.filterwarnings("ignore:(?s).*(may have been truncated|Error validating header)")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # crds leaves the bad file open
@pytest.mark.parametrize("length", [0, 1000, 4000, 7000, 9000, 20000])
def test_a_truncated_reference_is_refused(overlay, deliver, tmp_path, length):
    path = write_reference(tmp_path, "dark")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ReductionError, match=r"dark_2024"):
        deliver([path])
    assert not overlay.exists()


def test_a_missing_reference_is_not_left_out_as_refused(deliver, tmp_path):
    with pytest.raises(FileNotFoundError):
        deliver([tmp_path / "iris_img1_dark_20240924t000000_0.0.1.fits"])


def test_two_references_of_one_case_are_refused(deliver, tmp_path):
    one, two = write_reference(tmp_path, "dark"), write_reference(tmp_path, "dark", version="0.0.2")
    with pytest.raises(ReductionError, match=r"are one case of CRDS: dark, IRIS, 0\.0\.1, IMG1"):
        deliver([one, two])


def test_a_name_of_the_context_is_refused(deliver, tmp_path):
    path = write_reference(tmp_path, "dark", USEAFTER="2024-01-01T00:00:00")
    with pytest.raises(ReductionError, match=r"is in ligeriri_0001\.pmap already"):
        deliver([path])


def test_a_tier_cannot_build_on_itself(deliver, tmp_path):
    first = deliver([write_reference(tmp_path, "dark")])
    with pytest.raises(ReductionError, match=r"cannot build on ligeriri_9001\.pmap"):
        deliver([write_reference(tmp_path, "gain")], base=first)
    with pytest.raises(ReductionError, match="is not delivered in tier sky, which takes no type"):
        deliver([write_reference(tmp_path, "gain")], "sky", first)


def test_a_delivered_file_that_changed_is_not_used(cache, overlay, deliver, tmp_path):
    path = write_reference(tmp_path, "dark")
    delivered = deliver([path])
    target = references.reference_path(overlay, "IRIS", path.name)
    product.write(target, make_reference("dark", value=np.pi))
    with pytest.raises(MachineError, match="is not what this night delivered: sha1"):
        resolve_one(make_request("dark"), delivered, cache, overlay)
    target.unlink()
    with pytest.raises(MachineError, match="has delivered, is gone"):
        resolve_one(make_request("dark"), delivered, cache, overlay)


def test_a_changed_base_is_refused(context, deliver, tmp_path):
    with pytest.raises(ReductionError, match="has changed"):
        deliver([write_reference(tmp_path, "dark")], base={**context, "sha1": "0" * 40})


def test_a_type_without_rules_leaves_the_context_below_as_it_was(cache, overlay, deliver, tmp_path):
    """Its empty rules are made in a copy of the base; the base must not be published with them."""
    first = deliver([write_reference(tmp_path, "dark")])
    below = references.mapping_path(overlay, "ligeriri_iris_9001.imap")
    before = below.read_bytes()
    path = write_reference(tmp_path, "distortion", FILTER="Y")
    for _ in range(2):  # a night delivers again when a flat is made again
        second = delivery.deliver([path], first, "optics", ALL_TYPES, cache, overlay)
        assert below.read_bytes() == before
        assert second["context"] == "ligeriri_9002.pmap"
