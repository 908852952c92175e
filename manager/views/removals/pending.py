"""Shows removals that clusters were told and have not finished: of which bundle, on which
clusters, and what blocks them.

A bundle that is removed has no row in `bundles` any more, perhaps no GitRepo; the deployments of
clusters whose agents have not reported its removal are all that exists of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.reasons import Reason, ReasonGroup, merge, of_manager, of_report
from fleetctl.core.model.status import Report, State
from fleetctl.core.text.listing import count_others

from ...store.connection import Reader
from ...store.queries.clusters import cluster_presences
from ...store.queries.rollout.removals import group_removals_by_cause
from ..metadata import Document

_IN_PROGRESS = "removing"  # code of a removal that ends without a person
_MAX_REMOVALS = 10


def group_removals(
    reader: Reader, workspace: str | None, bundle: str = "", cluster_id: str = ""
) -> dict[tuple[str, str, str], list[ReasonGroup]]:
    """By (workspace, GitRepo, bundle) the removals that are not finished, by cause."""
    rows = group_removals_by_cause(reader, workspace, bundle, cluster_id)
    clusters = cluster_presences(reader, {row.cluster_id for row in rows})
    names = {cluster.id: cluster.name for cluster in clusters}
    groups: dict[tuple[str, str, str], list[ReasonGroup]] = {}
    for row in rows:
        cluster = names[row.cluster_id]
        state, reason = _explain(row.report, cluster, row.bundle)
        group = ReasonGroup(state, reason, row.total, cluster, row.bundle, row.workspace)
        groups.setdefault((row.workspace, row.repo, row.bundle), []).append(group)
    return {key: merge(causes) for key, causes in sorted(groups.items())}


def select_stuck(groups: Iterable[ReasonGroup]) -> list[ReasonGroup]:
    """Those that do not end without a person."""
    return [group for group in groups if group.state is State.ERR_APPLIED]


def describe_stuck(group: ReasonGroup) -> str:
    """One sentence about a stuck removal, for a GitRepo and for the fleet as a whole."""
    place = f"cluster {group.cluster}"
    if group.count > 1:
        place = f"{group.count} clusters, first {group.cluster}"
    return f"the removal of bundle {group.bundle} is stuck on {place}: {group.reason.cause}"


def add_to_repo(status: Document, groups: Iterable[ReasonGroup]) -> None:
    """Add the stuck removals of its bundles to a GitRepo's status: a message, a condition, and
    `removals` with each cause.
    """
    stuck_groups = select_stuck(groups)
    if not stuck_groups:
        return
    suffix = count_others(len(stuck_groups) - 1)
    message = describe_stuck(stuck_groups[0]) + suffix
    status["display"]["message"] = "; ".join(filter(None, (status["display"]["message"], message)))
    status["conditions"].append({"type": "RemovalStuck", "status": "True", "message": message})
    status["removals"] = [
        {
            "bundle": group.bundle,
            **msgspec.to_builtins(group.reason),
            "count": group.count,
            "example": {"cluster": group.cluster},
        }
        for group in stuck_groups[:_MAX_REMOVALS]
    ]


def _explain(report_text: bytes, cluster: str, bundle: str) -> tuple[State, Reason]:
    """State and reason of a removal; `report_text` is empty when the agent has not reported it."""
    if not report_text:
        return State.WAIT_APPLIED, of_manager(
            "waiting", "removal sent, no report yet", cluster=cluster, bundle=bundle
        )
    report = msgspec.json.decode(report_text, type=Report)
    if report.code == _IN_PROGRESS or report.state is not State.ERR_APPLIED:
        cause = report.message or "it is being removed"
        hint = report.hint or hint_of(_IN_PROGRESS)
        return State.NOT_READY, Reason(_IN_PROGRESS, cause, report.object, hint)
    return State.ERR_APPLIED, of_report(report, cluster=cluster, bundle=bundle)
