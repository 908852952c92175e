"""A small client of the Kubernetes API, for localkube itself: JSON over http.client.

Rule: it reads the kubeconfigs that localkube writes (JSON, a token, the CA inside) and no others.
Every call has a time limit; a watch line has a size limit. Not thread-safe: one Api per thread.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
CALL_SECONDS = 15.0
WATCH_SECONDS = 240
LINE_BYTES = 16 * 1024 * 1024
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """An answer other than 2xx, or none; ``status`` is 0 when there was none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status


class Api:
    """One connection to one API server, opened again when it breaks."""

    def __init__(self, kubeconfig: Path, seconds: float = CALL_SECONDS) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        address = urlsplit(cluster["server"])
        self._host, self._port = address.hostname or "", address.port or 443
        self._tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        self._seconds = seconds
        self._connection: http.client.HTTPSConnection | None = None

    def get(self, path: str) -> Json:
        """GET, as JSON."""
        return self.call("GET", path)

    def text(self, path: str) -> str:
        """GET of what is no JSON, like /metrics."""
        return self._exchange("GET", path, None, "").decode()

    def ok(self, path: str) -> bool:
        """Whether a GET of the path is answered with 2xx; the body is not looked at."""
        try:
            self._exchange("GET", path, None, "")
        except ApiError:
            return False
        return True

    def call(
        self, method: str, path: str, body: Json | None = None, kind: str = "application/json"
    ) -> Json:
        """One request; ApiError for anything but 2xx with JSON in it."""
        content = self._exchange(method, path, body, kind)
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise ApiError(0, f"{method} {path}: not JSON") from error
        if not isinstance(answer, dict):
            raise ApiError(0, f"{method} {path}: not a JSON object")
        return answer

    def _exchange(self, method: str, path: str, body: Json | None, kind: str) -> bytes:
        headers = dict(self._headers)
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body), kind
        try:
            connection = self._connected(self._seconds)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            content = response.read(LINE_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ApiError(0, f"{method} {path}: {error!r}") from error
        if response.length:
            self.close()
        if not 200 <= response.status < 300:
            raise ApiError(
                response.status, f"{method} {path}: {content[:300].decode('utf-8', 'replace')}"
            )
        return content

    def watch(self, path: str, since: str) -> Iterator[Json]:
        """The events after resource version ``since`` until the server ends the watch; ApiError
        when it breaks.
        """
        query = f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={since}"  # noqa: E501
        self.close()
        try:
            connection = self._connected(WATCH_SECONDS + CALL_SECONDS)
            connection.request("GET", path + query, headers=self._headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ApiError(response.status, f"watch {path}")
            while line := response.readline(LINE_BYTES):
                yield json.loads(line)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ApiError(0, f"watch {path}: {error!r}") from error
        finally:
            self.close()

    def _connected(self, seconds: float) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=seconds, context=self._tls
            )
        return self._connection

    def interrupt(self) -> None:
        """From another thread: make a call or watch that is under way fail at once."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
