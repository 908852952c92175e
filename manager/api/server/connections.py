"""Counts and bounds TCP connections from `accept` on, before TLS: in all, per address, and per
authenticated caller.

A connection is a stranger's until a request on it has authenticated. Strangers may hold half of all
connections, and one address only a part of these: when there is no room, the oldest stranger that
has had some seconds to authenticate is closed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

SPARE = 100  # connections above the limit that are accepted to be answered 503
PER_CALLER = {"agent": 16, "person": 256}
_GRACE_SECONDS = 3.0
_ACCEPTS_AT_ONCE = 100


class Connection:
    """One accepted connection. `caller` is "" while nobody has authenticated on it."""

    __slots__ = ("accept_time", "address", "caller", "socket")

    def __init__(self, address: str, accept_time: float, sock: socket.socket) -> None:
        self.address, self.accept_time, self.socket, self.caller = address, accept_time, sock, ""

    def end(self) -> None:
        """The transport sees the end of the stream and closes, in whatever state it is."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """`most` connections are served; `per_address` strangers of one address, 0 for no such
    limit.
    """

    def __init__(
        self, limit: int, per_address: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit, self._per_address, self._clock = limit, per_address, clock
        self.open: dict[Any, Connection] = {}  # by the peer's host and port
        self.refused_count = 0
        self._strangers: OrderedDict[Connection, None] = OrderedDict()
        self._addresses: dict[str, OrderedDict[Connection, None]] = {}
        self._callers: dict[str, OrderedDict[Connection, None]] = {}

    def admit(self, sock: socket.socket, peer: Any) -> Connection | None:
        """None when there is no room for this connection."""
        address = network(peer)
        neighbours = self._addresses.get(address, OrderedDict())
        full = len(self.open) >= self.limit + SPARE
        is_crowded = bool(self._per_address) and len(neighbours) >= self._per_address
        if full or (is_crowded and not self._end_oldest(neighbours)) or not self._has_room():
            self.refused_count += 1
            return None
        connection = Connection(address, self._clock(), sock)
        self.open[peer[:2]] = connection
        self._strangers[connection] = None
        self._addresses.setdefault(address, OrderedDict())[connection] = None
        return connection

    def mark_authenticated(self, connection: Connection, kind: str, name: str) -> None:
        """`connection` belongs to this "agent" or "person" from now on. The oldest of a caller that
        has too many is closed.
        """
        caller = f"{kind} {name}"
        if connection.caller == caller:
            return
        self._leave(connection)
        connection.caller = caller
        connections_of_caller = self._callers.setdefault(caller, OrderedDict())
        connections_of_caller[connection] = None
        if len(connections_of_caller) > PER_CALLER[kind]:
            next(iter(connections_of_caller)).end()

    def remove(self, connection: Connection, peer: Any) -> None:
        if self.open.get(peer[:2]) is connection:
            del self.open[peer[:2]]
        self._leave(connection)

    def strangers(self) -> int:
        return len(self._strangers)

    def _has_room(self) -> bool:
        return len(self._strangers) < max(1, self.limit // 2 + SPARE) or self._end_oldest(
            self._strangers
        )

    def _end_oldest(self, strangers: OrderedDict[Connection, None]) -> bool:
        """Whether the oldest had its time to authenticate, and so was closed."""
        oldest = next(iter(strangers))
        if self._clock() - oldest.accept_time < _GRACE_SECONDS:
            return False
        self._leave(oldest)
        oldest.end()
        return True

    def _leave(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        for groups, key in (
            (self._addresses, connection.address),
            (self._callers, connection.caller),
        ):
            group = groups.get(key)
            if group is not None:
                group.pop(connection, None)
                if not group:
                    del groups[key]


def network(peer: Any) -> str:
    """The IPv4 address or the IPv6 /64 network of a peer: one host has a whole /64."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (ValueError, IndexError):
        return str(peer)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


class Listener(socket.socket):
    """A listening socket whose `accept` admits only as many connections as `connections` allows;
    others are closed at once.
    """

    connections: Connections | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        for _ in range(_ACCEPTS_AT_ONCE):
            plain, peer = super().accept()
            if self.connections is None:
                return plain, peer
            sock = _ConnectionSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
            connection = self.connections.admit(sock, peer)
            if connection is not None:
                sock.on_close = (self.connections, connection, peer)
                return sock, peer
            sock.close()
        raise BlockingIOError  # the event loop calls again after its other work


class _ConnectionSocket(socket.socket):
    """Leaves the count when it is closed, whoever closes it: also when TLS never began."""

    on_close: tuple[Connections, Connection, Any] | None = None

    def close(self) -> None:
        on_close, self.on_close = self.on_close, None
        super().close()
        if on_close is not None:
            connections, connection, peer = on_close
            connections.remove(connection, peer)
