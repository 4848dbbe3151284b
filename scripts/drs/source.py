"""Where the files of a CRDS cache come from: a CRDS server, or a mirror folder. Both answer the same questions.

A server is asked as stock crds asks it: JSON-RPC by POST on URL/json/METHOD/ID/, files by GET.
"""

import html
import http.client
import itertools
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass

from drs.errors import ReductionError
from drs.holding import Holding
from drs.mapping import check_name, is_mapping
from drs.metadata import read_metadata

MAX_ANSWER_BYTES = 1 << 28
TRY_AGAIN = (408, 425, 429)  # and every status from 500 on
LONGEST_WAIT_S = 60.0
DAMAGED_TRIES = 2


class UnreachableError(ReductionError):
    """A source that did not answer, or not to the end; another try may help."""


class DamagedError(UnreachableError):
    """A source that sent other bytes than it had stated."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a source: silence in s, number of tries, and the wait after the first, which doubles."""

    timeout_s: float = 60.0
    tries: int = 5
    wait_s: float = 1.0

    def persist(self, action):
        """Return what `action()` returns, tried again while it raises UnreachableError."""
        damaged = 0
        for attempt in itertools.count(1):
            try:
                return action()
            except UnreachableError as error:
                damaged += isinstance(error, DamagedError)
                if attempt >= self.tries or damaged >= DAMAGED_TRIES:
                    raise
            time.sleep(min(self.wait_s * 2 ** (attempt - 1), LONGEST_WAIT_S))


class Mirror:
    """Another cache, only read, as the source."""

    patience = Patience(tries=2, wait_s=0.0)

    def __init__(self, folder):
        """Look at a cache on disk."""
        self._holding = Holding(folder)
        self.root, self.name = self._holding.root, str(folder)

    def read_config(self):
        """Return the server_config, its download_metadata as `read_metadata` returns them."""
        return self._holding.read_config()

    def list_mappings(self, context):
        """Return the names of all rule files of a context."""
        with self._reading():
            return self._holding.list_mappings(context)

    def describe(self, names):
        """Return name -> {"size", "sha1sum"} of the files that the mirror has."""
        with self._reading():
            return self._holding.describe([name for name in names if self._holding.find(name)])

    @contextmanager
    def _reading(self):
        """Refuse a mirror that cannot be read."""
        try:
            yield
        except OSError as error:
            raise ReductionError(f"mirror {self.name} cannot be read ({error}); ask its keeper") from error

    @contextmanager
    def open(self, name, start):
        """Open a file at a byte: yields a function that reads, and the byte at which it starts."""
        path = self._holding.find(name)
        if path is None:
            raise ReductionError(f"{name} is not in {self.name}")
        try:
            stream = path.open("rb")
        except OSError as error:
            raise UnreachableError(f"{path} cannot be read ({error.strerror})") from error
        with stream:
            stream.seek(start)
            yield lambda: _read(stream, path), start


class Server:
    """A CRDS server as the source.

    Parameters
    ----------
    url : str
        CRDS_SERVER_URL.
    patience : Patience, optional
    """

    def __init__(self, url, patience=None):
        """Refuse what is no address of a server; nothing is sent yet."""
        self.name = str(url).rstrip("/")
        if "serverless" in self.name:
            raise ReductionError(f"{self.name} stands for having no server; give --server URL or --mirror FOLDER")
        _check_url(self.name)
        self.patience = patience or Patience()
        self._config = None
        self._numbers = itertools.count(1)

    def read_config(self):
        """Return the server's description of itself, its download_metadata as `read_metadata` returns them."""
        if self._config is None:
            config = self._call("get_server_info")
            if not isinstance(config, dict) or config.get("observatory") != "ligeriri":
                found = config.get("observatory") if isinstance(config, dict) else config
                raise ReductionError(
                    f"{self.name} serves observatory {found!r}, expected 'ligeriri'; name another server"
                )
            stated = config.get("download_metadata") or self._call("get_file_info_map", "ligeriri", None, _FACTS)
            self._config = {**config, "download_metadata": read_metadata(stated)}
        return self._config

    def list_mappings(self, context):
        """Return the names of all rule files of a context, each safe."""
        names = self._call("get_mapping_names", context)
        if not isinstance(names, list) or not names:
            raise ReductionError(f"{self.name} knows no context {context}; name another")
        if others := [name for name in map(check_name, names) if not is_mapping(name)]:
            raise ReductionError(f"{self.name} counts {others[0]} among the rule files of {context}: no rule file")
        return sorted({*names, context})

    def describe(self, names):
        """Return name -> {"size", "sha1sum"} of the files that the server knows."""
        stated = self.read_config()["download_metadata"]
        if unknown := sorted(set(names) - set(stated)):
            stated = {**stated, **read_metadata(self._call("get_file_info_map", "ligeriri", unknown, _FACTS))}
        return {name: stated[name] for name in names if name in stated}

    @contextmanager
    def open(self, name, start):
        """Open a file at a byte: yields a function that reads, and the byte at which it starts (0 without Range)."""
        url = f"{self._find_folder(name)}/{urllib.parse.quote(check_name(name))}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._ask(urllib.request.Request(url, headers=headers)) as response:
            resumed = response.status == 206 and _starts_at(response.headers.get("Content-Range", ""), start)
            if response.status == 206 and not resumed:
                raise DamagedError(f"{url} sent another part than was asked for")
            yield lambda: _read(response, url), start if resumed else 0

    def _find_folder(self, name):
        """Return the URL of the folder in which the server offers a file."""
        key = "mapping_url" if is_mapping(name) else "reference_url"
        urls = self.read_config().get(key)
        urls = urls.get("unchecked", urls) if isinstance(urls, dict) else {}
        url = urls.get("ligeriri") if isinstance(urls, dict) else None
        if not isinstance(url, str):
            raise ReductionError(
                f"{self.name} states no {key} for ligeriri, so {name} cannot be fetched; ask its keeper"
            )
        return _check_url(url.rstrip("/"))

    def _call(self, method, *params):
        """Return the result of a remote procedure."""
        number = f"sync-{next(self._numbers):08x}"
        body = json.dumps({"jsonrpc": "1.0", "method": method, "params": params, "id": number}).encode()
        request = urllib.request.Request(f"{self.name}/json/{method}/{number}/", data=body)
        request.add_header("Content-Type", "application/json")
        try:
            answer = self.patience.persist(lambda: self._read_answer(request))
        except UnreachableError as error:
            raise UnreachableError(f"{error}; try again later, or name another --server or a --mirror") from error
        if error := answer.get("error"):
            text = error.get("message", "") if isinstance(error, dict) else error
            raise ReductionError(f"{self.name} refuses {method}: {html.unescape(str(text))[:500]}")
        return _plain(answer.get("result"))

    def _read_answer(self, request):
        """Return the JSON object that answers a request."""
        with self._ask(request) as response:
            blocks, size = [], 0
            while block := _read(response, request.full_url):
                blocks.append(block)
                size += len(block)
                if size > MAX_ANSWER_BYTES:
                    raise ReductionError(f"{request.full_url} sends more than {MAX_ANSWER_BYTES} bytes of JSON")
            try:
                answer = json.loads(b"".join(blocks), parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise UnreachableError(
                    f"{request.full_url} did not answer with JSON ({error}): is it a CRDS server?"
                ) from error
        if not isinstance(answer, dict):
            raise ReductionError(f"{request.full_url} answered with JSON that is no object: is it a CRDS server?")
        return answer

    @contextmanager
    def _ask(self, request):
        """Send a request: yields the response. What goes wrong with it is UnreachableError, or refused for good."""
        try:
            response = urllib.request.urlopen(request, timeout=self.patience.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            kind = UnreachableError if error.code in TRY_AGAIN or error.code >= 500 else ReductionError
            raise kind(f"{request.full_url} answers {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(f"{request.full_url} does not answer ({_explain(error)})") from error
        with response:
            yield response


_FACTS = ["size", "sha1sum"]


def _read(stream, name):
    """Return the next bytes of a file or response, b'' at its end."""
    try:
        return stream.read1(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"{name} was cut ({_explain(error)})") from error


def _explain(error):
    """Return why a connection failed, in words."""
    reason = getattr(error, "reason", error)
    return str(reason) or type(reason).__name__


def _starts_at(content_range, start):
    """Say whether a Content-Range begins at a byte."""
    return content_range.replace(" ", "").startswith(f"bytes{start}-")


def _check_url(url):
    """Return an address of the web; refuse every other, such as file:."""
    if not url.startswith(("http://", "https://")) or any(character <= " " for character in url):
        raise ReductionError(f"{url[:200]!r} is no address of a server, expected http:// or https://")
    return url


def _plain(result):
    """Return a result, unpacked when it is in the packed form of crds."""
    return read_metadata(result) if isinstance(result, dict) and "crds_payload" in result else result


def _refuse_constant(text):
    """Refuse NaN and Infinity, which no Python literal can hold."""
    raise ValueError(f"{text} is no JSON")
