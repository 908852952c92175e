"""What a deployment waits for: its rollout's partition and gate, a window, what it depends on. Read
as the last decision left it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.explain.deployment import Depends, Way, Window
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.status import State
from fleetctl.core.model.wire import Dependency
from fleetctl.core.rollout.schedule import Verdict
from fleetctl.core.targeting.dependencies import cycle, is_meant

from ...clock import rfc3339, unix
from ...rollout import schedules
from ...store.schema import clusters, deployments
from .. import reasons, rollouts

Place = tuple[Workspace, BundleName]
_MOST_NAMED = 3
_OF_WHAT_RUNS = frozenset({State.READY, State.NOT_READY, State.MODIFIED})


def way(connection: Connection, place: Place, row: Any, now: float) -> Way | None:
    """The bundle's rollout, and (of a row of `deployments`) where the cluster is in it."""
    found = next(iter(rollouts.listing(connection, place[0], place[1])), None)
    if found is None:
        return None
    partitions, policy = found["status"]["partitions"], found["spec"]["policy"]
    if row is None or not 0 <= row.partition < len(partitions):
        return Way(**_head(found))
    gate = partitions[row.partition]["why"]
    more = {
        "ahead": _ahead(connection, place, row),
        "gate": gate,
        "blockers": _blockers(connection, place, row),
    }
    return Way(**_head(found), **_partition(partitions, row.partition, policy, now), **more)


def whole_way(found: dict[str, Any] | None, now: float) -> Way | None:
    """A rollout without a cluster: what it waits for is in the first partition that is not
    finished.
    """
    if found is None:
        return None
    partitions = found["status"]["partitions"]
    asks = any(p["asks"] for p in partitions)
    at = next((i for i, p in enumerate(partitions) if not p["finishedAt"]), None)
    if at is None:
        return Way(**_head(found), asks=asks)
    more = _partition(partitions, at, found["spec"]["policy"], now) | {"asks": asks}
    return Way(**_head(found), **more)


def _head(found: dict[str, Any]) -> dict[str, Any]:
    status = found["status"]
    told, clusters = (int(part) for part in status["display"]["clusters"].split("/"))
    return {
        "state": status["display"]["state"],
        "reason": status["reason"],
        "waiting": status["display"]["message"],
        "commit": status["commit"],
        "begun": found["metadata"]["creationTimestamp"],
        "told": told,
        "clusters": clusters,
    }


def _partition(
    partitions: list[dict[str, Any]], at: int, policy: dict[str, Any], now: float
) -> dict[str, Any]:
    mine = partitions[at]
    watched = [
        p
        for p in partitions[: at + 1]
        if p["finishedAt"] and unix(p["finishedAt"]) + p["soakSeconds"] > now
    ]
    running = mine["startedAt"] and not mine["finishedAt"] and policy.get("deadline")
    return {
        "partition": mine["name"],
        "number": at + 1,
        "partitions": len(partitions),
        "members": mine["clusters"],
        "told_here": mine["told"],
        "max_unavailable": mine["maxUnavailable"],
        "unavailable": mine["unavailable"],
        "failed": mine["failed"],
        "approval": mine["approval"],
        "asks": mine["asks"],
        "begun_here": mine["startedAt"],
        "finished_here": mine["finishedAt"],
        "soak_until": rfc3339(unix(watched[-1]["finishedAt"]) + watched[-1]["soakSeconds"])
        if watched
        else "",
        "deadline": rfc3339(unix(mine["startedAt"]) + mine["idleSeconds"] + policy["deadline"])
        if running and not mine["idle"]
        else "",
    }


def _ahead(connection: Connection, place: Place, row: Any) -> int:
    """Clusters of its partition that are held too, and stand before it."""
    if not row.staged:
        return 0
    d = deployments.c
    here = (
        (d.workspace == place[0])
        & (d.bundle == place[1])
        & (d.partition == row.partition)
        & (d.staged != "")
        & ~d.removed
    )
    before = (d.position < row.position) | (
        (d.position == row.position) & (d.cluster_id < row.cluster_id)
    )
    return int(connection.execute(sa.select(sa.func.count()).where(here, before)).scalar() or 0)


def _blockers(connection: Connection, place: Place, row: Any) -> list[str]:
    """Names of clusters of its partition that were told the version, and are not well: because of
    them the others wait.
    """
    if not row.staged:
        return []
    d, c = deployments.c, clusters.c
    here = (
        (d.workspace == place[0])
        & (d.bundle == place[1])
        & (d.partition == row.partition)
        & (d.staged == "")
        & ~d.removed
    )
    wrong = sa.text("state <> 'Ready' AND state <> 'Modified'")
    query = (
        sa.select(c.name)
        .join(deployments, d.cluster_id == c.id)
        .where(here, wrong)
        .order_by(c.name)
        .limit(_MOST_NAMED)
    )
    return list(connection.execute(query).scalars())


def window(connection: Connection, place: Place, cluster: Any, now: float) -> Window:
    """Whether the cluster may not be changed at this time of day; what a person lets pass, may."""
    found = schedules.of_cluster(connection, place, cluster, now)
    return Window() if found is None else Window(closed=True, why=found.why, opens=_opens(found))


def _opens(found: Verdict) -> str:
    return "" if found.until is None else rfc3339(found.until)


class _Meant(NamedTuple):
    """A bundle that is meant for the cluster, as far as dependencies ask."""

    name: BundleName
    labels: dict[str, str]
    depends_on: list[Dependency]


def dependencies(
    connection: Connection,
    known: reasons.Known,
    cluster: ClusterId,
    bundle: BundleName,
    spec: BundleSpec,
) -> list[Depends]:
    """What `dependsOn` names, each as it is on this cluster, as the agent looks at it."""
    if not spec.depends_on:
        return []
    rows = connection.execute(
        sa.select(deployments).where(deployments.c.cluster_id == cluster, ~deployments.c.removed)
    ).all()
    meant = {row.bundle: _meant(row) for row in rows} | {
        bundle: _Meant(bundle, spec.labels, spec.depends_on)
    }
    circle = cycle(meant[bundle], meant)
    if circle:
        return [Depends(what="itself", why=f"{' waits for '.join(circle)}: none of them can start")]
    by_name = {row.bundle: row for row in rows}
    found = []
    for one in spec.depends_on:
        if not one.name and one.selector is None:
            continue
        others = [m for m in meant.values() if m.name != bundle and is_meant(one, m.name, m.labels)]
        found += [_state_of(by_name[other.name], one, known) for other in others]
        if not others:
            what = (
                f"bundle {one.name}"
                if one.name
                else f"a bundle with the labels {_selector(one.selector or {})}"
            )
            found.append(
                Depends(what=what, accepted=_accepted(one), why="none is meant for this cluster")
            )
    return found


def _meant(row: Any) -> _Meant:
    labels, depends, _ = msgspec.json.decode(row.shown)
    return _Meant(row.bundle, labels, msgspec.convert(depends, list[Dependency]))


def _state_of(row: Any, dependency: Dependency, known: reasons.Known) -> Depends:
    state, reason = known.reason(reasons.row_of(row, known))
    if state in _OF_WHAT_RUNS and row.applied < row.generation:
        state = State.WAIT_APPLIED
    accepted = _accepted(dependency)
    good = state.value in accepted
    why = f"{state.value}: {reason.cause}" if reason and not good else ""
    return Depends(what=row.bundle, state=state.value, accepted=accepted, fulfilled=good, why=why)


def _accepted(dependency: Dependency) -> list[str]:
    return [state.value for state in dependency.accepted_states or [State.READY]]


def _selector(selector: dict[str, Any]) -> str:
    labels = ",".join(
        f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()
    )
    terms = [
        f"{t.get('key')} {t.get('operator')} {','.join(map(str, t.get('values') or []))}".strip()
        for t in selector.get("matchExpressions") or []
    ]
    return ", ".join(filter(None, [labels, *terms])) or "{}"
