"""Lists what a cluster was sent of its bundles, by whom, and the result.

Rule: a result is what the agent reported last before something else was sent, never a guess:
without an answer it is `WaitApplied`, and nothing on a silent cluster is called Ready. The history
is removed with the deployment, when the bundle or the cluster is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import ClusterId, Workspace
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import seen_state

from ..clock import rfc3339
from ..revisions import delivery_log
from ..revisions.delivery_log import LoggedDelivery
from ..store.connection import Reader
from ..store.queries.audit_log import BundleDecision, decisions_with_ids
from ..store.queries.bundles import bundle_exists
from ..store.queries.clusters import find_cluster_by_name
from ..store.queries.deployments import DeploymentHistory, history_of_cluster
from .metadata import Document

_DECISION_TEXTS = ("commit", "author", "subject", "cause", "who", "reason")
IsOffline = Callable[[ClusterId], bool]


def list_history(
    reader: Reader, workspace: Workspace, cluster: str, bundle: str, is_offline: IsOffline
) -> list[Document]:
    """Newest first; `bundle` "" selects all. Raises NotFound."""
    row = find_cluster_by_name(reader, workspace, cluster)
    if row is None:
        raise NotFound(
            f"Cluster {cluster[:80]} does not exist in workspace {workspace}",
            subject=f"Cluster {workspace}/{cluster[:80]}",
            next_step=f"See `fleetctl cluster list -n {workspace}`.",
        )
    histories = history_of_cluster(reader, row.id, bundle)
    if bundle and not histories:
        _check_bundle(reader, workspace, bundle)
    lines = {history.bundle: _lines(history) for history in histories}
    decisions = _read_decisions(reader, workspace, lines)
    offline, has_agent_key = is_offline(ClusterId(row.id)), row.public_key is not None
    items: list[Document] = []
    for history in histories:
        entries = _entries(history.bundle, lines[history.bundle], decisions)
        if entries:
            state = State(history.state) if history.generation > 0 else State.PENDING
            entries[0] |= {
                "result": seen_state(state, offline=offline, enrolled=has_agent_key).value,
                "current": True,
                "commit": entries[0]["commit"] or history.commit,
            }
        items += [{"cluster": cluster, "bundle": history.bundle} | entry for entry in entries]
    return sorted(items, key=lambda item: (item["told"], item["generation"]), reverse=True)


def _check_bundle(reader: Reader, workspace: Workspace, bundle: str) -> None:
    """Raises NotFound."""
    if not bundle_exists(reader, workspace, bundle):
        raise NotFound(
            f"bundle {bundle[:80]} does not exist in workspace {workspace}",
            subject=f"bundle {bundle[:80]}",
            next_step="See `fleetctl get bundles`.",
        )


def _lines(row: DeploymentHistory) -> list[LoggedDelivery]:
    """What the cluster has, and what it had; nothing if it was never sent the bundle."""
    earlier = delivery_log.parse_lines(row.delivery_log)
    if row.generation <= 0:
        return earlier
    message = row.message if row.reported_generation >= row.generation else ""
    current = LoggedDelivery(
        row.decision,
        row.generation,
        row.sent_at,
        row.state,
        row.state_since,
        row.first_ready_at,
        message,
    )
    return [current, *earlier]


def _read_decisions(
    reader: Reader, workspace: Workspace, lines: Mapping[str, Sequence[LoggedDelivery]]
) -> dict[tuple[str, int], BundleDecision]:
    """By bundle and id, the decisions that the lines name."""
    ids = {line.decision for bundle_lines in lines.values() for line in bundle_lines}
    rows = decisions_with_ids(reader, workspace, ids)
    return {(row.bundle, row.id): row for row in rows if row.bundle in lines}


def _entries(
    bundle: str,
    lines: Sequence[LoggedDelivery],
    decisions: Mapping[tuple[str, int], BundleDecision],
) -> list[Document]:
    """The items of one bundle.

    Where a line has the decision of the line before it, only the cluster's own options were new:
    its labels, or a Secret that is copied.
    """
    entries = [_entry(line, decisions.get((bundle, line.decision))) for line in lines]
    for entry, (line, older) in zip(entries, pairwise(lines), strict=False):
        if line.decision == older.decision > 0:
            entry |= {"cause": "options", "who": "", "reason": ""}
    return entries


def _decision_document(decision: BundleDecision | None) -> Document:
    if decision is None:
        return {"number": 0} | dict.fromkeys(_DECISION_TEXTS, "")
    return {
        "number": decision.number,
        "commit": decision.commit,
        "author": decision.author,
        "subject": decision.subject,
        "cause": decision.cause,
        "who": decision.person,
        "reason": decision.reason,
    }


def _entry(line: LoggedDelivery, decision: BundleDecision | None) -> Document:
    fields = _decision_document(decision)
    if line.decision == delivery_log.REMOVAL:
        fields["cause"] = "removal"
    return {
        "generation": abs(line.generation),
        **fields,
        "told": _time(line.sent_at),
        "result": line.state,
        "since": _time(line.state_since),
        "readyAt": _time(line.first_ready_at),
        "message": line.message,
        "current": False,
    }


def _time(seconds: int) -> str:
    return rfc3339(seconds) if seconds else ""
