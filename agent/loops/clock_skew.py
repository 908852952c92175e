"""What this machine's clock, and the age of the document, are worth: both are told, neither stops
anything (docs/rfd/0002-clocks.md).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from fleetctl.core.model.wire import CLOCK_SKEW_SECONDS

if TYPE_CHECKING:
    from .state import LoopState

SKEW, DOCUMENT_EXPIRED = "clock-skew", "document-expired"
_UNITS = ((365 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes"))


def judge(state: LoopState) -> None:
    """Say, or unsay, what is wrong with the clock and with the document's age."""
    offset = state.context.uplink.offset
    if abs(offset) > CLOCK_SKEW_SECONDS:
        way = "behind" if offset > 0 else "ahead of"
        state.say(
            SKEW,
            f"this machine's clock is {span(abs(offset))} {way} the manager's; requests are signed"
            " with the manager's time",
        )
    else:
        state.unsay(SKEW)
    document = state.document
    if document is not None and is_over(document.expires, state.context.uplink.now()):
        state.say(
            DOCUMENT_EXPIRED,
            f"the desired state expired at {document.expires}; the agent keeps it until the"
            " manager issues a new one",
        )
    else:
        state.unsay(DOCUMENT_EXPIRED)


def is_over(expires: str, now: float) -> bool:
    """Whether the RFC 3339 time has passed; what cannot be read has not."""
    try:
        return datetime.fromisoformat(expires).timestamp() < now
    except (ValueError, OverflowError):
        return False


def span(seconds: int) -> str:
    """As coarse as makes no news of every second."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
