"""A CRDS server of a cache that misbehaves as it is told, for the tests of filling and of the server."""

import threading
import time
from contextlib import contextmanager

from drs.holding import Holding
from drs.server import CacheServer, Handler


class FaultyHandler(Handler):
    """Handler whose answer for a file is a fault while the server has one for its name; other answers are right."""

    def do_GET(self):  # noqa: N802
        name = self.path.rpartition("/")[2]
        self.server.asked.append((name, self.headers.get("Range")))
        faults = self.server.faults.get(name) or self.server.faults.get("*") or []
        fault = faults.pop(0) if faults else "none"
        if isinstance(fault, int):
            self._refuse(fault, "told so")
        elif fault == "no range":
            del self.headers["Range"]
            super().do_GET()
        elif fault in ("none", "slow"):
            self.slow = fault == "slow"
            super().do_GET()
        else:
            self.close_connection = True
            self.misbehave(fault, self.server.holding.find(name).read_bytes())

    def misbehave(self, fault, body):
        half = body[: len(body) // 2]
        if fault == "drop":
            return
        if fault == "silent":
            self.server.released.wait(30)
            return
        sent = {
            "wrong": bytes(255 - byte for byte in body),
            "dropped body": half,
            "hang": half,
            "short": half,
            "page": b"<html>please log in</html>",
            "long": body + b"more",
            "header": b"",
        }[fault]
        stated = len(body) if fault in ("dropped body", "hang") else len(sent)
        self._begin(200, stated, {})
        self.wfile.write(sent)
        self.wfile.flush()
        if fault == "hang":
            self.server.released.wait(30)

    def _send_bytes(self, stream, first, count, name):
        half = count // 2 if getattr(self, "slow", False) else 0
        super()._send_bytes(stream, first, half, name)
        if half:
            self.wfile.flush()
            time.sleep(0.004)
        super()._send_bytes(stream, first + half, count - half, name)

    def _call(self, method, params):
        self.server.asked.append((method, params))
        change = self.server.changes.get(method, lambda result: result)
        return change(super()._call(method, params))

    def log_message(self, format, *args):
        """Say nothing."""


class FaultyServer(CacheServer):
    """Server with `faults`: file name or '*' -> list, one for each request; `changes`: procedure -> function."""

    handler = FaultyHandler

    def __init__(self, cache):
        super().__init__(Holding(cache, follow_links=False), 2, ("127.0.0.1", 0), None)
        self.faults, self.changes, self.asked = {}, {}, []
        self.released = threading.Event()
        self.url = f"http://localhost:{self.server_port}"

    def handle_error(self, request, client_address):
        """Say nothing: clients go away on purpose."""


@contextmanager
def serving(server):
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        getattr(server, "released", threading.Event()).set()
        server.shutdown()
        thread.join()
        server.server_close()
