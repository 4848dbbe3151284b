import json
import shutil

import pytest
from astropy.io import fits
from reference_cache import REPO, TYPES, make_cache

from crds_ligeriri import session
from drs.errors import ReductionError
from drs.instruments import read_instruments
from drs.lookup import choose_references, get_reference_file, read_source
from drs.references import reference_path

INSTRUMENTS = read_instruments(REPO / "config" / "instruments")
KEYWORDS = {"INSTRUME": "IRIS", "DETECTOR": "IMG1", "FILTER": "Y", "EXPDTST": "2024-09-24T10:00:00"}
DARK = "iris_img1_dark_20240101t000000_0.0.1.fits"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


def get(source, kind, cache, context=None):
    return get_reference_file(source, kind, TYPES, INSTRUMENTS, cache, context)


@pytest.mark.parametrize("form", ["keywords", "fits", "fits.gz", "json"])
def test_every_form_of_a_header_gets_the_same_reference(cache, tmp_path, form):
    source = tmp_path / f"exposure.{form}"
    if form == "keywords":
        source = KEYWORDS
    elif form == "json":
        source.write_text(json.dumps(KEYWORDS))
    else:
        fits.PrimaryHDU(header=fits.Header(KEYWORDS)).writeto(source)
    assert get(source, "dark", cache) == reference_path(cache, "IRIS", DARK)


@pytest.mark.parametrize(
    "header",
    [
        {"INSTERA": "0.0.1", "READMODE": "DEFAULT", "SUBARRAY": "FULL", "PUPIL": "CLEAR"},  # what the defaults say
        {"DATE-OBS": "2024-09-24", "TIME-OBS": "10:00:00", "EXPDTST": ""},
        {"EXPMJDST": 60577.4, "EXPDTST": ""},
        {"SUBARRAY": "CUSTOM"},
        {"DATALVL": 2, "IMTYPE": "SCI"},
    ],
)
def test_headers_of_any_level_say_what_is_matched(cache, header):
    assert get({**KEYWORDS, **header}, "dark", cache).name == DARK


def test_an_older_name_of_a_detector_is_understood(cache):
    keywords = {"INSTRUME": "IRIS", "DETECTOR": "IFU", "EXPDTST": "2024-09-24T10:00:00"}
    assert get(keywords, "dark", cache).name.startswith("iris_ifs_dark_")


def test_types_in_their_order_and_by_the_names_of_crds(cache):
    choices = choose_references(KEYWORDS, ["NONLINCOEFF", "dark", "Flat"], TYPES, INSTRUMENTS, cache)
    assert [choice.kind for choice in choices] == ["nonlin", "dark", "flat"]
    assert [choice.status for choice in choices] == ["found"] * 3
    assert get({**KEYWORDS, "FILTER": "Y"}, "flat", cache).name.startswith("iris_img1_flat_2024")


def test_not_applicable_is_an_answer(cache, tmp_path):
    shutil.copytree(cache, tmp_path / "cache")
    imap = tmp_path / "cache" / "mappings" / "ligeriri" / "ligeriri_iris_0001.imap"
    text = imap.read_text().replace("'ligeriri_iris_dark_0001.rmap'", "'N/A'")
    imap.write_text(text)
    with session(tmp_path / "cache") as crds:
        loaded = crds.core.rmap.load_mapping(imap.name, ignore_checksum=True)
        loaded.write(str(imap))
    assert get(KEYWORDS, "dark", tmp_path / "cache") == "N/A"


def test_a_chosen_file_that_is_not_there_is_named(cache, tmp_path):
    shutil.copytree(cache, tmp_path / "cache")
    path = reference_path(tmp_path / "cache", "IRIS", DARK)
    path.unlink()
    (choice,) = choose_references(KEYWORDS, ["dark"], TYPES, INSTRUMENTS, tmp_path / "cache")
    assert (choice.path, choice.status) == (path, "not found")
    with pytest.raises(ReductionError, match=f"no dark reference: the chosen file {DARK} is missing in iris; fill"):
        get(KEYWORDS, "dark", tmp_path / "cache")


@pytest.mark.parametrize(
    ("header", "kind", "context", "message"),
    [
        ({"FILTER": "K"}, "flat", None, "no flat reference: CRDS ligeriri_0001.pmap says"),
        ({"FILTER": "N/A"}, "flat", None, "FILTER is 'N/A', which would match every rule"),
        ({}, "magic", None, "no type of reference is called 'magic'; known are dq, bias"),
        ({}, "dark", "ligeriri_0009.pmap", "CRDS context 'ligeriri_0009.pmap' .from config. is not in"),
        ({"EXPDTST": ""}, "dark", None, "no start time"),
        ({"INSTRUME": "NIRC2"}, "dark", None, "INSTRUME 'NIRC2' has no file in config/instruments"),
        ({"DETECTOR": "IMG9"}, "dark", None, "IRIS has no detector 'IMG9'"),
    ],
)
def test_what_has_no_answer_is_explained(cache, header, kind, context, message):
    with pytest.raises(ReductionError, match=message):
        get({**KEYWORDS, **header}, kind, cache, context)


def test_a_header_without_its_detector_is_refused(cache):
    with pytest.raises(ReductionError, match="keyword DETECTOR is missing: CRDS chooses by it"):
        get({"INSTRUME": "IRIS"}, "dark", cache)


def test_a_file_that_is_no_fits_is_named(tmp_path):
    (tmp_path / "x.fits").write_text("no FITS")
    with pytest.raises(ReductionError, match=r"x\.fits: not a FITS file"):
        read_source(tmp_path / "x.fits")


def test_keywords_that_are_no_plain_values_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"INSTRUME": "IRIS", "DETECTOR": ["IMG1"]}')
    with pytest.raises(ReductionError, match=r"x\.json: DETECTOR is no plain value"):
        read_source(tmp_path / "x.json")
