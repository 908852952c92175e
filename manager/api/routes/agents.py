"""Wire v1: what agents call. An unchanged poll touches no disk, and its whole 304, headers
included, stays under 300 bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fleetctl.core.model import wire
from fleetctl.core.model.errors import (
    DuplicateAgent,
    FleetError,
    LoginError,
    NotFound,
    RangeError,
    UsageError,
)
from fleetctl.core.model.ids import ClusterId, Digest, is_digest

from ...agents.desired_state import SignedDocument
from ...agents.report_limits import limit_report
from ...agents.requests import AgentRequests
from .. import request_parsing
from ..agent_auth import RequestClaim, Signatures
from ..auth import STRANGER_FAILURES, Bucket
from ..server.etags import client_tags, has_tag
from ..server.limits import STRANGERS, Slots
from ..server.workers import FILES

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")
REPORTS_AT_ONCE = 4
MAX_ENROL_BYTES = 16 * 1024
_CHUNK = 60_000  # at 0.5 kB/s this takes 120 s: one chunk, one deadline
_CHUNK_SECONDS = 120.0


class AgentApi:
    def __init__(
        self, agents: AgentRequests, signatures: Signatures, closing: asyncio.Event
    ) -> None:
        self._agents, self._signatures, self._closing = agents, signatures, closing
        self._reports = Slots("this agent sends too many reports at once", each=REPORTS_AT_ONCE)
        self._attempts, self._strangers = (
            Bucket(per_minute=20),
            Bucket(per_minute=STRANGER_FAILURES),
        )

    def routes(self) -> list[Route]:
        return [
            Route("/agent/v1/enrol", self.enrol, methods=["POST"]),
            Route("/agent/v1/desired", self.get_document, methods=["GET"]),
            Route("/agent/v1/archives/{digest}", self.archive, methods=["GET"]),
            Route("/agent/v1/status", self.status, methods=["POST"]),
        ]

    async def enrol(self, request: Request) -> Response:
        """Binds a key to the cluster of a token. Failures are counted per token and key, and per
        address.
        """
        address = _address(request)
        try:
            data = await request_parsing.body(request, MAX_ENROL_BYTES, budget=STRANGERS)
            message = await request_parsing.message(data, wire.EnrolRequest)
            attempt = f"{message.token} {message.public_key}"
            self._attempts.check(attempt)
        except FleetError as error:
            raise self._strangers.count_failure(address, error) from error
        try:
            answer = await self._agents.enrol(message, address=address)
        except LoginError as error:
            self._attempts.fail(attempt)
            raise self._strangers.count_failure(address, error) from error
        return _json(msgspec.json.encode(answer))

    async def get_document(self, request: Request) -> Response:
        """304 for the same ETag, at once or after the wait that the agent prefers; else the signed
        document.
        """
        claim = await self._agent(request)
        cluster, instance = claim.agent, claim.instance
        tags = client_tags(request)
        document = await self._agents.get_document(cluster, tags[0] if tags else "")
        etag = document.etag if has_tag(document.etag, tags) else ""
        wait = _wait_seconds(request)
        if document.etag == etag and wait and not self._closing.is_set():
            document = await self._wait(cluster, etag, wait, request)
            await self._check_twin(cluster, instance, request)  # found out while it waited
        headers = {
            "etag": document.etag,
            wire.H_NEXT_POLL: str(self._agents.poll_seconds()),
        }
        if offer := self._signatures.session_offer(claim):
            headers[wire.H_SESSION_OFFER] = offer
        if document.etag == etag:
            return Response(status_code=304, headers=headers)
        return Response(document.body, media_type="application/json", headers=headers)

    async def _wait(
        self, cluster: ClusterId, etag: str, seconds: int, request: Request
    ) -> SignedDocument:
        """Wait until the document changes, the time is over, the agent is gone, or the manager
        stops.
        """
        change = asyncio.ensure_future(self._agents.wait_document(cluster, etag, seconds))
        stop = asyncio.ensure_future(self._closing.wait())
        disconnect = asyncio.ensure_future(_wait_disconnect(request))
        try:
            await asyncio.wait(
                {change, stop, disconnect}, timeout=seconds + 5, return_when=asyncio.FIRST_COMPLETED
            )
            return (
                change.result() if change.done() else await self._agents.get_document(cluster, etag)
            )
        finally:
            for task in (change, stop, disconnect):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, FleetError):
                await change

    async def archive(self, request: Request) -> Response:
        """One archive of the caller's own document, whole or from an offset."""
        cluster = (await self._agent(request)).agent
        digest = request.path_params["digest"]
        if not is_digest(digest):
            raise NotFound("no such archive", next_step="Fetch the desired state again.")
        path = await self._agents.archive_path(cluster, Digest(digest))
        size = path.stat().st_size
        first, last, partial = _range(request.headers.get("range", ""), size)
        headers = {"accept-ranges": "bytes", "etag": f'"{digest}"'}
        if partial:
            headers["content-range"] = f"bytes {first}-{last}/{size}"
        return ArchiveAnswer(
            path, first, last - first + 1, status_code=206 if partial else 200, headers=headers
        )

    async def status(self, request: Request) -> Response:
        """204 after the commit; 409 asks for everything. The headers are judged before the body is
        read.
        """
        claim = await self._signatures.claim(request)
        self._signatures.check_clock(claim)
        with self._reports.slot(claim.agent):
            data = await request_parsing.body(request, wire.MAX_STATUS_BYTES)
            self._signatures.verify(request, claim, data)
            await self._check_twin(claim.agent, claim.instance, request)
            message = await request_parsing.parse_body(data, _status)
            if message.instance != claim.instance:
                raise UsageError(
                    "the report names another instance than the request", next_step="Send it again."
                )
            await self._agents.report(claim.agent, message)
        headers = {wire.H_NEXT_POLL: str(self._agents.poll_seconds())}
        return Response(status_code=204, headers=headers)

    async def _agent(self, request: Request) -> RequestClaim:
        """The verified claim of a request without a body."""
        claim = await self._signatures.agent(request, b"")
        await self._check_twin(claim.agent, claim.instance, request)
        return claim

    async def _check_twin(self, cluster: ClusterId, instance: str, request: Request) -> None:
        stamp = int(request.headers[wire.H_TIME])
        twin = await self._agents.note_contact(
            cluster, instance=instance, address=_address(request), stamp=stamp
        )
        if twin:
            step = "Stop one of them, then run `fleetctl cluster register NAME --replace`."
            raise DuplicateAgent(twin, subject=f"cluster {cluster}", next_step=step)


def _status(data: bytes) -> wire.StatusRequest:
    return limit_report(request_parsing.decode_message(data, wire.StatusRequest))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _wait_disconnect(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _wait_seconds(request: Request) -> int:
    match = _WAIT.search(request.headers.get("prefer", ""))
    return min(int(match[1]), wire.MAX_WAIT_SECONDS) if match else 0


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """(first, last, partial). Any form but one plain range means the whole file, as RFC 9110
    allows.
    """
    match = _RANGE.fullmatch(header)
    if not match:
        return 0, size - 1, False
    first, last = int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
    if first >= size or last < first:
        raise RangeError(f"the archive has {size} bytes", next_step="Ask for it from the start.")
    return first, last, True


class ArchiveAnswer(Response):
    """Chunks of the file. The next one is read only when the last is on its way, and each must go
    within 120 s.

    No descriptor is held between chunks, so that slow readers cannot use them up. An answer of a
    file that was replaced ends early.
    """

    def __init__(
        self,
        path: Path,
        first: int,
        length: int,
        *,
        status_code: int,
        headers: dict[str, str],
        media_type: str = "application/x-tar",
    ) -> None:
        super().__init__(status_code=status_code, headers=headers, media_type=media_type)
        self.headers["content-length"] = str(length)
        self._path, self._first, self._end = path, first, first + length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        at, mark = self._first, None
        chunk, mark = await FILES.run(_chunk, self._path, at, min(_CHUNK, self._end - at), mark)
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        while chunk:
            at += len(chunk)
            async with asyncio.timeout(_CHUNK_SECONDS):
                await send(
                    {"type": "http.response.body", "body": chunk, "more_body": at < self._end}
                )
            if at >= self._end:
                return
            chunk, mark = await FILES.run(_chunk, self._path, at, min(_CHUNK, self._end - at), mark)


def _chunk(
    path: Path, at: int, count: int, mark: tuple[int, int] | None
) -> tuple[bytes, tuple[int, int]]:
    """(bytes, the file's mark). No bytes when the file is another one than `mark` names. Raises
    NotFound when it is gone.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(
            "the file no longer exists", next_step="Fetch the desired state again."
        ) from error
    try:
        status = os.fstat(handle)
        now = status.st_ino, status.st_mtime_ns
        return (os.pread(handle, count, at) if mark in {None, now} else b""), now
    finally:
        os.close(handle)


def _json(data: bytes) -> Response:
    return Response(data, media_type="application/json", headers={"cache-control": "no-store"})
