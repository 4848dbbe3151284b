import ast

import pytest
from published_cache import DARK, FLAT, write_cache, write_pointer
from reference_cache import REPO, TYPES, list_bytes, make_request, write_reference

from crds_ligeriri import session
from drs.bestrefs import resolve
from drs.delivery import deliver
from drs.errors import ReductionError
from drs.instruments import read_instruments
from drs.intake import import_cache, read_pointer
from drs.references import find_context, mapping_path, reference_path

INSTRUMENTS = read_instruments(REPO / "config" / "instruments")
PMAP = "ligeriri_0001.pmap"
REPAIRS = [
    ("ligeriri_0001.pmap", "does not say what it is derived from; set to NONE"),
    ("ligeriri_iris_0001.imap", "MASK leads to ligeriri_iris_mask_0001.rmap, whose IRIS_DQ.fits the cache does not"),
    ("ligeriri_liger_0001.imap", "DARK leads to ligeriri_liger_dark_0001.rmap, which does not exist; set to N/A"),
    ("ligeriri_iris_dark_0001.rmap", "calls itself ligeriri_dark_0001.rmap; named ligeriri_iris_dark_0001.rmap"),
    (
        "ligeriri_iris_dark_0001.rmap",
        "has SUBARRAY CUSTOM and FULL as cases of the same references; joined to CUSTOM|FULL",
    ),
    ("ligeriri_iris_dark_0001.rmap", "serves INSTERA 0.0.0; IRIS has 0.0.1; left so; to serve 0.0.1: --rename"),
    ("ligeriri_iris_mask_0001.rmap", "is of type MASK; called DQ, its name now"),
    ("ligeriri_iris_flat_0001.rmap", "its sha1sum 0000 is stale; written as "),
    ("server_config", "edit_context, operational_context names other_0001.pmap, which does not exist; set to " + PMAP),
    ("server_config", "its list of mappings is not that of the files; listed anew"),
    ("server_config", "its servers are of other; left out"),
    (FLAT, f"the rules call it {FLAT.upper()}; copied under the name of the rules"),
]


@pytest.fixture
def source(tmp_path):
    return write_cache(tmp_path / "source")


def ask(cache, *needs, **keys):
    """Return the references of an IMG1 exposure of 2024B, in the cache's own context."""
    defaults = {"INSTRUME": "IRIS", "DETECTOR": "IMG1", "INSTERA": "0.0.0", "READMODE": "DEFAULT", "SUBARRAY": "FULL"}
    keys = {**defaults, "FILTER": "Y", "PUPIL": "CLEAR", "EXPDTST": "2024-10-01T08:00:00", **keys}
    exposures = {"x": {"needs": needs, "keys": keys}}
    return resolve(exposures, find_context(cache, None, {}), TYPES, cache, verify=False)["x"]["references"]


def test_each_repair_is_one_line_and_the_source_stays(source, tmp_path):
    before = list_bytes(source)
    done = import_cache(source, tmp_path / "cache", INSTRUMENTS)
    lines = [(line.file, f"{line.found}; {line.done}") for line in done.lines]
    for file, start in REPAIRS:
        assert [text for name, text in lines if name == file and text.startswith(start)], (file, start, lines)
    assert list_bytes(source) == before
    assert [(name, pointer["size"]) for name, pointer, _ in done.missing] == [(DARK, len(b"the dark itself"))]


def test_crds_loads_the_result_with_its_checksums(source, tmp_path):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    with session(tmp_path / "cache") as crds:
        context = crds.core.rmap.load_mapping(PMAP)
        assert context.reference_names() == sorted([DARK, FLAT.upper()])
    config = ast.literal_eval((tmp_path / "cache" / "config" / "ligeriri" / "server_config").read_text())
    assert config["operational_context"] == config["edit_context"] == PMAP
    assert config["mappings"] == sorted(path.name for path in mapping_path(tmp_path / "cache", "").iterdir())
    assert config["last_synced"] == "2018-12-17 17:48:16"


@pytest.mark.parametrize("keys", [{}, {"SUBARRAY": "CUSTOM"}, {"EXPDTST": "2031-01-01T00:00:00"}])
def test_the_dark_of_a_2024b_frame_is_that_of_the_team(source, tmp_path, keys):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    references = ask(tmp_path / "cache", "dark", "flat", "dq", **keys)
    assert references["dark"]["file"] == DARK
    assert references["flat"]["file"] == FLAT.upper()
    assert references["dq"]["status"] == "n/a"
    assert reference_path(tmp_path / "cache", "IRIS", FLAT.upper()).is_file()
    assert not reference_path(tmp_path / "cache", "IRIS", DARK).exists()


def test_liger_is_not_applicable_where_its_rules_are_missing(source, tmp_path):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    references = ask(tmp_path / "cache", "dark", INSTRUME="Liger", DETECTOR="IMG")
    assert references["dark"]["status"] == "n/a"


def test_a_second_run_does_nothing(source, tmp_path):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    done = import_cache(source, tmp_path / "cache", INSTRUMENTS)
    assert done.written == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before


def test_a_run_that_was_killed_is_completed(source, tmp_path):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    before = list_bytes(tmp_path / "cache")
    for path in (mapping_path(tmp_path / "cache", PMAP), tmp_path / "cache" / "config" / "ligeriri" / "server_config"):
        path.unlink()
    assert len(import_cache(source, tmp_path / "cache", INSTRUMENTS).written) == 2
    assert list_bytes(tmp_path / "cache") == before


def test_an_older_cache_of_another_observatory_is_taken_in(tmp_path):
    source = write_cache(tmp_path / "source", obs="tmt", detector="IRIS1")
    done = import_cache(source, tmp_path / "cache", INSTRUMENTS, {"IRIS1": "IMG1"})
    told = [f"{line.file}: {line.found}" for line in done.lines]
    assert "tmt_iris_flat_0001.rmap: is of observatory TMT" in told
    assert any(text.startswith("tmt_iris_flat_0001.rmap: matches the date by META.OBSERVATION.DATE") for text in told)
    assert ask(tmp_path / "cache", "dark")["dark"]["file"] == DARK


def test_good_rules_are_copied_as_they_are(source, tmp_path):
    import_cache(source, tmp_path / "first", INSTRUMENTS)
    write_pointer(reference_path(tmp_path / "first", "IRIS", DARK), b"the dark itself")
    done = import_cache(tmp_path / "first", tmp_path / "second", INSTRUMENTS)
    assert {line.found[:16] for line in done.lines} == {"serves INSTERA 0"}
    for path in mapping_path(tmp_path / "first", "").glob("*.?map"):
        assert mapping_path(tmp_path / "second", path.name).read_bytes() == path.read_bytes()


def test_rules_that_only_have_a_stale_checksum_get_a_new_one(source, tmp_path):
    import_cache(source, tmp_path / "first", INSTRUMENTS, {"0.0.0": "0.0.1"})
    write_pointer(reference_path(tmp_path / "first", "IRIS", DARK), b"the dark itself")
    path = mapping_path(tmp_path / "first", "ligeriri_iris_flat_0001.rmap")
    path.write_text(path.read_text().replace("2024-09-24", "2024-09-20"))
    done = import_cache(tmp_path / "first", tmp_path / "second", INSTRUMENTS)
    assert [(line.file, line.found[-8:]) for line in done.lines] == [(path.name, "is stale")]
    with session(tmp_path / "second") as crds:
        assert "2024-09-20" in crds.core.rmap.load_mapping(path.name).format()


def test_a_new_dark_can_be_delivered_to_the_result(source, tmp_path):
    cache = tmp_path / "cache"
    import_cache(source, cache, INSTRUMENTS)
    dark = write_reference(tmp_path, "dark", INSTERA="0.0.0", USEAFTER="2025-01-01T00:00:00")
    context = find_context(cache, None, {})
    made = deliver([dark], context, "detector", TYPES, cache, tmp_path / "overlay")
    keys = {"INSTRUME": "IRIS", "DETECTOR": "IMG1", "INSTERA": "0.0.0", "READMODE": "DEFAULT", "SUBARRAY": "CUSTOM"}
    for date, expected in (("2024-10-01T08:00:00", DARK), ("2025-01-02T08:00:00", dark.name)):
        exposures = {"x": {"needs": ["dark"], "keys": {**keys, "EXPDTST": date}}}
        manifest = resolve(exposures, made, TYPES, cache, tmp_path / "overlay", verify=False)["x"]
        assert manifest["references"]["dark"]["file"] == expected


def test_a_file_put_in_place_of_a_pointer_is_compared_with_it(source, tmp_path):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    target = reference_path(tmp_path / "cache", "IRIS", DARK)
    target.write_bytes(b"another dark")
    (_, _, why) = import_cache(source, tmp_path / "cache", INSTRUMENTS).missing[0]
    assert why == f"{target} is another file"
    target.write_bytes(b"the dark itself")
    assert import_cache(source, tmp_path / "cache", INSTRUMENTS).missing == []


def test_other_files_of_the_output_are_not_overwritten(source, tmp_path):
    target = mapping_path(tmp_path / "cache", PMAP)
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    before = list_bytes(tmp_path / "cache")
    with pytest.raises(ReductionError, match="is there with other content: import into a new folder"):
        import_cache(source, tmp_path / "cache", INSTRUMENTS)
    assert list_bytes(tmp_path / "cache") == before


def test_a_cache_without_configuration_and_references_is_taken_in(source, tmp_path):
    for path in (*source.rglob("server_config"), *source.rglob("ref_cache_subdir_mode"), *source.rglob("*.fits")):
        path.unlink()
    done = import_cache(source, tmp_path / "cache", INSTRUMENTS)
    assert ("server_config", "is missing", "written") in done.lines
    assert any(line.file == "ref_cache_subdir_mode" for line in done.lines)
    assert ask(tmp_path / "cache", "dq")["dq"]["file"] == "IRIS_DQ.fits"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rules: (rules / PMAP).unlink(), "has no mappings/<observatory>/\\*.pmap"),
        (lambda rules: (rules / PMAP).write_text("import os"), "ligeriri_0001.pmap is no rule file of CRDS"),
        (lambda rules: (rules / PMAP).write_bytes(b"\xff"), "cannot be read as text"),
        (lambda rules: (rules / PMAP).rename(rules / "newest.pmap"), "none of the .pmap files is named"),
        (lambda rules: (rules / PMAP).write_text("header = {'name': 'x'}\nselector = {}"), "CRDS refuses it"),
        (
            lambda rules: (rules / "ligeriri_iris_dark_0001.rmap").write_text(BAD_KIND),
            "cannot be used by CRDS|refuses it",
        ),
    ],
)
def test_what_cannot_be_mended_is_refused(source, tmp_path, spoil, message):
    spoil(mapping_path(source, ""))
    with pytest.raises(ReductionError, match=message):
        import_cache(source, tmp_path / "cache", INSTRUMENTS)
    assert not (tmp_path / "cache").exists()


BAD_KIND = """header = {'classes': ('Match', 'Magic'), 'derived_from': 'NONE', 'filekind': 'DARK', 'instrument': 'IRIS',
    'mapping': 'REFERENCE', 'name': 'x', 'observatory': 'LIGERIRI', 'sha1sum': '',
    'parkey': (('META.INSTRUMENT.DETECTOR',), ('META.DATE',))}
selector = Match({'IMG1': Magic({'2024-01-01 00:00:00': 'IRIS_IMG1_DARK_20240924T000000_0.0.1.fits'})})
"""


def test_a_reference_that_is_edited_in_place_after_the_import_is_refused(source, tmp_path):
    import_cache(source, tmp_path / "cache", INSTRUMENTS)
    path = reference_path(tmp_path / "cache", "IRIS", FLAT.upper())
    exposures = {"x": make_request("flat", INSTERA="0.0.0")}
    context = find_context(tmp_path / "cache", None, {})
    assert resolve(exposures, context, TYPES, tmp_path / "cache")["x"]["status"] == "resolved"
    path.write_bytes(path.read_bytes() + bytes(2880))
    assert "is damaged: size" in resolve(exposures, context, TYPES, tmp_path / "cache")["x"]["reason"]


@pytest.mark.parametrize("instrument", ["../../../../elsewhere", "iris/..", "", 7])
def test_no_rule_leads_out_of_the_cache(source, tmp_path, instrument):
    rules = mapping_path(source, "ligeriri_iris_dark_0001.rmap")
    text = rules.read_text().replace("'instrument' : 'IRIS'", f"'instrument' : {instrument!r}")
    rules.with_name("ligeriri_iris_other_0001.rmap").write_text(text.replace(DARK, FLAT))
    with pytest.raises(ReductionError, match=r"ligeriri_iris_other_0001.rmap.*(instrument|refuses)"):
        import_cache(source, tmp_path / "cache", INSTRUMENTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_output_that_cannot_be_written_is_told(source, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ReductionError, match=r"cache cannot be written \(.*\); name a cache that you may write"):
        import_cache(source, tmp_path / "cache", INSTRUMENTS)


def test_two_observatories_are_refused(source, tmp_path):
    for obs in ("tmt", "jwst"):
        write_cache(tmp_path / "two", obs=obs)
    with pytest.raises(ReductionError, match="has rules of jwst, tmt, expected rules of one observatory"):
        import_cache(tmp_path / "two", tmp_path / "cache", INSTRUMENTS)


def test_pointers_are_told_from_files(tmp_path):
    write_pointer(tmp_path / "pointer", b"12345")
    assert read_pointer(tmp_path / "pointer")["size"] == 5
    (tmp_path / "file").write_bytes(b"SIMPLE  =" + b" " * 5000)
    assert read_pointer(tmp_path / "file") is None
