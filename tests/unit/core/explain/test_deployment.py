"""The next step is the first thing in the way: data in, one line out."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.core.explain.deployment import (
    AgentFacts,
    Depends,
    ExplanationFacts,
    Stop,
    Targeting,
    Told,
    Way,
    WindowFacts,
    lines,
    next_step,
)
from fleetctl.core.model.reasons import Reason

HELD = "1 of 3 clusters may be unavailable at once, 1 are"


def way(state: str = "Progressing", **more: Any) -> Way:
    head = {
        "partition": "canary",
        "number": 1,
        "partitions": 2,
        "members": 3,
        "told_here": 1,
        "max_unavailable": 1,
        "unavailable": 1,
    }
    return Way(
        state=state,
        **{
            "waiting": f"partition canary: {HELD}",
            "commit": "b" * 40,
            "told": 1,
            "clusters": 9,
            "gate": HELD,
            **head,
            **more,
        },
    )


def facts(**more: Any) -> ExplanationFacts:
    plain: dict[str, Any] = {
        "workspace": "w",
        "cluster": "paris",
        "bundle": "web",
        "repo": "apps",
        "state": "Ready",
        "ready": True,
    }
    told = Told(generation=7, commit="a" * 40, at="2026-01-01T00:00:00Z", applied=7)
    return ExplanationFacts(
        **{
            **plain,
            "targeting": Targeting(target="prod"),
            "told": told,
            "agent": AgentFacts(state="heard"),
            **more,
        }
    )


def held(**more: Any) -> ExplanationFacts:
    said = Reason("held", HELD, "rollout web", "`fleetctl why paris web`")
    return facts(
        **{
            "state": "OutOfSync",
            "ready": False,
            "staged": "b" * 40,
            "rollout": way(),
            "reason": said,
            **more,
        }
    )


PAUSE = Stop(
    what="rollout web",
    why="freeze",
    who="ann",
    since="2026-01-01T00:00:00Z",
    command="fleetctl rollout resume web",
)
FAILED = Reason("tool-failed", "no such image", "pod.v1 shop/web", "correct the bundle")
CASES = {
    "it is well": (facts(), "nothing: it is Ready. A new commit that changes it comes next", ""),
    "it is not meant": (
        facts(targeting=Targeting(missed="no target matches it"), state="", ready=False),
        "nothing happens; to deploy it here, change",
        "",
    ),
    "a label would do": (
        facts(
            targeting=Targeting(missed="no target matches it", labels={"env": "prod"}),
            state="",
            ready=False,
        ),
        "nothing happens; this command would deploy it here",
        "fleetctl cluster label paris env=prod",
    ),
    "nobody enrolled": (
        held(agent=AgentFacts(state="never-enrolled")),
        "enrol an agent",
        "fleetctl cluster register paris",
    ),
    "two agents": (
        held(agent=AgentFacts(state="twin")),
        "stop one of the two agents",
        "fleetctl cluster register paris --replace",
    ),
    "silent, before all that is held": (
        held(agent=AgentFacts(state="offline"), pauses=[PAUSE]),
        "on a node of paris",
        "fleet-agent check",
    ),
    "a full disk": (
        facts(
            ready=False,
            state="WaitApplied",
            agent=AgentFacts(
                state="heard", troubles=[Reason("disk-full", "no room", "", "make room")]
            ),
        ),
        "disk-full: make room",
        "",
    ),
    "a pause, before a failed rollout": (
        held(pauses=[PAUSE], rollout=way("Failed")),
        "to end the pause of rollout web",
        PAUSE.command,
    ),
    "a pause holds nothing of what is Ready": (
        facts(pauses=[PAUSE]),
        (
            "nothing: it is Ready. A new commit that changes it waits until a person ends"
            " the pause of rollout web"
        ),
        "",
    ),
    "the rollout failed": (
        held(rollout=way("Failed")),
        "waits for your decision",
        "fleetctl rollout resume web",
    ),
    "it was aborted": (
        held(rollout=way("Aborted")),
        "waits for your decision",
        "fleetctl rollout resume web",
    ),
    "approval": (held(rollout=way(asks=True)), "approve it: ", "fleetctl rollout approve web"),
    "a window": (
        held(window=WindowFacts(closed=True, why="nights", opens="2026-01-02T00:00:00Z")),
        "the window opens 2026-01-02T00:00:00Z",
        "",
    ),
    "not heard yet": (held(agent=AgentFacts(state="unknown")), "the cluster reports", ""),
    "a soak": (
        held(rollout=way(soak_until="2026-01-02T00:00:00Z")),
        "the partition before has been watched until 2026",
        "",
    ),
    "the budget": (
        held(),
        f"it continues automatically when this ends: partition canary: {HELD}",
        "",
    ),
    "clusters that are not well": (
        held(rollout=way(blockers=["oslo", "rome"])),
        "it continues automatically when oslo and rome are ready, or with a newer commit",
        "fleetctl why oslo web",
    ),
    "the budget is free": (
        held(rollout=way(waiting="", gate="")),
        "it continues within seconds",
        "",
    ),
    "a dependency": (
        facts(
            state="WaitingForDependency",
            ready=False,
            reason=Reason("dependency", "waits"),
            dependencies=[
                Depends(what="db", state="NotReady", accepted=["Ready"], why="NotReady: 0 of 1")
            ],
        ),
        "db becomes Ready",
        "fleetctl why paris db",
    ),
    "a dependency that is not there": (
        facts(
            state="WaitingForDependency",
            ready=False,
            reason=Reason("dependency", "waits"),
            dependencies=[Depends(what="bundle db", why="there is no such bundle on this cluster")],
        ),
        "correct dependsOn: there is no such bundle on this cluster",
        "",
    ),
    "told": (
        facts(
            state="WaitApplied",
            ready=False,
            told=Told(generation=8, applied=7),
            reason=Reason("waiting", "told"),
        ),
        "its agent applies it and reports",
        "",
    ),
    "it failed": (
        facts(state="ErrApplied", ready=False, reason=FAILED),
        "correct the bundle",
        "",
    ),
}


@pytest.mark.parametrize(("given", "text", "command"), CASES.values(), ids=list(CASES))
def test_the_next_step(given: ExplanationFacts, text: str, command: str) -> None:
    """In the order in which things happen."""
    found = next_step(given)
    assert found.text.startswith(text)
    assert found.command == command
    assert command in found.text


def test_the_lines_of_one_that_is_held() -> None:
    """From the target to the reason, each said once, and the numbers verbatim."""
    given = held(
        targeting=Targeting(target="prod", customization="small"),
        rollout=way(ahead=2, approval="wanted", deadline="2026-01-03T00:00:00Z", failed=1),
        pins=[Stop(what="bundle to revision 3", who="bob", why="it leaks")],
        agent=AgentFacts(state="heard", seen="2026-01-01T00:00:00Z"),
    )
    assert [tuple(line) for line in lines(given)] == [
        ("Target", "matches prod"),
        ("Changed by", "small"),
        ("Pinned", "bundle to revision 3 by bob: it leaks"),
        ("Sent", "generation 7, commit aaaaaaa, 2026-01-01T00:00:00Z; and has applied it"),
        ("Staged", "commit bbbbbbb is held back"),
        ("Rollout", "Progressing at commit bbbbbbb, 1 of 9 clusters updated"),
        ("Partition", "canary (1 of 2): 1 of 3 updated, 1 may be unavailable, 1 are, 1 failed"),
        ("Place", "2 of its partition go before it"),
        ("Gate", HELD),
        ("Approval", "this partition starts only after approval"),
        ("Deadline", "the partition must be finished by 2026-01-03T00:00:00Z"),
        ("Agent", "last report 2026-01-01T00:00:00Z"),
        ("Reason", f"held: {HELD}"),
        ("About", "rollout web"),
    ]
