"""Stands between helm and a real API server, counts helm's requests, and lets something happen at
one of them; or says to whoever asks that it is too busy.

Rule: it changes nothing that passes but the login: plain HTTP on loopback in front, over which
client-go sends no token.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_HOP = {"authorization", "connection", "transfer-encoding", "keep-alive", "content-length", "host"}


@dataclass(frozen=True)
class Request:
    """`number` counts helm's requests from 1 since the last `arm`."""

    number: int
    method: str
    path: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.number}: {self.method} {self.path.partition('?')[0]}"


class Trap:
    """`when`: at which request; `then`: what happens; `after`: once the API server has answered,
    and before helm hears of it.
    """

    def __init__(
        self, when: Callable[[Request], bool], then: Callable[[], None], *, after: bool
    ) -> None:
        self.when, self.then, self.after = when, then, after
        self.sprung: Request | None = None

    def meet(self, request: Request, *, after: bool) -> bool:
        """Whether it happened now."""
        if self.sprung is not None or after is not self.after or not self.when(request):
            return False
        self.sprung = request
        self.then()
        return True


class ApiProxy:
    """`kubeconfig` is what goes through here."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        upstream = urlsplit(cluster["server"])
        self.upstream = (upstream.hostname or "", upstream.port or 443)
        self.tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self.login = f"Bearer {config['users'][0]['user']['token']}"
        self.seen: list[Request] = []
        self.trap: Trap | None = None
        self.busy: Callable[[], bool] | None = None
        self.asked = self.refused = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        config["clusters"][0]["cluster"] = {
            "server": f"http://127.0.0.1:{self._server.server_port}"
        }
        self.kubeconfig = folder / "proxied-kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> ApiProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def arm(self, trap: Trap | None = None) -> None:
        """Count from here; with `trap`, at most once."""
        with self.lock:
            self.seen, self.trap = [], trap

    def note(self, method: str, path: str, body: bytes) -> Request:
        with self.lock:
            request = Request(len(self.seen) + 1, method, path, body)
            self.seen.append(request)
            return request


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever was killed in the middle of a request is why we are here."""


def _handler(proxy: ApiProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        upstream: http.client.HTTPSConnection | None = None

        def finish(self) -> None:
            if self.upstream is not None:
                self.upstream.close()
            with contextlib.suppress(OSError):
                super().finish()

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            proxy.asked += 1
            if proxy.busy is not None and proxy.busy():
                proxy.refused += 1
                self._refuse()
                return
            request, trap = None, None
            if "helm" in self.headers.get("user-agent", "").lower():
                request, trap = proxy.note(self.command, self.path, body), proxy.trap
            if request and trap and trap.meet(request, after=False):
                self.close_connection = True
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP} | {
                "Authorization": proxy.login
            }
            if self.upstream is None:
                self.upstream = http.client.HTTPSConnection(
                    *proxy.upstream, timeout=300, context=proxy.tls
                )
            self.upstream.request(self.command, self.path, body or None, headers)
            answer = self.upstream.getresponse()
            if request and trap and trap.meet(request, after=True):
                answer.read()
                self.close_connection = True
                return
            self._answer(answer)

        def _refuse(self) -> None:
            """As priority and fairness do it."""
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": 429,
                "reason": "TooManyRequests",
            }
            data = json.dumps(
                status | {"message": "too many requests, please try again later"}
            ).encode()
            self.send_response(429)
            for key, value in (
                ("retry-after", "1"),
                ("content-type", "application/json"),
                ("content-length", str(len(data))),
            ):
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(answer.status, answer.reason)
            for key, value in answer.getheaders():
                if key.lower() not in _HOP:
                    self.send_header(key, value)
            if answer.length is not None:
                data = answer.read()
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while data := answer.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler
