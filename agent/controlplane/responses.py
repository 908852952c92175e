"""What an answer is worth: whether it is the manager's at all, and its refusals as errors of ours.

Rule: only what the manager alone would say counts. A captive portal, a proxy's page of errors or a
login page that answers 200 is as if nobody had answered: something is in the way, and it is tried
again later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.errors import (
    DuplicateAgent,
    FleetError,
    LoginError,
    NotEnrolled,
    SendAll,
    TryLater,
    error_of,
)

_SHORTEST_POLL, _LONGEST_POLL = 1.0, 3600.0


class Answer(NamedTuple):
    """`headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def away(error: Exception) -> TryLater:
    cause = (
        "it did not answer in time"
        if isinstance(error, TimeoutError)
        else str(error) or type(error).__name__
    )
    later = TryLater(
        f"the manager cannot be reached: {cause}",
        subject="manager",
        next_step="Running releases continue; the agent tries again.",
    )
    later.silent = isinstance(error, TimeoutError)
    return later


def in_the_way(status: int, headers: Mapping[str, str]) -> TryLater:
    """Somebody answered who is not the manager."""
    kind = headers.get("content-type", "").partition(";")[0][:60] or "no content type"
    step = "Look at proxies, captive portals and DNS between this machine and the manager."
    later = TryLater(
        f"another server answers instead of the manager (HTTP {status}, {kind})",
        subject="manager",
        next_step=step,
    )
    later.after = _seconds(headers)
    return later


def next_poll(headers: Mapping[str, str]) -> float | None:
    """Seconds until the next poll, which every answer of the manager's to an agent names; None: it
    is not the manager's.
    """
    text = headers.get(wire.H_NEXT_POLL, "")
    return (
        min(_LONGEST_POLL, max(_SHORTEST_POLL, float(text)))
        if text.isascii() and text.isdigit() and len(text) < 10
        else None
    )


def problem(answer: Answer) -> FleetError:
    """The manager's refusal as one of our errors; somebody else's as TryLater."""
    try:
        document = msgspec.json.decode(answer.content, type=wire.Problem)
    except msgspec.DecodeError:
        return in_the_way(answer.status, answer.headers)
    text = {"subject": document.subject or "manager", "next_step": document.next_step}
    for kind in (DuplicateAgent, SendAll, NotEnrolled):
        if document.code == kind.code:
            return kind(document.summary, **text)
    if answer.status in {408, 429} or answer.status >= 500:
        later = TryLater(document.summary, **text)
        later.after = _seconds(answer.headers)
        return later
    default = LoginError if answer.status == 401 else FleetError
    return error_of(document.code, document.summary, **text, default=default)


def _seconds(headers: Mapping[str, str]) -> float:
    after = headers.get("retry-after", "")
    return float(after) if after.isascii() and after.isdigit() and len(after) < 10 else 0.0
