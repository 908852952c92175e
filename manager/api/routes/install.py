"""`/install/`: open to everybody. The agent in one file, and the CA; the pin and the SHA-256 come
by another way and guard both.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fleetctl.core.model.errors import NotFound

from ..request_parsing import query
from ..server.connections import network
from ..server.limits import Slots
from .agents import ArchiveAnswer

_IN_ALL, _PER_ADDRESS = 256, 64
_DOWNLOAD_SECONDS = 3600.0


class AgentFile:
    """The agent's file and its SHA-256, computed again only when the file changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cached_digest: tuple[tuple[int, int, int], str] | None = None

    def present(self) -> bool:
        try:
            return stat.S_ISREG(self.path.stat().st_mode)
        except OSError:
            return False

    async def digest(self) -> str:
        """Hex, or "" while there is no file."""
        try:
            status = self.path.stat()
            mark = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._cached_digest is None or self._cached_digest[0] != mark:
                self._cached_digest = mark, await asyncio.to_thread(_sha256, self.path)
        except OSError:
            return ""
        return self._cached_digest[1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Download(Response):
    """`answer`, while there is a slot for its reader, within an hour. Raises TooBusy."""

    def __init__(self, answer: Response, readers: Slots) -> None:
        super().__init__()
        self._answer, self._readers = answer, readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        with self._readers.slot(network(client) if client else ""):
            async with asyncio.timeout(_DOWNLOAD_SECONDS):
                await self._answer(scope, receive, send)


class InstallApi:
    def __init__(self, agent: AgentFile, ca_pem: bytes) -> None:
        self._agent, self._ca_pem = agent, ca_pem
        self._readers = Slots(
            "too many downloads of the agent at once",
            each=_PER_ADDRESS,
            total=_IN_ALL,
            retry_after=30,
        )

    def routes(self) -> list[Route]:
        return [
            Route("/install/fleet-agent.pyz", self.agent, methods=["GET"]),
            Route("/install/ca.pem", self.ca, methods=["GET"]),
        ]

    async def agent(self, request: Request) -> Response:
        query(request)
        if not self._agent.present():
            raise NotFound(
                "this manager has no fleet-agent.pyz",
                subject="/install/fleet-agent.pyz",
                next_step=(
                    "Put the file into the manager's DATA_DIR/install/, or start it with"
                    " --agent-file FILE."
                ),
            )
        size = self._agent.path.stat().st_size
        headers = {"content-disposition": 'attachment; filename="fleet-agent.pyz"'}
        answer = ArchiveAnswer(
            self._agent.path,
            0,
            size,
            status_code=200,
            headers=headers,
            media_type="application/octet-stream",
        )
        return _Download(answer, self._readers)

    async def ca(self, request: Request) -> Response:
        query(request)
        return Response(self._ca_pem, media_type="application/x-pem-file")
