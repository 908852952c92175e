"""Time zones by their IANA names. The system's data is taken when it has some, else that of the
package tzdata.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.suggest import close_words


def zone_of(name: str) -> tzinfo:
    """Nothing is UTC. Raises UsageError with the nearest name. Go's `Local` is none: it would be
    that of the manager's machine.
    """
    if name in {"", "UTC"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        names = available_timezones()
        near = close_words(name, names)
        step = f"Did you mean {near[0]}?" if near else "Write an IANA name like Europe/Berlin."
        if not names:
            step = "This machine has no time zones at all: install tzdata."
        raise UsageError(
            f"location: there is no time zone {name[:60]!r}",
            subject="spec.location",
            next_step=step,
        ) from error
