"""The simulated CRDS cache: valid products, equal to the truth but for the old dark and flat."""

import hashlib
from functools import partial

import numpy as np
import pytest
from reference_cache import ALL_TYPES, RULED

from drs import product
from drs.dq import Flag
from drs.references import load_types, read_server_config, reference_path
from drs.simulation.detector import make_detector
from drs.simulation.night import load_facts
from drs.simulation.references import TYPES, write_cache
from drs.simulation.streams import make_stream

FACTS = load_facts()[0]
SHAPE = (26, 38)
KEY = ("Liger", "IMG")


@pytest.fixture(scope="module")
def detector():
    physics = {**FACTS["instruments"]["Liger"]["detector"], "border_pix": 4, "n_channel": 2}
    return make_detector(SHAPE, physics, stream=partial(make_stream, 1, "references"))


@pytest.fixture(scope="module")
def cache(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("night") / "crds_cache"
    headers = {KEY: {"TELESCOP": "Keck", "INSTERA": "0.0.1", "INSTMODE": "IMG"}}
    stream = partial(make_stream, 1)
    write_cache(folder, {KEY: detector}, {KEY: {"H", "OPAQUE"}}, headers, FACTS["old_references"], stream=stream)
    return folder


def read(cache, kind):
    (path,) = reference_path(cache, "Liger", "x").parent.glob(f"liger_img_{kind}_*.fits")
    return product.read(path, models=load_types(TYPES)[kind]["model"])


def test_one_valid_file_per_type_and_only_the_filters_asked_for(cache):
    for kind in RULED:
        entry, reference = ALL_TYPES[kind], read(cache, kind)
        assert reference.keywords["REFTYPE"] == entry["filekind"]
        assert reference.keywords["PEDIGREE"] == "SIMULATION"
        assert ("FILTER" in reference.keywords) == (kind == "flat")
        assert reference.keywords["SUBARRAY"] == ("GENERIC" if kind == "dq" else "FULL")
        assert reference.arrays["DQ"].shape == SHAPE
    assert read(cache, "flat").keywords["FILTER"] == "H"


def test_maps_equal_the_truth(cache, detector):
    expected = {
        "bias": detector.bias_dn,
        "gain": detector.gain_e_per_dn,
        "readnoise": detector.read_noise_e,
        "saturation": detector.threshold_dn,
    }
    for kind, values in expected.items():
        assert np.array_equal(read(cache, kind).arrays["SCI"], values)
    assert np.array_equal(read(cache, "nonlin").arrays["COEFFS"], detector.coeffs)
    assert np.array_equal(read(cache, "dq").arrays["DQ"], detector.dq)


def test_dark_and_flat_are_old_by_known_amounts(cache, detector):
    assert np.allclose(read(cache, "dark").arrays["SCI"], 1.05 * detector.dark_e_per_s, rtol=1e-6)
    flat = read(cache, "flat")
    ratio = flat.arrays["SCI"] / detector.flat
    assert np.median(flat.arrays["SCI"]) == pytest.approx(1.0, abs=0.01)
    assert ratio.std() == pytest.approx(0.01, rel=0.1)
    dead = (detector.dq & np.uint32(Flag.DEAD)) != 0
    assert dead.any()
    assert np.array_equal((flat.arrays["DQ"] & np.uint32(Flag.NO_FLAT_FIELD)) != 0, dead)


def test_server_config_knows_size_and_checksum_of_every_file(cache):
    config = read_server_config(cache)
    assert config["operational_context"] == "ligeriri_0001.pmap"
    files = sorted((cache / "references").rglob("*.fits"))
    assert sorted(config["download_metadata"]) == [path.name for path in files]
    for path in files:
        sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
        assert config["download_metadata"][path.name] == {"size": path.stat().st_size, "sha1sum": sha1}


def test_the_rules_name_the_flat_of_the_cache(cache):
    rmap = (cache / "mappings" / "ligeriri" / "ligeriri_liger_flat_0001.rmap").read_text()
    for path in (cache / "references" / "ligeriri" / "liger").glob("*_flat_*.fits"):
        assert path.name in rmap
