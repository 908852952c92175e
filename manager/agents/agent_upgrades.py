"""Sets which agent release each cluster should run.

Rule: with a limit, at most so many clusters of one command upgrade at once. The next cluster starts
only when a cluster reports that it runs the new version. So a version with which agents do not come
back stops by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.ids import ClusterId

from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..store.commands import agent_releases as release_commands
from ..store.commands.documents import mark_documents_changed
from ..store.connection import Reader, Writer
from ..store.engine import Store
from ..store.queries import agent_releases as release_queries
from ..store.queries import clusters as cluster_queries
from ..store.queries import next_generation, shown_labels
from ..store.queries.agent_releases import DONE, QUEUED, WANTED, AgentUpgradeRow
from ..store.queries.clusters import ClusterAgentRow

_END_STATES = frozenset({DONE, "failed", "refused"})
_MOST_MESSAGE = 512


@dataclass(frozen=True)
class UpgradeRequest:
    """Clusters of one workspace, by name or by label. `version` "" cancels their upgrades; `most`
    like 5 or 10%, "" means all at once.
    """

    workspace: str
    names: Sequence[str] = ()
    selector: str = ""
    version: str = ""
    most: str = ""


@dataclass(frozen=True)
class UpgradePlan:
    """The upgrades of one command. `most`: how many may be under way at once, 0 for all."""

    number: int
    most: int
    upgrades: list[AgentUpgradeRow]


class AgentUpgrades:
    """Sets and cancels upgrades of agents."""

    def __init__(self, store: Store, live: PresenceTable, clock: Clock) -> None:
        self._store, self._live, self._clock = store, live, clock

    async def request(self, request: UpgradeRequest) -> dict[str, Any]:
        """Set the version of all requested clusters, or of none. Raises NotFound, UsageError."""
        now = rfc3339(self._clock())
        answer, changed_clusters = await self._store.write(
            lambda writer: _request(writer, request, now)
        )
        self._live.mark_changed(changed_clusters)
        return answer


def _request(
    writer: Writer, request: UpgradeRequest, now: str
) -> tuple[dict[str, Any], set[ClusterId]]:
    """Returns the answer and the clusters whose documents change."""
    release_commands.delete_upgrades_of_missing_clusters(writer)
    rows = choose_clusters(cluster_queries.list_cluster_agents(writer, request.workspace), request)
    ids, names = [row.id for row in rows], [row.name for row in rows]
    if not request.version:
        changed_clusters = mark_documents_changed(writer, _cancel(writer, ids, now), now)
        return {"version": "", "clusters": names, "wanted": [], "queued": []}, changed_clusters
    releases = _releases(writer, request.version)
    plan = decide_upgrades(rows, releases, request, next_generation(writer), now)
    changed_clusters = _cancel(writer, ids, now)
    release_commands.insert_upgrades(writer, plan.upgrades)
    changed_clusters = mark_documents_changed(writer, changed_clusters | set(ids), now)
    return _answer(names, plan, request), changed_clusters


def choose_clusters(
    rows: Iterable[ClusterAgentRow], request: UpgradeRequest
) -> list[ClusterAgentRow]:
    """The requested clusters of the workspace: by name in the order of the request, or by label in
    the order of `rows`. Raises NotFound for a name that no cluster has.
    """
    if request.selector:
        selector = parse_selector(request.selector)
        return [
            row
            for row in rows
            if matches(selector, shown_labels(row.name, msgspec.json.decode(row.labels)))
        ]
    by_name = {row.name: row for row in rows}
    for name in request.names:
        if name not in by_name:
            raise NotFound(
                f"Cluster {name[:80]} does not exist in workspace {request.workspace}",
                subject=f"Cluster {request.workspace}/{name[:80]}",
                next_step=f"See `fleetctl cluster list -n {request.workspace}`.",
            )
    return [by_name[name] for name in dict.fromkeys(request.names)]


def _releases(reader: Reader, version: str) -> list[AgentRelease]:
    """The builds of a version. Raises NotFound."""
    releases = [release for release, _ in release_queries.list_releases(reader, version)]
    if not releases:
        step = (
            "Add it with `fleetctl agent-release add FILE`, or see `fleetctl agent-release list`."
        )
        raise NotFound(
            f"there is no agent version {version[:80]}",
            subject=f"agent {version[:80]}",
            next_step=step,
        )
    return releases


def decide_upgrades(
    rows: Sequence[ClusterAgentRow],
    releases: Sequence[AgentRelease],
    request: UpgradeRequest,
    number: int,
    now: str,
) -> UpgradePlan:
    """One upgrade of each cluster; those above the limit are queued. Raises UsageError when no
    release fits a cluster.
    """
    builds = [_build_for(row, releases) for row in rows]
    most = _limit(request.most, len(rows))
    upgrades = [
        AgentUpgradeRow(
            cluster_id=row.id,
            workspace=row.workspace,
            number=number,
            version=request.version,
            sha256=build.sha256,
            max_concurrent=most,
            state=WANTED if not most or index < most else QUEUED,
            message="",
            state_since=now,
        )
        for index, (row, build) in enumerate(zip(rows, builds, strict=True))
    ]
    return UpgradePlan(number, most, upgrades)


def _answer(names: list[str], plan: UpgradePlan, request: UpgradeRequest) -> dict[str, Any]:
    started_names = [
        name for name, row in zip(names, plan.upgrades, strict=True) if row.state == WANTED
    ]
    return {
        "version": request.version,
        "clusters": names,
        "wanted": started_names,
        "queued": names[len(started_names) :],
        "number": plan.number,
        "most": plan.most,
    }


def _build_for(row: ClusterAgentRow, releases: Sequence[AgentRelease]) -> AgentRelease:
    """The build for the Python and platform of the cluster's agent. An agent that has not reported
    them gets the only build that exists. Raises UsageError.
    """
    runtime = msgspec.json.decode(row.agent).get("runtime", "")
    builds = [r for r in releases if str(r.runtime) == runtime] if runtime else list(releases)
    if len(builds) == 1:
        return builds[0]
    available = ", ".join(sorted(str(r.runtime) for r in releases))
    reason = f"runs on {runtime}" if runtime else "has not reported its Python and platform yet"
    raise UsageError(
        f"cluster {row.name} {reason}; version {releases[0].version} is available for {available}",
        subject=f"cluster {row.name}",
        next_step="Build the version on that platform with `make agent`, sign and add it.",
    )


def _limit(text: str, cluster_count: int) -> int:
    """The number of clusters that `text` (like 5 or 10%) allows at once; 0 means all. Raises
    UsageError.
    """
    if not text:
        return 0
    digits, is_percentage = text.removesuffix("%"), text.endswith("%")
    number = int(digits[:9]) if digits.isascii() and digits.isdigit() else 0
    if number < 1 or (is_percentage and number > 100):
        raise UsageError(
            f"{text[:40]!r} is neither a number of clusters nor a percentage",
            next_step="Write for example 5 or 10%.",
        )
    return max(1, cluster_count * number // 100) if is_percentage else number


def store_upgrade_report(
    writer: Writer, cluster: ClusterId, report: wire.AgentUpgrade | None, now: str
) -> set[ClusterId]:
    """Store what an agent reports about its upgrade. Returns the clusters that may upgrade next,
    because this one is done.
    """
    if report is None:
        return set()
    upgrade = release_queries.find_started_upgrade(writer, cluster, report.target_number)
    state, message = _state_and_message(report)
    if upgrade is None or (upgrade.state, upgrade.message) == (state, message):
        return set()
    release_commands.set_upgrade_state(writer, upgrade, state, message, now)
    if state != DONE or upgrade.state == DONE:
        return set()
    return mark_documents_changed(writer, _start_next(writer, upgrade.number, now), now)


def _state_and_message(report: wire.AgentUpgrade) -> tuple[str, str]:
    """An upgrade that has not ended is WANTED, and its message names the step."""
    if report.state in _END_STATES:
        return report.state, report.message[:_MOST_MESSAGE]
    message = ": ".join(text for text in (report.state, report.message) if text)
    return WANTED, message[:_MOST_MESSAGE]


def _cancel(writer: Writer, ids: Sequence[ClusterId], now: str) -> set[ClusterId]:
    """Remove the upgrades of these clusters. Returns those that had one, and those that may upgrade
    in their places.
    """
    numbers = release_commands.delete_upgrades(writer, ids)
    changed_clusters = set(numbers)
    for number in sorted(set(numbers.values())):
        changed_clusters |= _start_next(writer, number, now)
    return changed_clusters


def _start_next(writer: Writer, number: int, now: str) -> set[ClusterId]:
    """Start queued upgrades of one command, up to its limit. A cluster whose upgrade failed, or
    whose agent does not come back, still counts.
    """
    queue = release_queries.queue_status(writer, number)
    if queue is None:
        return set()
    count = max(0, queue.max_concurrent - queue.running)
    clusters = release_queries.queued_clusters(writer, number, count)
    release_commands.start_upgrades(writer, clusters, now)
    return set(clusters)


def agent_target(reader: Reader, cluster: ClusterId) -> wire.AgentTarget | None:
    """What the cluster's document says about the agent that it should run."""
    target = release_queries.release_of_cluster(reader, cluster)
    return None if target is None else wire.AgentTarget(number=target[0], release=target[1])


def upgrade_status(
    reader: Reader, workspace: str | None, ids: Sequence[str]
) -> Mapping[str, dict[str, Any]]:
    """By cluster id, what a Cluster's `status.agent` says about its upgrade."""
    return {
        row.cluster_id: {
            "wanted": row.version,
            "upgrade": {
                "state": row.state,
                "message": row.message,
                "since": row.state_since,
                "number": row.number,
            },
        }
        for row in release_queries.list_upgrades(reader, workspace, ids)
    }
