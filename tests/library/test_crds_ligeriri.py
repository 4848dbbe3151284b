import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from astropy.io import fits
from reference_cache import (
    ALL_TYPES,
    REPO,
    RULED_IRIS,
    RULED_LIGER,
    RULES,
    TYPES,
    list_bytes,
    make_cache,
    make_reference,
    read_rows,
    write_reference,
)

import crds_ligeriri
from drs import product
from drs.references import read_server_config, reference_path

MAPPINGS = sorted((RULES / "mappings" / "ligeriri").glob("*.?map"))
STARTING = sorted((REPO / "scripts" / "crds_ligeriri" / "ligeriri" / "specs").glob("*.rmap"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


def run_crds(program, *arguments, cache, cwd=None):
    """Run a program of crds as the command lcrds does; return the process."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environ |= {"CRDS_PATH": str(cache), "CRDS_READONLY_CACHE": "1", "CRDS_EXPLICIT_GARBAGE_COLLECTION": "False"}
    command = [sys.executable, REPO / "scripts" / "lcrds.py", program, *map(str, arguments)]
    return subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, check=False)


def test_register_serves_the_observatory_once():
    with crds_ligeriri.session(RULES) as crds:
        from crds.core import constants, utils

        crds_ligeriri.register()
        crds_ligeriri.register()
        assert constants.ALL_OBSERVATORIES.count("ligeriri") == 1
        assert len([path for path in crds.__path__ if path.endswith("crds_ligeriri")]) == 1
        assert utils.instrument_to_observatory("iris") == "ligeriri"


def test_a_session_restores_the_environment_when_it_fails(monkeypatch):
    monkeypatch.setenv("CRDS_PATH", "/nowhere")
    before = dict(os.environ)
    with pytest.raises(KeyError) as caught, crds_ligeriri.session(RULES):
        raise KeyError(os.environ["CRDS_PATH"])
    assert caught.value.args == (str(RULES),)
    assert dict(os.environ) == before


def test_rule_files_and_starting_rmaps_have_valid_checksums():
    assert len(MAPPINGS) == 1 + 2 + 2 * len(TYPES) + len(RULED_IRIS) + len(RULED_LIGER)
    assert len(STARTING) == 2 * len(ALL_TYPES)
    done = run_crds("checksum", "--verify", *MAPPINGS, *STARTING, cache=RULES)
    assert done.returncode == 0, done.stderr


def test_a_changed_rule_file_fails_its_checksum(tmp_path):
    path = tmp_path / "ligeriri_iris_dark_0001.rmap"
    path.write_text((MAPPINGS[0].parent / path.name).read_text().replace("DEFAULT", "FAST"))
    assert run_crds("checksum", "--verify", path, cache=RULES).returncode == 1


def test_the_context_is_certified_with_its_references(cache):
    done = run_crds(
        "certify", "--deep", "crds://ligeriri_0001.pmap", "--comparison-context", "ligeriri_0001.pmap", cache=cache
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("conforms to FITS standards") == len(read_rows())


def test_the_csv_agrees_with_the_mappings():
    with crds_ligeriri.session(RULES) as crds:
        context = crds.get_cached_mapping("ligeriri_0001.pmap")
        names = context.mapping_names()
        references = context.reference_names()
    assert sorted(names) == [path.name for path in MAPPINGS]
    assert read_server_config(RULES)["mappings"] == [path.name for path in MAPPINGS]
    assert sorted(references) == sorted(row["file"] for row in read_rows())
    for row in read_rows():
        date = re.sub("[-:]", "", row["useafter"]).lower()
        name = f"{row['instrument'].lower()}_{row['detector'].lower()}_{row['type']}_{date}_0.0.1.fits"
        assert row["file"] == name


def test_the_rules_agree_with_the_types():
    with crds_ligeriri.session(RULES) as crds:
        from crds.ligeriri.locate import PARKEYS, filekind_to_keyword

        for instrument in ("iris", "liger"):
            imap = crds.get_cached_mapping("ligeriri_0001.pmap").get_imap(instrument)
            assert set(imap.selections) == {facts["filekind"].lower() for facts in ALL_TYPES.values()}
            assert {filekind_to_keyword(facts["filekind"]) for facts in ALL_TYPES.values()} == {
                facts["keyword"] for facts in ALL_TYPES.values()
            }
            for kind, facts in TYPES.items():
                rmap = imap.get_rmap(facts["filekind"].lower())
                assert rmap.basename == f"ligeriri_{instrument}_{kind}_0001.rmap"
                assert rmap.header["classes"] == ("Match", facts["selector"])
                assert rmap.parkey == (tuple(PARKEYS[key] for key in facts["match"]), ("META.DATE",))
                assert filekind_to_keyword(facts["filekind"]) == facts["keyword"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ligeriri_0001.pmap", ("", "")),
        ("ligeriri_iris_0001.imap", ("iris", "")),
        ("ligeriri_liger_nonlin_0001.rmap", ("liger", "nonlincoeff")),
        ("iris_img1_nonlin_20240101t000000_0.0.1.fits", ("iris", "nonlincoeff")),
        ("IRIS_IMG1_FLAT_20240924T000000_0.0.1.fits", ("iris", "flat")),
        ("iris_img1_flat_ks_clear_20240924t000000_0.0.1.fits", ("iris", "flat")),
    ],
)
def test_names_tell_instrument_and_type(name, expected):
    with crds_ligeriri.session(RULES):
        from crds.ligeriri import locate

        assert locate.get_file_properties(name) == expected


def test_other_names_are_told_by_the_header(tmp_path):
    path = tmp_path / "any.fits"
    product.write(path, make_reference("gain", INSTRUME="Liger", DETECTOR="IMG", TELESCOP="Keck"))
    with crds_ligeriri.session(RULES):
        from crds.ligeriri import locate

        assert locate.get_file_properties(str(path)) == ("liger", "gain")
        with pytest.raises(ValueError, match="is not one of ligeriri"):
            locate.get_file_properties("ligeriri_iris_0001.imap".replace("iris_", "nirc_"))


def test_stock_programs_work_on_the_cache(cache, tmp_path):
    name = "iris_img1_dark_20240101t000000_0.0.1.fits"
    done = run_crds("matches", "--files", name, "--contexts", "ligeriri_0001.pmap", cache=cache)
    assert "'IMG1'" in done.stdout
    exposure = tmp_path / "exposure.fits"
    header = fits.Header({"INSTRUME": "IRIS", "DETECTOR": "IMG1", "INSTERA": "0.0.1", "READMODE": "DEFAULT"})
    header.update({"SUBARRAY": "FULL", "FILTER": "Ks", "PUPIL": "CLEAR", "EXPDTST": "2024-09-24T10:00:00"})
    fits.PrimaryHDU(header=header).writeto(exposure)
    options = ("--new-context", "ligeriri_0001.pmap", "--types", "dark", "flat", "--print-affected-details")
    done = run_crds("bestrefs", "--files", exposure, *options, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "iris_img1_flat_20240101t040000_0.0.1.fits" in done.stderr.lower()
    assert run_crds("nonsense", cache=cache).returncode == 1


PROGRAMS = """
import contextlib, io, json, logging, sys
import crds_ligeriri
answers = []
for arguments in json.loads(sys.argv[1]):
    crds_ligeriri.register()
    from crds.core import log
    log.reset()
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    logging.getLogger("CRDS").addHandler(handler)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            crds_ligeriri.run(arguments)
            status = 0
        except SystemExit as end:
            status = end.code or 0
    logging.getLogger("CRDS").removeHandler(handler)
    answers.append([status, output.getvalue()])
print(json.dumps(answers))
"""


def test_each_program_of_lcrds_on_an_ingest(cache, tmp_path):
    """All of them in one process: what an operator gives by hand, and what scripts/deliver_references.py does."""
    copied = shutil.copytree(cache, tmp_path / "crds")
    rules = copied / "mappings" / "ligeriri"
    path = write_reference(tmp_path, "flat", FILTER="K")
    exposure = tmp_path / "exposure.fits"
    header = fits.Header({"INSTRUME": "IRIS", "DETECTOR": "IMG1", "INSTERA": "0.0.1", "READMODE": "DEFAULT"})
    header.update({"SUBARRAY": "FULL", "FILTER": "K", "PUPIL": "CLEAR", "EXPDTST": "2024-09-24T10:00:00"})
    fits.PrimaryHDU(header=header).writeto(exposure)
    old, new, name = "ligeriri_0001.pmap", "ligeriri_0002.pmap", "ligeriri_iris_flat_0002.rmap"
    insert = ["insert_reference", "--old-rmap", rules / "ligeriri_iris_flat_0001.rmap", "--new-rmap", rules / name]
    dark = "iris_img1_dark_20240101t000000_0.0.1.fits"
    asked = [
        ("certify", ["-z", path, "--comparison-context", old], 0, "conforms to FITS standards"),
        ("refactor2", [*insert, "--references", path], 0, "Inserting"),
        ("newcontext", [old, name], 0, "ligeriri_iris_0002.imap"),
        ("checksum", ["--verify", rules / "ligeriri_iris_flat_0001.rmap"], 0, "Verifying"),
        ("diff", [f"crds://{old}", f"crds://{new}", "--print-affected-types"], 1, "iris       flat"),
        ("matches", ["--files", dark, "--contexts", old], 0, "'IMG1'"),
        ("uses", ["--files", dark], 0, "ligeriri_iris_dark_0001.rmap"),
        ("list", ["--mappings", "--contexts", old], 0, "ligeriri_liger_0001.imap"),
        ("bestrefs", ["--files", exposure, "--new-context", new, "--types", "flat", "--print-affected"], 0, path.name),
        ("sync", ["--contexts", old, "--fetch-references"], -1, "Required server connection unavailable"),
    ]
    arguments = [[program, *map(str, rest)] for program, rest, _, _ in asked]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environ |= {"CRDS_PATH": str(copied), "PYTHONPATH": str(REPO / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS, json.dumps(arguments)],
        env=environ, cwd=rules, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    for (program, _, status, text), (found, output) in zip(asked, answers, strict=True):
        assert (program, found, text in output) == (program, status, True), output


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"DETECTOR": "IMG"}, "IMG"),
        ({"TELESCOP": "Keck"}, None),
        ({"PEDIGREE": "INFLIGHT yesterday today"}, "PEDIGREE"),
        ({"USEAFTER": "2024-99-24T00:00:00"}, "USEAFTER"),
        ({"REFTYPE": "FLAT"}, "REFTYPE"),
        ({"AUTHOR": None}, "AUTHOR"),
    ],
)
def test_certify_looks_at_the_keywords(tmp_path, keywords, message):
    path = write_reference(tmp_path, "dark")
    with fits.open(path, mode="update") as hdus:
        for keyword, value in keywords.items():
            if value is None:
                del hdus[0].header[keyword]
            else:
                hdus[0].header[keyword] = value
        for hdu in hdus:
            hdu.add_checksum()
    done = run_crds("certify", "-z", path, "--comparison-context", "ligeriri_0001.pmap", cache=RULES)
    assert (done.returncode > 0) == (message is not None), done.stderr
    assert not message or message in done.stderr


def test_certify_looks_at_the_arrays(tmp_path):
    path = write_reference(tmp_path, "dark")
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data = hdus["SCI"].data.astype("i2")
        del hdus["ERR"]
        for hdu in hdus:
            hdu.add_checksum()
    done = run_crds("certify", "-z", path, "--comparison-context", "ligeriri_0001.pmap", cache=RULES)
    assert done.returncode == 3
    assert "is not a valid DarkModel" in done.stderr
    assert "has_type(SCI_ARRAY" in done.stderr
    assert "Missing required array 'ERR'" in done.stderr


def test_the_tests_leave_the_rules_alone(cache):
    assert not (RULES / "references").exists()
    assert reference_path(cache, "IRIS", read_rows()[0]["file"]).is_file()
    assert {name for name in list_bytes(RULES) if name.endswith("map")} == {
        f"mappings/ligeriri/{path.name}" for path in MAPPINGS
    }


def test_lcrds_overrides_what_a_process_that_imported_crds_hands_on(monkeypatch):
    monkeypatch.setenv("CRDS_OBSERVATORY", "None")
    monkeypatch.setenv("CRDS_SERVER_URL", "None")
    monkeypatch.setattr(crds_ligeriri.runpy, "run_module", lambda *arguments, **options: None)
    monkeypatch.setattr(sys, "argv", [])
    crds_ligeriri.run(["list"])
    assert os.environ["CRDS_OBSERVATORY"] == "ligeriri"
