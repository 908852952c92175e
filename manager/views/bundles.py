"""Bundles and their deployments as objects."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.formats.redact import redacted_login
from fleetctl.core.model.reasons import message_of, shown
from fleetctl.core.model.status import DRIFTED, ResourceStatus, State, sentence
from fleetctl.core.model.summary import resource_counts, summarize, worst_of

from ..commands.validation import api_version
from ..store.schema import bundles, clusters, deployments, repos
from ..store.schema import options as options_table
from . import held_removals, metadata, pins, reasons
from .metadata import Asked, Document, condition
from .states import UNCOUNTED, Fleet

_load = msgspec.json.decode


def bundles_of(whole: Fleet, asked: Asked) -> list[Document]:
    connection = whole.connection
    counts = whole.counted(lambda sort: (sort.workspace, sort.bundle), asked.name)
    place = reasons.Place(asked.workspace, asked.repo, asked.name)
    why = reasons.grouped(whole.known, place, reasons.BY_BUNDLE)
    pinned = pins.of_bundles(connection, asked.workspace)
    scanned = _scanned(connection, asked)
    found = []
    for row in metadata.rows(connection, bundles, asked):
        if asked.repo and row.repo != asked.repo:
            continue
        spec = _load(row.spec)
        key = (row.workspace, row.name)
        states = counts.get(key, {})
        state, total = worst_of(states).value, sum(states.values())
        message = message_of(why.get(key, []))
        if key in whole.uncounted and state == State.READY.value:
            state, message = State.PENDING.value, UNCOUNTED
        of_scan = scanned.get((row.workspace, row.repo, spec.get("path", "")), {})
        if of_scan.get("problems"):
            # What runs is what an earlier commit said: nobody should take it for the newest.
            state, message = "Stalled", of_scan["problems"][0]["summary"]
        status = {
            "display": {
                "readyClusters": f"{states.get(State.READY, 0)}/{total}",
                "state": state,
                "message": message,
            },
            "summary": summarize(states),
            "conditions": [condition("Ready", ok=state == "Ready", message=message)],
            "commit": row.commit,
            "archive": row.archive,
            "clusters": total,
            "pinned": row.pinned,
            **shown(why.get(key, [])),
        }
        status |= of_scan
        pins.on_bundle(status, pinned.get(key, pins.NONE))
        held_removals.on_bundle(status, whole.holds.get(key))
        if asked.name:
            status["resourceCounts"] = reasons.objects_of(connection, place)
        labels = {
            "fleet.cattle.io/repo-name": row.repo,
            "fleet.cattle.io/bundle-path": spec.get("path", ""),
        } | spec.get("labels", {})
        found.append(
            metadata.of_row(
                "Bundle", row, _bundle_spec(spec), status, labels=labels, annotations={}
            )
        )
    return found


def _scanned(connection: Connection, asked: Asked) -> dict[tuple[str, str, str], Document]:
    """By workspace, GitRepo and directory: `warnings` and `problems` of the last scan, where there
    are some.
    """
    r = repos.c
    query = sa.select(r.workspace, r.name, r.problems)
    query = query.where(r.workspace == asked.workspace) if asked.workspace else query
    found: dict[tuple[str, str, str], Document] = {}
    for row in connection.execute(query.where(r.name == asked.repo) if asked.repo else query):
        for problem in _load(row.problems) or []:
            lists = found.setdefault((row.workspace, row.name, problem["path"]), {})
            lists.setdefault("warnings" if problem.get("warning") else "problems", []).append(
                problem
            )
    return found


def _bundle_spec(spec: Document) -> Document:
    """Fleet's keys: the options stand beside targets, and customizations come before the GitRepo's
    targets.
    """
    shown: Document = {**spec.get("options", {})}
    shown |= _helm(shown)
    targets = [*spec.get("customizations", []), *spec.get("targets", [])]
    shown["targets"] = [
        {k: v for k, v in t.items() if k != "options"}
        | t.get("options", {})
        | _helm(t.get("options", {}))
        for t in targets
    ]
    for key in ("dependsOn", "paused", "rolloutStrategy"):
        if spec.get(key):
            shown[key] = spec[key]
    return shown


def _helm(options: Document) -> Document:
    """The helm options without a login in an address, which bundles may hold that were stored
    before it was refused.
    """
    helm = options.get("helm")
    return (
        {
            "helm": helm
            | {key: redacted_login(helm[key]) for key in ("repo", "chart") if helm.get(key)}
        }
        if helm
        else {}
    )


def deployments_of(whole: Fleet, asked: Asked) -> list[Document]:
    connection = whole.connection
    d, c, o = deployments.c, clusters.c, options_table.c
    query = (
        sa.select(deployments, o.json, c.name)
        .join(options_table, d.options_key == o.key)
        .join(clusters, d.cluster_id == c.id)
    )
    query = query.where(~d.removed)
    if asked.workspace:
        query = query.where(d.workspace == asked.workspace)
    if asked.repo:
        query = query.where(d.repo == asked.repo)
    if asked.cluster:
        mine = sa.select(c.id).where(c.name == asked.cluster)
        query = query.where(
            d.cluster_id.in_(
                mine.where(c.workspace == asked.workspace) if asked.workspace else mine
            )
        )
    if asked.name:
        query = query.where(sa.tuple_(d.cluster_id, d.bundle).in_(_named(connection, asked)))
    rows = list(connection.execute(query))
    whole.known.meet(row.cluster_id for row in rows)
    made = [(row, _deployment(row, whole.known, row.name)) for row in rows]
    pins.on_deployments(connection, asked.workspace, made, whole.known.closed)
    return sorted((document for _, document in made), key=lambda m: m["metadata"]["name"])


def _named(connection: Connection, asked: Asked) -> list[tuple[str, str]]:
    """The cluster and the bundle that `CLUSTER.BUNDLE` may mean: either may have dots in its
    name.
    """
    parts, c = asked.name.split("."), clusters.c
    pairs = {".".join(parts[:at]): ".".join(parts[at:]) for at in range(1, len(parts))}
    rows = connection.execute(
        sa.select(c.id, c.name).where(c.name.in_(pairs), c.workspace == asked.workspace)
    )
    return [(row.id, pairs[row.name]) for row in rows]


def _deployment(row: Any, known: reasons.Known, cluster: str) -> Document:
    report = _load(row.report) if row.report else {}
    state, reason = known.reason(reasons.row_of(row, known))
    if state is State.READY:
        reason = reasons.warning_of(row, cluster)
    resources = report.get("resources", [])
    spec = {
        "cluster": cluster,
        "bundle": row.bundle,
        "generation": max(0, row.generation),
        "archive": row.archive,
        "optionsDigest": row.options_digest,
        "options": _load(row.json),
        "commit": row.commit,
        "target": row.target,
        "customization": row.customization,
    }
    status = {
        "display": {"state": state.value},
        "ready": state is State.READY,
        "nonModified": report.get("nonModified", True),
        "appliedGeneration": row.applied,
        "message": held_removals.message(reason.cause if reason else "", held=row.kept),
        "held": bool(row.kept),
        "code": report.get("code", ""),
        "reason": msgspec.to_builtins(reason) if reason else None,
        "release": report.get("release"),
        "resources": resources,
        "nonReadyStatus": [
            r for r in resources if r.get("state", "Ready") not in {"Ready", *DRIFTED}
        ],
        "modifiedStatus": [
            _modified(r) for r in resources if r.get("state") in DRIFTED or r.get("differences")
        ],
        "incompleteState": report.get("incompleteState", False),
        "reportedAt": row.reported_at,
        "resourceCounts": resource_counts([(row.tally, 1)]),
        "conditions": [
            condition("Ready", ok=state is State.READY, message=reason.cause if reason else "")
        ],
    }
    meta = {
        "name": f"{cluster}.{row.bundle}",
        "namespace": row.workspace,
        "generation": max(0, row.generation),
    }
    labels = {
        "fleet.cattle.io/cluster": cluster,
        "fleet.cattle.io/bundle-name": row.bundle,
        "fleet.cattle.io/repo-name": row.repo,
    }
    head = {
        "apiVersion": api_version("BundleDeployment"),
        "kind": "BundleDeployment",
        "metadata": meta | {"labels": labels},
    }
    return head | {"spec": spec, "status": status}


def _modified(resource: Document) -> Document:
    """With Fleet's own flags of ModifiedStatus, and its sentence."""
    state, foreign = resource.get("state"), bool(resource.get("owner"))
    flags = {
        "missing": state == "Missing" or foreign,
        "exist": foreign,
        "delete": state == "Orphaned",
    }
    return (
        resource
        | {key: True for key, on in flags.items() if on}
        | {"text": sentence(msgspec.convert(resource, ResourceStatus))}
    )
