"""Check-ins that are answered before the framework: the same bytes, the same refusals, and no
second meaning of a request.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fleetctl.core.model import wire
from manager.api.agent_auth import Signatures
from manager.api.server import http_protocol
from tests.support.manager.api_client import signature
from tests.support.manager.fake_service import CLUSTER
from tests.support.manager.live_manager import Live

PATH = "/agent/v1/desired"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    manager = Live(tmp_path_factory.mktemp("live"))
    yield manager
    manager.stop()


@pytest.fixture(autouse=True)
def _forget_calls(live: Live) -> None:
    live.service.calls.clear()
    live.service.twin = ""


def request(live: Live, *lines: str, path: str = PATH, **sign: object) -> bytes:
    """A signed GET with the ETag of the present document. `lines`: more header lines."""
    headers = {
        "host": "m",
        **signature(live.key, "GET", path, **sign),
        "if-none-match": live.service.document.etag,
    }
    head = "".join(f"{line}\r\n" for line in (*(f"{k}: {v}" for k, v in headers.items()), *lines))
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def exchange(live: Live, data: bytes) -> bytes:
    """The first part of the answer."""
    with live.raw(data) as connection:
        return connection.recv(65536)


def early_answers(live: Live) -> int:
    return live.service.calls.count(f"unchanged {CLUSTER} instance1")


def test_the_answer_has_the_bytes_of_the_frameworks_answer(live: Live):
    """An unknown header `range` makes the framework answer."""
    early = exchange(live, request(live))
    assert early_answers(live) == 1
    assert exchange(live, request(live, "range: bytes=0-")) == early
    assert early_answers(live) == 1
    assert early.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert len(early) < 300


def test_it_counts_as_a_request_of_an_agent(live: Live):
    def count() -> float:
        with live.client() as client:
            text = client.get("/metrics", headers={"authorization": f"Bearer {live.token}"}).text
        lines = [x for x in text.splitlines() if 'area="agent",status="3xx"' in x]
        return float(lines[0].split()[-1]) if lines else 0.0

    before = count()
    exchange(live, request(live))
    assert (early_answers(live), count()) == (1, before + 1)


@pytest.mark.parametrize(
    "lines",
    [
        ["content-length: 0"],
        ["transfer-encoding: chunked"],
        ["expect: 100-continue"],
        ["prefer: respond-async"],
        ["fleet-nonce: another-nonce"],
        ["if-none-match: *"],
        ["connection: close"],
    ],
)
def test_a_request_with_anything_unusual_is_left_to_the_framework(live: Live, lines: list[str]):
    exchange(live, request(live, *lines))
    assert early_answers(live) == 0


@pytest.mark.parametrize(
    "path", ["/agent/v1/desired?", "/agent/v1/desired?a=b", "/agent/v1//desired"]
)
def test_another_spelling_of_the_path_is_left_to_the_framework(live: Live, path: str):
    exchange(live, request(live, path=path))
    assert early_answers(live) == 0


def test_a_changed_document_is_sent(live: Live):
    old = request(live)
    live.service.change("two")
    assert exchange(live, old).startswith(b"HTTP/1.1 200 OK\r\n")
    assert early_answers(live) == 0


def test_a_replay_is_refused_whichever_way_the_first_went(live: Live):
    first, second = request(live), request(live, "range: bytes=0-")
    for data, again in ((first, first), (second, second)):
        assert exchange(live, data).startswith(b"HTTP/1.1 304 ")
        assert exchange(live, again).startswith(b"HTTP/1.1 401 ")
    assert early_answers(live) == 1


def test_a_wrong_clock_gets_the_signed_time(live: Live):
    answer = exchange(live, request(live, now=int(time.time()) - 301))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert wire.H_MANAGER_TIME_SIGNATURE.encode() in answer


def test_a_wrong_signature_is_refused(live: Live):
    data = request(live)
    start = data.index(wire.H_SIGNATURE.encode()) + len(wire.H_SIGNATURE) + 2
    changed = b"B" if data[start : start + 1] == b"A" else b"A"
    answer = exchange(live, data[:start] + changed + data[start + 1 :])
    assert (answer.startswith(b"HTTP/1.1 401 "), early_answers(live)) == (True, 0)


def test_two_agents_with_one_key_are_refused(live: Live):
    live.service.twin = "two agents use one identity, from a and b"
    assert exchange(live, request(live)).startswith(b"HTTP/1.1 409 ")


@pytest.mark.parametrize("hosts", ["", "host: a\r\nhost: b\r\n"])
def test_it_has_exactly_one_host(live: Live, hosts: str):
    data = request(live).replace(b"host: m\r\n", hosts.encode())
    assert exchange(live, data).startswith(b"HTTP/1.1 400 ")
    assert early_answers(live) == 0


def test_headers_that_are_too_large_are_refused(live: Live):
    answer = exchange(live, request(live, f"x: {'a' * 40_000}"))
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert early_answers(live) == 0


def test_pipelined_requests_are_answered_in_their_order(live: Live):
    """Early answers do not overtake an answer of the framework."""
    health = b"GET /healthz HTTP/1.1\r\nhost: m\r\n\r\n"
    with live.raw(request(live) + health + request(live) + request(live)) as connection:
        answer = b""
        while answer.count(b"HTTP/1.1 ") < 4:
            part = connection.recv(65536)
            assert part
            answer += part
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"304", b"200", b"304", b"304"]


def test_a_slow_header_ends_the_connection(live: Live, monkeypatch: pytest.MonkeyPatch):
    """Also the second one of a connection."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.3)
    with live.raw(request(live)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 304 ")
        connection.sendall(request(live)[:40])
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_header_in_two_parts_is_answered(live: Live):
    data = request(live)
    with live.raw(data[:100]) as connection:
        time.sleep(0.05)
        connection.sendall(data[100:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 304 ")
    assert early_answers(live) == 1


def test_an_agent_that_does_not_read_its_answers_is_left_to_the_framework(
    live: Live, monkeypatch: pytest.MonkeyPatch
):
    """The framework waits for the reader, so that answers do not pile up in memory."""
    real = http_protocol.GuardedProtocol.connection_made

    def connect_a_slow_reader(self: http_protocol.GuardedProtocol, transport: object) -> None:
        real(self, transport)
        self.flow.write_paused = True

    monkeypatch.setattr(http_protocol.GuardedProtocol, "connection_made", connect_a_slow_reader)
    assert exchange(live, request(live)).startswith(b"HTTP/1.1 304 ")
    assert early_answers(live) == 0


def test_the_connection_counts_for_its_agent(live: Live):
    with live.raw(request(live)) as connection:
        connection.recv(65536)
        peer = connection.getsockname()
        assert live.parts.connections.open[peer].caller == f"agent {CLUSTER}"


@pytest.mark.parametrize("framing", ["content-length: {n}", "transfer-encoding: chunked"])
def test_a_body_that_looks_like_a_check_in_is_a_body(live: Live, framing: str):
    """Also when it comes in a record of its own."""
    data = request(live)
    head = f"POST /agent/v1/enrol HTTP/1.1\r\nhost: m\r\n{framing.format(n=len(data))}\r\n\r\n"
    if "chunked" in framing:
        head += f"{len(data):x}\r\n"
    with live.raw(head.encode()) as connection:
        time.sleep(0.1)
        connection.sendall(data)
        if "chunked" in framing:
            connection.sendall(b"\r\n0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert early_answers(live) == 0


def test_a_refused_check_in_is_verified_twice_at_most(live: Live, monkeypatch: pytest.MonkeyPatch):
    """Once before the framework, and once by it."""
    calls: list[str] = []
    real = Signatures._is_authentic

    def count(self: Signatures, claim: object, message: bytes) -> bool:
        calls.append("verify")
        return real(self, claim, message)

    monkeypatch.setattr(Signatures, "_is_authentic", count)
    data = request(live)
    for _ in range(2):
        exchange(live, data)
    assert (early_answers(live), len(calls)) == (1, 3)
