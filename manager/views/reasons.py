"""Tells why deployments are not Ready, for bundles, GitRepos and clusters, by counting in the
database. The words are those of fleetctl/core/model/reasons.py.

Rule: every deployment counts towards its group, whatever their number; of each group one report is
read, as the example. The last report of a silent cluster is not relied on: its deployments count
as Offline, with the state that was reported last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import msgspec

from fleetctl.core.model.reasons import Reason, ReasonGroup, of_manager, of_report
from fleetctl.core.model.status import Report, State
from fleetctl.core.model.summary import held_state, resource_counts, seen_state
from fleetctl.core.rollout.schedule import ScheduleVerdict

from ..clock import rfc3339
from ..presence import PresenceTable
from ..rollout import schedules
from ..store.connection import Reader
from ..store.queries.clusters import (
    ClusterPresence,
    ClusterRow,
    SelectableCluster,
    cluster_presences,
)
from ..store.queries.deployment_states import CauseGroup, group_by_cause
from ..store.queries.deployments import (
    DeploymentRow,
    DeploymentScope,
    count_resource_tallies,
    reports_of,
)
from ..store.queries.rollouts import partition_reasons

_DEFAULT_GATE = "held by its rollout"
K = TypeVar("K")


@dataclass(frozen=True)
class DeploymentFacts:
    """What the database holds of one deployment, as far as it tells why it is not Ready.

    `is_sent`: the cluster was sent some version. `is_reported`: the report is of that generation.
    `is_staged`: a rollout holds back a newer version, and waits for `gate`; `window` tells when the
    cluster may change, if it waits for a schedule window.
    """

    cluster: str
    bundle: str
    state: State
    is_sent: bool
    is_reported: bool
    is_staged: bool
    gate: str = ""
    window: str = ""
    report: bytes = b""


@dataclass
class ReasonContext:
    """Which clusters are silent (`offline`) or have no agent (`absent`), and what the rollouts
    wait for.
    """

    reader: Reader
    live: PresenceTable
    now: float
    workspace: str | None
    offline: Collection[str]
    absent: Collection[str]
    clusters: dict[str, ClusterPresence] = field(default_factory=dict)

    def load_clusters(self, ids: Iterable[str]) -> None:
        """Read the clusters of which reasons will be asked."""
        new_ids = set(ids) - self.clusters.keys()
        self.clusters |= {row.id: row for row in cluster_presences(self.reader, new_ids)}

    @cached_property
    def gates(self) -> dict[tuple[str, str, int], str]:
        """What each partition of each rollout waits for."""
        return partition_reasons(self.reader, self.workspace)

    @cached_property
    def calendars(self) -> schedules.Calendars:
        return schedules.Calendars(self.reader, self.now)

    @cached_property
    def closed_windows(self) -> dict[str, ScheduleVerdict]:
        """Clusters outside their schedule windows for which something is staged."""
        return schedules.find_closed_windows(self.reader, self.workspace, self.now)

    @cached_property
    def heedless_bundles(self) -> set[tuple[str, str]]:
        """Workspace and name of the bundles that wait for no schedule window."""
        return {*schedules.bundles_ignoring_windows(self.reader, self.workspace)}

    def facts_of_deployment(self, row: DeploymentRow) -> DeploymentFacts:
        is_sent, is_staged = row.generation > 0, row.staged_key != ""
        return DeploymentFacts(
            row.cluster_id,
            row.bundle,
            State(row.state),
            is_sent,
            is_sent and row.reported_generation >= row.generation,
            is_staged,
            self._gate(row) if is_staged else "",
            self._window(row) if is_staged else "",
            row.report,
        )

    def facts_of_group(self, row: CauseGroup, report: bytes) -> DeploymentFacts:
        return DeploymentFacts(
            row.cluster_id,
            row.bundle,
            State(row.state),
            row.is_sent,
            row.is_reported,
            row.is_staged,
            self._gate(row) if row.is_staged else "",
            self._window(row) if row.is_staged else "",
            report,
        )

    def _gate(self, row: DeploymentRow | CauseGroup) -> str:
        return self.gates.get((row.workspace, row.bundle, row.partition)) or _DEFAULT_GATE

    def _window(self, row: DeploymentRow | CauseGroup) -> str:
        """What the schedule window of a staged deployment says, "" when it is open."""
        verdict = self.closed_windows.get(row.cluster_id)
        if verdict is None or (row.workspace, row.bundle) in self.heedless_bundles:
            return ""
        return verdict.why

    def explain(self, facts: DeploymentFacts) -> tuple[State, Reason | None]:
        """The state as it is shown, and why; no reason for what is Ready. The cluster must be
        loaded.
        """
        cluster, state = self.clusters[facts.cluster], self._determine_state(facts)
        if facts.cluster in self.absent:
            code, cause = describe_missing_agent(cluster)
        elif state is State.OFFLINE:
            code, cause = "offline", self._describe_silence(facts)
        elif state is State.WAITING_FOR_WINDOW and facts.window:
            code, cause = "window", facts.window
        elif facts.is_staged and (not facts.is_sent or state is not facts.state):
            code, cause = "held", facts.gate or _DEFAULT_GATE
        elif state is State.READY:
            return state, None
        elif not facts.is_reported or not facts.report:
            code, cause = "waiting", "sent, no report yet"
        else:
            report = msgspec.json.decode(facts.report, type=Report)
            return state, of_report(report, cluster=cluster.name, bundle=facts.bundle)
        about = {"held": f"rollout {facts.bundle}", "waiting": ""}
        return state, of_manager(
            code,
            cause,
            about.get(code, f"cluster {cluster.name}"),
            cluster=cluster.name,
            bundle=facts.bundle,
        )

    def _determine_state(self, facts: DeploymentFacts) -> State:
        state = facts.state
        if facts.is_staged:
            state = held_state(state, told=facts.is_sent, window=bool(facts.window))
        return seen_state(
            state,
            offline=facts.cluster in self.offline,
            enrolled=facts.cluster not in self.absent,
        )

    def _describe_silence(self, facts: DeploymentFacts) -> str:
        silence = describe_silence(self.live.last_seen(self.clusters[facts.cluster], self.now))
        if not facts.report or not facts.is_sent:
            return f"{silence}, it never reported this bundle"
        report = msgspec.json.decode(facts.report, type=Report)
        return f"{silence}, last state {report.state.value} at generation {report.generation}"


def warning_of(row: DeploymentRow, cluster: str) -> Reason | None:
    """What the agent says of a deployment that is Ready: how it had to be applied."""
    if not row.report or row.reported_generation < row.generation:
        return None
    report = msgspec.json.decode(row.report, type=Report)
    return of_report(report, cluster=cluster, bundle=row.bundle) if report.code else None


def describe_missing_agent(
    cluster: ClusterRow | ClusterPresence | SelectableCluster,
) -> tuple[str, str]:
    """Code and words for a cluster for which no agent has a key."""
    if cluster.enrolled_at:
        return "revoked", "its key was revoked; no agent has enrolled again"
    return "never-enrolled", "no agent has enrolled yet"


def describe_silence(last_seen: float) -> str:
    """`seen`: Unix seconds, 0 never."""
    return f"no report since {rfc3339(last_seen)}" if last_seen else "no report since the enrolment"


def bundle_key(row: CauseGroup) -> tuple[str, str]:
    return row.workspace, row.bundle


def gitrepo_key(row: CauseGroup) -> tuple[str, str]:
    return row.workspace, row.repo


def cluster_key(row: CauseGroup) -> str:
    return row.cluster_id


def group_reasons(
    context: ReasonContext, scope: DeploymentScope, key: Callable[[CauseGroup], K]
) -> dict[K, list[ReasonGroup]]:
    """The reasons of all deployments in the scope that are not Ready, by `key`: bundle_key,
    gitrepo_key or cluster_key.
    """
    rows = group_by_cause(
        context.reader,
        scope,
        (context.offline, context.absent),
        by_cluster=key is cluster_key,
        by_schedule=bool(context.closed_windows),
    )
    context.load_clusters(row.cluster_id for row in rows)
    reports = reports_of(context.reader, {(r.cluster_id, r.bundle) for r in rows if r.is_sent})
    groups: dict[K, list[ReasonGroup]] = {}
    for row in rows:
        report = reports.get((row.cluster_id, row.bundle), b"")
        state, reason = context.explain(context.facts_of_group(row, report))
        if reason is not None:
            name = context.clusters[row.cluster_id].name
            group = ReasonGroup(state, reason, row.total, name, row.bundle, row.workspace)
            groups.setdefault(key(row), []).append(group)
    return groups


def count_resources(reader: Reader, scope: DeploymentScope) -> dict[str, int]:
    """Fleet's `resourceCounts` over all deployments in the scope."""
    return resource_counts(count_resource_tallies(reader, scope))
