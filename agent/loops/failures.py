"""Records the failure of a bundle, and computes when its next try begins."""

from __future__ import annotations

import errno

from fleetctl import jitter
from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import FleetError, ObjectsRemain
from fleetctl.core.model.ids import BundleName, Generation

from ..host.log import trouble
from ..state.conditions import of_disk
from .decide import RETRY
from .deployment_report import EXPENSIVE, REMOVING, DeploymentFailure
from .state import LoopState

_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EFBIG}
)
# The longest waits for causes that end by themselves, so that the fleet recovers within a minute of
# their end.
MOST_RETRY_SECONDS = {
    **dict.fromkeys(("disk", "system"), 30.0),
    **dict.fromkeys(("cluster-unreachable", "throttled", "try-later"), 45.0),
    "helm-pending": 10.0,
    **dict.fromkeys(("removal", "no-kind", "webhook"), 60.0),
}
_MOST_TEXT = 256
_EXPENSIVE_POWER = 4  # the first wait after one of these failures is 40 to 80 s
_REMOVALS_IN_TIME = 3  # about half a minute: a Pod's grace, a volume's protection


def describe_error(error: Exception) -> tuple[str, str]:
    """(code, one line) for the error of a bundle."""
    if isinstance(error, FleetError):
        return error.code, redacted(error.summary)
    if isinstance(error, OSError) and error.errno in _DISK:
        return "disk", f"the state directory cannot be written: {error.strerror}"
    if isinstance(error, OSError):
        return "system", f"the system refuses: {error.strerror or error}"
    return "bug", f"internal error of the agent: {type(error).__name__}: {error}"


def record_failure(
    state: LoopState, name: BundleName, generation: Generation, error: Exception, now: float
) -> None:
    """Record the error for the report, and when the bundle is tried again. `now`: monotonic
    seconds.
    """
    code, summary = describe_error(error)
    if code == "disk" and isinstance(error, OSError):
        state.say(*of_disk(error))
    count = state.failures[name] = state.failures.get(name, 0) + 1
    power = count + (_EXPENSIVE_POWER if code in EXPENSIVE else 0)
    wait = min(
        MOST_RETRY_SECONDS.get(code, RETRY.cap),
        RETRY.seconds(power, jitter.fraction()),
    )
    state.retry_at[name] = now + wait
    trouble(f"bundle {name}", f"{summary}; again in {wait:.0f} s")
    if isinstance(error, ObjectsRemain) and count <= _REMOVALS_IN_TIME:
        code = REMOVING
    subject, hint = "", ""
    if isinstance(error, FleetError):
        subject, hint = error.subject, error.next_step
    state.errors[name] = DeploymentFailure(
        generation, code, summary, redacted(subject)[:_MOST_TEXT], redacted(hint)[:_MOST_TEXT]
    )
