"""Why a bundle is on a cluster as it is: facts in, lines and the next step out. Pure; who gathers
the facts is the manager.

Rule: the lines come in the order in which things happen (is it meant for this cluster, what was it
told, what is held back and by what, what the agent says), and what cannot be known is not guessed.
The next step is the first thing in that order that stands in the way: what will happen by itself,
or what a person has to do, with the command.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fleetctl.core.model.cause_codes import CODES
from fleetctl.core.model.reasons import Reason


class Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every key is always there, so that scripts need not ask. Times are RFC 3339, "" is never or
    not known.
    """


class Tried(Fact, frozen=True, kw_only=True):
    """One target of the bundle, in the order in which they are tried; `why` it does not match, ""
    when it does.
    """

    name: str
    matches: bool
    why: str = ""


class Targeting(Fact, frozen=True, kw_only=True):
    """`missed`: why the cluster does not get the bundle, "" when it does. `labels`: what would make
    it match, when labels would.
    """

    missed: str = ""
    target: str = ""
    customization: str = ""
    tried: list[Tried] = []
    labels: dict[str, str] = {}


class Told(Fact, frozen=True, kw_only=True):
    """What the cluster was told last, generation 0 nothing; `applied` is the last generation that
    it applied.
    """

    generation: int = 0
    commit: str = ""
    at: str = ""
    applied: int = 0
    reported_at: str = ""


class Way(Fact, frozen=True, kw_only=True):
    """The bundle's rollout; of the cluster's partition which it is, how many clusters go before
    this one, and the gate's words.
    """

    state: str
    reason: str = ""
    waiting: str = ""
    commit: str = ""
    begun: str = ""
    told: int = 0
    clusters: int = 0
    partition: str = ""
    number: int = 0
    partitions: int = 0
    members: int = 0
    told_here: int = 0
    max_unavailable: int = 0
    unavailable: int = 0
    failed: int = 0
    ahead: int = 0
    gate: str = ""
    blockers: list[str] = []  # a few clusters of the partition that were told and are not well
    approval: str = ""  # wanted or approved
    asks: bool = False  # only a person's yes is missing
    begun_here: str = ""
    finished_here: str = ""
    soak_until: str = ""
    deadline: str = ""


class Depends(Fact, frozen=True, kw_only=True):
    """One bundle that this one waits for, as it is on this cluster; `state` "" when none is
    meant.
    """

    what: str
    state: str = ""
    accepted: list[str] = []
    fulfilled: bool = False
    why: str = ""


class Stop(Fact, frozen=True, kw_only=True):
    """Something that a person has put in the way: a pause, a pin, a held removal. `command` ends
    it.
    """

    what: str
    why: str = ""
    who: str = ""
    since: str = ""
    command: str = ""


class WindowFacts(Fact, frozen=True, kw_only=True):
    """`opens`: when, or "" when that is not known."""

    closed: bool = False
    why: str = ""
    opens: str = ""


class AgentFacts(Fact, frozen=True, kw_only=True):
    """`state`: heard, unknown (not since the manager started), offline, never-enrolled, revoked,
    twin or leaving.
    """

    state: str
    seen: str = ""
    message: str = ""
    troubles: list[Reason] = []


class ExplanationFacts(Fact, frozen=True, kw_only=True):
    workspace: str
    cluster: str
    bundle: str
    repo: str = ""
    state: str = ""  # "" when the cluster does not get the bundle
    ready: bool = False
    targeting: Targeting = Targeting()
    told: Told = Told()
    staged: str = ""  # the commit that is held back
    rollout: Way | None = None
    window: WindowFacts = WindowFacts()
    dependencies: list[Depends] = []
    pauses: list[Stop] = []
    pins: list[Stop] = []
    holds: list[Stop] = []
    agent: AgentFacts
    reason: Reason | None = None


class Line(NamedTuple):
    topic: str
    text: str


class Next(NamedTuple):
    """`command` stands in the text too, when there is one."""

    text: str
    command: str = ""


def lines(facts: ExplanationFacts) -> list[Line]:
    """What `fleetctl why CLUSTER BUNDLE` prints above the next step. Times in it are RFC 3339; a
    terminal shows ages.
    """
    result = [Line("Target", _target(facts.targeting))]
    result += [
        Line("Tried", f"{attempt.name}: {attempt.why}")
        for attempt in facts.targeting.tried
        if not attempt.matches
    ]
    if facts.targeting.customization:
        result.append(Line("Changed by", facts.targeting.customization))
    result += [Line("Pinned", stop_line(pin)) for pin in facts.pins]
    if not facts.targeting.missed or facts.told.generation:
        result += _delivery_lines(facts)
    result += [Line("Paused", stop_line(pause)) for pause in facts.pauses]
    result += [Line("Held", stop_line(hold)) for hold in facts.holds]
    result += _way(facts)
    if facts.window.closed:
        result.append(Line("Window", facts.window.why))
    result += [Line("Depends on", _depends(dependency)) for dependency in facts.dependencies]
    result.append(Line("Agent", agent_line(facts.agent)))
    result += [
        Line("Trouble", f"{trouble.code}: {trouble.cause}") for trouble in facts.agent.troubles
    ]
    if facts.reason:
        result += [Line("Reason", f"{facts.reason.code}: {facts.reason.cause}")]
        result += [Line("About", facts.reason.object)] if facts.reason.object else []
        result += (
            [Line("Hint", facts.reason.hint)]
            if facts.reason.hint and facts.reason.code != "held"
            else []
        )
    return result


def _target(targeting: Targeting) -> str:
    if targeting.missed:
        return f"not for this cluster: {targeting.missed}"
    return f"matches {targeting.target or 'a target without a name'}"


def _delivery_lines(facts: ExplanationFacts) -> list[Line]:
    delivery = facts.told
    if not delivery.generation:
        result = [Line("Sent", "nothing yet")]
    else:
        time_text = f", {delivery.at}" if delivery.at else ""
        outcome = (
            "and has applied it"
            if delivery.applied >= delivery.generation
            else f"has applied {delivery.applied or 'none'}"
        )
        result = [
            Line(
                "Sent",
                f"generation {delivery.generation}, commit {delivery.commit[:7] or '?'}{time_text};"
                f" {outcome}",
            )
        ]
    if facts.staged:
        result.append(Line("Staged", f"commit {facts.staged[:7]} is held back"))
    return result


def _way(facts: ExplanationFacts) -> list[Line]:
    way = facts.rollout
    if way is None or not facts.state:
        return []
    reason = f": {way.reason}" if way.reason else ""
    result = [
        Line(
            "Rollout",
            f"{way.state} at commit {way.commit[:7] or '?'}, {way.told} of {way.clusters} clusters"
            f" updated{reason}",
        )
    ]
    if way.partition:
        budget = f"{way.max_unavailable} may be unavailable, {way.unavailable} are"
        failures = f", {way.failed} failed" if way.failed else ""
        position = (
            f"{way.partition} ({way.number} of {way.partitions}): {way.told_here} of {way.members}"
            f" updated, {budget}{failures}"
        )
        result.append(Line("Partition", position))
    if facts.staged:
        result.append(
            Line(
                "Place",
                (
                    f"{way.ahead} of its partition go before it"
                    if way.ahead
                    else "it is next in its partition"
                ),
            )
        )
        result += [Line("Gate", way.gate)] if way.gate else []
        result += [Line("Not well", ", ".join(way.blockers))] if way.blockers else []
    if way.approval:
        result.append(
            Line(
                "Approval",
                (
                    "given"
                    if way.approval == "approved"
                    else "this partition starts only after approval"
                ),
            )
        )
    result += [Line("Soak", f"watched until {way.soak_until}")] if way.soak_until else []
    result += (
        [Line("Deadline", f"the partition must be finished by {way.deadline}")]
        if way.deadline
        else []
    )
    return result


def _depends(dependency: Depends) -> str:
    if dependency.fulfilled:
        return f"{dependency.what}, {dependency.state}"
    requirement = (
        f", wants {' or '.join(dependency.accepted)}"
        if dependency.accepted and dependency.state
        else ""
    )
    return f"{dependency.what}: {dependency.why or dependency.state}{requirement}"


def agent_line(agent: AgentFacts) -> str:
    report_text = f"last report {agent.seen}" if agent.seen else ""
    return "; ".join(filter(None, (report_text, agent.message))) or agent.state


def stop_line(stop: Stop) -> str:
    by = f" by {stop.who}" if stop.who else ""
    since = f", {stop.since}" if stop.since else ""
    return f"{stop.what}{by}{since}" + (f": {stop.why}" if stop.why else "")


def next_step(facts: ExplanationFacts) -> Next:
    """The first thing that stands in the way."""
    for look in (_targeting_step, _cluster, _stop_step, _hold_step, _behind):
        step = look(facts)
        if step is not None:
            return step
    if not facts.ready:
        return Next("nothing is known to be in the way")
    stop = next(iter(facts.pauses), None)
    comes = (
        f"waits until a person ends the pause of {stop.what}: {stop.command}"
        if stop
        else "comes next"
    )
    return Next(f"nothing: it is Ready. A new commit that changes it {comes}")


def _targeting_step(facts: ExplanationFacts) -> Next | None:
    targeting = facts.targeting
    if not targeting.missed:
        return None
    if facts.holds:
        return Next(
            f"the removal waits for confirmation: {facts.holds[0].command}", facts.holds[0].command
        )
    if targeting.labels:
        command = (
            f"fleetctl cluster label {facts.cluster}"
            f" {' '.join(f'{k}={v}' for k, v in targeting.labels.items())}"
        )
        return Next(f"nothing happens; this command would deploy it here: {command}", command)
    return Next(
        "nothing happens; to deploy it here, change the targets in the GitRepo or the"
        " labels of the cluster"
    )


def _cluster(facts: ExplanationFacts) -> Next | None:
    return cluster_step(facts.cluster, facts.agent, ready=facts.ready, staged=facts.staged)


def cluster_step(name: str, agent: AgentFacts, *, ready: bool, staged: str = "") -> Next | None:
    """What the agent as a whole needs before anything can happen."""
    state = agent.state
    if state in {"never-enrolled", "revoked", "twin"}:
        command = f"fleetctl cluster register {name}" + (
            "" if state == "never-enrolled" else " --replace"
        )
        advice = {
            "never-enrolled": "enrol an agent",
            "revoked": "enrol an agent again",
            "twin": "stop one of the two agents, and enrol again",
        }
        return Next(f"{advice[state]}: {command}", command)
    if state == "leaving":
        return Next("its bundles are removed, and then the cluster is forgotten")
    if state == "offline":
        waits = f"commit {staged[:7]}" if staged else "the version that was sent"
        return Next(
            f"on a node of {name}: fleet-agent check; after its next report it gets {waits}",
            "fleet-agent check",
        )
    trouble = next((t for t in agent.troubles if t.code in CODES), None)
    if trouble is not None and not ready:
        return Next(f"{trouble.code}: {trouble.hint}")
    return None


def _stop_step(facts: ExplanationFacts) -> Next | None:
    stop = next(iter(facts.pauses), None)
    if stop is None or (facts.ready and not facts.staged):
        return None
    return Next(f"to end the pause of {stop.what}: {stop.command}", stop.command)


def _hold_step(facts: ExplanationFacts) -> Next | None:
    way, bundle = facts.rollout, facts.bundle
    if not facts.staged or way is None:
        return None
    if way.state in {"Failed", "Aborted"}:
        command = f"fleetctl rollout resume {bundle}"
        other = (
            "or a newer commit"
            if way.state == "Aborted"
            else f"or `fleetctl rollback {bundle}`, or a newer commit"
        )
        return Next(f"waits for your decision: {command}, {other}", command)
    if way.asks:
        command = f"fleetctl rollout approve {bundle}"
        return Next(f"approve it: {command}", command)
    if facts.window.closed:
        if not facts.window.opens:
            return Next(
                "nothing by itself: its window does not open any more; change the schedule",
                "fleetctl schedule list",
            )
        return Next(f"the window opens {facts.window.opens}")
    if facts.agent.state == "unknown":
        return Next(
            "the cluster reports: after a start, the manager changes only clusters that have"
            " reported"
        )
    if way.soak_until and not way.begun_here:
        return Next(f"the partition before has been watched until {way.soak_until}")
    if way.blockers and way.unavailable >= way.max_unavailable:
        command = f"fleetctl why {way.blockers[0]} {bundle}"
        return Next(
            f"it continues automatically when {' and '.join(way.blockers)} are ready, or with a"
            f" newer commit; see {command}",
            command,
        )
    if way.gate:
        return Next(f"it continues automatically when this ends: {way.waiting or way.gate}")
    return Next("it continues within seconds")


def _behind(facts: ExplanationFacts) -> Next | None:
    """It was told what it should have, and is not Ready."""
    if facts.ready or facts.reason is None:
        return None
    bad = next((dependency for dependency in facts.dependencies if not dependency.fulfilled), None)
    if facts.state == "WaitingForDependency" and bad is not None:
        command = f"fleetctl why {facts.cluster} {bad.what}" if bad.state else ""
        step = (
            f"{bad.what} becomes {' or '.join(bad.accepted)}: {command}"
            if command
            else f"correct dependsOn: {bad.why}"
        )
        return Next(step, command)
    if facts.told.applied < facts.told.generation and facts.reason.code == "waiting":
        return Next("its agent applies it and reports, within minutes")
    return Next(facts.reason.hint or f"see what {facts.reason.object or 'the agent'} reports")
