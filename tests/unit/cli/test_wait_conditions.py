"""What an object lacks of what is waited for: objects in, words out."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.cli.wait_conditions import goal_of
from fleetctl.core.model.errors import UsageError


def bundle(
    state: str = "Ready",
    message: str = "",
    commit: str = "abcdef",
    kind: str = "Bundle",
    **summary: int,
) -> dict[str, Any]:
    display = {"state": state, "message": message}
    counts = {"ready": 1, "desiredReady": 9, **summary}
    return {
        "kind": kind,
        "metadata": {"name": "web"},
        "status": {"display": display, "commit": commit, "summary": counts},
    }


def rollout(
    state: str = "Progressing", clusters: str = "1/9", message: str = "gate"
) -> dict[str, Any]:
    return {
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "status": {
            "display": {"state": state, "clusters": clusters, "message": message},
            "commit": "abcdef",
        },
    }


def deployment(state: str) -> dict[str, Any]:
    return {
        "kind": "BundleDeployment",
        "metadata": {"name": "a.web"},
        "status": {"display": {"state": state}},
    }


@pytest.mark.parametrize(
    ("want", "item", "lacks"),
    [
        ("ready", bundle(), ""),
        ("ready", bundle("NotReady", "0 of 1"), "is NotReady: 0 of 1"),
        ("state=Modified", bundle("Modified"), ""),
        ("modified", bundle(), "is Ready"),
        ("commit=ABC", bundle(), ""),
        ("commit=abd", bundle(), "is at abcdef"),
        ("commit=a", bundle(commit=""), "is at no commit"),
        ("condition=Ready", bundle(), "has no condition Ready"),
        ("synced", bundle("NotReady", notReady=9), ""),
        ("synced", bundle("WaitApplied", waitApplied=2), ""),
        (
            "synced",
            bundle("OutOfSync", "held", outOfSync=2, pending=1),
            "has 1 Pending, 2 OutOfSync of 9: held",
        ),
        ("synced", bundle("GitUpdating", kind="GitRepo"), "is GitUpdating"),
        ("synced", bundle("Held", "would remove", kind="GitRepo"), "is Held: would remove"),
        ("applied", bundle("NotReady", notReady=9), ""),
        ("applied", bundle("Modified", modified=9), ""),
        ("applied", bundle("Offline", offline=1), "has 1 Offline of 9"),
        (
            "applied",
            bundle("ErrApplied", "no", errApplied=1, outOfSync=3),
            "has 3 OutOfSync, 1 ErrApplied of 9: no",
        ),
        ("synced", deployment("OutOfSync"), "is OutOfSync"),
        ("synced", deployment("WaitApplied"), ""),
        ("applied", deployment("WaitApplied"), "is WaitApplied"),
        ("applied", deployment("Modified"), ""),
        ("completed", rollout("Completed", "9/9"), ""),
        ("completed", rollout(), "is Progressing: gate"),
        ("ready", rollout("Completed"), ""),
        ("synced", rollout("Progressing", "9/9"), ""),
        ("synced", rollout("Paused", "3/9", "freeze"), "3 of 9 clusters are updated: freeze"),
    ],
)
def test_what_is_missing(want: str, item: dict[str, Any], lacks: str) -> None:
    """In words, with the object's own message."""
    assert goal_of(want).missing(item) == lacks


def test_the_causes_of_what_is_missing_come_first() -> None:
    """Not those of other states, and each with one of its clusters."""
    item = bundle("ErrApplied", "long", outOfSync=2, errApplied=1)
    item["status"]["reasons"] = [
        {"state": "ErrApplied", "cause": "no such image", "example": {"cluster": "oslo"}},
        {"state": "OutOfSync", "cause": "the gate", "example": {"cluster": "rome"}},
    ]
    assert goal_of("synced").missing(item) == "has 2 OutOfSync of 9: the gate (rome)"
    assert (
        goal_of("applied").missing(item)
        == "has 2 OutOfSync, 1 ErrApplied of 9: no such image (oslo); the gate (rome)"
    )


@pytest.mark.parametrize("want", ["ready", "synced", "applied", "completed"])
@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_a_rollout_that_ended_is_lost(want: str, state: str) -> None:
    """Only a person brings it on; a paused one may go on, and nothing else is ever lost."""
    assert (
        goal_of(want).why_unreachable(rollout(state, message="2 clusters could not apply it"))
        == f"is {state}: 2 clusters could not apply it"
    )
    assert goal_of(want).why_unreachable(rollout("Paused")) == ""
    assert goal_of(want).why_unreachable(bundle("ErrApplied")) == ""
    assert goal_of(f"state={state}").why_unreachable(rollout(state)) == ""


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("redy", "ready"),
        ("compleeted", "completed"),
        ("state=Modifid", "modified"),
        ("commit=", ""),
    ],
)
def test_a_wrong_word_names_the_nearest(text: str, near: str) -> None:
    """And what there is."""
    with pytest.raises(UsageError) as wrong:
        goal_of(text)
    assert (f"Did you mean {near}?" in wrong.value.next_step) == bool(near)
    assert "commit=SHA" in wrong.value.next_step
