"""Connections that attack: without a handshake, idle, slow to read, with odd headers. Each ends,
and others are answered meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from manager.api.server import http_protocol
from manager.api.server.connections import PER_CALLER, Connections, network
from tests.support.manager.api_client import signature
from tests.support.manager.live_manager import Live

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: m\r\n\r\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    manager = Live(tmp_path_factory.mktemp("live"), connections_per_address=8)
    agent = manager.config.data_dir / "install" / "fleet-agent.pyz"
    agent.parent.mkdir()
    agent.write_bytes(b"a" * 40_000_000)
    yield manager
    manager.stop()


def ends(connection: socket.socket, seconds: float = 10) -> bool:
    """Whether the other side closes it in this time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def first_line(live: Live, data: bytes) -> bytes:
    with live.raw(data) as connection:
        return connection.recv(4096).partition(b"\r\n")[0]


def test_headers_are_judged_before_the_body(live: Live):
    """A megabyte is announced and never sent: the refusal comes at once, for a stranger and for a
    wrong clock.
    """
    head = "POST /agent/v1/status HTTP/1.1\r\nhost: m\r\ncontent-length: 1000000\r\n"
    assert first_line(live, f"{head}\r\n".encode()) == b"HTTP/1.1 401 Unauthorized"
    wrong = signature(live.key, "POST", "/agent/v1/status", now=int(time.time()) - 4000)
    text = "".join(f"{name}: {value}\r\n" for name, value in wrong.items())
    assert first_line(live, f"{head}{text}\r\n".encode()) == b"HTTP/1.1 401 Unauthorized"


CHUNKED = b"POST /agent/v1/enrol HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        CHUNKED + b"0\r\na: ",
        CHUNKED + b"1;a=",
        (
            b"POST /agent/v1/enrol HTTP/1.1\r\nhost: m\r\ncontent-length: 9\r\n\r\n{}       GET /"
            b" HTTP/1.1\r\na: "
        ),
        b"GET /install/fleet-agent.pyz HTTP/1.1\r\nhost: m\r\n\r\nGET /healthz HTTP/1.1\r\na: ",
    ],
    ids=["trailer", "chunk-extension", "pipelined-after-body", "pipelined-behind-download"],
)
def test_headers_in_every_place_have_a_bound(live: Live, head: bytes):
    """A trailer, a chunk extension and the headers of a pipelined request end the connection, as
    first headers do.
    """
    wait_until(lambda: live.parts.connections.strangers() < 4)
    with live.raw(head) as connection:
        peer = connection.getsockname()
        with contextlib.suppress(OSError):
            for _ in range(20):
                connection.sendall(b"b" * 16_384)
        wait_until(lambda: peer not in live.parts.connections.open)


def test_many_short_trailers_have_a_bound(live: Live):
    wait_until(lambda: live.parts.connections.strangers() < 4)
    with live.raw(CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000) as connection:
        peer = connection.getsockname()
        wait_until(lambda: peer not in live.parts.connections.open)


@pytest.mark.parametrize(
    "rest",
    [b"0\r\n" + b"a: b\r\n" * 7_000, b"0\r\na: " + b"b" * 60_000, b"1;a=" + b"b" * 60_000],
    ids=["short-trailers", "long-trailer", "chunk-extension"],
)
def test_the_bound_holds_for_what_one_read_brings(
    live: Live, monkeypatch: pytest.MonkeyPatch, rest: bytes
):
    """TLS hands over up to 256 KiB at once on a machine that is busy."""
    data = CHUNKED + rest
    real, received = http_protocol.GuardedProtocol.data_received, bytearray()

    def receive(self: http_protocol.GuardedProtocol, part: bytes) -> None:
        received.extend(part)
        if len(received) == len(data):
            real(self, data)

    monkeypatch.setattr(http_protocol.GuardedProtocol, "data_received", receive)
    wait_until(lambda: live.parts.connections.strangers() < 4)
    with live.raw(data) as connection:
        peer = connection.getsockname()
        wait_until(lambda: len(received) == len(data))
        wait_until(lambda: peer not in live.parts.connections.open, seconds=10)


def test_a_body_of_many_short_chunks_is_read(live: Live):
    assert (
        first_line(live, CHUNKED + b"1\r\n \r\n" * 10_000 + b"0\r\n\r\n")
        == b"HTTP/1.1 400 Bad Request"
    )


@pytest.mark.parametrize("hosts", ["", "host: a\r\nhost: b\r\n"])
def test_a_request_has_exactly_one_host(live: Live, hosts: str):
    assert (
        first_line(live, f"GET /healthz HTTP/1.1\r\n{hosts}\r\n".encode())
        == b"HTTP/1.1 400 Bad Request"
    )


def test_very_many_pipelined_requests_end_the_connection(live: Live):
    with live.raw(HEALTH * 500) as connection:
        assert ends(connection)


def test_every_answer_forbids_to_guess_its_type(live: Live):
    with live.client() as client:
        for path in (
            "/healthz",
            "/api/v1/status",
            "/nothing",
            "/login",
            "/install/ca.pem",
            "/schemas/fleet.json",
        ):
            assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_an_idle_connection_is_kept_for_agents_only(live: Live, monkeypatch: pytest.MonkeyPatch):
    """A stranger's ends soon after its answer; an agent's, and only an agent's, outlasts the
    longest poll interval.
    """
    monkeypatch.setitem(http_protocol.IDLE_SECONDS, "", 0.2)
    assert http_protocol.IDLE_SECONDS["agent"] > 900
    with live.raw(HEALTH) as stranger, live.raw(b"") as agent:
        headers = {**signature(live.key, "GET", "/agent/v1/desired"), "host": "m"}
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        agent.sendall(f"GET /agent/v1/desired HTTP/1.1\r\n{text}\r\n".encode())
        assert agent.recv(4096).startswith(b"HTTP/1.1 200")
        assert ends(stranger, 5)
        assert not ends(agent, 0.6)


def test_connections_without_a_handshake_are_counted_and_make_room(
    live: Live, monkeypatch: pytest.MonkeyPatch
):
    """One address holds eight of them; the ninth is refused at once, and later takes the place of
    the oldest.
    """
    monkeypatch.setattr("manager.api.server.connections._GRACE_SECONDS", 0.5)
    wait_until(lambda: live.parts.connections.strangers() == 0)
    held = [live.plain() for _ in range(8)]
    wait_until(lambda: live.parts.connections.strangers() == 8)
    refused = live.plain()
    assert ends(refused, 5)
    time.sleep(0.6)
    with live.client() as client:
        assert client.get("/healthz").status_code == 200
    assert ends(held[0], 5)
    for connection in [refused, *held]:
        connection.close()


def test_a_reader_that_reads_nothing_is_ended(live: Live, monkeypatch: pytest.MonkeyPatch):
    """Also of what is open to everybody; its memory at the manager is a few chunks."""
    monkeypatch.setattr(http_protocol, "STALL_SECONDS", 0.3)
    wait_until(lambda: live.parts.connections.strangers() < 4)
    request = b"GET /install/fleet-agent.pyz HTTP/1.1\r\nhost: m\r\n\r\n"
    plain = live.plain()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with live.context.wrap_socket(plain, server_hostname="127.0.0.1") as reader:
        peer = reader.getsockname()
        wait_until(lambda: peer in live.parts.connections.open)
        reader.sendall(request)
        wait_until(lambda: peer not in live.parts.connections.open)


def wait_until(reached: Callable[[], bool], seconds: float = 15) -> None:
    limit = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < limit
        time.sleep(0.02)


class FakeSocket:
    def __init__(self) -> None:
        self.ended = False

    def shutdown(self, _: int) -> None:
        self.ended = True


def test_strangers_leave_room_for_those_who_have_authenticated():
    """Half of all connections, and a few of each address; who authenticates counts no more."""
    now = [0.0]
    connections = Connections(1000, 3, clock=lambda: now[0])
    first = [connections.admit(FakeSocket(), ("10.0.0.1", port)) for port in range(3)]
    assert connections.admit(FakeSocket(), ("10.0.0.1", 9)) is None
    connections.mark_authenticated(first[0], "agent", "c-1")
    assert connections.admit(FakeSocket(), ("10.0.0.1", 10)) is not None
    strangers = 3
    for host in range(2000):
        strangers += (
            connections.admit(FakeSocket(), (f"10.1.{host // 250}.{host % 250}", 1)) is not None
        )
    assert strangers == 600  # half of 1,000, and the spare ones
    now[0] += 60
    assert connections.admit(FakeSocket(), ("10.9.9.9", 1)) is not None
    assert first[1].socket.ended
    assert not first[0].socket.ended


def test_a_caller_with_too_many_connections_loses_its_oldest():
    connections = Connections(1000, 0)
    made = [
        connections.admit(FakeSocket(), ("10.0.0.1", port))
        for port in range(PER_CALLER["agent"] + 1)
    ]
    for connection in made:
        connections.mark_authenticated(connection, "agent", "c-1")
    assert [connection.socket.ended for connection in made] == [True] + [False] * PER_CALLER[
        "agent"
    ]
    for port, connection in enumerate(made):
        connections.remove(connection, ("10.0.0.1", port))
    assert (connections.open, connections._callers, connections._addresses) == ({}, {}, {})


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7"),
        (("2001:db8::1:2", 5, 0, 0), "2001:db8::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
    ],
)
def test_an_address_is_a_host_or_its_network(peer: tuple[object, ...], expected: str):
    assert network(peer) == expected
