"""Lists deployments as documents: BundleDeployment, each bundle on each cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from fleetctl.core.documents.object_check import api_version
from fleetctl.core.model.reasons import Reason
from fleetctl.core.model.status import DRIFT_STATES, ResourceStatus, State, sentence
from fleetctl.core.model.summary import resource_counts

from ..store.queries import deployments
from ..store.queries.deployments import DeploymentOnCluster, DeploymentRow, DeploymentScope
from . import pins
from .metadata import Document, ListFilter, condition
from .reasons import ReasonContext, warning_of
from .removals import held as held_removals
from .states import FleetView

BUNDLE_LABEL = "fleet.cattle.io/bundle-name"


def list_deployments(fleet: FleetView, query: ListFilter) -> list[Document]:
    """Sorted by workspace, cluster and bundle."""
    if query.name:
        rows = deployments.deployments_named(fleet.reader, query.workspace or "", query.name)
    else:
        scope = DeploymentScope(query.workspace, query.repo, query.bundle, cluster=query.cluster)
        if query.keys.limit and query.excludes_ready and not query.cluster:
            scope = replace(scope, cluster_ids=fleet.unready_cluster_ids)
        rows = deployments.list_deployments(fleet.reader, scope, query.keys)
    fleet.reasons.load_clusters(item.row.cluster_id for item in rows)
    pairs = [(item.row, _document(item, fleet.reasons)) for item in rows]
    pins.add_to_deployments(fleet.reader, query.workspace, pairs, fleet.reasons.closed_windows)
    return [document for _, document in pairs]


def _document(item: DeploymentOnCluster, context: ReasonContext) -> Document:
    row, cluster = item.row, item.cluster
    spec = {
        "cluster": cluster,
        "bundle": row.bundle,
        "generation": max(0, row.generation),
        "archive": row.archive,
        "optionsDigest": row.options_digest,
        "options": msgspec.json.decode(item.options),
        "commit": row.commit,
        "target": row.target,
        "customization": row.customization,
    }
    state, reason = context.explain(context.facts_of_deployment(row))
    if state is State.READY:
        reason = warning_of(row, cluster)
    labels = {
        "fleet.cattle.io/cluster": cluster,
        BUNDLE_LABEL: row.bundle,
        "fleet.cattle.io/repo-name": row.repo,
    }
    return {
        "apiVersion": api_version("BundleDeployment"),
        "kind": "BundleDeployment",
        "metadata": {
            "name": f"{cluster}.{row.bundle}",
            "namespace": row.workspace,
            "generation": max(0, row.generation),
            "labels": labels,
        },
        "spec": spec,
        "status": _status(row, state, reason),
    }


def _status(row: DeploymentRow, state: State, reason: Reason | None) -> Document:
    report: dict[str, Any] = msgspec.json.decode(row.report) if row.report else {}
    resources, cause = report.get("resources", []), reason.cause if reason else ""
    return {
        "display": {"state": state.value},
        "ready": state is State.READY,
        "nonModified": report.get("nonModified", True),
        "appliedGeneration": row.applied_generation,
        "message": held_removals.deployment_message(cause, is_held=row.removal_held),
        "held": row.removal_held,
        "code": report.get("code", ""),
        "reason": msgspec.to_builtins(reason) if reason else None,
        "release": report.get("release"),
        "resources": resources,
        "nonReadyStatus": [r for r in resources if _is_unready(r)],
        "modifiedStatus": [_build_modified_status(r) for r in resources if _is_modified(r)],
        "incompleteState": report.get("incompleteState", False),
        "reportedAt": row.reported_at,
        "resourceCounts": resource_counts([(row.resource_counts, 1)]),
        "conditions": [condition("Ready", ok=state is State.READY, message=cause)],
    }


def _is_unready(resource: Document) -> bool:
    return resource.get("state", "Ready") not in {"Ready", *DRIFT_STATES}


def _is_modified(resource: Document) -> bool:
    return resource.get("state") in DRIFT_STATES or bool(resource.get("differences"))


def _build_modified_status(resource: Document) -> Document:
    """The object with Fleet's flags of ModifiedStatus and its sentence."""
    state, foreign = resource.get("state"), bool(resource.get("owner"))
    flags = {
        "missing": state == "Missing" or foreign,
        "exist": foreign,
        "delete": state == "Orphaned",
    }
    text = sentence(msgspec.convert(resource, ResourceStatus))
    return resource | {key: True for key, on in flags.items() if on} | {"text": text}
