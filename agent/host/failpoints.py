"""Named places where tests make this agent die, fail or stall. Nothing happens, and nothing is paid
for, unless FLEETCTL_FAILPOINTS is set.

`NAME=ACTION` or `NAME=ACTION@N` (the N-th time it is passed, else each time), joined by commas.
ACTION is one of

    kill            SIGKILL to this process, as a power cut or the kernel's memory killer would
    raise           an error of our own (a bug): RuntimeError
    enospc, eio     OSError, as a full or a failing disk would
    sleep:SECONDS   this process stands still

Rule: every step that changes the disk or the world has one before and one after it; the matrix in
tests/chaos is generated from `NAMES` and fails for a name that no scenario passes. `seen` names a
file to which each name is added as it is passed: how that is found out.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass

from fleetctl.core.model.errors import UsageError

# What has just been done, or is about to be, where the name stands. In the order of a bundle's
# life.
NAMES: dict[str, str] = {
    "document-before-keep": "a signed document has come; it is not on the disk",
    "document-kept": "the document is durable; nobody has acted on it",
    "archive-before-write": "an archive is about to be fetched",
    "archive-written": "an archive's bytes are written, not yet durable under their name",
    "archive-kept": "an archive is durable",
    "before-prepare": "the chart is about to be written",
    "after-prepare": "the chart is written, nothing has been told to the journal",
    "journal-before-write": "a record is about to be written to the journal",
    "journal-written": "a record is written, not yet durable",
    "journal-durable": "a record is durable, memory does not know",
    "compact-before": "the journal is about to be written anew",
    "compact-written": "the new journal is durable beside the old one",
    "compact-renamed": "the new journal stands in the place of the old one",
    "before-namespace": "the journal says begun; the namespace is looked at next",
    "after-namespace": "the namespace is there",
    "before-forget": "the record of a helm that was cut off goes next",
    "after-forget": "that record is gone",
    "before-leftover": "an object that only a cut-off run knew of goes next",
    "copies-written": "what downstreamResources name is there",
    "before-helm": "helm starts next",
    "before-definitions": "the bundle's CustomResourceDefinitions are applied next",
    "after-definitions": "they are there and served; the release is not",
    "object-deleted": "an object that cannot be changed is gone; helm makes it anew next",
    "after-part": "helm has ended well for one part of the bundle; for others it may not have",
    "before-taking-over": "helm refused to take objects of others; it may, and starts again next",
    "after-helm": "helm has ended well; nothing here knows",
    "objects-kept": "what was applied is kept for drift; the journal says begun",
    "copies-dropped": "copies that are not named any more are gone; the journal says begun",
    "after-journal": "the journal says done",
    "before-old-release": "the release has another name now; the old one goes next",
    "after-old-release": "the old release is gone",
    "before-uninstall": "the journal says that a removal has begun",
    "objects-deleted": (
        "the objects are deleted; the record is still there, and nobody has looked whether they are"
        " gone"
    ),
    "after-uninstall": "the release is gone; its namespace and our records are not",
    "removal-before-journal": "all is gone but the journal's record",
    "removal-done": "the journal knows of the bundle no more; nobody was told",
    "before-report": "a report is about to be sent",
    "after-report": "the manager has the report; memory does not know",
}

# Of release records that are rewritten; tests/integration/deploy/test_removed_kinds.py cuts each.
REPAIR_NAMES: dict[str, str] = {
    "before-repair": (
        "a release record states kinds that are not served any more; it is rewritten next"
    ),
    "after-repair": "that record is rewritten; other records of the release may not be",
}

# Of the agent's own upgrade; tests/integration/agent/test_agent_upgrade.py kills at each.
UPGRADE_NAMES: dict[str, str] = {
    "upgrade-staged": "the file is durable in its place; nobody has looked at it",
    "upgrade-checked": "the file has passed its check; nothing is changed any more",
    "upgrade-begun": "the trial is written down; the old version still runs",
    "upgrade-counted": "an attempt is counted; the new version does not run yet",
    "upgrade-checked-in": "the new version has checked in; nobody knows",
    "upgrade-confirmed": "the new version is written down as the current one",
    "upgrade-failed": "an attempt has ended in vain; it is not written down why",
    "upgrade-current": "a start of the current version is counted; it does not run yet",
}

_ACTIONS = {"kill", "raise", "enospc", "eio", "sleep"}


@dataclass
class _Point:
    action: str
    seconds: float = 0.0
    at: int = 0  # which passing, 0 is each
    passes: int = 0


_points: dict[str, _Point] = {}
_log_handle = -1


class InducedError(RuntimeError):
    """What `raise` raises."""


def arm(text: str, log_file: str = "") -> None:
    """From FLEETCTL_FAILPOINTS and FLEETCTL_FAILPOINTS_SEEN. Raises UsageError for a name or an
    action that is not known.
    """
    global _log_handle
    _points.clear()
    for part in text.split(","):
        if part.strip():
            name, _, action = part.strip().partition("=")
            _points[name] = _read(name, action)
    if _log_handle >= 0:
        os.close(_log_handle)
    _log_handle = (
        os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if log_file
        else -1
    )


def failpoint(name: str) -> None:
    """Where `name` happens."""
    if _log_handle >= 0:
        os.write(_log_handle, name.encode() + b"\n")
    if _points and (point := _points.get(name)):
        _happen(name, point)


def _read(name: str, text: str) -> _Point:
    action, _, at = text.partition("@")
    action, _, seconds = action.partition(":")
    try:
        point = _Point(action, float(seconds or 1), int(at or 0))
    except ValueError:
        point = _Point("")
    known_name = name in NAMES or name in REPAIR_NAMES or name in UPGRADE_NAMES
    if not known_name or point.action not in _ACTIONS:
        hint = (
            f"{name} is one of agent/host/failpoints.py"
            if not known_name
            else "the action is kill, raise, enospc, eio or sleep:SECONDS"
        )
        raise UsageError(
            f"FLEETCTL_FAILPOINTS: cannot read {name}={text}",
            subject="FLEETCTL_FAILPOINTS",
            next_step=f"See that {hint}.",
        )
    return point


def _happen(name: str, point: _Point) -> None:
    point.passes += 1
    if point.at and point.passes != point.at:
        return
    match point.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(point.seconds)
        case "raise":
            raise InducedError(f"failpoint {name}")
        case action:
            code = getattr(errno, action.upper())
            raise OSError(code, os.strerror(code), f"failpoint {name}")
