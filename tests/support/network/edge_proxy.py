"""A network as bad as those at the edge, in this process: a TCP proxy in front of a manager whose
impairments are changed while it runs.

Works on bytes, not on packets, so it needs no rights;
tests/integration/network/test_edge_network.py has real packet loss in network namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

HTML = (
    b"<html><head><title>Welcome</title></head><body>Please accept our terms to use this"
    b" network.</body></html>"
)
_PAGE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"
    % (len(HTML), HTML)
)


@dataclass(frozen=True)
class Network:
    """Nothing set: a good one. `rate`: bytes a second each way. `drip`: one byte every 0.3 s to the
    agent. `cut_after`: bytes to the agent, then a reset. `half_close_after`: bytes to the agent,
    then the end of that direction alone. `hole`: takes everything, gives nothing. `refuse`: resets
    each connection. `portal`: who answers 200 with a page for people: "stranger" with a certificate
    of its own, "manager" with the manager's.
    """

    rate: float = 0.0
    drip: bool = False
    cut_after: int = 0
    half_close_after: int = 0
    hole: bool = False
    refuse: bool = False
    portal: str = ""


class EdgeProxy:
    """`portals`: TLS contexts by name. Byte counts are of all connections since the start."""

    def __init__(self, port: int, portals: dict[str, ssl.SSLContext] | None = None) -> None:
        self._target, self._portals = port, portals or {}
        self.network = Network()
        self.port = 0
        self.connections = self.pages = self.up = self.down = 0
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._portal_ports: dict[str, int] = {}

    def becomes(self, **network: object) -> None:
        """Another network from now on; connections that exist break, as they do when a machine
        moves.
        """
        self.network = replace(Network(), **network)  # type: ignore[arg-type]
        self._loop.call_soon_threadsafe(self._break_all)

    @contextmanager
    def running(self) -> Iterator[EdgeProxy]:
        ready = threading.Event()
        thread = threading.Thread(target=self._run, args=(ready,), name="edge-proxy", daemon=True)
        thread.start()
        assert ready.wait(10), "the proxy did not start"
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """Every socket is closed when this returns."""
        for server in self._servers:
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0.1)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]
        for name, context in self._portals.items():
            portal = await asyncio.start_server(self._portal, "127.0.0.1", 0, ssl=context)
            self._servers.append(portal)
            self._portal_ports[name] = portal.sockets[0].getsockname()[1]

    def _break_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        network = self.network
        if network.refuse:
            return
        if network.hole:
            while await reader.read(65536):
                pass
            await asyncio.sleep(3600)
        port = self._portal_ports[network.portal] if network.portal else self._target
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, far_writer, network))
                group.create_task(self._down(far_reader, writer, network))
        except* OSError:
            pass
        finally:
            far_writer.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, network: Network
    ) -> None:
        while data := await reader.read(512 if network.rate else 65536):
            self.up += len(data)
            if network.rate:
                await asyncio.sleep(len(data) / network.rate)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, network: Network
    ) -> None:
        sent = 0
        end = network.cut_after or network.half_close_after or 1 << 60
        while data := await reader.read(
            min(end - sent, 1 if network.drip else 512 if network.rate else 4096)
        ):
            if network.drip:
                await asyncio.sleep(0.3)
            elif network.rate:
                await asyncio.sleep(len(data) / network.rate)
            self.down += len(data)
            sent += len(data)
            writer.write(data)
            await writer.drain()
            if network.cut_after and sent >= network.cut_after:
                raise ConnectionResetError
            if network.half_close_after and sent >= network.half_close_after:
                writer.write_eof()
                await asyncio.sleep(3600)
        raise ConnectionResetError

    async def _portal(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError
        ):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.partition(b":")[2]))
                writer.write(_PAGE)
                await writer.drain()
                self.pages += 1
        writer.transport.abort()
