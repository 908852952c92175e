"""A real Git server for the demo and the tests: `git http-backend` behind a small threaded HTTP
server, with TLS and a password on request.

Use it as a context manager, or `python3 -m tests.servers.gitserver ROOT --port P`, which takes a
password from a file that holds `USER:PASSWORD` in one line. It is not made for the open internet.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import os
import shutil
import ssl
import subprocess
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class GitServer:
    """Serves every bare repository below `root`. `tls`: paths of certificate and key; `auth`: user
    and password.
    """

    def __init__(
        self,
        root: Path,
        *,
        tls: tuple[Path, Path] | None = None,
        auth: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.root = root
        self.auth = auth
        self.protocol_2 = True  # False: like a server before Git 2.18
        self._scheme = "https" if tls else "http"
        self._server = _Server((host, port), _Handler)
        self._server.owner = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._host, self.port = host, self._server.server_address[1]
        self._thread: threading.Thread | None = None

    def url(self, name: str) -> str:
        return f"{self.base}{name}.git"

    @property
    def base(self) -> str:
        return f"{self._scheme}://{self._host}:{self.port}/"

    def create(self, name: str) -> Path:
        """An empty bare repository that takes pushes; its branch is main."""
        path = self.root / f"{name}.git"
        subprocess.run(
            [_git(), "init", "--quiet", "--bare", "--initial-branch=main", path],
            check=True,
            env=_env(),
        )
        for key, value in (
            ("http.receivepack", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("gc.auto", "0"),
        ):
            subprocess.run([_git(), "-C", path, "config", key, value], check=True, env=_env())
        return path

    def start(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def serve_forever(self) -> None:
        self._server.serve_forever(0.2)

    def __enter__(self) -> GitServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: GitServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away; a demo's terminal need not hear of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        body = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._answer(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(found)

    def _answer(self, body: bytes) -> None:
        if not self._allowed():
            self._send(
                401,
                {"WWW-Authenticate": 'Basic realm="git"', "Content-Type": "text/plain"},
                b"a password is needed\n",
            )
            return
        asked = urlsplit(self.path)
        env = _env() | {
            "GIT_PROJECT_ROOT": str(self.server.owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": asked.path,
            "QUERY_STRING": asked.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_USER": "demo",
        }
        protocol = self.headers.get("Git-Protocol")
        if protocol and self.server.owner.protocol_2:
            env["GIT_PROTOCOL"] = protocol
        done = subprocess.run(
            [_git(), "http-backend"], input=body, env=env, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(
            line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line
        )
        status = int(headers.pop("Status", "200 OK").split()[0])
        self._send(status, headers, content)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _allowed(self) -> bool:
        if not self.server.owner.auth:
            return True
        wanted = base64.b64encode(":".join(self.server.owner.auth).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"


@cache
def _git() -> str:
    found = shutil.which("git")
    if not found:
        raise SystemExit("git is not on this machine; install it")
    return found


def _env() -> dict[str, str]:
    """Nobody's own configuration."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="serve the bare Git repositories below a folder over HTTP"
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--auth-file", type=Path, metavar="FILE", help="ask for the USER:PASSWORD that stands in it"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM; with --tls-key: https")
    parser.add_argument("--tls-key", type=Path, metavar="FILE")
    parser.add_argument(
        "--create",
        action="append",
        default=[],
        metavar="NAME",
        help="make the empty repository NAME first",
    )
    said = parser.parse_args()
    if bool(said.tls_cert) != bool(said.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    user, _, password = (
        said.auth_file.read_text().strip().partition(":") if said.auth_file else ("", "", "")
    )
    server = GitServer(
        said.root,
        tls=(said.tls_cert, said.tls_key) if said.tls_cert else None,
        auth=(user, password) if said.auth_file else None,
        host=said.host,
        port=said.port,
    )
    for name in said.create:
        if not (said.root / f"{name}.git").exists():
            server.create(name)
    print(server.base, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
