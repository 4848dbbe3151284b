import re

import pytest
from reference_cache import ALL_TYPES, SPECTRAL, TYPES, list_bytes, make_cache, write_reference

from drs import derivation, product
from drs.errors import ReductionError
from drs.references import mapping_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def derive(whole, tmp_path):
    def call(*paths, base="ligeriri_0001.pmap", **options):
        described = derivation.describe_references(paths, ALL_TYPES)
        return derivation.derive_context(base, whole, described, rename, tmp_path / "work", **options)

    return call


def rename(name):
    return re.sub(r"_\d+\.", "_0007.", name)


def test_a_reference_becomes_a_rule(whole, derive, tmp_path):
    before = list_bytes(whole)
    dark = write_reference(tmp_path, "dark")
    made = derive(dark)
    assert made["context"] == "ligeriri_0007.pmap"
    assert made["made"] == ["ligeriri_iris_dark_0007.rmap", "ligeriri_iris_0007.imap", "ligeriri_0007.pmap"]
    case = ("0.0.1", "IMG1", "DEFAULT", "CUSTOM|FULL", "2024-09-24 00:00:00")
    assert made["changes"] == {"ligeriri_iris_dark_0007.rmap": [("add", None, dark.name, case)]}
    assert dark.name in derivation.load_context("ligeriri_0007.pmap", tmp_path / "work")["references"]
    assert list_bytes(whole) == before


def test_changes_tell_what_takes_the_place_of_what_and_new_cases(derive, tmp_path):
    flat = write_reference(tmp_path, "flat", FILTER="Z", USEAFTER="2024-01-01T00:00:00", version="0.0.2")
    other = write_reference(tmp_path, "flat", FILTER="K")
    changes = derive(flat, other)["changes"]["ligeriri_iris_flat_0007.rmap"]
    assert [entry[:3] for entry in changes] == [
        ("replace", "iris_img1_flat_20240101t000000_0.0.1.fits", flat.name),
        ("add", None, other.name),
    ]


def test_the_first_reference_of_a_type_makes_its_rules(derive, tmp_path):
    liger = {"INSTRUME": "Liger", "TELESCOP": "Keck"}
    made = derive(write_reference(tmp_path, "telluric", **liger), write_reference(tmp_path, "fibre", **liger))
    text = mapping_path(tmp_path / "work", "ligeriri_liger_telluric_0007.rmap").read_text()
    assert "'derived_from' : 'NONE'" in text
    assert "('0.0.1', 'IFS', 'LENSLET', 'Y', '0.014', 'K4000') : ClosestTime({" in text
    assert made["rmaps"]["ligeriri_liger_fibre_0000.rmap"] == "ligeriri_liger_fibre_0007.rmap"
    assert "'SKY' : 'N/A'" in mapping_path(tmp_path / "work", "ligeriri_liger_0007.imap").read_text()


@pytest.mark.parametrize("kind", sorted(set(ALL_TYPES) - set(TYPES) - {"rectmat", "wavesol"}))
def test_every_type_without_rules_can_be_the_first(derive, tmp_path, kind):
    made = derive(write_reference(tmp_path, kind, INSTRUME="Liger", TELESCOP="Keck", **{**SPECTRAL, "DETECTOR": "IFS"}))
    assert made["made"][0] == f"ligeriri_liger_{kind}_0007.rmap"


def test_what_crds_refuses_names_the_file(derive, tmp_path):
    path = write_reference(tmp_path, "dark", PEDIGREE="INFLIGHT 2024-99-24 2024-99-24")
    with pytest.raises(ReductionError, match=rf"CRDS refuses(.|\n)*{path.name}(.|\n)*PEDIGREE"):
        derive(path)


def test_headers_alone_can_be_inserted(derive, tmp_path):
    path = write_reference(tmp_path, "dark", PEDIGREE="INFLIGHT 2024-99-24 2024-99-24")
    assert derive(path, certify=False)["context"] == "ligeriri_0007.pmap"


@pytest.mark.parametrize(
    ("kind", "keywords", "message"),
    [
        ("dark", {"REFTYPE": "MASK"}, "REFTYPE 'MASK' is not delivered to a cache, which takes BIAS, DARK"),
        ("rectmat", {"GRATING": "ANY"}, "GRATING is 'ANY', but a rectmat reference is chosen by it"),
        ("dark", {"DATAQUAL": "BAD"}, "its maker marked it DATAQUAL = BAD"),
        ("dark", {"SUBARRAY": "CUSTOM"}, "SUBARRAY is 'CUSTOM', expected FULL"),
        ("dark", {"DATAMODL": "FlatModel"}, "is a FlatModel, not DarkModel"),
        ("distortion", {"PEDIGREE": "unknown"}, r"is not a valid DistortionModel:\n  keywords.PEDIGREE: 'unknown'"),
    ],
)
def test_what_no_rule_could_hold_is_refused(tmp_path, monkeypatch, kind, keywords, message):
    monkeypatch.setattr(product, "check", lambda *args, **options: None)
    path = write_reference(tmp_path, kind, **keywords)
    monkeypatch.undo()
    with pytest.raises(ReductionError, match=message) as caught:
        derivation.describe_references([path], ALL_TYPES)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("INSTRUME= 'IRIS    '", "INSTRUME= 5", "is named 5_img1_dark_"),
        ("INSTRUME= 'IRIS    '", "INSTRUME=", "INSTRUME is '', but a dark reference is chosen by it"),
        ("READMODE= 'DEFAULT '", "READMODE=", "READMODE is '', but a dark reference is chosen by it"),
        ("REFTYPE = 'DARK    '", "REFTYPE = 'DARK", r"REFTYPE .* is not delivered|cannot be read as FITS"),
        ("SIMPLE  =", "SIMPLY  =", "cannot be read as FITS"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, old, new, message):
    path = write_reference(tmp_path, "dark")
    content = path.read_bytes()
    assert content.count(old.encode()) == 1
    path.write_bytes(content.replace(old.encode(), new.ljust(len(old)).encode()))
    with pytest.raises(ReductionError, match=message):
        derivation.describe_references([path], ALL_TYPES)


def test_two_references_of_one_case_are_refused_with_both_named(tmp_path):
    one, two = write_reference(tmp_path, "dark"), write_reference(tmp_path, "dark", version="0.0.2")
    with pytest.raises(ReductionError) as caught:
        derivation.describe_references([two, one], ALL_TYPES)
    assert one.name in str(caught.value)
    assert two.name in str(caught.value)


def test_another_name_than_that_of_the_header_is_refused(tmp_path):
    path = write_reference(tmp_path, "dark")
    with pytest.raises(ReductionError, match=r"is named iris_img1_dark_<yyyymmdd>t<hhmmss>_<version>\.fits"):
        derivation.describe_references([path.rename(tmp_path / "IRIS_IMG1_DARK_20240924T000000_0.0.1.fits")], TYPES)


def test_a_copy_of_the_same_bytes_is_left_untouched(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    derivation.copy_file(tmp_path / "a", tmp_path / "b" / "c")
    before = (tmp_path / "b" / "c").stat()
    derivation.copy_file(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").stat() == before
    (tmp_path / "a").write_bytes(b"y" * 10)
    derivation.copy_file(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_bytes() == b"y" * 10


def test_a_vanished_reference_is_not_refused_by_crds(whole, tmp_path):
    """A delivery leaves out what CRDS refuses, and that is final: not what an unwritable disk or a lost file did."""
    dark = write_reference(tmp_path, "dark")
    described = derivation.describe_references([dark], ALL_TYPES)
    dark.unlink()
    with pytest.raises(OSError, match=r"No such file|does not exist"):
        derivation.derive_context("ligeriri_0001.pmap", whole, described, rename, tmp_path / "other")
