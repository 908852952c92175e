"""Why a bundle as a whole, or a cluster, is not Ready: facts in, lines and the next step out. Pure,
as core/why.py.
"""

from __future__ import annotations

from typing import Any

from fleetctl.core.explain.deployment import (
    AgentFacts,
    Fact,
    Line,
    Next,
    Stop,
    Way,
    agent_line,
    cluster_step,
    stop_line,
)
from fleetctl.core.model.reasons import Reason
from fleetctl.core.text.listing import list_names

_MOST = 10


class TroubleFacts(Fact, frozen=True, kw_only=True):
    """Deployments with one reason: `count` of them, `cluster` and `bundle` are one."""

    state: str
    reason: Reason
    count: int
    cluster: str
    bundle: str


class Whole(Fact, frozen=True, kw_only=True):
    """A bundle on all of its clusters. `counts`: by state."""

    workspace: str
    bundle: str
    repo: str
    state: str
    ready: bool
    commit: str
    counts: dict[str, int]
    rollout: Way | None
    partitions: list[dict[str, Any]]
    troubles: list[TroubleFacts]
    omitted: int  # deployments with reasons that are not listed
    pauses: list[Stop]
    pins: list[Stop]
    holds: list[Stop]


class OnCluster(Fact, frozen=True, kw_only=True):
    """A cluster and all that is on it and not Ready."""

    workspace: str
    cluster: str
    state: str
    ready: bool
    counts: dict[str, int]
    agent: AgentFacts
    pauses: list[Stop]
    removing: list[str]
    troubles: list[TroubleFacts]


def bundle_lines(whole: Whole) -> list[Line]:
    total = sum(whole.counts.values())
    ready = whole.counts.get("Ready", 0)
    result = [
        Line(
            "Clusters",
            (
                f"{ready} of {total} Ready{_rest(whole.counts)}"
                if total
                else "no target selects a cluster"
            ),
        )
    ]
    result.append(Line("Git", f"GitRepo {whole.repo} is at commit {whole.commit[:7] or '?'}"))
    result += [Line("Pinned", stop_line(pin)) for pin in whole.pins]
    result += [Line("Paused", stop_line(pin)) for pin in whole.pauses]
    result += [Line("Held", stop_line(pin)) for pin in whole.holds]
    result += _way(whole)
    result += [Line(trouble.state, _trouble(trouble)) for trouble in whole.troubles]
    return result + (
        [Line("", f"and {whole.omitted} more with other reasons")] if whole.omitted else []
    )


def _rest(counts: dict[str, int]) -> str:
    return "".join(f", {n} {state}" for state, n in counts.items() if state != "Ready" and n)


def _way(whole: Whole) -> list[Line]:
    way = whole.rollout
    if way is None:
        return [Line("Rollout", "none: it is delivered at once")]
    result = [
        Line(
            "Rollout",
            f"{way.state} at commit {way.commit[:7] or '?'}, {way.told} of {way.clusters} clusters"
            " updated",
        )
    ]
    result += [Line("Waits for", way.waiting)] if way.waiting else []
    current = [p for p in whole.partitions if p["startedAt"] and not p["finishedAt"]] or [
        p for p in whole.partitions if not p["finishedAt"]
    ][:1]
    for part in current[:_MOST]:
        failures = f", {part['failed']} failed" if part["failed"] else ""
        offline = f", {part['offline']} offline" if part["offline"] else ""
        budget = f"{part['unavailable']} unavailable, {part['maxUnavailable']} may be"
        result.append(
            Line(
                "Partition",
                f"{part['name']}: {part['told']} of {part['clusters']} updated,"
                f" {budget}{failures}{offline}",
            )
        )
    result += [Line("Soak", f"watched until {way.soak_until}")] if way.soak_until else []
    return result + (
        [Line("Deadline", f"must be finished by {way.deadline}")] if way.deadline else []
    )


def _trouble(trouble: TroubleFacts) -> str:
    return f"{trouble.reason.cause} ({list_names([trouble.cluster], count=trouble.count)})"


def bundle_step(whole: Whole) -> Next:
    bundle = whole.bundle
    for stop in (*whole.holds, *whole.pauses):
        return Next(f"decide on {stop.what}: {stop.command}", stop.command)
    way = whole.rollout
    if way is not None and way.state in {"Failed", "Aborted"}:
        command = f"fleetctl rollout resume {bundle}"
        return Next(
            f"waits for your decision: {command}, or `fleetctl rollback {bundle}`, or a newer"
            " commit",
            command,
        )
    if way is not None and way.asks:
        command = f"fleetctl rollout approve {bundle}"
        return Next(f"approve it: {command}", command)
    bad = next(
        (t for t in whole.troubles if t.state not in {"OutOfSync", "WaitApplied"}), None
    ) or next(iter(whole.troubles), None)
    if bad is not None:
        return _see(bad, f"fleetctl why {bad.cluster} {bundle}")
    if way is not None and way.waiting:
        return Next(f"it continues automatically when this ends: {way.waiting}")
    if not sum(whole.counts.values()):
        return Next("nothing happens: correct the targets, or label a cluster")
    return Next("nothing: it is Ready on all clusters. The next change is a new commit")


def _see(bad: TroubleFacts, command: str) -> Next:
    hint = "" if command in bad.reason.hint else bad.reason.hint
    return Next(f"{hint.rstrip('.')}; see {command}" if hint else f"see {command}", command)


def cluster_lines(cluster: OnCluster) -> list[Line]:
    total = sum(cluster.counts.values())
    ready = (
        f"{cluster.counts.get('Ready', 0)} of {total} Ready{_rest(cluster.counts)}"
        if total
        else "no target selects it"
    )
    result = [Line("Agent", agent_line(cluster.agent)), Line("Bundles", ready)]
    result += [
        Line("Trouble", f"{trouble.code}: {trouble.cause}") for trouble in cluster.agent.troubles
    ]
    result += [Line("Paused", stop_line(stop)) for stop in cluster.pauses]
    result += [Line(t.bundle, f"{t.state}: {t.reason.cause}") for t in cluster.troubles]
    return result + [Line("Removing", text) for text in cluster.removing]


def cluster_next(cluster: OnCluster) -> Next:
    step = cluster_step(cluster.cluster, cluster.agent, ready=cluster.ready)
    if step is not None:
        return step
    for stop in cluster.pauses:
        return Next(f"to end the pause of {stop.what}: {stop.command}", stop.command)
    bad = next(iter(cluster.troubles), None)
    if bad is not None:
        return _see(bad, f"fleetctl why {cluster.cluster} {bad.bundle}")
    return Next("nothing: all its bundles are Ready")
