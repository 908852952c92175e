"""What `fleetctl why BUNDLE` and `fleetctl why CLUSTER` explain, gathered in one read."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.explain.bundle_and_cluster import (
    OnCluster,
    Trouble,
    Whole,
    bundle_lines,
    bundle_step,
    cluster_lines,
    cluster_next,
)
from fleetctl.core.explain.deployment import Line, Next
from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.model.reasons import MOST_GROUPS, Group, merged
from fleetctl.core.model.status import State, rank
from fleetctl.core.model.summary import count, worst_of

from ...agents.presence import Live
from ...store.queries import Scope, bundle_specs
from ...store.schema import clusters, deployments
from .. import reasons, rollouts, states
from . import blockers, waits
from .agent import agent_of, known

Document = dict[str, Any]
# What a cluster as a whole shows when its agent is not heard.
_OF_AGENT = {
    "offline": "Offline",
    "never-enrolled": "WaitCheckIn",
    "revoked": "WaitCheckIn",
    "twin": "ErrApplied",
}


def bundle(connection: Connection, live: Live, now: float, workspace: str, name: str) -> Document:
    place = Workspace(workspace), BundleName(name)
    spec = bundle_specs(connection, Scope(place[0], bundles=[place[1]]))[0]
    fleet = states.fleet(connection, live, now, workspace)
    counts = fleet.counted(lambda sort: sort.bundle, name).get(name, {})
    groups = merged(
        reasons.grouped(fleet.known, reasons.Place(workspace, bundle=name), reasons.BY_BUNDLE).get(
            (workspace, name), []
        )
    )
    rollout = next(iter(rollouts.listing(connection, workspace, name)), None)
    state = worst_of(counts)
    whole = Whole(
        workspace=workspace,
        bundle=name,
        repo=spec.repo,
        state=state.value,
        ready=state is State.READY,
        commit=spec.commit,
        counts=_counts(counts),
        rollout=waits.whole_way(rollout, now),
        partitions=rollout["status"]["partitions"] if rollout else [],
        troubles=[trouble_of(group) for group in groups[:MOST_GROUPS]],
        omitted=sum(group.count for group in groups[MOST_GROUPS:]),
        pauses=blockers.pauses(connection, spec),
        pins=blockers.pins(connection, place),
        holds=blockers.holds(connection, place, spec.repo),
    )
    return document("bundle", whole, bundle_lines(whole), bundle_step(whole))


def cluster(connection: Connection, live: Live, now: float, workspace: str, name: str) -> Document:
    row = connection.execute(
        sa.select(clusters).where(clusters.c.workspace == workspace, clusters.c.name == name)
    ).one()
    told = known(connection, live, now, row)
    told.meet([row.id])
    d = deployments.c
    mine, troubles, removing = [], [], []
    for one in connection.execute(
        sa.select(deployments).where(d.cluster_id == row.id).order_by(d.bundle)
    ):
        if one.removed:
            removing += [f"{one.bundle}: {one.message or 'removal sent, not done yet'}"]
            continue
        state, reason = told.reason(reasons.row_of(one, told))
        mine.append(state)
        if reason is not None:
            troubles.append(
                Trouble(state=state.value, reason=reason, count=1, cluster=name, bundle=one.bundle)
            )
    agent, counts = agent_of(row, live, now), count(mine)
    worst = worst_of(counts)
    found = OnCluster(
        workspace=workspace,
        cluster=name,
        state=_OF_AGENT.get(agent.state, worst.value),
        ready=worst is State.READY and agent.state == "heard",
        counts=_counts(counts),
        agent=agent,
        pauses=blockers.of_cluster(row),
        removing=removing,
        troubles=sorted(troubles, key=lambda t: (rank(State(t.state)), t.bundle)),
    )
    return document("cluster", found, cluster_lines(found), cluster_next(found))


def _counts(counts: dict[State, int]) -> dict[str, int]:
    return {state.value: counts[state] for state in sorted(counts, key=rank)}


def trouble_of(group: Group) -> Trouble:
    return Trouble(
        state=group.state.value,
        reason=group.reason,
        count=group.count,
        cluster=group.cluster,
        bundle=group.bundle,
    )


def document(about: str, facts: Any, lines: list[Line], step: Next) -> Document:
    """Facts as docs/api.md has them, with the words that are made of them."""
    told = [{"topic": line.topic, "text": line.text} for line in lines]
    return {
        "kind": "Why",
        "about": about,
        **msgspec.to_builtins(facts),
        "lines": told,
        "next": {"text": step.text, "command": step.command},
    }
