"""An API server that misbehaves when told to: for what a real one cannot be made to do (410, 429,
silence, a flood of changes).

It knows ConfigMaps and Secrets; tests/integration/drift/test_watch_errors.py compares it with a
real one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
LABEL = "app.kubernetes.io/managed-by"
_KINDS = {"configmaps": "ConfigMap", "secrets": "Secret"}


@dataclass
class Asked:
    """One request; `at` in seconds of a clock that only grows."""

    method: str
    path: str
    query: dict[str, str]
    at: float
    body: bytes = b""

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_list(self) -> bool:
        return not self.is_watch and self.path.rpartition("/")[2] in _KINDS


@dataclass
class Answer:
    """Instead of the true one. `lines` of a stream; `hangs`: it stays open without a byte more."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    lines: list[bytes] | None = None
    hangs: bool = False


class FakeKube:
    """An async context manager. `says` may answer a request in the server's place."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.says: Callable[[Asked], Answer | None] = lambda _: None
        self.version = 100
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._watchers: list[tuple[str, str, asyncio.Queue[bytes]]] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FakeKube:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def kubeconfig(self, folder: Path) -> Path:
        assert self._server is not None
        folder.mkdir(parents=True, exist_ok=True)
        url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        parts = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        contexts = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
        path = folder / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "x",
                    "contexts": contexts,
                    **parts,
                }
            )
        )
        return path

    def put(self, plural: str, namespace: str, name: str, data: Json, release: str = "") -> None:
        """Made or changed, as helm would make it."""
        self.version += 1
        key = (plural, namespace, name)
        kind = "MODIFIED" if key in self._objects else "ADDED"
        marks = {
            "meta.helm.sh/release-name": release or name,
            "meta.helm.sh/release-namespace": namespace,
        }
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": f"u-{name}",
            "resourceVersion": str(self.version),
            "labels": {LABEL: "Helm"},
        }
        self._objects[key] = {"metadata": meta | {"annotations": marks}, "data": data}
        self._tell(kind, key)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        self.version += 1
        key = (plural, namespace, name)
        self._objects[key]["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", key)
        del self._objects[key]

    def bookmark(self) -> None:
        self.version += 1
        line = json.dumps(
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}}
        ).encode()
        for _, _, queue in self._watchers:
            queue.put_nowait(line)

    @property
    def watched(self) -> int:
        """How many watches run."""
        return len(self._watchers)

    def break_off(self) -> None:
        """Every connection is lost."""
        for task in list(self._tasks):
            task.cancel()

    def count(self, good: Callable[[Asked], bool]) -> int:
        return sum(1 for one in self.asked if good(one))

    def _tell(self, kind: str, key: tuple[str, str, str]) -> None:
        line = json.dumps(
            {"type": kind, "object": {"metadata": self._objects[key]["metadata"]}}
        ).encode()
        for plural, namespace, queue in self._watchers:
            if plural == key[0] and namespace in {"", key[1]}:
                queue.put_nowait(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *rest = head.decode().split("\r\n")
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in rest
                        if line.lower().startswith("content-length:")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                method, target, _ = first.split(" ")
                url = urlsplit(target)
                asked = Asked(
                    method,
                    url.path,
                    {k: v[0] for k, v in parse_qs(url.query).items()},
                    time.monotonic(),
                    body,
                )
                self.asked.append(asked)
                await self._answer(asked, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the connection is over, or this server, or `break_off` was told
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        told = self.says(asked)
        if told is None and asked.is_watch:
            await self._watch(asked, writer)
            return
        told = told or self._true(asked)
        if told.lines is not None:
            writer.write(_head(told.status, told.headers | {"transfer-encoding": "chunked"}))
            for line in told.lines:
                writer.write(_chunk(line + b"\n"))
        else:
            writer.write(
                _head(told.status, told.headers | {"content-length": str(len(told.body))})
                + told.body
            )
        await writer.drain()
        if told.hangs:
            await asyncio.sleep(3600)
        if told.lines is not None:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def _watch(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        plural, namespace = _where(asked.path)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        # what has changed since; deletions are not remembered
        for (kind, where, _), item in self._objects.items():
            if (
                kind == plural
                and namespace in {"", where}
                and int(item["metadata"]["resourceVersion"]) > int(asked.query["resourceVersion"])
            ):
                queue.put_nowait(
                    json.dumps(
                        {"type": "MODIFIED", "object": {"metadata": item["metadata"]}}
                    ).encode()
                )
        entry = (plural, namespace, queue)
        self._watchers.append(entry)
        try:
            writer.write(_head(200, {"transfer-encoding": "chunked"}))
            while True:
                await writer.drain()
                writer.write(_chunk(await queue.get() + b"\n"))
        finally:
            self._watchers.remove(entry)

    def _true(self, asked: Asked) -> Answer:
        last = asked.path.rpartition("/")[2]
        if asked.path == "/api/v1":
            found: Json = {
                "resources": [
                    {"name": name, "kind": kind, "namespaced": True}
                    for name, kind in _KINDS.items()
                ]
            }
        elif last in _KINDS:
            plural, namespace = _where(asked.path)
            items = [
                o
                for (p, ns, _), o in sorted(self._objects.items())
                if p == plural and namespace in {"", ns}
            ]
            found = {"metadata": {"resourceVersion": str(self.version)}, "items": items}
        else:
            plural, namespace = _where(asked.path.rpartition("/")[0])
            one = self._objects.get((plural, namespace, last))
            if one is None:
                return Answer(404, body=b'{"message":"not found"}')
            found = _applied(one, json.loads(asked.body)) if asked.method == "PATCH" else one
        return Answer(body=json.dumps(found).encode())


def _applied(live: Json, stated: Json) -> Json:
    """What an apply of these fields would make of it; the version stays, as in a dry run."""
    meta = {
        key: {**live["metadata"][key], **(stated["metadata"].get(key) or {})}
        for key in ("labels", "annotations")
    }
    return {
        **live,
        "metadata": {**live["metadata"], **meta},
        "data": {**live["data"], **stated.get("data", {})},
    }


def _where(path: str) -> tuple[str, str]:
    """(plural, namespace) of a collection's path."""
    parts = path.split("/")
    return parts[-1], parts[4] if len(parts) > 5 and parts[3] == "namespaces" else ""


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(
        f"{key}: {value}\r\n"
        for key, value in {"content-type": "application/json", **headers}.items()
    )
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
