"""Causes that are the same on many clusters are one group, counted, with the text as an agent wrote
it.
"""

from __future__ import annotations

import pytest

from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.reasons import (
    MOST_GROUPS,
    Reason,
    ReasonGroup,
    cause_key,
    merge,
    message_of,
    normalise,
    of_report,
    wire_reasons,
)
from fleetctl.core.model.status import Report, State


def report(
    state: State = State.ERR_APPLIED,
    code: str = "tool-failed",
    message: str = "no such image",
    **more: str,
) -> Report:
    return Report(
        bundle=BundleName("web"),
        generation=Generation(7),
        state=state,
        code=code,
        message=message,
        **more,
    )


def group(
    cause: str = "no such image",
    count: int = 1,
    *,
    state: State = State.ERR_APPLIED,
    cluster: str = "paris",
) -> ReasonGroup:
    return ReasonGroup(
        state,
        Reason("tool-failed", cause, hint="correct it"),
        count,
        cluster,
        "web",
        "fleet-default",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pod.v1 shop/web-7d9f8b6c5-x2x4z: back-off", "pod.v1 shop/web-6c8dbb6f4d-qqwwz: back-off"),
        ("dial tcp 10.0.3.4:443: refused", "dial tcp 192.168.1.77:443: refused"),
        ("timed out after 30.2 s", "timed out after 31 s"),
        (
            "object 5f1e7f1c-8a2f-4a39-9d8e-2d6c51d2aaaa is gone",
            "object 0b8a4d50-1111-4c3f-8cfe-f0f0f0f0f0f0 is gone",
        ),
        (
            "certificate expired at 2026-01-02T03:04:05Z",
            "certificate expired at 2025-11-12T13:14:15Z",
        ),
        (f"digest sha256:{'a' * 64} is wrong", f"digest sha256:{'b' * 64} is wrong"),
    ],
)
def test_what_a_cluster_makes_up_by_itself_does_not_count(one: str, other: str) -> None:
    """Names of Pods, addresses, times, UIDs and digests differ everywhere; the trouble is one."""
    assert normalise(one) == normalise(other)
    assert cause_key(report(message=one)) == cause_key(report(message=other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deployment.apps shop/web: 0 of 3", "deployment.apps shop/web: 1 of 3"),
        ("deployment.apps shop/web-blue: no", "deployment.apps shop/web-green: no"),
        ("configmap sizes does not exist", "configmap colours does not exist"),
    ],
)
def test_other_troubles_stay_apart(one: str, other: str) -> None:
    """A name that people gave, or a number that means something, is another cause."""
    assert cause_key(report(message=one)) != cause_key(report(message=other))


def test_a_key_tells_code_text_and_object_apart() -> None:
    """What is Ready has none."""
    keys = {
        cause_key(report()),
        cause_key(report(code="error")),
        cause_key(report(message="x")),
        cause_key(report(object="pod x/y")),
    }
    assert len(keys) == 4
    assert cause_key(report(State.READY, "", "")) == ""


def test_the_agents_own_hint_comes_first() -> None:
    """Else the one of its code; a word that nobody knows has none."""
    assert of_report(report(hint="give it a size")).hint == "give it a size"
    assert of_report(report()).hint == "correct the bundle"
    assert of_report(report(code="of-a-later-agent")).hint == ""
    assert of_report(report(State.NOT_READY, "", "not looked at yet")).code == "not-ready"


def test_groups_are_merged_and_the_worst_comes_first() -> None:
    """By state, then by how many clusters."""
    groups = [
        group("a", 2),
        group("b", 9, cluster="rome"),
        group("c", 100, state=State.NOT_READY),
        group("a", 3, cluster="oslo"),
        group(
            "silent since 2026-01-01T00:00:00Z, last state Ready at generation 7",
            1,
            state=State.OFFLINE,
        ),
        group(
            "silent since 2026-02-01T00:00:00Z, last state Ready at generation 7",
            1,
            state=State.OFFLINE,
        ),
    ]
    assert [(g.state.value, g.reason.cause[:6], g.count, g.cluster) for g in merge(groups)] == [
        ("ErrApplied", "b", 9, "rome"),
        ("ErrApplied", "a", 5, "paris"),
        ("Offline", "silent", 2, "paris"),
        ("NotReady", "c", 100, "paris"),
    ]


def test_the_message_is_fleets() -> None:
    """One example for each state, all of its deployments counted."""
    groups = [group("a", 2), group("b", 3, cluster="rome"), group("slow", state=State.NOT_READY)]
    assert (
        message_of(groups) == "ErrApplied(5) [Cluster fleet-default/rome: b]; NotReady(1) [Cluster"
        " fleet-default/paris: slow]"
    )
    assert message_of([]) == ""


def test_what_is_not_listed_is_counted() -> None:
    """The list is bounded, the numbers are not."""
    groups = [group(f"cause {chr(97 + at)}", 100 - at) for at in range(MOST_GROUPS + 3)]
    found = wire_reasons(groups)
    assert len(found["reasons"]) == MOST_GROUPS
    assert found["reasonsOmitted"] == {"reasons": 3, "count": 90 + 89 + 88}
    assert found["reasons"][0] == {
        "state": "ErrApplied",
        "code": "tool-failed",
        "cause": "cause a",
        "hint": "correct it",
        "count": 100,
        "example": {"cluster": "paris", "bundle": "web"},
    }
    assert wire_reasons([]) == {"reasons": []}
