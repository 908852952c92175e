"""What an idle agent costs its line: bytes of TLS counted by a proxy between it and a real manager,
and what TCP/IP adds to them.

The budget is 1 MB a day at a poll each 15 minutes, over a connection that is kept and, where a NAT
or a proxy keeps none, over a new one for each poll.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from agent.controlplane import identity
from agent.controlplane.client import KEEPALIVE_SECONDS, Uplink
from examples.demo.parts import Agent, environment
from tests.bench.figures import Figure
from tests.support.fleet import Fleet
from tests.support.network.edge_proxy import EdgeProxy

POLLS_A_DAY = 96
_HEADER = 52  # IPv4 and TCP with timestamps
_MB = 1e6
# Segments, acknowledgements included: of an exchange over an open connection, and of opening, TLS
# 1.3, exchange and end.
_EXCHANGE, _CONNECTION = 4, 17


def idle_line(folder: Path) -> Iterable[Figure]:
    """Bytes of a poll that changes nothing, and of a day of them."""
    fleet = Fleet(folder / "fleet", environment({}))
    try:
        with EdgeProxy(fleet.manager.port).running() as edge:
            made = fleet.call("POST", "clusters/fleet-default/idle/register", {"labels": {}})
            agent = Agent(fleet.folder, "idle", fleet.env, target_dir=folder / "manifests")
            agent.enrol(f"https://127.0.0.1:{edge.port}", made["caPin"], made["token"])
            kept, fresh = asyncio.run(_polls(edge, agent.state_dir))
    finally:
        fleet.stop()
    probes = 86_400 / KEEPALIVE_SECONDS * 2 * _HEADER
    yield Figure("a poll that changes nothing, TLS included: kB (1 kB)", kept / 1000, 1.0, 1.0)
    day = (POLLS_A_DAY * (kept + _EXCHANGE * _HEADER) + probes) / _MB
    yield Figure("idle, 15 min polls, connection kept: MB a day (1 MB)", day, 1.0, 1.0)
    day = POLLS_A_DAY * (fresh + _CONNECTION * _HEADER) / _MB
    yield Figure("idle, 15 min polls, a new one each: MB a day (1 MB)", day, 1.0, 1.0)


async def _polls(edge: EdgeProxy, state_dir: Path) -> tuple[float, float]:
    """Bytes both ways of a poll that is answered 304: over an open connection, and with one of its
    own.
    """
    known, key = identity.load(state_dir)
    door = Uplink(known, key, time.time)
    found = await door.fetch_desired("", 0)
    etag = found[0] if found else ""
    before, count = edge.up + edge.down, 20
    for _ in range(count):
        assert await door.fetch_desired(etag, 0) is None
    kept = (edge.up + edge.down - before) / count
    await door.close()
    before = edge.up + edge.down
    for _ in range(count):
        door = Uplink(known, key, time.time)
        assert await door.fetch_desired(etag, 0) is None
        await door.close()
    return kept, (edge.up + edge.down - before) / count
