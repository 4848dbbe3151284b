"""A small CRDS server for one cache folder, only read: the remote procedures that stock crds calls, and the files.

Files are found by their name alone; what is no name of a file of the cache is not found, whatever it holds. There
is no listing of folders, and nothing is written but one line of log per request.
"""

import html
import http.server
import json
import logging
import re
import socket
import socketserver
import sys
import urllib.parse

from drs.errors import ReductionError
from drs.holding import Holding
from drs.mapping import check_name, is_mapping

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 1 << 22
SILENCE_S = 60
BLOCK_BYTES = 1 << 20
KINDS = {"/mappings/ligeriri": True, "/references/ligeriri": False}
HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def make_server(cache, host="127.0.0.1", port=8000, url=None):
    """Return a server, bound and ready for `serve_forever()`; its address is `server.url`.

    Parameters
    ----------
    cache : path-like
        Root of the cache; every file of it without checksum in its server_config is hashed now.
    host : str, optional
        Address to listen on; the default is reachable from this machine only.
    port : int, optional
        0 takes a free one.
    url : str, optional
        Address under which clients reach this server, behind a proxy; default the one that each client used.
    """
    holding = Holding(cache, follow_links=False)
    holding.describe(holding.list_names())
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return CacheServer(holding, family, (host, port), url)
    except OSError as error:
        raise ReductionError(
            f"cannot listen on {host}:{port} ({error.strerror}); give another --host or --port"
        ) from error


def read_range(text, size):
    """Return the first and last byte that a Range header asks for; all `size` for what is not understood."""
    match = RANGE.fullmatch(text.strip())
    first, last = match.groups() if match else ("", "")
    if first:
        return int(first), min(int(last), size - 1) if last else size - 1
    return (max(size - int(last), 0), size - 1) if last else (0, size - 1)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ligeriri", ""
    timeout = SILENCE_S

    def do_GET(self):
        """Send a file, or the part of it that is asked for."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read, and is no next request
        try:
            name, path = self._find()
            stream = path.open("rb")
        except (ReductionError, OSError, ValueError):
            self._refuse(404, "no such file")
            return
        with stream:
            size = stream.seek(0, 2)
            first, last = read_range(self.headers.get("Range", ""), size)
            if first > last and size:
                self._refuse(416, "no such bytes", {"Content-Range": f"bytes */{size}"})
                return
            partial = last - first + 1 < size
            headers = {"Content-Range": f"bytes {first}-{last}/{size}"} if partial else {}
            headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
            self._begin(206 if partial else 200, last - first + 1, headers)
            if self.command == "GET":
                self._send_bytes(stream, first, last - first + 1, name)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        """Answer a remote procedure call."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._refuse(413, f"a call has 1 to {MAX_REQUEST_BYTES} bytes")
            return
        body = self.rfile.read(int(length))
        try:
            call = json.loads(body)
            method, params, number = call["method"], call["params"], call.get("id")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._refuse(400, "no JSON-RPC call")
            return
        answer = {"result": None, "error": None, "id": number}
        try:
            answer["result"] = self._call(method, params)
        except (ReductionError, OSError, TypeError, ValueError) as error:
            answer["error"] = {"message": html.escape(f"{method}: {error}")}
        text = json.dumps(answer).encode()
        self._begin(200, len(text), {"Content-Type": "application/json"})
        self.wfile.write(text)

    def log_request(self, code="-", size="-"):
        """Write one line per request."""
        logger.info("%s %r %s", self.client_address[0], self.requestline, int(code) if code != "-" else code)

    def log_message(self, format, *args):
        """Write what else http.server has to say, such as a time-out."""
        logger.info("%s %r", self.client_address[0], format % args)

    def _call(self, method, params):
        """Return the result of a procedure."""
        procedures = {
            "get_server_info": self._describe_server,
            "get_mapping_names": self.server.holding.list_mappings,
            "get_file_info_map": self._describe_files,
        }
        if method not in procedures or not isinstance(params, list):
            raise ReductionError(f"this server has {', '.join(procedures)} with a list of parameters, nothing else")
        return procedures[method](*params)

    def _describe_server(self):
        """Return the server_config of the cache with the addresses of its files and their sizes and checksums."""
        holding, base = self.server.holding, self._find_base()
        names = holding.list_names()
        return {
            **holding.read_config(),
            "server": base,
            "mapping_url": {"ligeriri": f"{base}/mappings/ligeriri"},
            "reference_url": {"ligeriri": f"{base}/references/ligeriri"},
            "mappings": [name for name in names if is_mapping(name)],
            "download_metadata": holding.describe(names),
        }

    def _describe_files(self, observatory, names=None, fields=None):
        """Return name -> facts of files, of all when none are named, in the words of a CRDS server."""
        holding = self.server.holding
        if observatory != "ligeriri":
            raise ReductionError(f"observatory {observatory!r} is not served, ligeriri is")
        rejected = set(holding.read_config().get("bad_files_list") or [])
        held = set(holding.list_names())
        facts = holding.describe(sorted(held if names is None else held & set(names)))
        answer = dict.fromkeys([] if names is None else names, "NOT FOUND")
        for name, entry in facts.items():
            bad = str(name in rejected).lower()
            entry = {**entry, "size": str(entry["size"]), "rejected": bad, "blacklisted": bad, "state": "operational"}
            answer[name] = {key: entry[key] for key in fields or entry if key in entry}
        return answer

    def _find_base(self):
        """Return the address under which the client knows this server."""
        host = self.headers.get("Host", "")
        asked = f"http://{host}" if HOST.fullmatch(host) else self.server.url
        return (self.server.public_url or asked).rstrip("/")

    def _find(self):
        """Return name and path of the file that is asked for."""
        folder, _, name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).rpartition("/")
        if KINDS.get(folder) is not is_mapping(check_name(name)):
            raise ReductionError("no such folder")
        path = self.server.holding.find(name)
        if path is None:
            raise ReductionError("no such file")
        return name, path

    def _begin(self, status, length, headers):
        """Send the status and the headers."""
        self.send_response(status)
        for keyword, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(keyword, value)
        self.end_headers()

    def _refuse(self, status, text, headers=None):
        """Send a status with a line of text."""
        line = f"{text}\n".encode()
        self._begin(status, len(line), {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(line)

    def _send_bytes(self, stream, first, count, name):
        """Send `count` bytes of a file from byte `first` on."""
        stream.seek(first)
        while count and (block := stream.read(min(count, BLOCK_BYTES))):
            self.wfile.write(block)
            count -= len(block)
        if count:
            logger.warning("%s became shorter while it was sent", name)
            self.close_connection = True


class CacheServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """An HTTP server whose requests share one Holding, one thread each."""

    handler = Handler
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, holding, family, address, url):
        """Bind to an address."""
        self.holding, self.public_url, self.address_family = holding, url, family
        super().__init__(address, self.handler)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{host}:{self.server_port}"

    def server_bind(self):
        """Bind without asking a name server for our own name, which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        """Log one line: most often the client has gone away."""
        logger.warning("%s: %r", client_address[0], sys.exception())
