"""Who of a rollout goes now, told by the counts that the store keeps, and handing out.

Rule: what is counted for all is read from the counts; only clusters of which more is known than
their rows say (silent, paused) are looked up, as a set. Who goes is taken from the index of what is
held, in the partition's order. So a decision over a million clusters costs as much as one over ten,
and handing out costs as much as there are clusters that go. One call hands out to so many that
others who want to write wait no longer than a moment; what is left goes with the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.plan import Want
from fleetctl.core.model.status import State
from fleetctl.core.rollout.decide import Quota, Tally

from ..agents.presence import HEARD, OFFLINE
from ..store import counts as counting
from ..store.commands.delivery import delivery_columns, want_columns
from ..store.counts import Counts, Sort, ids_text
from ..store.keys import BundleKey as Place
from ..store.queries import next_generation
from ..store.schema import deployments, wants

# Deployments that one transaction changes, at most: about a tenth of a second.
MOST = 5000
_WELL = frozenset({State.READY.value, State.MODIFIED.value})


# Why a cluster that is heard may not go: a person has paused it, its window will open, or its
# window is closed for good.
PAUSED, LATER, CLOSED = "paused", "later", "closed"


@dataclass(frozen=True)
class Apart:
    """The clusters of which more is known than their rows say: `silent` (unknown or offline),
    `paused`, and outside their window (`closed`, whether time alone will open it).
    """

    silent: Mapping[ClusterId, str] = field(default_factory=dict)
    paused: Collection[ClusterId] = frozenset()
    closed: Mapping[ClusterId, bool] = field(default_factory=dict)

    @cached_property
    def all(self) -> set[ClusterId]:
        return {*self.silent, *self.paused, *self.closed}

    @cached_property
    def text(self) -> str:
        """All of them, for `json_each`."""
        return ids_text(self.all)

    @cached_property
    def by_sort(self) -> dict[tuple[str, str], set[ClusterId]]:
        """The clusters by how they are heard and what bars them; each in one set."""
        found: dict[tuple[str, str], set[ClusterId]] = {}
        paused = set(self.paused)
        for cluster in self.all:
            bar = (
                PAUSED
                if cluster in paused
                else ""
                if cluster not in self.closed
                else LATER
                if self.closed[cluster]
                else CLOSED
            )
            found.setdefault((self.silent.get(cluster, HEARD), bar), set()).add(cluster)
        return found


@dataclass(frozen=True)
class Chosen:
    """A deployment that goes, by its row."""

    row: int
    cluster: ClusterId
    staged: str
    partition: int = 0
    well: bool = True


class Census:
    """The deployments of one bundle by partition and sort, with those of clusters that are set
    apart counted for themselves. `own`: clusters with a pin of their own, whose failures are none
    of the rollout's. `before`: the census before a hand-out, which told nobody anything who was set
    apart then and still is: they are not counted again.
    """

    def __init__(
        self,
        connection: Connection,
        place: Place,
        apart: Apart,
        own: Collection[ClusterId] = (),
        before: Census | None = None,
    ) -> None:
        self.apart = apart
        same = (
            {
                key: before._apart[key]
                for key, ids in apart.by_sort.items()
                if ids == before.apart.by_sort.get(key)
            }
            if before
            else {}
        )
        self._apart: dict[tuple[str, str], Counts] = {
            key: same[key] if key in same else counting.among(connection, ids, *place)
            for key, ids in apart.by_sort.items()
        }
        self._own = counting.among(connection, own, *place)
        self.heard = counting.every(connection, *place)
        for counts in self._apart.values():
            self.heard = counting.without(self.heard, counts)

    def tallies(self, partitions: int) -> list[Tally]:
        found: list[Counter[str]] = [Counter() for _ in range(partitions)]
        for (how, bar), counts in {(HEARD, ""): self.heard, **self._apart}.items():
            for sort, n in counts.items():
                if 0 <= sort.partition < partitions:
                    for name in _counters(sort, how, bar):
                        found[sort.partition][name] += n
        for sort, n in self._own.items():
            if (
                0 <= sort.partition < partitions
                and not sort.held
                and "failed" in _down(sort, HEARD)
            ):
                found[sort.partition]["failed"] -= n
        return [Tally(**counts) for counts in found]

    def sorts(self, partition: int, name: str) -> list[Sort]:
        """Those of a partition that are held and count as `ready`, `down` or `fresh`."""
        mine = (s for s in self.heard if s.partition == partition and s.held)
        return [s for s in mine if _counters(s, HEARD, "") == (name,)]


def _counters(sort: Sort, how: str, bar: str) -> tuple[str, ...]:
    """The counters of `Tally` that such a deployment adds to."""
    well = sort.state in _WELL or (bar == PAUSED and sort.state == State.OUT_OF_SYNC.value)
    if not sort.held and bar == PAUSED and sort.state == State.OUT_OF_SYNC.value:
        return ("barred_ready",)  # told, and paused before its agent had begun
    if not sort.held:
        return ("ready_started",) if well and how == HEARD else _down(sort, how)
    if how != HEARD:
        return (how,)
    if bar:
        name = "barred_ready" if well or not sort.told else "barred_down"
        return (name, "later") if bar == LATER else (name,)
    return ("fresh" if not sort.told else "ready" if well else "down",)


def _down(sort: Sort, how: str) -> tuple[str, ...]:
    said = {
        "flying": not sort.answered and how != OFFLINE,
        "silent": how == OFFLINE,
        "failed": sort.answered and sort.state == State.ERR_APPLIED.value,
    }
    return ("down_started", *(name for name, on in said.items() if on))


@dataclass(frozen=True)
class Choice:
    """Who goes now; `more`: others may go at once after them; `swept`: the row up to which all were
    taken as they stand, 0 when none.
    """

    who: list[Chosen]
    more: bool
    swept: int = 0


def choose(
    connection: Connection, place: Place, census: Census, quotas: Sequence[Quota], swept: int = 0
) -> Choice:
    """Who goes, in the partitions' own order, `MOST` at once. Where all may go who wait, and they
    are many, order is nothing: they are taken row by row from `swept` on, which touches each page
    of the store once.

    `maxNew` is a batch and no brake: batches follow one another here as long as there is room.
    """
    whole = [
        at
        for at, (quota, tally) in enumerate(zip(quotas, census.tallies(len(quotas)), strict=True))
        if _all_go(quota, tally)
    ]
    if whole:
        found = _swept(connection, place, whole, census.apart, swept)
        if found or swept:
            full = len(found) == MOST
            return Choice(found, True, found[-1].row if full else 0)
    found = []
    for at, quota in enumerate(quotas):
        for name, most in (
            ("down", MOST if quota.down else 0),
            ("ready", quota.ready),
            ("fresh", MOST if quota.fresh else 0),
        ):
            left = min(most, MOST - len(found))
            if left > 0:
                found += _first(connection, place, census.sorts(at, name), census.apart, left)
    return Choice(found, len(found) == MOST)


def _all_go(quota: Quota, tally: Tally) -> bool:
    every = (
        quota.ready >= tally.ready
        and (quota.fresh or not tally.fresh)
        and (quota.down or not tally.down)
    )
    return bool(every) and tally.may_go > MOST


_SWEPT = sa.text("""
SELECT rowid AS row, cluster_id, staged FROM deployments INDEXED BY deployments_bundle
WHERE workspace = :workspace AND bundle = :bundle AND rowid > :after AND staged <> ''
    AND NOT removed AND NOT kept
    AND partition IN (SELECT value FROM json_each(:partitions))
        AND cluster_id NOT IN (SELECT value FROM json_each(:apart))
ORDER BY rowid LIMIT :most
""")


def _swept(
    connection: Connection, place: Place, partitions: Sequence[int], apart: Apart, after: int
) -> list[Chosen]:
    where = {"workspace": place[0], "bundle": place[1], "after": after, "most": MOST}
    texts = {"partitions": msgspec.json.encode(partitions).decode(), "apart": apart.text}
    return [
        Chosen(row.row, ClusterId(row.cluster_id), row.staged)
        for row in connection.execute(_SWEPT, where | texts)
    ]


_FIRST = sa.text("""
SELECT rowid AS row, cluster_id, staged, position FROM deployments INDEXED BY deployments_held
WHERE workspace = :workspace AND bundle = :bundle AND partition = :partition AND state = :state
    AND staged <> ''
    AND NOT removed AND NOT kept AND (generation > 0) = :told
        AND cluster_id NOT IN (SELECT value FROM json_each(:apart))
ORDER BY shelf, position, cluster_id LIMIT :most
""")


def _first(
    connection: Connection, place: Place, sorts: Iterable[Sort], apart: Apart, most: int
) -> list[Chosen]:
    found: list[Any] = []
    for state, was_told in sorted({(sort.state, sort.told) for sort in sorts}):
        [partition] = {sort.partition for sort in sorts}
        where = {
            "workspace": place[0],
            "bundle": place[1],
            "partition": partition,
            "state": state,
            "told": was_told,
        }
        found += connection.execute(_FIRST, where | {"apart": apart.text, "most": most})
    found.sort(key=lambda row: (row.position, row.cluster_id))
    return [Chosen(row.row, ClusterId(row.cluster_id), row.staged) for row in found[:most]]


_BACK = sa.text("""
SELECT d.rowid AS row, d.cluster_id, d.staged, d.partition, d.state
    FROM json_each(:own) j CROSS JOIN deployments d
ON d.cluster_id = j.value AND d.bundle = :bundle
WHERE d.workspace = :workspace AND d.staged <> '' AND d.generation > 0 AND NOT d.removed
    AND NOT d.kept
ORDER BY d.partition, d.position, d.cluster_id
""")


_WAITING = sa.text("""
SELECT d.cluster_id FROM json_each(:ids) j CROSS JOIN deployments d ON d.cluster_id = j.value
    AND d.bundle = :bundle
WHERE d.workspace = :workspace AND d.staged <> '' AND NOT d.removed AND NOT d.kept
""")


def waiting_of(connection: Connection, place: Place, ids: Collection[ClusterId]) -> list[ClusterId]:
    """Those of the clusters for which something is held."""
    if not ids:
        return []
    values = {"ids": ids_text(ids), "workspace": place[0], "bundle": place[1]}
    return [ClusterId(row[0]) for row in connection.execute(_WAITING, values)]


def back_of(
    connection: Connection, place: Place, own: Collection[ClusterId], paused: Collection[ClusterId]
) -> list[Chosen]:
    """Of the clusters with a pin of their own, those that are to be told it, in order; who is
    paused waits.
    """
    if not own:
        return []
    rows = connection.execute(
        _BACK, {"own": ids_text(own), "workspace": place[0], "bundle": place[1]}
    )
    found = [
        Chosen(row.row, ClusterId(row.cluster_id), row.staged, row.partition, row.state in _WELL)
        for row in rows
    ]
    return [one for one in found if one.cluster not in paused]


def going_back(
    back: Sequence[Chosen], left: tuple[list[int], int], silent: Collection[ClusterId]
) -> list[Chosen]:
    """Of those that a person sends back by name, the ones that go now: whatever the rollout waits
    for, within what is `left` of each partition's budget and of the bundle's.
    """
    (each, free), found = left, []
    for one in back:
        if (
            not 0 <= one.partition < len(each)
            or one.cluster in silent
            or (one.well and min(free, each[one.partition]) <= 0)
        ):
            continue
        each[one.partition] -= one.well
        free -= one.well
        found.append(one)
        if len(found) == MOST:
            break
    return found


def hand_out(connection: Connection, chosen: Sequence[Chosen], now: int) -> None:
    """`now` in Unix seconds. A document is as old as the last thing that its cluster was told, so
    that the clusters stay as they are.
    """
    generation = next_generation(connection)
    by_key: dict[str, list[int]] = {}
    for one in chosen:
        by_key.setdefault(one.staged, []).append(one.row)
    for key, rows in by_key.items():
        want = msgspec.json.decode(
            connection.execute(sa.select(wants.c.json).where(wants.c.key == key)).scalar_one(),
            type=Want,
        )
        values = {
            **want_columns(want),
            "generation": generation,
            "state": State.WAIT_APPLIED.value,
            "staged": "",
        } | delivery_columns(now)
        mine = sa.text("rowid IN (SELECT value FROM json_each(:rows))").bindparams(
            rows=msgspec.json.encode(rows).decode()
        )
        connection.execute(sa.update(deployments).where(mine).values(**values))
