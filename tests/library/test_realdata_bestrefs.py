"""Selection of real references: three HST WFC3/IR exposures, and what the archive of HST chose for them."""

import json
import shutil
from pathlib import Path

import pytest
from astropy.io import fits
from reference_cache import RULES as OUR_RULES

from drs.bestrefs import resolve
from drs.references import mapping_path, read_server_config, sha1

REALDATA = Path(__file__).resolve().parents[2].parent / "shared" / "realdata"
RULES = REALDATA / "crds_wfc3ir_bestrefs"
IMAGES = REALDATA / "hst_wfc3ir_ima"
pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason=f"no real data in {REALDATA}")

CONTEXT = "hst_0729.pmap"
LATER = {"IMPHTTAB", "PFLTFILE"}  # delivered after this context (README of the data)


@pytest.fixture(scope="module")
def expected():
    return json.loads((RULES / "expected_bestrefs.json").read_text())


@pytest.fixture(scope="module")
def manifests(expected, tmp_path_factory):
    """Return exposure -> manifest, of all three in one batch."""
    cache = tmp_path_factory.mktemp("hst")
    shutil.copytree(RULES / "mappings", cache / "mappings")
    config = cache / "config" / "hst" / "server_config"
    config.parent.mkdir(parents=True)
    config.write_text(repr({**read_server_config(OUR_RULES), "observatory": "hst", "operational_context": CONTEXT}))
    kinds = sorted(next(iter(expected.values()))["archive_header_hst_0855"])
    types = {kind.lower(): {"filekind": kind, "keyword": kind, "match": []} for kind in kinds}
    requests = {}
    for name in expected:
        header = fits.getheader(IMAGES / f"{name}_ima.fits")
        keys = {card.keyword: card.value for card in header.cards if card.keyword not in ("", "COMMENT", "HISTORY")}
        keys["EXPDTST"] = f"{keys['DATE-OBS']}T{keys['TIME-OBS']}"
        requests[name] = {"needs": list(types), "keys": keys}
    context = {"context": CONTEXT, "sha1": sha1(mapping_path(cache, CONTEXT))}
    return resolve(requests, context, types, cache, verify=False)


def read_answers(manifest):
    """Return type -> file, or N/A, of a manifest."""
    na = {"n/a": "N/A"}
    return {kind.upper(): na.get(entry["status"], entry["file"]) for kind, entry in manifest["references"].items()}


@pytest.mark.parametrize("name", ["iccz11q4q", "ibxy07p9q", "ibxy01z8q"])
def test_manifests_agree_with_the_archive(manifests, expected, name):
    assert manifests[name]["status"] == "resolved", manifests[name]["reason"]
    answers, archive = read_answers(manifests[name]), expected[name]["archive_header_hst_0855"]
    assert len(answers) == len(archive) == 19
    assert {kind for kind in archive if answers[kind] != archive[kind]} == LATER
    reference = expected[name]["crds_python_hst_0729"]
    assert answers == {kind: "N/A" if file == "NOT FOUND n/a" else file for kind, file in reference.items()}
