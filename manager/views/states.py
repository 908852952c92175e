"""Determines the states of deployments as people see them, and counts them: what is Ready is
counted, never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, TypeVar

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import held_state, seen_state

from ..presence import PresenceTable
from ..reconcile.held_removals import RemovalHold, list_holds
from ..store import counts
from ..store.connection import Reader
from ..store.queries.bundles import bundles_being_matched
from ..store.queries.clusters import (
    ClusterPresence,
    ClusterRow,
    SelectableCluster,
    ids_with_troubles,
    ids_without_agent,
)
from ..store.queries.deployment_states import (
    ClusterStateCount,
    UnreadyGroup,
    count_states_by_cluster,
    unready_by_cluster,
)
from ..store.queries.rollout.removals import UnfinishedRemoval, unfinished_removals
from .reasons import ReasonContext, describe_missing_agent, describe_silence

StateCounts: TypeAlias = dict[State, int]
K = TypeVar("K")
# Above this number of unready deployments a list is read in its order and filtered.
_MAX_SELECTED = 20_000
UNCOUNTED_MESSAGE = "its clusters are still being matched"


@dataclass
class FleetView:
    """The deployments of a workspace (or of all), each part read when it is used first.

    `offline` and `absent` (no agent has a key): clusters whose last reports are not relied on.
    """

    reader: Reader
    now: float
    live: PresenceTable
    workspace: str | None = None
    offline: Set[ClusterId] = frozenset()
    absent: set[ClusterId] = field(default_factory=set)

    def count_states(
        self, key: Callable[[counts.CountKey], K], bundle: str = ""
    ) -> dict[K, StateCounts]:
        """By `key`, how many deployments are in each state; of one bundle or of all."""
        filters = self.workspace, bundle
        offline, absent = (
            counts.count_on_clusters(self.reader, ids, *filters)
            for ids in (self.offline, self.absent)
        )
        heard_counts = counts.subtract_counts(
            counts.subtract_counts(counts.count_deployments(self.reader, *filters), offline), absent
        )
        waiting = (
            self._count_waiting(bundle)
            if any(count_key.is_staged for count_key in heard_counts)
            else {}
        )
        heard_counts = counts.subtract_counts(heard_counts, waiting)
        totals: dict[K, StateCounts] = {}
        for part, state, window in (
            (heard_counts, None, False),
            (waiting, None, True),
            (offline, State.OFFLINE, False),
            (absent, State.PENDING, False),
        ):
            for count_key, number in part.items():
                shown_state = state or _state_when_heard(
                    State(count_key.state),
                    is_staged=count_key.is_staged,
                    is_sent=count_key.is_sent,
                    window=window,
                )
                _add(totals.setdefault(key(count_key), {}), shown_state, number)
        return totals

    def _count_waiting(self, bundle: str) -> counts.Counts:
        """Staged deployments of heard clusters that wait for a schedule window."""
        ids = self.reasons.closed_windows.keys() - self.offline - self.absent
        staged_counts = counts.count_staged_on_clusters(self.reader, ids, self.workspace, bundle)
        return {
            count_key: number
            for count_key, number in staged_counts.items()
            if (count_key.workspace, count_key.bundle) not in self.reasons.heedless_bundles
        }

    def count_states_by_cluster(self, ids: Sequence[str] | None = None) -> dict[str, StateCounts]:
        """By cluster, how many deployments are in each state; of these clusters or of all."""
        closed_windows = self.reasons.closed_windows
        heedless = self.reasons.heedless_bundles if closed_windows else ()
        totals: dict[str, StateCounts] = {}
        for row in count_states_by_cluster(self.reader, self.workspace, ids, heedless):
            window = row.heeds_windows and row.cluster_id in closed_windows
            state = self._state(row, window=window)
            _add(totals.setdefault(row.cluster_id, {}), state, row.total)
        return totals

    def unready_state(self, row: UnreadyGroup) -> State:
        """The state that is shown of these deployments."""
        heeds = (row.workspace, row.bundle) not in self.reasons.heedless_bundles
        window = row.is_staged and row.cluster_id in self.reasons.closed_windows and heeds
        return self._state(row, window=window)

    def _state(self, row: ClusterStateCount | UnreadyGroup, *, window: bool) -> State:
        heard_state = _state_when_heard(
            State(row.state), is_staged=row.is_staged, is_sent=row.is_sent, window=window
        )
        return seen_state(
            heard_state,
            offline=row.cluster_id in self.offline,
            enrolled=row.cluster_id not in self.absent,
        )

    def cluster_trouble(
        self, cluster: ClusterRow | ClusterPresence | SelectableCluster
    ) -> tuple[str, str] | None:
        """State and message of a cluster that is not well as a whole, whatever its deployments
        are.
        """
        presence = self.live.clusters.get(ClusterId(cluster.id))
        if cluster.id in self.absent:
            return "WaitCheckIn", describe_missing_agent(cluster)[1]
        if presence and presence.twin:
            return "ErrApplied", f"Duplicate agent: {presence.twin}"
        if cluster.id in self.offline:
            last_seen = self.live.last_seen(cluster, self.now)
            return State.OFFLINE.value, describe_silence(last_seen)
        return None

    @cached_property
    def unready_cluster_ids(self) -> tuple[str, ...] | None:
        """The clusters that are not Ready or have a deployment that is not Ready; None if there
        are too many to select by them.
        """
        totals = counts.count_deployments(self.reader, self.workspace)
        number = len(self.offline) + len(self.absent)
        number += sum(n for key, n in totals.items() if key.is_staged or key.state != State.READY)
        if number > _MAX_SELECTED:
            return None
        ids = {row.cluster_id for row in unready_by_cluster(self.reader, self.workspace)}
        return tuple(ids | self.offline | self.absent | self.duplicate_agents)

    @cached_property
    def duplicate_agents(self) -> set[ClusterId]:
        """Clusters whose key two agents use."""
        return {cluster for cluster in ids_with_troubles(self.reader) if self.live.twin(cluster)}

    @cached_property
    def reasons(self) -> ReasonContext:
        """Tells why something is not Ready."""
        return ReasonContext(
            self.reader, self.live, self.now, self.workspace, self.offline, self.absent
        )

    @cached_property
    def holds(self) -> dict[tuple[str, str], RemovalHold]:
        """By workspace and bundle: removals that wait for a person."""
        return {
            (hold.workspace, hold.bundle): hold for hold in list_holds(self.reader, self.workspace)
        }

    @cached_property
    def uncounted_bundles(self) -> dict[tuple[str, str], str]:
        """(workspace, bundle) -> GitRepo of the bundles whose clusters are still being matched.

        Their counts are of a part of the fleet only, so "all are Ready" is not known to be true.
        """
        bundles = bundles_being_matched(self.reader, self.workspace)
        return {(bundle.workspace, bundle.name): bundle.repo for bundle in bundles}

    @cached_property
    def removals(self) -> dict[str, list[UnfinishedRemoval]]:
        """By cluster: removals of which the agent says why they are not done."""
        removals: dict[str, list[UnfinishedRemoval]] = {}
        for removal in unfinished_removals(self.reader):
            removals.setdefault(removal.cluster_id, []).append(removal)
        return removals


def _state_when_heard(state: State, *, is_staged: bool, is_sent: bool, window: bool) -> State:
    """The state of a deployment whose cluster is heard. `window`: it waits for one."""
    return held_state(state, told=is_sent, window=window) if is_staged else state


def _add(totals: StateCounts, state: State, number: int) -> None:
    totals[state] = totals.get(state, 0) + number


def fleet_view(reader: Reader, live: PresenceTable, now: float, workspace: str | None) -> FleetView:
    """The fleet as `live` knows it at `now` (Unix seconds)."""
    absent = ids_without_agent(reader, workspace)
    return FleetView(reader, now, live, workspace, live.offline(now), absent)
