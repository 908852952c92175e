"""The states of deployments as they may be shown, and how many are in each: what is well is
counted, never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import held_state, seen_state

from ..agents.presence import Live
from ..reconcile.held_removals import Hold, list_holds
from ..store import counts as counting
from ..store.queries import in_parts
from ..store.schema import bundles, deployments, passes
from . import reasons


@dataclass
class Fleet:
    """The states of the deployments in a workspace (or everywhere), read when they are asked for:
    what is well is counted, never loaded.

    `offline` and `absent` (no agent has a key): clusters whose deployments are not what they last
    were said to be.
    """

    connection: Connection
    now: float
    live: Live
    workspace: str | None = None
    offline: set[ClusterId] = field(default_factory=set)
    absent: set[ClusterId] = field(default_factory=set)

    def state(self, row: Any) -> State:
        """What may be shown of one deployment."""
        stored = (
            held_state(State(row.state), told=row.generation > 0, window=self.waits(row))
            if row.staged
            else State(row.state)
        )
        return seen_state(
            stored,
            offline=row.cluster_id in self.offline,
            enrolled=row.cluster_id not in self.absent,
        )

    def counted(
        self, key: Callable[[counting.Sort], Any], bundle: str = ""
    ) -> dict[Any, dict[State, int]]:
        """By `key`, how many are in each state; of one bundle or of all."""
        place = self.workspace, bundle
        offline, absent = (
            counting.among(self.connection, ids, *place) for ids in (self.offline, self.absent)
        )
        heard = counting.without(
            counting.without(counting.every(self.connection, *place), offline), absent
        )
        outside = self._outside(bundle) if any(sort.held for sort in heard) else {}
        heard = counting.without(heard, outside)
        found: dict[Any, dict[State, int]] = {}
        for counts, state, window in (
            (heard, None, False),
            (outside, None, True),
            (offline, State.OFFLINE, False),
            (absent, State.PENDING, False),
        ):
            for sort, n in counts.items():
                mine, shown = found.setdefault(key(sort), {}), state or _stored(sort, window=window)
                mine[shown] = mine.get(shown, 0) + n
        return found

    def _outside(self, bundle: str) -> counting.Counts:
        """Deployments that are held and wait for a window of their cluster, which is heard."""
        ids = self.known.closed.keys() - self.offline - self.absent
        found = counting.held_among(self.connection, ids, self.workspace, bundle)
        return {
            sort: n
            for sort, n in found.items()
            if (sort.workspace, sort.bundle) not in self.known.unheeding
        }

    def waits(self, row: Any) -> bool:
        """Whether what is staged waits for a window."""
        if not row.staged or row.cluster_id not in self.known.closed:
            return False
        heeds = getattr(row, "heeds", None)
        return (
            bool(heeds)
            if heeds is not None
            else (row.workspace, row.bundle) not in self.known.unheeding
        )

    def of_clusters(self, ids: Sequence[str] | None = None) -> dict[str, dict[State, int]]:
        """By cluster, how many deployments are in each state; of these clusters or of all."""
        found: dict[str, dict[State, int]] = {}
        for row in self._grouped(ids):
            mine, state = found.setdefault(row.cluster_id, {}), self.state(row)
            mine[state] = mine.get(state, 0) + row.n
        return found

    def _grouped(self, ids: Sequence[str] | None) -> Iterable[Any]:
        d = deployments.c
        held, told = (d.staged != "").label("held"), (d.generation > 0).label("told")
        columns = (
            d.cluster_id,
            d.state,
            sa.func.min(d.staged).label("staged"),
            sa.func.max(d.generation).label("generation"),
        )
        passing = sorted(self.known.unheeding) if self.known.closed else []
        heeds = (sa.tuple_(d.workspace, d.bundle).not_in(passing) if passing else sa.true()).label(
            "heeds"
        )
        query = sa.select(*columns, heeds, sa.func.count().label("n")).where(~d.removed)
        query = query.group_by(d.cluster_id, d.state, held, told, heeds)
        if ids is not None:
            for part in in_parts(ids):
                yield from self.connection.execute(query.where(d.cluster_id.in_(part)))
        else:
            yield from self.connection.execute(
                query.where(d.workspace == self.workspace) if self.workspace else query
            )

    def trouble_of(self, row: Any) -> tuple[str, str] | None:
        """(state, what is to be said) of a row of `clusters` that is not well as a whole, whatever
        its deployments are.
        """
        presence = self.live.clusters.get(ClusterId(row.id))
        if row.id in self.absent:
            return "WaitCheckIn", reasons.agentless(row)[1]
        if presence and presence.twin:
            return "ErrApplied", f"Duplicate agent: {presence.twin}"
        if row.id in self.offline:
            return State.OFFLINE.value, reasons.silence(self.live.last_seen(row, self.now))
        return None

    @cached_property
    def known(self) -> reasons.Known:
        """What tells why something is not Ready."""
        return reasons.Known(
            self.connection, self.live, self.now, self.workspace, self.offline, self.absent
        )

    @cached_property
    def holds(self) -> dict[tuple[str, str], Hold]:
        """By workspace and bundle: removals that wait for a person."""
        return {
            (hold.workspace, hold.bundle): hold
            for hold in list_holds(self.connection, self.workspace)
        }

    @cached_property
    def uncounted(self) -> dict[tuple[str, str], str]:
        """(workspace, bundle) -> GitRepo of the bundles whose clusters are still being matched.

        Their counts are of a part of the fleet only, so "all are Ready" is not known to be true.
        """
        b, p = bundles.c, passes.c
        joined = (b.workspace == p.workspace) & (b.name == p.bundle)
        query = sa.select(p.workspace, p.bundle, b.repo).join(bundles, joined)
        if self.workspace:
            query = query.where(p.workspace == self.workspace)
        rows = self.connection.execute(query)
        return {(row.workspace, row.bundle): row.repo for row in rows}

    @cached_property
    def going(self) -> dict[str, list[Any]]:
        """By cluster: removals of which the agent says why they are not done."""
        d, found = deployments.c, dict[str, list[Any]]()
        slow = sa.select(d.cluster_id, d.bundle, d.message).where(
            d.removed, d.message != "", d.reported == d.generation
        )
        for row in self.connection.execute(slow.order_by(d.bundle)):
            found.setdefault(row.cluster_id, []).append(row)
        return found


def _stored(sort: counting.Sort, *, window: bool = False) -> State:
    """What is shown of those whose cluster is heard."""
    return (
        held_state(State(sort.state), told=sort.told, window=window)
        if sort.held
        else State(sort.state)
    )


UNCOUNTED = "its clusters are still being matched"


def fleet(connection: Connection, live: Live, now: float, workspace: str | None) -> Fleet:
    absent = counting.without_agent(connection, workspace)
    return Fleet(connection, now, live, workspace, counting.offline(live, now), absent)
