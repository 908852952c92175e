"""A chart repository for the demo and the tests: the index and the tarballs of a folder, and the
same charts as an OCI registry.

`GET /index.yaml`, `GET /NAME-VERSION.tgz`, and `/v2/NAME/tags/list`, `/v2/NAME/manifests/TAG`,
`/v2/NAME/blobs/DIGEST` as the OCI distribution specification has them. Use it as a context manager,
or `python3 -m tests.servers.chartserver FOLDER --port P`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import ssl
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


class ChartServer:
    """Serves every `*.tgz` of `folder` as it is at each request. `tls`: certificate and key;
    `auth`: user and password.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tls: tuple[Path, Path] | None = None,
        auth: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.folder, self.auth = folder, auth
        self.asked: list[tuple[str, str]] = []  # (path, the Authorization header) of each request
        self._scheme = "https" if tls else "http"
        self._server = _Server((host, port), _Handler)
        self._server.owner = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._host, self.port = host, int(self._server.server_address[1])
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._host}:{self.port}"

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

    def __enter__(self) -> ChartServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def charts(self) -> list[tuple[dict[str, Any], bytes]]:
        """(Chart.yaml, tarball) of every chart in the folder."""
        found = []
        for path in sorted(self.folder.glob("*.tgz")):
            data = path.read_bytes()
            found.append((_chart_yaml(data), data))
        return found

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/index.yaml":
            return 200, "application/yaml", index(self.charts())
        parts = path.strip("/").split("/")
        if parts[0] == "v2":
            return self._registry(parts[1:])
        file = self.folder / parts[0]
        if len(parts) == 1 and file.suffix == ".tgz" and file.is_file():
            return 200, "application/gzip", file.read_bytes()
        return 404, "text/plain", b"not found\n"

    def _registry(self, parts: list[str]) -> tuple[int, str, bytes]:
        mine = [
            (meta, data)
            for meta, data in self.charts()
            if len(parts) >= 3 and meta["name"] == parts[-3]
        ]
        match parts[-2:]:
            case ["tags", "list"] if mine:
                tags = [str(meta["version"]).replace("+", "_") for meta, _ in mine]
                return (
                    200,
                    "application/json",
                    json.dumps({"name": "/".join(parts[:-2]), "tags": tags}).encode(),
                )
            case ["manifests", tag]:
                for meta, data in mine:
                    if tag in {
                        str(meta["version"]).replace("+", "_"),
                        _digest(manifest(meta, data)),
                    }:
                        return 200, _MANIFEST, manifest(meta, data)
            case ["blobs", digest]:
                for meta, data in mine:
                    for blob in (data, json.dumps(meta).encode()):
                        if _digest(blob) == digest:
                            return 200, "application/octet-stream", blob
        return (
            404,
            "application/json",
            b'{"errors": [{"code": "NAME_UNKNOWN", "message": "not found"}]}',
        )


def index(charts: list[tuple[dict[str, Any], bytes]]) -> bytes:
    """What `helm repo index` makes of them."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for meta, data in charts:
        digest = hashlib.sha256(data).hexdigest()
        entry = {
            **meta,
            "digest": digest,
            "urls": [f"{meta['name']}-{meta['version']}.tgz"],
            "created": "2026-01-01T00:00:00Z",
        }
        entries.setdefault(meta["name"], []).append(entry)
    return yaml.safe_dump(
        {"apiVersion": "v1", "entries": entries, "generated": "2026-01-01T00:00:00Z"}
    ).encode()


def manifest(meta: dict[str, Any], data: bytes) -> bytes:
    """The OCI manifest of a chart."""
    config = json.dumps(meta).encode()
    said = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": _LAYER, "digest": _digest(data), "size": len(data)}],
    }
    return json.dumps(said).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _chart_yaml(data: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        for info in tar:
            if info.isreg() and info.name.count("/") == 1 and info.name.endswith("/Chart.yaml"):
                handle = tar.extractfile(info)
                assert handle is not None
                found: dict[str, Any] = yaml.safe_load(handle.read())
                return found
    raise ValueError("a tarball without Chart.yaml")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: ChartServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away; a demo's terminal need not hear of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.asked.append((self.path, self.headers.get("Authorization", "")))
        status, kind, body = owner.answer(urlsplit(self.path).path)
        if owner.auth:
            wanted = base64.b64encode(":".join(owner.auth).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {wanted}":
                status, kind, body = 401, "text/plain", b"a password is needed\n"
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="charts"')
        if kind == _MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(body))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(
            "serve the packaged charts of a folder as a chart repository and an OCI registry"
        )
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    said = parser.parse_args()
    server = ChartServer(said.folder, host=said.host, port=said.port)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
