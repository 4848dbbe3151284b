import contextlib
import http.client
import json
import socket

import pytest
from faults import serving
from hypothesis import given
from hypothesis import strategies as st
from reference_cache import N_MAPPING, list_bytes, make_cache

from drs.errors import ReductionError
from drs.references import mapping_path, reference_path, sha1
from drs.server import MAX_REQUEST_BYTES, make_server, read_range

DARK = "iris_img1_dark_20240101t000000_0.0.1.fits"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = make_cache(tmp_path_factory.mktemp("served") / "crds")
    (root.parent / "secret.fits").write_text("secret")
    (root / "secret.fits").write_text("secret")
    reference_path(root, "iris", "iris_link.fits").symlink_to(root.parent / "secret.fits")
    reference_path(root, "iris", ".hidden.fits").write_text("secret")
    return root


@pytest.fixture(scope="module")
def server(cache):
    with serving(make_server(cache, port=0)) as running:
        yield running


@pytest.fixture
def ask(server):
    """Return a function that sends one request as it stands: (status, headers, body)."""

    def call(method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for keyword, value in headers.items():
            connection.putheader(keyword.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = response.status, response.headers, response.read()
        connection.close()
        return answer

    return call


def call(ask, method, *params):
    body = json.dumps({"jsonrpc": "1.0", "method": method, "params": params, "id": "7"}).encode()
    status, headers, answer = ask("POST", f"/json/{method}/7/", body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    answer = json.loads(answer)
    assert answer["id"] == "7"
    return answer


def test_files_whole_and_in_parts(ask, cache, caplog):
    caplog.set_level("INFO")
    content = reference_path(cache, "iris", DARK).read_bytes()
    url, size = f"/references/ligeriri/{DARK}", len(content)
    status, headers, body = ask("GET", url)
    assert (status, body, headers["Accept-Ranges"]) == (200, content, "bytes")
    assert caplog.text.count(f"'GET {url} HTTP/1.1' 200") == 1
    status, headers, body = ask("HEAD", url)
    assert (status, body, headers["Content-Length"]) == (200, b"", str(size))
    for text, first, last in [
        ("0-9", 0, 9),
        ("100-", 100, size - 1),
        ("-7", size - 7, size - 1),
        ("5-999999999", 5, size - 1),
    ]:
        status, headers, body = ask("GET", url, Range=f"bytes={text}")
        assert (status, body) == (206, content[first : last + 1])
        assert headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    for text in ("bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b"):
        assert ask("GET", url, Range=text)[::2] == (200, content)
    status, headers, _ = ask("GET", url, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    name = "ligeriri_0001.pmap"
    assert ask("GET", f"/mappings/ligeriri/{name}")[2] == mapping_path(cache, name).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/references/ligeriri/",
        "/references/ligeriri/iris",
        "/mappings/ligeriri",
        "/secret.fits",
        "/references/ligeriri/secret.fits",
        "/references/ligeriri/../../secret.fits",
        "/references/ligeriri/../../../secret.fits",
        "/references/ligeriri/%2e%2e%2f%2e%2e%2fsecret.fits",
        "/references/ligeriri/..%5c..%5csecret.fits",
        "/references/ligeriri//etc/passwd",
        "/references/ligeriri/iris_link.fits",
        "/references/ligeriri/.hidden.fits",
        "/references/ligeriri/ligeriri_0001.pmap",
        "/mappings/ligeriri/" + DARK,
        "/config/ligeriri/server_config",
        "/references/ligeriri/x%00.fits",
        "/references/ligeriri/" + "x" * 3000,
        "*",
    ],
)
def test_nothing_else_is_found(path, ask):
    for method in ("GET", "HEAD"):
        status, _, body = ask(method, path)
        assert status == 404
        assert b"secret" not in body


def test_procedures_of_stock_crds(ask, cache, server):
    info = call(ask, "get_server_info")["result"]
    url = f"http://127.0.0.1:{server.server_port}"
    assert info["mapping_url"] == {"ligeriri": f"{url}/mappings/ligeriri"}
    assert info["reference_url"] == {"ligeriri": f"{url}/references/ligeriri"}
    assert info["operational_context"] == "ligeriri_0001.pmap"
    facts = {
        "size": reference_path(cache, "iris", DARK).stat().st_size,
        "sha1sum": sha1(reference_path(cache, "iris", DARK)),
    }
    assert info["download_metadata"][DARK] == facts
    assert not {"iris_link.fits", ".hidden.fits"} & set(info["download_metadata"])
    assert len(call(ask, "get_mapping_names", "ligeriri_0001.pmap")["result"]) == N_MAPPING
    answer = call(ask, "get_file_info_map", "ligeriri", [DARK, "none"], ["size", "sha1sum", "rejected", "state"])[
        "result"
    ]
    assert answer["none"] == "NOT FOUND"
    assert answer[DARK] == {
        "size": str(facts["size"]),
        "sha1sum": facts["sha1sum"],
        "rejected": "false",
        "state": "operational",
    }
    everything = call(ask, "get_file_info_map", "ligeriri", None, ["sha1sum"])["result"]
    assert everything[DARK] == {"sha1sum": facts["sha1sum"]}


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("get_dataset_ids", ["ligeriri_0001.pmap", "iris"], "this server has get_server_info"),
        ("__class__", [], "this server has"),
        ("get_mapping_names", [], "missing 1 required positional argument"),
        ("get_mapping_names", ["../x"], "is no name of a file of CRDS"),
        ("get_mapping_names", [{}], "is no name of a file of CRDS"),
        ("get_mapping_names", [DARK], "is no context such as"),
        ("get_mapping_names", ["ligeriri_0009.pmap"], "is not in"),
        ("get_file_info_map", ["hst"], "observatory &#x27;hst&#x27; is not served"),
        ("get_file_info_map", ["ligeriri", [[]]], "unhashable"),
        ("get_file_info_map", ["ligeriri", 5], "not iterable"),
    ],
)
def test_procedures_refuse_in_words(method, params, told, ask):
    answer = call(ask, method, *params)
    assert answer["result"] is None
    assert told in answer["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"null", b'{"method": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_call_is_refused(body, ask):
    assert ask("POST", "/json/x/1/", body)[0] == 400


def test_other_methods_and_long_calls_are_refused(ask):
    assert ask("PUT", f"/references/ligeriri/{DARK}")[0] == 501
    assert ask("DELETE", f"/references/ligeriri/{DARK}")[0] == 501
    for length in (str(MAX_REQUEST_BYTES + 1), "-1", "x", "9" * 30):
        assert ask("POST", "/json/x/1/", Content_Length=length)[0] == 413


def test_noise_and_clients_that_go_away_do_no_harm(ask, server, cache):
    before = list_bytes(cache)
    for text in (
        b"\0\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        f"GET /references/ligeriri/{DARK}".encode(),
    ):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(text)
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"GET http://[/x HTTP/1.1\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")
    assert ask("GET", f"/references/ligeriri/{DARK}")[0] == 200
    assert list_bytes(cache) == before


def test_a_body_where_none_belongs_is_no_next_request(server):
    for header in ("Content-Length: 40", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
            text = f"GET /none HTTP/1.1\r\n{header}\r\n\r\nGET /references/ligeriri/{DARK} HTTP/1.1\r\n\r\n"
            connection.sendall(text.encode())
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while block := connection.recv(4096):
                    answer += block
        assert answer.count(b"HTTP/1.1 ") == 1


def test_an_address_that_clients_use(cache):
    with serving(make_server(cache, port=0, url="https://crds.example.org/")) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        connection.request("POST", "/json/get_server_info/1/", json.dumps({"method": "get_server_info", "params": []}))
        info = json.loads(connection.getresponse().read())["result"]
        connection.close()
    assert info["reference_url"] == {"ligeriri": "https://crds.example.org/references/ligeriri"}


def test_a_port_that_is_taken_is_told(cache, server):
    with pytest.raises(ReductionError, match=r"cannot listen on 127.0.0.1:.* give another --host or --port"):
        make_server(cache, port=server.server_port)
    with pytest.raises(ReductionError, match=r"cannot listen on none.invalid:0"):
        make_server(cache, "none.invalid", 0)


def test_a_folder_that_is_no_cache_is_told(tmp_path):
    with pytest.raises(ReductionError, match="is not a CRDS cache"):
        make_server(tmp_path, port=0)


@given(st.text() | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}"), st.integers(0, 10**12))
def test_a_range_is_within_the_file_or_empty(text, size):
    first, last = read_range(text, size)
    assert first >= 0
    assert last < max(size, 1)
