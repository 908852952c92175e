"""uvicorn's HTTP protocol with the bounds that it lacks: time and size of headers, and the number
of connections.

uvicorn keeps a half-sent header open for ever and reads a body on after its answer; both would let
a few clients hold all connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleetctl.core.model.wire import Problem

from ... import log
from ..problems import body
from .connections import Connections
from .plain_get import parse_plain_get

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 32 * 1024
_PART_BYTES = 8 * 1024
LINGER_SECONDS = 2.0
# Seconds that a connection may be idle between requests. 960 s is longer than the longest poll
# interval of 15 min.
IDLE_SECONDS = {"": 5.0, "person": 75.0, "agent": 960.0}
STALL_SECONDS, STALL_BYTES = 120.0, 60_000  # a reader must take so much in so long: 0.5 kB/s
MAX_PIPELINE = 16
CONNECTION = "fleet.connection"  # key of the scope


class EarlyAnswer(NamedTuple):
    """A whole answer, and the agent whose request it answers."""

    data: bytes
    agent: str


class EarlyAnswers(Protocol):
    """Answers some requests before the web framework."""

    def answer(
        self, target: bytes, headers: list[tuple[bytes, bytes]], address: str
    ) -> EarlyAnswer | None:
        """The answer to a GET of `target`, or None when the framework must answer. `headers`: names
        in lower case. `address`: of the peer.
        """


def mark_authenticated(scope: Any, kind: str, name: str) -> None:
    """Notes that a request of this connection has authenticated as `name`, an "agent" or a
    "person".
    """
    connection = scope.get(CONNECTION)
    if connection is not None:
        connection.mark_authenticated(kind, name)


def _raw(status: str, code: str, summary: str, extra: str = "") -> bytes:
    """A whole answer for a connection that has no request to answer by way of the application."""
    data = body(
        Problem(
            code=code,
            summary=summary,
            next_step="Try again.",
            exit_status=5 if status.startswith("5") else 2,
        )
    )
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length:"
        f" {len(data)}\r\nconnection: close\r\n{extra}\r\n"
    )
    return head.encode() + data


def protocol(
    connections: Connections, early_answers: EarlyAnswers | None = None
) -> type[HttpToolsProtocol]:
    """The protocol class for `uvicorn.Config(http=...)`, with its own bounds on connections."""
    members = {"registry": connections, "early_answers": early_answers}
    return cast("type[HttpToolsProtocol]", type("Guarded", (GuardedProtocol,), members))


class GuardedProtocol(HttpToolsProtocol):
    registry = Connections(20_000, 0)
    early_answers: EarlyAnswers | None = None
    _early_answer: EarlyAnswer | None = None  # to be sent when the request is complete
    _is_between_requests = True  # the parser has got no byte of the next one
    _tried_early = False  # for the request that the parser gets now
    _header_timer: TimerHandle | None = None
    _stall_timer: TimerHandle | None = None
    _header_bytes = 0
    # received since the parser last passed on a header block or a part of a body
    _unparsed_bytes = 0
    _reading_headers = True
    _refusal = "this is not an HTTP request"

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.timeout_keep_alive = IDLE_SECONDS[""]  # type: ignore[assignment]  # seconds for `call_later`
        if len(self.connections) > self.registry.limit:
            self._end(
                _raw(
                    "503 Service Unavailable",
                    "too-busy",
                    "the manager has too many connections",
                    "retry-after: 15\r\n",
                )
            )
            return
        self._await_headers()

    def mark_authenticated(self, kind: str, name: str) -> None:
        """The connection may be idle for longer, and counts for its caller, no more for its
        address.
        """
        self.timeout_keep_alive = IDLE_SECONDS[kind]  # type: ignore[assignment]
        connection = self.registry.open.get(self.client)
        if connection is not None:
            self.registry.mark_authenticated(connection, kind, name)

    def data_received(self, data: bytes) -> None:
        """Parse in parts: TLS hands over up to 256 KiB at once, and bytes after the headers in the
        same part are not counted.
        """
        if self._answer_plain_get(data):
            return
        for start in range(0, len(data), _PART_BYTES):
            if self.parser is None or self.transport.is_closing():
                return
            self._parse(data[start : start + _PART_BYTES])

    def _answer_plain_get(self, data: bytes) -> bool:
        """Whether `data` was a whole request with an early answer, which has been sent."""
        if (
            self.early_answers is None
            or not self._is_between_requests
            or self.transport.is_closing()
            or not self._can_answer_early()
        ):
            return False
        request = parse_plain_get(data)
        if request is None:
            return False
        answer = self._find_early_answer(request.path, request.headers)
        if answer is None:
            self._tried_early = True
            return False
        self._stop_timer()
        self._reading_headers = False
        self._send_early_answer(answer)
        return True

    def _parse(self, data: bytes) -> None:
        is_first_part = self._header_timer is None and self._is_idle()
        if is_first_part:
            self._reading_headers, self._header_bytes = True, 0
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if is_first_part and self._reading_headers and not self.transport.is_closing():
            self._start_header_timer()
        if len(self.pipeline) > MAX_PIPELINE:
            self.transport.abort()
        if self._reading_headers and self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._end(
                    _raw(
                        "431 Request Header Fields Too Large",
                        "too-large",
                        "the request's headers are too large",
                    )
                )
        elif self._unparsed_bytes > MAX_HEADER_BYTES:
            # A trailer, a chunk extension, or the headers of a pipelined request: httptools joins
            # the parts of a header in quadratic time and without a bound.
            self.transport.abort()

    def _is_idle(self) -> bool:
        """Whether no answer is under way."""
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        self._is_between_requests = False
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[CONNECTION] = self

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._reading_headers, self._unparsed_bytes = False, 0
        size, hosts = len(self.url), 0
        for name, value in self.headers:
            size += len(name) + len(value)
            hosts += name == b"host"
        if size > MAX_HEADER_BYTES:
            raise ValueError("headers too large")
        if hosts != 1:
            self._refusal = "a request has exactly one Host header"
            raise ValueError(self._refusal)
        if self._is_plain_request() and self._can_answer_early():
            self._early_answer = self._find_early_answer(self.url, self.headers)
        self._tried_early = False
        if self._early_answer is None:
            super().on_headers_complete()

    def _is_plain_request(self) -> bool:
        return (
            not self._tried_early
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
        )

    def _can_answer_early(self) -> bool:
        """Not while an earlier answer is under way, or the client does not read its answers."""
        return self._is_idle() and not self.flow.write_paused and self.client is not None

    def _find_early_answer(
        self, target: bytes, headers: list[tuple[bytes, bytes]]
    ) -> EarlyAnswer | None:
        if self.early_answers is None or self.client is None:
            return None
        try:
            return self.early_answers.answer(target, headers, self.client[0])
        except Exception as error:
            log.bug("bug", error, path=target[:120].decode("latin-1"), answered=False)
            return None

    def on_message_complete(self) -> None:
        self._is_between_requests = True
        answer, self._early_answer = self._early_answer, None
        if answer is None:
            super().on_message_complete()
        else:
            self._send_early_answer(answer)

    def _send_early_answer(self, answer: EarlyAnswer) -> None:
        self.mark_authenticated("agent", answer.agent)
        self.transport.write(answer.data)
        super().on_response_complete()  # starts the timer of an idle connection

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread and not self.transport.is_closing():
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._end(_raw("400 Bad Request", "usage", self._refusal))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._watch_reader(self._unsent())

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def _watch_reader(self, unsent: int) -> None:
        """Ends a connection whose client reads less than 60 kB in 120 s, whatever is being sent to
        it.
        """

        def look() -> None:
            remaining = self._unsent()
            if remaining > unsent - STALL_BYTES:
                self.transport.abort()
            else:
                self._watch_reader(remaining)

        self._stall_timer = self.loop.call_later(STALL_SECONDS, look)

    def _unsent(self) -> int:
        """Bytes that wait in this process, those of TLS included: asyncio has no public name for
        these.
        """
        below = getattr(getattr(self.transport, "_ssl_protocol", None), "_transport", None)
        return self.transport.get_write_buffer_size() + (
            below.get_write_buffer_size() if below is not None else 0
        )

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _await_headers(self) -> None:
        self._reading_headers, self._header_bytes = True, 0
        self._start_header_timer()

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        """A connection on which nothing was said is closed without a word."""
        self._header_timer = None
        has_bytes = bool(self._header_bytes)
        self._end(
            _raw("408 Request Timeout", "slow-request", "the request's headers took too long")
            if has_bytes
            else b""
        )

    def _end(self, answer: bytes) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            if answer:
                self.transport.write(answer)
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server that says at once when it is told to stop, so that long polls can be
    answered.
    """

    def __init__(
        self, config: uvicorn.Config, *, on_stop: Callable[[], None], on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_stop, self._on_ready = on_stop, on_ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again when it is done, and so end the process before the
        service has stopped.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self._on_stop()
