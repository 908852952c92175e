"""Holds in memory: the enrolled clusters, the document of each, when its agent was heard last, and
its open long polls.

Rule: an unchanged poll is answered from here alone. The database has all of it, so that a restart
loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import islice
from math import floor
from typing import Protocol

from fleetctl.core.model.ids import BundleName, ClusterId

from ..clock import Steady, unchanged
from ..store.queries.clusters import EnrolledRow
from .silence import HEARD, OFFLINE, UNKNOWN, SilenceQueue

_MOST_DOCUMENT_BYTES = 64 * 1024 * 1024
OFFLINE_SECONDS = 300.0
LONG_POLL_AGENTS = 5000
_TWIN_MEMORY = 4
_CLOCK_STEP = 30.0
CONNECTED, POLLING, LATE = "connected", "polling", "late"
# An agent is late when it missed its interval by half and had this many seconds for its jitter and
# one retry.
_LATE_INTERVALS, _LATE_SECONDS = 1.5, 15.0


@dataclass(frozen=True, slots=True)
class Word:
    """One request of an agent: who sent it, from where, when it was signed (Unix seconds by the
    agent's own clock), and when it came.
    """

    instance: str
    address: str
    stamp: int
    now: float


@dataclass(slots=True)
class Former:
    """An instance that was heard before the present one. `until`: when its successor signed its
    first request.
    """

    address: str
    until: int


@dataclass(slots=True)
class Presence:
    """One enrolled cluster. `last_seen` in Unix seconds by the wall clock, 0 never. `lead`: how far
    the steady clock, by which presence is judged, was ahead of the wall clock then.
    """

    key: bytes
    last_seen: float = 0.0
    address: str = ""
    instance: str = ""
    former: dict[str, Former] = field(default_factory=dict)  # instances that were here before
    twin: str = ""
    revision: int = 0  # of the document, 0 when it must be read from the store
    changes: int = 0  # how often the document changed since the start
    reporter: str = ""  # the instance whose full report is stored
    speaker: str = ""  # the instance that `seq` counts for
    seq: int = 0
    # `reporter` and `seq` are from an earlier run: they count if no report was sent in between.
    is_resumed: bool = False
    pages: int = 0  # of a full report that is under way
    mentioned_bundles: frozenset[BundleName] = frozenset()  # in these pages
    waiting: int = 0  # long polls that are open now
    bell: asyncio.Event | None = None  # created for a long poll: a million clusters have none

    lead: float = 0.0

    @property
    def last(self) -> float:
        """When it was heard, by the steady clock."""
        return self.last_seen + self.lead

    def has_full_report_of(self, instance: str, seq: int) -> bool:
        """Whether a report that states only changes may follow on what is stored. `seq`: its
        number.
        """
        if self.is_resumed:
            self.is_resumed = False
            if seq != self.seq + 1:
                self.reporter = ""
        return self.reporter == instance

    @property
    def news(self) -> asyncio.Event:
        """Is set when the cluster's document changes."""
        if self.bell is None:
            self.bell = asyncio.Event()
        return self.bell

    def ring(self) -> None:
        bell, self.bell = self.bell, None
        if bell is not None:
            bell.set()


class ContactRow(Protocol):
    """A stored cluster and when it was heard last, in Unix seconds."""

    @property
    def id(self) -> str: ...
    @property
    def last_seen_at(self) -> float: ...


class PresenceTable:
    """`start_time` in Unix seconds: a manager reports no cluster as offline before it has listened
    long enough. `offline_seconds`: how long a cluster may be silent, at least three of its poll
    intervals. Callers pass `now` by the wall clock; `steady` removes changes of that clock.
    """

    def __init__(
        self,
        start_time: float,
        offline_seconds: float = OFFLINE_SECONDS,
        steady: Steady = unchanged,
    ) -> None:
        self.start_time, self._offline_seconds, self._steady = start_time, offline_seconds, steady
        self.clusters: dict[ClusterId, Presence] = {}
        # GitRepo -> when Git was last asked, Unix seconds
        self.poll_times: dict[tuple[str, str], float] = {}
        self.revision = int(start_time * 1000)
        self._bell: asyncio.Event = asyncio.Event()
        self._bodies: OrderedDict[ClusterId, tuple[int, bytes]] = OrderedDict()
        self._body_bytes = 0
        self._silence_queue = SilenceQueue(self._last_contact)
        self._loaded = asyncio.Event()
        self._loaded.set()
        self._enrolled_count = 0
        # Clusters that were enrolled or forgotten while others are loaded: rows of them are old.
        self._changed_while_loading: set[ClusterId] = set()
        self._unsaved: set[ClusterId] = set()  # clusters that were heard since they were stored

    def mark_changed(self, clusters: Iterable[ClusterId] = ()) -> None:
        """Note that something that a person sees changed, and that the documents of `clusters`
        did.
        """
        self.revision += 1
        self._bell.set()
        self._bell = asyncio.Event()
        for cluster in clusters:
            presence = self.clusters.get(cluster)
            if presence is not None:
                presence.revision = 0
                presence.changes += 1
                presence.ring()
            self._forget(cluster)

    async def wait_changed(self, since: int, seconds: float) -> int:
        """The revision, as soon as it is above `since`, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.revision <= since:
                    await self._bell.wait()
        return self.revision

    def keep_document(self, cluster: ClusterId, revision: int, body: bytes) -> None:
        """Keep a signed document for requests of the same revision."""
        self._forget(cluster)
        self._bodies[cluster] = (revision, body)
        self._body_bytes += len(body)
        while self._body_bytes > _MOST_DOCUMENT_BYTES and len(self._bodies) > 1:
            self._body_bytes -= len(self._bodies.popitem(last=False)[1][1])

    def document(self, cluster: ClusterId, revision: int) -> bytes | None:
        """The signed document, if it is in memory and has this revision."""
        kept_revision, body = self._bodies.get(cluster, (0, None))
        if body is None or kept_revision != revision:
            return None
        self._bodies.move_to_end(cluster)
        return body

    def _forget(self, cluster: ClusterId) -> None:
        document = self._bodies.pop(cluster, None)
        self._body_bytes -= len(document[1]) if document else 0

    def forget(self, cluster: ClusterId) -> None:
        """Remove a cluster that was deleted or whose key was revoked."""
        self._forget(cluster)
        presence = self.clusters.pop(cluster, None)
        self._silence_queue.discard(cluster)
        if self.is_loading:
            self._changed_while_loading.add(cluster)
        self._unsaved.discard(cluster)
        if presence:
            presence.ring()

    def note_request(self, cluster: ClusterId, word: Word) -> str:
        """Note a request. Returns what is wrong when two agents use one key in turns, else ""."""
        presence = self.clusters.get(cluster)
        if presence is None:
            return ""
        if word.instance != presence.instance:
            former = presence.former.get(word.instance)
            if former is not None and word.stamp <= former.until:
                return presence.twin  # sent before its successor began, and slow on its way
            if former is not None and not presence.twin:
                presence.twin = (
                    f"two agents use one identity, from {presence.address} and {word.address}"
                )
                self.mark_changed([cluster])  # long polls end at once
            if presence.instance:
                presence.former[presence.instance] = Former(presence.address, word.stamp)
                while len(presence.former) > _TWIN_MEMORY:
                    presence.former.pop(next(iter(presence.former)))
            presence.instance = word.instance
        is_turn = not presence.last_seen or self.is_offline(cluster, word.now)
        self._note_contact(cluster, presence, word)
        if is_turn:
            self.mark_changed()
        return presence.twin

    def _note_contact(self, cluster: ClusterId, presence: Presence, word: Word) -> None:
        last_contact, queued_contact = self._steady(word.now), presence.last
        presence.last_seen, presence.lead = word.now, last_contact - word.now
        presence.address = word.address
        if floor(last_contact) != floor(queued_contact):
            self._silence_queue.add(cluster, last_contact)
        self._unsaved.add(cluster)

    def unchanged_revision(self, cluster: ClusterId, instance: str) -> int:
        """The revision of the cluster's document; 0 when it is not in memory, when another instance
        was heard last, or when two agents use one key.
        """
        presence = self.clusters.get(cluster)
        if presence is None or presence.instance != instance or presence.twin:
            return 0
        return presence.revision

    def speaker(self, cluster: ClusterId) -> str:
        """The instance that was heard last."""
        presence = self.clusters.get(cluster)
        return presence.instance if presence else ""

    def wake(self, cluster: ClusterId) -> None:
        """Answer the long polls of the cluster now, whether or not its document changed."""
        presence = self.clusters.get(cluster)
        if presence is not None:
            presence.ring()

    def twin(self, cluster: ClusterId) -> str:
        presence = self.clusters.get(cluster)
        return presence.twin if presence else ""

    def poll_seconds(self) -> int:
        """The agents' poll interval: 15 s (long polls) for a few agents, else 60 s to 15 min."""
        agents = max(len(self.clusters), self._enrolled_count)
        if agents <= LONG_POLL_AGENTS:
            return 15
        return min(900, max(60, agents // 200))

    @contextlib.contextmanager
    def waits(self, cluster: ClusterId) -> Iterator[None]:
        """While an agent has a long poll open: it is connected, although it sends nothing."""
        presence = self.clusters.get(cluster)
        if presence is None:
            yield
            return
        presence.waiting += 1
        try:
            yield
        finally:
            presence.waiting -= 1

    def contact(self, cluster: ClusterId, now: float) -> str:
        """`connected` (a long poll is open), `polling` (between two polls), `late`, or "" (never
        seen).
        """
        presence = self.clusters.get(cluster)
        if presence is None or not presence.last_seen:
            return ""
        if presence.waiting:
            return CONNECTED
        late = (
            self._steady(now) - presence.last
            > _LATE_INTERVALS * self.poll_seconds() + _LATE_SECONDS
        )
        return LATE if late else POLLING

    def silence(self) -> float:
        """Seconds without a word after which a cluster is offline."""
        return max(self._offline_seconds, 3.0 * self.poll_seconds())

    def longest_wait(self) -> float:
        """Seconds that a long poll may last: an agent that waits in one sends nothing."""
        return self.silence() * 0.8

    def health(self, cluster: ClusterId, now: float) -> str:
        """Whether what the cluster reported last may be relied on: `heard`, `unknown` (not yet
        since this manager started) or `offline`.
        """
        presence = self.clusters.get(cluster)
        if presence is None:
            return OFFLINE
        if self._steady(now) - presence.last <= self.silence():
            return HEARD
        return OFFLINE if self.is_offline(cluster, now) else UNKNOWN

    def silent(self, now: float) -> Mapping[ClusterId, str]:
        """The enrolled clusters that are not `heard`. A cluster that is heard again is missing at
        once. May be called from any thread.
        """
        return self._silence_queue.look(self._steady(now), self.silence(), self.start_time)

    def offline(self, now: float) -> Set[ClusterId]:
        """Enrolled clusters whose agents have been silent for too long."""
        silent = self.silent(now)
        # All silent clusters have the same health.
        return silent.keys() if OFFLINE in islice(silent.values(), 1) else frozenset()

    def take_turned(self) -> set[ClusterId]:
        """The clusters that became silent, or were heard again, since the last call."""
        return self._silence_queue.take_turned()

    def is_offline(self, cluster: ClusterId, now: float) -> bool:
        presence = self.clusters.get(cluster)
        last = max(self.start_time, presence.last if presence else 0.0)
        return self._steady(now) - last > self.silence()

    def last_seen(self, row: ContactRow, now: float) -> float:
        """When the cluster of the row was heard, as the wall clock shows it now; 0 never."""
        presence = self.clusters.get(ClusterId(row.id))
        if presence is None:
            return min(float(row.last_seen_at), now)
        by_steady = now - (self._steady(now) - presence.last)
        # The wall clock is slewed all the time; only a step counts, so that the answer stays the
        # same text.
        return (
            presence.last_seen
            if not presence.last_seen or abs(by_steady - presence.last_seen) < _CLOCK_STEP
            else min(by_steady, now)
        )

    def add_enrolled(self, cluster: ClusterId, key: bytes, now: float, address: str) -> None:
        """Note a new key of the cluster."""
        if self.is_loading:
            self._changed_while_loading.add(cluster)
        self.place(cluster, Presence(key, now, address, lead=self._steady(now) - now))
        self._unsaved.add(cluster)

    def load(self, row: EnrolledRow, twin: str) -> None:
        """Note a cluster of the database, unless a request or a command was first. A time later
        than the start is no evidence: the clock was ahead when it was stored.
        """
        if row.id in self.clusters or row.id in self._changed_while_loading:
            return
        last_contact, lead = (
            (row.last_seen_at, 0.0)
            if row.last_seen_at <= self.start_time
            else (self.start_time, -self.start_time)
        )
        presence = Presence(
            row.public_key,
            last_contact,
            row.address,
            twin=twin,
            reporter=row.reporter,
            speaker=row.reporter,
            seq=row.report_seq,
            is_resumed=True,
            lead=lead,
        )
        self.place(row.id, presence)

    def place(self, cluster: ClusterId, presence: Presence) -> None:
        """Note what is known of a cluster, in place of what was known before."""
        self.clusters[cluster] = presence
        self._silence_queue.add(cluster, presence.last)

    def _last_contact(self, cluster: ClusterId) -> float | None:
        presence = self.clusters.get(cluster)
        return presence.last if presence else None

    def take_unsaved(self) -> list[tuple[ClusterId, Presence]]:
        """The clusters that were heard since they were stored last, each once."""
        clusters, self._unsaved = self._unsaved, set()
        return [
            (cluster, presence)
            for cluster in clusters
            if (presence := self.clusters.get(cluster)) is not None
        ]

    def note_report(self, cluster: ClusterId) -> None:
        """Note that the number of the last report changed."""
        self._unsaved.add(cluster)

    def begin_loading(self, enrolled_count: int) -> None:
        """Until `end_loading`, clusters of the database may be missing here."""
        self._enrolled_count, self._loaded = enrolled_count, asyncio.Event()

    def end_loading(self) -> None:
        self._enrolled_count, self._changed_while_loading = 0, set()
        self._loaded.set()

    @property
    def is_loading(self) -> bool:
        return not self._loaded.is_set()

    async def wait_loaded(self) -> None:
        """Wait until every enrolled cluster of the database is here."""
        await self._loaded.wait()

    def put_back_unsaved(self, clusters: Iterable[ClusterId]) -> None:
        """Note that the contacts of these clusters could not be stored."""
        self._unsaved.update(clusters)
