"""What the manager keeps in memory: who is enrolled, which document each cluster has, when it was last heard, and who waits for news.

Rule: an unchanged poll is answered from here alone. All of it can be made again from the database.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from fleetctl.core.ids import ClusterId

_MOST_DOCUMENT_BYTES = 64 * 1024 * 1024
OFFLINE_SECONDS = 300.0
LONG_POLL_AGENTS = 5000
_TWIN_MEMORY = 4


@dataclass(slots=True)
class Presence:
    """One enrolled cluster. `seen` in Unix seconds, 0 never; `stored_seen` is what the database knows of it."""

    key: bytes
    seen: float = 0.0
    stored_seen: float = 0.0
    address: str = ""
    instance: str = ""
    former: dict[str, str] = field(default_factory=dict)  # instances that were here before, with their addresses
    twin: str = ""
    etag: str = ""
    reporter: str = ""  # the instance whose full report we have
    seq: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """`started` in Unix seconds: a manager that was away calls nobody offline."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.clusters: dict[ClusterId, Presence] = {}
        self.revision = int(started * 1000)
        self._bell: asyncio.Event = asyncio.Event()
        self._bodies: OrderedDict[ClusterId, bytes] = OrderedDict()
        self._body_bytes = 0

    def changed(self, clusters: Iterable[ClusterId] = ()) -> None:
        """Something that a person sees has changed; the documents of `clusters` are not what they were."""
        self.revision += 1
        self._bell.set()
        self._bell = asyncio.Event()
        for cluster in clusters:
            presence = self.clusters.get(cluster)
            if presence is not None:
                presence.etag = ""
                presence.news.set()
                presence.news = asyncio.Event()
            self._forget(cluster)

    async def wait_changed(self, since: int, seconds: float) -> int:
        """The revision, as soon as it is above `since`, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.revision <= since:
                    await self._bell.wait()
        return self.revision

    def keep_document(self, cluster: ClusterId, etag: str, body: bytes) -> None:
        presence = self.clusters.get(cluster)
        if presence is None:
            return
        presence.etag = etag
        self._forget(cluster)
        self._bodies[cluster] = body
        self._body_bytes += len(body)
        while self._body_bytes > _MOST_DOCUMENT_BYTES and len(self._bodies) > 1:
            self._body_bytes -= len(self._bodies.popitem(last=False)[1])

    def document(self, cluster: ClusterId) -> bytes | None:
        return self._bodies.get(cluster)

    def _forget(self, cluster: ClusterId) -> None:
        body = self._bodies.pop(cluster, None)
        self._body_bytes -= len(body) if body else 0

    def forget(self, cluster: ClusterId) -> None:
        """The cluster is gone, or its key is."""
        self._forget(cluster)
        presence = self.clusters.pop(cluster, None)
        if presence:
            presence.news.set()

    def heard(self, cluster: ClusterId, *, instance: str, address: str, now: float) -> str:
        """Note a request; what is wrong when two agents take turns with one key, else ""."""
        presence = self.clusters.get(cluster)
        if presence is None:
            return ""
        if instance != presence.instance:
            if instance in presence.former and not presence.twin:
                presence.twin = f"two agents use one identity, from {presence.address} and {address}"
            if presence.instance:
                presence.former[presence.instance] = presence.address
                while len(presence.former) > _TWIN_MEMORY:
                    presence.former.pop(next(iter(presence.former)))
            presence.instance = instance
        if not presence.seen:
            self.changed()
        elif self.is_offline(cluster, now):
            presence.seen = now
            self.changed()
        presence.seen, presence.address = now, address
        return presence.twin

    def poll_seconds(self) -> int:
        """The interval that agents are told: long polls while they are few, then 60 s to 15 min."""
        agents = len(self.clusters)
        if agents <= LONG_POLL_AGENTS:
            return 15
        return min(900, max(60, agents // 200))

    def silence(self) -> float:
        """Seconds without a word after which a cluster is offline."""
        return max(OFFLINE_SECONDS, 3.0 * self.poll_seconds())

    def is_offline(self, cluster: ClusterId, now: float) -> bool:
        presence = self.clusters.get(cluster)
        last = max(self.started, presence.seen if presence else 0.0)
        return now - last > self.silence()

    def unsaved(self) -> list[tuple[ClusterId, Presence]]:
        return [(cluster, p) for cluster, p in self.clusters.items() if p.seen > p.stored_seen]
