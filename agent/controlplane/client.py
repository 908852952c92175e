"""The one door to the manager: dials out, trusts the pinned CA alone, signs every request, and ends
each within its deadline.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.formats.url_path import url_path
from fleetctl.core.model import wire
from fleetctl.core.model.errors import RefusedError, TryLater
from fleetctl.core.model.ids import Digest
from fleetctl.durable import put_in_place

from ..host.failpoints import failpoint
from . import sealed as sealing
from . import tls
from .backoff import MAX_SECONDS
from .http import httpx
from .identity import Identity, is_signed
from .request_signing import RequestSigner
from .responses import Answer, away, in_the_way, next_poll, problem

_SECONDS, _CONNECT_SECONDS = 30.0, 25.0
_SLOW_SECONDS, _SLOW_BYTES = 120.0, 60_000  # at least so many bytes in any such time: 0.5 kB/s
_MOST_ANSWER, _MOST_DOCUMENT = 256 * 1024, 64 * 1024 * 1024
_LEAST_PROGRESS = 4096
# a connection outlives the longest interval between polls, and ends before the manager ends it
_KEPT_SECONDS = 940.0
# RFC 5382 wants a NAT to remember a silent connection for two hours; many do for one to five
# minutes
KEEPALIVE_SECONDS = 50


class Uplink:
    """`clock`: Unix seconds of this machine; the manager's time may be another (`offset` seconds
    later), and is what we sign with. `seconds`: the deadline of a request that the manager answers
    at once. `longest_pause`: seconds between two tries while requests fail.
    """

    def __init__(
        self,
        identity: Identity,
        key: Ed25519PrivateKey,
        clock: Callable[[], float],
        *,
        proxy: str = "",
        seconds: float = _SECONDS,
        longest_pause: float = MAX_SECONDS,
    ) -> None:
        self._identity, self._key, self._seconds = identity, key, seconds
        self._signer = RequestSigner(identity, key, clock)
        self.url, self.cluster_id = identity.url, identity.cluster_id
        self.instance = self._signer.instance
        self._fetching: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()
        self.next_poll = 15.0
        self.longest_pause = longest_pause
        limits = httpx.Limits(keepalive_expiry=_KEPT_SECONDS)
        context = tls.context(identity.ca_pem)
        tls.resume_sessions(context)
        transport = httpx.AsyncHTTPTransport(
            verify=context,
            limits=limits,
            proxy=proxy or None,
            socket_options=_socket_options(),
        )
        # Not compressed: an answer must not grow in our memory.
        headers = {"accept-encoding": "identity", "user-agent": "fleet-agent"}
        # A connection that does not come about is given up within the request's deadline: only then
        # is its socket closed at once.
        connect = min(_CONNECT_SECONDS, seconds * 5 / 6)
        timeout = httpx.Timeout(wire.MAX_WAIT_SECONDS + 20, connect=connect)
        self._client = httpx.AsyncClient(
            base_url=identity.url,
            transport=transport,
            timeout=timeout,
            headers=headers,
            trust_env=False,
        )

    def now(self) -> float:
        """Unix seconds by the manager's clock, as far as the manager has sent it."""
        return self._signer.now()

    @property
    def offset(self) -> int:
        """How many seconds the manager's clock is ahead of this machine's."""
        return self._signer.offset

    def unseal(self, context: bytes, ciphertext: str) -> bytes:
        """What the manager sealed for this agent's key. Raises RefusedError."""
        try:
            return sealing.open_sealed(self._key, context, wire.unb64(ciphertext))
        except ValueError as error:
            raise RefusedError(
                "it is not base64", subject="manager", next_step="Look at the manager."
            ) from error

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch_desired(self, etag: str, wait: int) -> tuple[str, wire.Envelope] | None:
        """(ETag, signed document), or None when it is the one that we hold. Raises TryLater,
        DuplicateAgent, NotEnrolled, RefusedError.
        """
        headers = ({"if-none-match": etag} if etag else {}) | (
            {"prefer": f"wait={wait}"} if wait else {}
        )
        seconds = wait + 10 if wait else self._seconds
        answer = await self._call(
            "GET", "/agent/v1/desired", headers=headers, seconds=seconds, max_bytes=_MOST_DOCUMENT
        )
        if answer.status == 304 and etag:
            return None
        try:
            return answer.headers.get("etag", ""), msgspec.json.decode(
                answer.content, type=wire.Envelope
            )
        except msgspec.DecodeError as error:
            raise in_the_way(answer.status, answer.headers) from error

    def verify(self, envelope: wire.Envelope) -> wire.Desired:
        """The document, when a pinned key signed it for this cluster. Raises RefusedError."""
        payload = envelope.payload.encode()
        if not is_signed(
            self._identity, envelope.key_id, envelope.signature, wire.desired_bytes(payload)
        ):
            step = "Check that the manager was not replaced; enrol again if it was."
            raise RefusedError(
                "the desired state is not signed by a key that this agent knows",
                subject="manager",
                next_step=step,
            )
        try:
            document = msgspec.json.decode(payload, type=wire.Desired)
        except msgspec.DecodeError as error:
            step = "Upgrade this agent: its manager is newer."
            raise RefusedError(
                f"the desired state cannot be read: {error}", subject="manager", next_step=step
            ) from error
        if document.cluster_id != self._identity.cluster_id:
            step = "Enrol again with `fleetctl cluster register NAME --replace`."
            raise RefusedError(
                "the desired state is for another cluster", subject="manager", next_step=step
            )
        return document

    async def archive(self, digest: Digest, size: int, path: Path) -> None:
        """Fetch an archive to `path`, going on where a broken download ended; kept only when its
        hash is its name (I3). Bundles of the same bytes wait for one download.

        As long as each try brings something at 0.5 kB/s, the next follows at once: a link that
        breaks each minute still fetches it whole.
        """
        lock = self._fetching.setdefault(digest, asyncio.Lock())
        async with lock:
            if not await asyncio.to_thread(path.exists):
                await self._fetch(digest, size, path)

    async def _fetch(self, digest: Digest, size: int, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        have = await asyncio.to_thread(_size, part)
        while have < size:
            failpoint("archive-before-write")
            began = time.monotonic()
            try:
                await self._download(digest, part, have, size)
            except TryLater as error:
                progress = await asyncio.to_thread(_size, part) - have
                if error.after or progress < max(
                    _LEAST_PROGRESS, (time.monotonic() - began) * _SLOW_BYTES / _SLOW_SECONDS
                ):
                    raise
                await asyncio.sleep(1.0)
            have = await asyncio.to_thread(_size, part)
        failpoint("archive-written")
        await asyncio.to_thread(_keep_archive, part, path, digest, size)
        failpoint("archive-kept")

    async def _download(self, digest: Digest, part: Path, have: int, size: int) -> None:
        target = url_path("agent", "v1", "archives", digest)
        headers = self._sign("GET", target, b"", session="") | (
            {"range": f"bytes={have}-"} if have else {}
        )
        async with self._answer("GET", target, b"", headers, self._seconds) as (answer, deadline):
            if answer.status_code not in {200, 206}:
                raise problem(
                    Answer(
                        answer.status_code,
                        answer.headers,
                        await _read(answer, deadline, _MOST_ANSWER),
                    )
                )
            is_current = (
                answer.headers.get("content-range", "").startswith(f"bytes {have}-")
                if have
                else True
            )
            if answer.headers.get("content-type") != "application/x-tar" or (
                answer.status_code == 206 and not is_current
            ):
                raise in_the_way(answer.status_code, answer.headers)
            remaining = size - have if answer.status_code == 206 else size
            with part.open("ab" if answer.status_code == 206 else "wb", buffering=0) as out:
                async for piece in _pieces(answer, deadline):
                    out.write(piece[:remaining])
                    remaining -= len(piece)
                    if remaining < 0:
                        raise in_the_way(answer.status_code, answer.headers)
        if remaining:
            raise away(httpx.ReadError("the download ended early"))

    async def report(self, request: wire.StatusRequest) -> None:
        """Returns after the manager has it on its disk. Raises SendAll, DuplicateAgent,
        NotEnrolled,
        TryLater.
        """
        await self._call("POST", "/agent/v1/status", body=msgspec.json.encode(request))

    async def _call(
        self,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 0.0,
        max_bytes: int = _MOST_ANSWER,
    ) -> Answer:
        has_new_time = False
        while True:
            session = self._signer.session.id
            own_headers = self._sign(method, target, body, session=session)
            answer = await self._exchange(
                method, target, body, own_headers | dict(headers or {}), seconds, max_bytes
            )
            if answer.status == 401 and session:
                self._signer.session.end()  # whatever the reason, the signature decides
                continue
            if answer.status == 401 and not has_new_time:
                has_new_time = self._signer.take_time(answer.headers, own_headers[wire.H_NONCE])
                if has_new_time:
                    continue
            if answer.status >= 400:
                raise problem(answer)
            self.next_poll = next_poll(answer.headers) or self.next_poll
            self._signer.session.accept(answer.headers.get(wire.H_SESSION_OFFER, ""))
            return answer

    def _sign(self, method: str, target: str, body: bytes, *, session: str) -> dict[str, str]:
        return self._signer.sign(method, target, body, session=session, next_poll=self.next_poll)

    async def _exchange(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: dict[str, str],
        seconds: float,
        max_bytes: int,
    ) -> Answer:
        """The whole answer to one request. Raises TryLater."""
        async with self._answer(method, target, body, headers, seconds or self._seconds) as (
            response,
            deadline,
        ):
            _refuse_strangers(response)  # unread, so that its connection is not used again
            content = await _read(response, deadline, max_bytes)
            return Answer(response.status_code, response.headers, content)

    @asynccontextmanager
    async def _answer(
        self, method: str, target: str, body: bytes, headers: dict[str, str], seconds: float
    ) -> AsyncIterator[tuple[httpx.Response, asyncio.Timeout]]:
        """An answer whose head has come within `seconds`, and the deadline for the rest. Raises
        TryLater.
        """
        try:
            async with asyncio.timeout(seconds) as deadline:
                async with self._client.stream(
                    method, target, content=body, headers=headers
                ) as answer:
                    yield answer, deadline
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise away(error) from error


def _refuse_strangers(answer: httpx.Response) -> None:
    """Raises TryLater for what the manager never says: a refusal that is not JSON, or an answer
    without the time of the next poll.
    """
    status, headers = answer.status_code, answer.headers
    refusal = status >= 400 and headers.get("content-type", "").startswith("application/json")
    if not refusal and (status not in {200, 204, 304} or next_poll(headers) is None):
        raise in_the_way(status, headers)


async def _pieces(answer: httpx.Response, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
    """The body as it comes. Each 60 kB must come within 120 s, or the deadline ends it."""
    loop = asyncio.get_running_loop()
    deadline.reschedule(loop.time() + _SLOW_SECONDS)
    count = 0
    async for piece in answer.aiter_raw():
        count += len(piece)
        if count >= _SLOW_BYTES:
            deadline.reschedule(loop.time() + _SLOW_SECONDS)
            count = 0
        yield piece


async def _read(answer: httpx.Response, deadline: asyncio.Timeout, max_bytes: int) -> bytes:
    """The whole body, at most `most` bytes: a small one within the request's own deadline, a large
    one as long as it comes along.
    """
    length_text = answer.headers.get("content-length", "")
    content = bytearray()
    is_number = length_text.isascii() and length_text.isdigit() and len(length_text) < 16
    pieces = (
        _pieces(answer, deadline)
        if is_number and _SLOW_BYTES / 4 < int(length_text) <= max_bytes
        else answer.aiter_raw()
    )
    async for piece in pieces:
        content += piece
        if len(content) > max_bytes:
            raise in_the_way(answer.status_code, answer.headers)
    return bytes(content)


def _socket_options() -> list[tuple[int, int, int]]:
    """A connection on which nobody speaks for minutes must not be forgotten by a NAT on the way,
    nor waited for when its peer is gone.
    """
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 60_000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    return options


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _keep_archive(part: Path, path: Path, digest: Digest, size: int) -> None:
    data = part.read_bytes() if part.exists() else b""
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        part.unlink(missing_ok=True)
        raise TryLater(
            "an archive arrived broken and is fetched again",
            subject=f"archive {digest[:12]}",
            next_step="Wait.",
        )
    put_in_place(part, path)
