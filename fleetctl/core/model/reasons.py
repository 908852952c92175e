"""Why something is not Ready: code, cause, object and hint, from one deployment up to the GitRepo.

Rule: a cause is shown as the agent wrote it. Many clusters with the same trouble are one group,
with all of them counted and one named; two causes are the same when they differ only in what a
cluster makes up by itself (names of Pods, addresses, times, digests).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.status import Report, State, rank

# What differs from cluster to cluster in the same sentence, by what takes its place. Longer shapes
# come first.
_MADE_UP = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "*"),  # UIDs
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "*"),  # times
    (re.compile(r"(?:sha256:)?\b[0-9a-f]{32,}\b"), "*"),  # digests
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "*"),  # addresses
    # Pods of a Deployment: Kubernetes' SafeEncodeString
    (re.compile(r"-[bcdf-hj-np-tv-z2-9]{5,10}-[bcdf-hj-np-tv-z2-9]{5}\b"), "-*"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s|m|h|seconds|minutes)\b"), "*"),  # how long it took
    (re.compile(r"\d{5,}"), "*"),  # process ids, resource versions
)
# The word for a state of which nobody gave a code.
_OF_STATE = {
    State.ERR_APPLIED: "error",
    State.WAIT_APPLIED: "waiting",
    State.OFFLINE: "offline",
    State.MODIFIED: "modified",
    State.OUT_OF_SYNC: "paused",
    State.WAITING_FOR_DEPENDENCY: "dependency",
    State.WAITING_FOR_WINDOW: "window",
    State.PENDING: "never-enrolled",
    State.NOT_READY: "not-ready",
}
MOST_GROUPS = 10


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """`cause`: one line, as whoever found it wrote it. `object`: what it is about. `hint`: the next
    step.
    """

    code: str
    cause: str
    object: str = ""
    hint: str = ""


class ReasonGroup(msgspec.Struct, frozen=True):
    """Deployments with the same reason. `cluster` and `bundle` are one of them."""

    state: State
    reason: Reason
    count: int
    cluster: str
    bundle: str
    workspace: str = ""


def normalise(text: str) -> str:
    for shape, instead in _MADE_UP:
        text = shape.sub(instead, text)
    return text


def cause_key(report: Report) -> str:
    """Equal for reports of the same trouble; "" for one that has none. Twelve hex digits: what a
    group is counted by.
    """
    if report.state is State.READY:
        return ""
    words = (report.code, normalise(report.message), normalise(report.object))
    return hashlib.blake2b("\0".join(words).encode(), digest_size=6).hexdigest()


def of_report(report: Report, *, cluster: str = "", bundle: str = "") -> Reason:
    """What an agent says is the matter."""
    code = report.code or _OF_STATE.get(report.state, "")
    cause = report.message or (
        "sent, no report yet" if report.state is State.WAIT_APPLIED else report.state.value
    )
    return Reason(
        code, cause, report.object, report.hint or hint_of(code, cluster=cluster, bundle=bundle)
    )


def of_manager(
    code: str, cause: str, about: str = "", *, cluster: str = "", bundle: str = ""
) -> Reason:
    """What the manager knows by itself."""
    return Reason(code, cause, about, hint_of(code, cluster=cluster, bundle=bundle))


def merge(groups: Iterable[ReasonGroup]) -> list[ReasonGroup]:
    """Groups of the same reason as one; worst state first, then the one with the most clusters."""
    by_cause: dict[tuple[str, ...], ReasonGroup] = {}
    for group in groups:
        reason = group.reason
        key = (group.state.value, reason.code, normalise(reason.cause), normalise(reason.object))
        old = by_cause.get(key)
        by_cause[key] = (
            group if old is None else msgspec.structs.replace(old, count=old.count + group.count)
        )
    return sorted(
        by_cause.values(),
        key=lambda g: (rank(g.state), -g.count, g.reason.code, g.reason.cause, g.cluster, g.bundle),
    )


def message_of(groups: Iterable[ReasonGroup]) -> str:
    """One example for each state that is not Ready, worst first, with all of its deployments
    counted: as Fleet writes it.
    """
    by_state: dict[State, list[ReasonGroup]] = {}
    for group in merge(groups):
        by_state.setdefault(group.state, []).append(group)
    parts = []
    for state, members in by_state.items():
        first = members[0]
        cause = f": {first.reason.cause}" if first.reason.cause else ""
        count = sum(group.count for group in members)
        parts.append(f"{state.value}({count}) [Cluster {first.workspace}/{first.cluster}{cause}]")
    return "; ".join(parts)


def wire_reasons(groups: Iterable[ReasonGroup]) -> dict[str, Any]:
    """`reasons` of a status; when there are more than are listed, `reasonsOmitted` says how many,
    and of how many deployments.
    """
    every = merge(groups)
    top, rest = every[:MOST_GROUPS], every[MOST_GROUPS:]
    document: dict[str, Any] = {"reasons": [_wire_group(group) for group in top]}
    if rest:
        document["reasonsOmitted"] = {
            "reasons": len(rest),
            "count": sum(group.count for group in rest),
        }
    return document


def _wire_group(group: ReasonGroup) -> dict[str, Any]:
    example = {"cluster": group.cluster, "bundle": group.bundle}
    return {
        "state": group.state.value,
        **msgspec.to_builtins(group.reason),
        "count": group.count,
        "example": example,
    }
