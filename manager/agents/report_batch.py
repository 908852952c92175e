"""Stores the reports of many agents together: one read, one decision for each report, one write.

Rule: the result equals the reports stored one by one. What is read, decided and written is one
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache

from fleetctl.core.model import wire
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.status import Report

from ..clock import rfc3339
from ..store.commands import clusters as cluster_commands
from ..store.commands import reports as report_commands
from ..store.commands.pins import delete_pins_of_cluster
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.connection import Reader, Writer
from ..store.group_commit import BatchKind
from ..store.queries import reports as report_queries
from ..store.queries.reports import AgentRow, ReportedRow
from .agent_upgrades import store_upgrade_report
from .status_reports import ReportChanges, decide_reports, encode_agent

_time_text = lru_cache(maxsize=8)(rfc3339)  # reports of one batch have few different times
_NO_AGENT = AgentRow(b"{}", is_leaving=False)


@dataclass(frozen=True, slots=True)
class ReportItem:
    """A report to store. `reports`, at most one of each bundle; None: only what the agent reports
    about itself. `mentioned_bundles`: the bundles of a full report, with its last page. `now` in
    Unix seconds.
    """

    cluster: ClusterId
    request: wire.StatusRequest
    reports: Sequence[Report] | None
    mentioned_bundles: frozenset[BundleName] | None
    now: float


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """`cluster_deleted`: the cluster left, and was deleted with its last tombstone. `upgrading`:
    clusters whose agents may upgrade now.
    """

    tombstone_done: bool
    cluster_deleted: bool
    upgrading: AbstractSet[ClusterId] = frozenset()


_NOTHING_MORE = ReportOutcome(tombstone_done=False, cluster_deleted=False)


@dataclass(frozen=True, slots=True)
class ReportBatchFacts:
    """What the store holds of the clusters that report."""

    agents: Mapping[ClusterId, AgentRow]
    rows: Mapping[ClusterId, Mapping[BundleName, ReportedRow]]
    reported_bundles: Mapping[ClusterId, Sequence[BundleName]]


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """What a batch changes. `reset_keys`: deployments whose reports are forgotten, by the time of
    the report. `deployments`: in the order of the items.
    """

    agents: list[tuple[bytes, ClusterId]] = field(default_factory=list)
    reset_keys: dict[int, list[report_commands.DeploymentKey]] = field(default_factory=dict)
    deployments: list[ReportChanges] = field(default_factory=list)


def store_batch(writer: Writer, items: Sequence[ReportItem]) -> list[ReportOutcome]:
    """Store the items, in their order. Returns one outcome for each."""
    outcomes: list[ReportOutcome] = []
    for part in _split_by_cluster(items):
        facts = gather_batch(writer, part)
        changes = decide_batch(facts, part)
        outcomes += _commit_batch(writer, part, facts, changes)
    return outcomes


REPORTS: BatchKind[ReportItem, ReportOutcome] = BatchKind("reports", store_batch)


def _split_by_cluster(items: Sequence[ReportItem]) -> Iterator[list[ReportItem]]:
    """Parts of the items, in their order, in which no cluster occurs twice."""
    part: list[ReportItem] = []
    clusters: set[ClusterId] = set()
    for item in items:
        if item.cluster in clusters:
            yield part
            part, clusters = [], set()
        part.append(item)
        clusters.add(item.cluster)
    yield part


def gather_batch(reader: Reader, items: Sequence[ReportItem]) -> ReportBatchFacts:
    keys = [(item.cluster, report.bundle) for item in items for report in item.reports or ()]
    full_reports = [item.cluster for item in items if item.mentioned_bundles is not None]
    return ReportBatchFacts(
        report_queries.agent_rows(reader, [item.cluster for item in items]),
        report_queries.reported_rows(reader, keys) if keys else {},
        report_queries.reported_bundles(reader, full_reports) if full_reports else {},
    )


def decide_batch(facts: ReportBatchFacts, items: Sequence[ReportItem]) -> BatchChanges:
    """Decide each item by itself: no cluster occurs twice. A full report forgets the reports on
    bundles that it does not mention (I8): an agent that lost its state applies nothing that may
    count as Ready.
    """
    changes = BatchChanges()
    for item in items:
        stored_agent = facts.agents.get(item.cluster, _NO_AGENT).agent
        agent = encode_agent(item.request, stored_agent)
        if agent != stored_agent:
            changes.agents.append((agent, item.cluster))
        if item.reports is not None and item.mentioned_bundles is not None:
            changes.reset_keys.setdefault(int(item.now), []).extend(
                (item.cluster, name)
                for name in facts.reported_bundles.get(item.cluster, ())
                if name not in item.mentioned_bundles
            )
        rows = facts.rows.get(item.cluster, {})
        changes.deployments.append(
            decide_reports(rows, item.reports or (), _time_text(int(item.now)))
        )
    return changes


def _commit_batch(
    writer: Writer, items: Sequence[ReportItem], facts: ReportBatchFacts, changes: BatchChanges
) -> list[ReportOutcome]:
    cluster_commands.set_agents(writer, changes.agents)
    for now, keys in changes.reset_keys.items():
        report_commands.reset_reports(writer, keys, now)
    finished_tombstones = [
        (item.cluster, bundle)
        for item, item_changes in zip(items, changes.deployments, strict=True)
        for bundle in item_changes.finished_tombstones
    ]
    report_commands.delete_deployments(writer, finished_tombstones)
    report_commands.store_reports(
        writer,
        [
            (facts.rows[values.cluster_id][values.bundle], values)
            for item_changes in changes.deployments
            for values in item_changes.values
        ],
    )
    _mark_rollouts(writer, changes.deployments)
    leaving_clusters = {cluster for cluster, _ in finished_tombstones if _leaves(facts, cluster)}
    return [
        _finish_item(writer, item, item_changes, leaves=item.cluster in leaving_clusters)
        for item, item_changes in zip(items, changes.deployments, strict=True)
    ]


def _finish_item(
    writer: Writer, item: ReportItem, changes: ReportChanges, *, leaves: bool
) -> ReportOutcome:
    """Store what is written for few items: the end of a cluster that leaves, and upgrades."""
    if not changes.finished_tombstones and item.request.upgrade is None:
        return _NOTHING_MORE
    return ReportOutcome(
        tombstone_done=bool(changes.finished_tombstones),
        cluster_deleted=leaves and _delete_left_cluster(writer, item.cluster),
        upgrading=store_upgrade_report(
            writer, item.cluster, item.request.upgrade, _time_text(int(item.now))
        ),
    )


def _mark_rollouts(writer: Writer, changes: Iterable[ReportChanges]) -> None:
    """Mark each rollout that must look again, once."""
    bundles: dict[str, set[BundleName]] = {}
    for item_changes in changes:
        if item_changes.progressed_bundles:
            bundles.setdefault(item_changes.workspace, set()).update(
                item_changes.progressed_bundles
            )
    for workspace, names in bundles.items():
        mark_rollouts(writer, workspace, names)


def _leaves(facts: ReportBatchFacts, cluster: ClusterId) -> bool:
    return facts.agents.get(cluster, _NO_AGENT).is_leaving


def _delete_left_cluster(writer: Writer, cluster: ClusterId) -> bool:
    """Delete a cluster that leaves once its last tombstone is done. Returns whether it was
    deleted.
    """
    if report_queries.has_deployments(writer, cluster):
        return False
    delete_pins_of_cluster(writer, cluster)
    cluster_commands.delete_cluster(writer, cluster)
    return True
