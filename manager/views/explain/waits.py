"""Describes what a deployment waits for: its rollout's partition and gate, a schedule window, its
dependencies. Reads them as the last decision stored them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.explain.deployment import Depends, Way, WindowFacts
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.model.wire import Dependency
from fleetctl.core.targeting.dependencies import cycle, is_meant

from ...clock import rfc3339, unix
from ...rollout import schedules
from ...store.connection import Reader
from ...store.keys import BundleKey
from ...store.queries.clusters import ClusterRow
from ...store.queries.deployments import (
    DeploymentRow,
    count_waiting_before,
    deployments_of_cluster,
    unhealthy_clusters,
)
from ..metadata import Document
from ..reasons import ReasonContext
from ..rollouts import list_rollouts

_MAX_BLOCKERS = 3
_RUNNING_STATES = frozenset({State.READY, State.NOT_READY, State.MODIFIED})


def describe_way(
    reader: Reader, key: BundleKey, row: DeploymentRow | None, now: float
) -> Way | None:
    """The bundle's rollout, and (of a deployment) where the cluster is in it."""
    rollout = next(iter(list_rollouts(reader, *key)), None)
    if rollout is None:
        return None
    partitions = rollout["status"]["partitions"]
    if row is None or not 0 <= row.partition < len(partitions):
        return Way(**_head_fields(rollout))
    return Way(
        **_head_fields(rollout),
        **_partition_fields(rollout, row.partition, now),
        ahead=count_waiting_before(reader, row) if row.staged_key else 0,
        gate=partitions[row.partition]["why"],
        blockers=unhealthy_clusters(reader, row, _MAX_BLOCKERS) if row.staged_key else [],
    )


def describe_rollout(rollout: Document | None, now: float) -> Way | None:
    """A rollout without a cluster: what it waits for is in the first partition that is not
    finished.
    """
    if rollout is None:
        return None
    partitions = rollout["status"]["partitions"]
    asks = any(partition["asks"] for partition in partitions)
    number = next((i for i, p in enumerate(partitions) if not p["finishedAt"]), None)
    if number is None:
        return Way(**_head_fields(rollout), asks=asks)
    fields = _partition_fields(rollout, number, now) | {"asks": asks}
    return Way(**_head_fields(rollout), **fields)


def _head_fields(rollout: Document) -> Document:
    status = rollout["status"]
    sent_clusters, clusters = (int(part) for part in status["display"]["clusters"].split("/"))
    return {
        "state": status["display"]["state"],
        "reason": status["reason"],
        "waiting": status["display"]["message"],
        "commit": status["commit"],
        "begun": rollout["metadata"]["creationTimestamp"],
        "told": sent_clusters,
        "clusters": clusters,
    }


def _partition_fields(rollout: Document, number: int, now: float) -> Document:
    partitions = rollout["status"]["partitions"]
    partition = partitions[number]
    return {
        "partition": partition["name"],
        "number": number + 1,
        "partitions": len(partitions),
        "members": partition["clusters"],
        "told_here": partition["told"],
        "max_unavailable": partition["maxUnavailable"],
        "unavailable": partition["unavailable"],
        "failed": partition["failed"],
        "approval": partition["approval"],
        "asks": partition["asks"],
        "begun_here": partition["startedAt"],
        "finished_here": partition["finishedAt"],
        "soak_until": _soak_until(partitions[: number + 1], now),
        "deadline": _deadline(partition, rollout["spec"]["policy"]),
    }


def _soak_until(partitions: list[Document], now: float) -> str:
    """When the last of the partitions that still soaks is through, "" when none does."""
    ends = [unix(p["finishedAt"]) + p["soakSeconds"] for p in partitions if p["finishedAt"]]
    later = [end for end in ends if end > now]
    return rfc3339(later[-1]) if later else ""


def _deadline(partition: Document, policy: Mapping[str, Any]) -> str:
    """When a running partition fails, "" when its clock is stopped or it has no deadline."""
    is_running = partition["startedAt"] and not partition["finishedAt"]
    if not is_running or not policy.get("deadline") or partition["idle"]:
        return ""
    return rfc3339(unix(partition["startedAt"]) + partition["idleSeconds"] + policy["deadline"])


def describe_window(reader: Reader, key: BundleKey, cluster: ClusterRow, now: float) -> WindowFacts:
    """Whether a schedule window keeps the cluster from being changed now; not if a person ignores
    it.
    """
    verdict = schedules.of_cluster(reader, key, cluster, now)
    if verdict is None:
        return WindowFacts()
    opens = "" if verdict.until is None else rfc3339(verdict.until)
    return WindowFacts(closed=True, why=verdict.why, opens=opens)


class _ClusterBundle(NamedTuple):
    """A bundle that is meant for the cluster, as far as dependencies ask."""

    name: BundleName
    labels: dict[str, str]
    depends_on: list[Dependency]


def list_dependencies(
    reader: Reader, context: ReasonContext, cluster: ClusterId, spec: BundleSpec
) -> list[Depends]:
    """What `dependsOn` names, each as it is on this cluster, as the agent judges it."""
    if not spec.depends_on:
        return []
    rows = {
        row.bundle: row for row in deployments_of_cluster(reader, cluster) if not row.is_removed
    }
    bundles = {BundleName(name): _cluster_bundle(row) for name, row in rows.items()}
    bundles[spec.name] = _ClusterBundle(spec.name, spec.labels, spec.depends_on)
    names = cycle(bundles[spec.name], bundles)
    if names:
        cause = f"{' waits for '.join(names)}: none of them can start"
        return [Depends(what="itself", why=cause)]
    dependencies = []
    for dependency in spec.depends_on:
        if not dependency.name and dependency.selector is None:
            continue
        matches = [
            rows[bundle.name]
            for bundle in bundles.values()
            if bundle.name != spec.name and is_meant(dependency, bundle.name, bundle.labels)
        ]
        dependencies += [_check_dependency(row, dependency, context) for row in matches]
        if not matches:
            dependencies.append(_missing_dependency(dependency))
    return dependencies


def _cluster_bundle(row: DeploymentRow) -> _ClusterBundle:
    labels, depends_on, _ = msgspec.json.decode(row.bundle_facts)
    return _ClusterBundle(
        BundleName(row.bundle), labels, msgspec.convert(depends_on, list[Dependency])
    )


def _check_dependency(
    row: DeploymentRow, dependency: Dependency, context: ReasonContext
) -> Depends:
    """Whether the deployment that a dependency names is in an accepted state."""
    state, reason = context.explain(context.facts_of_deployment(row))
    if state in _RUNNING_STATES and row.applied_generation < row.generation:
        state = State.WAIT_APPLIED
    states = _list_accepted_states(dependency)
    is_accepted = state.value in states
    return Depends(
        what=row.bundle,
        state=state.value,
        accepted=states,
        fulfilled=is_accepted,
        why=f"{state.value}: {reason.cause}" if reason and not is_accepted else "",
    )


def _missing_dependency(dependency: Dependency) -> Depends:
    subject = f"bundle {dependency.name}"
    if not dependency.name:
        subject = f"a bundle with the labels {_selector_text(dependency.selector or {})}"
    states = _list_accepted_states(dependency)
    return Depends(what=subject, accepted=states, why="there is no such bundle on this cluster")


def _list_accepted_states(dependency: Dependency) -> list[str]:
    return [state.value for state in dependency.accepted_states or [State.READY]]


def _selector_text(selector: dict[str, Any]) -> str:
    labels = ",".join(
        f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()
    )
    terms = [
        f"{t.get('key')} {t.get('operator')} {','.join(map(str, t.get('values') or []))}".strip()
        for t in selector.get("matchExpressions") or []
    ]
    return ", ".join(filter(None, [labels, *terms])) or "{}"
