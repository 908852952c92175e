"""Places where tests make this agent die: nothing happens unless FLEETCTL_FAILPOINTS is set (`name=kill`, joined by commas)."""

from __future__ import annotations

import os
import signal

NAMES = ("before-helm", "after-helm", "after-journal", "before-uninstall", "before-report", "after-report")
_SET = dict(part.partition("=")[::2] for part in os.environ.get("FLEETCTL_FAILPOINTS", "").split(",") if part)


def failpoint(name: str) -> None:
    if not _SET:
        return
    if _SET.get(name) == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
