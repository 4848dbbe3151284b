"""Real rules and headers: HST context hst_0729, three WFC3/IR exposures, and what the archive recorded for them."""

import json
import shutil
from pathlib import Path

import pytest

from drs.bestrefs import resolve
from drs.headers import read_keywords
from drs.references import sha1

REPO = Path(__file__).resolve().parents[2]
REALDATA = REPO.parent / "shared" / "realdata"
RULES = REALDATA / "crds_wfc3ir_bestrefs"
pytestmark = pytest.mark.skipif(not RULES.is_dir(), reason=f"no real data in {REALDATA}")
CONTEXT = "hst_0729.pmap"
LATER = {"IMPHTTAB", "PFLTFILE"}  # delivered after this context
EXPECTED = json.loads((RULES / "expected_bestrefs.json").read_text()) if RULES.is_dir() else {}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Return a cache with the rules of HST, where ours would be as well."""
    root = tmp_path_factory.mktemp("cache")
    for observatory in ("hst", "ligeriri"):
        shutil.copytree(RULES / "mappings" / "hst", root / "mappings" / observatory)
    for observatory in ("hst", "ligeriri"):
        config = shutil.copytree(REPO / "config" / "crds" / "config" / "ligeriri", root / "config" / observatory)
        text = (config / "server_config").read_text()
        (config / "server_config").write_text(
            text.replace("'observatory': 'ligeriri'", f"'observatory': '{observatory}'")
        )
    return root


@pytest.fixture(scope="module")
def context(cache):
    return {"context": CONTEXT, "sha1": sha1(cache / "mappings" / "hst" / CONTEXT)}


TYPES = {
    kind.lower(): {"filekind": kind, "keyword": kind, "model": "", "match": []}
    for kind in EXPECTED.get("iccz11q4q", {}).get("archive_header_hst_0855", {})
}


def read_request(name):
    """Return what CRDS is asked for an exposure: its whole header."""
    keys = read_keywords(REALDATA / "hst_wfc3ir_ima" / f"{name}_ima.fits")
    return {"needs": list(TYPES), "keys": keys | {"EXPDTST": f"{keys['DATE-OBS']}T{keys['TIME-OBS']}"}}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_manifest_agrees_with_the_archive(cache, context, name):
    manifest = resolve({name: read_request(name)}, context, TYPES, cache, verify=False)[name]
    assert manifest["status"] == "resolved"
    answers = {
        kind.upper(): entry["file"] if entry["status"] == "found" else "N/A"
        for kind, entry in manifest["references"].items()
    }
    archive = EXPECTED[name]["archive_header_hst_0855"]
    assert len(answers) == 19
    assert {kind for kind in answers if answers[kind] != archive[kind]} == LATER
    stock = EXPECTED[name]["crds_python_hst_0729"]
    assert answers == {kind: "N/A" if file.startswith("NOT FOUND n/a") else file for kind, file in stock.items()}
