import base64
import gzip
import json
import urllib.parse
import urllib.request

import pytest
from faults import FaultyServer, serving
from reference_cache import make_cache

from drs import source
from drs.errors import ReductionError
from drs.references import mapping_path, reference_path
from drs.source import DamagedError, Mirror, Patience, Server, UnreachableError

DARK = "iris_img1_dark_20240101t000000_0.0.1.fits"
IMPATIENT = Patience(timeout_s=0.3, tries=2, wait_s=0.01)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("served") / "crds")


@pytest.fixture
def faulty(cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with serving(FaultyServer(cache)) as running:
        yield running


def read_all(opened):
    with opened as (read, start):
        blocks = []
        while block := read():
            blocks.append(block)
        return b"".join(blocks), start


def test_server_and_mirror_give_the_same_answers(cache, faulty):
    ours = [Mirror(cache), Server(f"{faulty.url}/", IMPATIENT)]
    names = [DARK, "ligeriri_0001.pmap", "iris_none.fits"]
    assert ours[0].describe(names) == ours[1].describe(names)
    assert sorted(ours[0].describe(names)) == names[:2]
    assert ours[0].list_mappings("ligeriri_0001.pmap") == ours[1].list_mappings("ligeriri_0001.pmap")
    content = reference_path(cache, "iris", DARK).read_bytes()
    for one in ours:
        assert read_all(one.open(DARK, 0)) == (content, 0)
        assert read_all(one.open(DARK, 100)) == (content[100:], 100)
        assert read_all(one.open("ligeriri_0001.pmap", 0))[0] == mapping_path(cache, "ligeriri_0001.pmap").read_bytes()
        with pytest.raises(ReductionError, match=r"404|is not in"), one.open("iris_none.fits", 0):
            pass


def test_a_server_without_range_begins_at_the_beginning(cache, faulty):
    faulty.faults = {DARK: ["no range"]}
    content = reference_path(cache, "iris", DARK).read_bytes()
    assert read_all(Server(faulty.url, IMPATIENT).open(DARK, 100)) == (content, 0)


def test_packed_answers_and_old_forms_of_addresses_are_understood(faulty):
    def pack(info):
        packed = base64.b64encode(gzip.compress(json.dumps(info["download_metadata"]).encode())).decode()
        urls = {"unchecked": info["mapping_url"], "checked": {}}
        return {**info, "download_metadata": {"crds_encoded": "1.0", "crds_payload": packed}, "mapping_url": urls}

    plain = Server(faulty.url, IMPATIENT).describe([DARK])
    faulty.changes = {"get_server_info": pack}
    packed = Server(faulty.url, IMPATIENT)
    assert packed.describe([DARK]) == plain
    assert read_all(packed.open("ligeriri_0001.pmap", 0))[0]


def test_errors_of_a_procedure_are_told(faulty):
    with pytest.raises(ReductionError, match="refuses get_mapping_names: get_mapping_names: 'x<>' is no name"):
        Server(faulty.url, IMPATIENT).list_mappings("x<>")


def test_a_server_of_other_things_is_told(faulty, tmp_path):
    faulty.changes = {"get_server_info": lambda info: {**info, "x": float("nan")}}
    with pytest.raises(UnreachableError, match=r"NaN is no JSON.: is it a CRDS server"):
        Server(faulty.url, IMPATIENT).read_config()
    with pytest.raises(ReductionError, match="answers 404"):
        Server(f"{faulty.url}/references/ligeriri", IMPATIENT)._read_answer(
            urllib.request.Request(f"{faulty.url}/references/ligeriri/none.fits")
        )


def test_an_endless_answer_is_ended(faulty, monkeypatch):
    monkeypatch.setattr(source, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(ReductionError, match="sends more than 100 bytes"):
        Server(faulty.url, IMPATIENT).read_config()


@pytest.mark.parametrize("url", ["localhost", "file:///etc", "ftp://localhost", "http://a b", "", "http://a\nb"])
def test_addresses_that_are_refused(url):
    with pytest.raises(ReductionError, match="is no address of a server"):
        Server(url)


def test_patience(monkeypatch):
    waits, tries = [], []
    monkeypatch.setattr(source.time, "sleep", waits.append)

    def fail(error):
        def action():
            tries.append(error)
            raise error("x")

        return action

    for error, count in [(UnreachableError, 9), (DamagedError, 2), (ReductionError, 1)]:
        tries.clear()
        waits.clear()
        with pytest.raises(error):
            Patience(tries=9, wait_s=1.0).persist(fail(error))
        assert len(tries) == count
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0][: count - 1]
    assert Patience().persist(lambda: 3) == 3


def test_a_mirror_that_cannot_be_read_is_told(cache, monkeypatch):
    mirror = Mirror(cache)

    def fail(*_):
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr("drs.holding.sha1", fail)
    with pytest.raises(ReductionError, match=r"mirror .* cannot be read \(.*Permission denied"):
        mirror.describe([DARK])
