"""Writes agents into the manager's database, for fleets whose enrolment over the wire takes hours.

It uses the manager's own store commands. A fleet that was prepared so says nothing about the cost
of enrolment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import time
from functools import partial

from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from manager.clock import rfc3339
from manager.identifiers import new_cluster_id, new_uid
from manager.security.signing import Signer
from manager.store.commands import clusters as cluster_commands
from manager.store.commands.clusters import NewCluster, NewKey
from manager.store.connection import Writer
from manager.store.engine import Store
from tests.sim.simulator import WORKSPACE, SimulatedFleet

# The layout of the identity file: tests/sim/fleetsim/fleet/identities.go.
_MAGIC = b"fleetsim identities 1\n"
_HEADER_BYTES, _RECORD_BYTES = 4096, 128
_PART = 2000


def write_agents(fleet: SimulatedFleet) -> None:
    """Enrol every agent in the database of a manager that does not run."""
    fleet.run("keys", "--count", fleet.count)
    asyncio.run(_write_clusters(fleet))


async def _write_clusters(fleet: SimulatedFleet) -> None:
    data_dir = fleet.manager.data_dir
    store = Store(data_dir / "fleet.db")
    await store.open(create=False)
    try:
        with fleet.identities.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            _write_header(memory, Signer.load_or_create(data_dir), fleet.count)
            now = rfc3339(time.time())
            for first in range(0, fleet.count, _PART):
                part = range(first, min(fleet.count, first + _PART))
                keys = {new_cluster_id(): _key(memory, index) for index in part}
                await store.write(partial(_insert, keys=keys, now=now))
                for index, cluster in zip(part, keys, strict=True):
                    _write_cluster(memory, index, cluster)
    finally:
        await store.close()


def _insert(writer: Writer, keys: dict[ClusterId, bytes], now: str) -> None:
    rows = [
        NewCluster(
            id=cluster,
            uid=new_uid(),
            workspace=WORKSPACE,
            name=_name(key),
            created_at=now,
            labels=b"{}",
        )
        for cluster, key in keys.items()
    ]
    cluster_commands.insert_clusters(writer, rows)
    agent = json.dumps({"version": "0.0.0-sim"}).encode()
    cluster_commands.bind_keys(
        writer, [NewKey(key, now, agent, cluster) for cluster, key in keys.items()]
    )


def _name(key: bytes) -> str:
    """The name that a cluster of a shared token gets."""
    return f"cluster-{hashlib.sha256(key).hexdigest()[:12]}"


def _write_header(memory: mmap.mmap, signer: Signer, count: int) -> None:
    key = {"id": signer.key_id, "publicKey": wire.b64(signer.public_key)}
    header = json.dumps({"count": count, "seed": "fleetsim", "keys": [key]})
    memory[:_HEADER_BYTES] = (_MAGIC + header.encode()).ljust(_HEADER_BYTES, b"\0")


def _key(memory: mmap.mmap, index: int) -> bytes:
    offset = _HEADER_BYTES + index * _RECORD_BYTES
    return memory[offset : offset + 32]


def _write_cluster(memory: mmap.mmap, index: int, cluster: ClusterId) -> None:
    """The cluster id, the mark that the agent is enrolled, no ETag, and epoch 1."""
    offset = _HEADER_BYTES + index * _RECORD_BYTES + 32
    identifier = bytes.fromhex(cluster.removeprefix("c-"))
    epoch = (1).to_bytes(4, "little")
    memory[offset : offset + 16] = identifier + b"\x01\x00" + epoch
