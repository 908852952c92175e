"""Translates refusals of the API server into errors of this program.

The class follows the HTTP status. Each error carries the `reason` and the `causes` of the Status
object that the API server sends. Where it gives no reason of its own (it answers 500 for an object
that server-side apply cannot take), fleetctl/tools/helm_errors.py reads the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fleetctl.core.model.errors import (
    ClusterUnreachable,
    DryRunRefused,
    FleetError,
    ForbiddenRequest,
    NotFound,
    RefusedByForm,
    ThrottledRequest,
    ToolFailed,
    WatchExpired,
    WebhookSilent,
    WriteConflict,
)
from fleetctl.tools.helm_errors import form_of, is_dry_run_refused, webhook_of

ALREADY_EXISTS = "AlreadyExists"  # reason of a 409 for an object that was to be created
_SHORT_NUMBER = re.compile(r"[0-9]{1,9}")
_NEXT_STEP = "Look at the object and at the API server."


class _Cause(msgspec.Struct):
    """One cause in `details` of a Status: `field` names what is wrong, "" for the whole object."""

    field: str = ""
    message: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class _Details(msgspec.Struct):
    causes: list[_Cause] | None = None


class _Status(msgspec.Struct):
    """What the API server answers instead of an object (meta/v1 Status)."""

    message: str = ""
    reason: str = ""
    details: _Details | None = None

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(map(str, (self.details.causes if self.details else None) or ()))


def refuse(code: int, content: bytes, headers: Mapping[str, str], path: str) -> None:
    """Raise the error for an answer with an HTTP status of 400 or more; return for any other."""
    if code < 400:
        return
    status = _status(content)
    error = _error(code, status, headers, path)
    if isinstance(error, ToolFailed):
        error.reason, error.causes = status.reason, status.causes
    raise error


def _error(code: int, status: _Status, headers: Mapping[str, str], path: str) -> FleetError:
    summary = f"the API server reports: {status.message or code}"
    if code == 401:
        return ClusterUnreachable(
            "the API server does not take this agent's login (401)",
            subject="cluster",
            next_step="Look at the token or certificate of the kubeconfig.",
        )
    if code == 403:
        step = "Grant this right, or remove the object that needs it."
        return ForbiddenRequest(summary, subject=path, next_step=step)
    if code == 404:
        return NotFound(f"{path} does not exist", subject=path)
    if code == 409:
        return WriteConflict(summary, subject=path, next_step=_NEXT_STEP)
    if code == 410:
        return WatchExpired(summary, subject=path, next_step="List again.")
    if code == 429:
        seconds = _seconds(headers.get("retry-after", ""))
        return ThrottledRequest(summary, after=seconds, subject=path, next_step=_NEXT_STEP)
    return _error_by_message(code, status.message, summary, path)


def _error_by_message(code: int, message: str, summary: str, path: str) -> FleetError:
    """The error for an answer whose HTTP status and reason do not tell the cause."""
    if cause := form_of(message):  # with status 500
        step = "Correct the field, or remove the duplicate entry."
        return RefusedByForm(summary, cause=cause, subject=path, next_step=step)
    if webhook := webhook_of(message):
        step = (
            f"Repair the service of webhook {webhook}, or delete its webhook configuration"
            " if the service is no longer used."
        )
        return WebhookSilent(summary, subject=path, next_step=step)
    if code >= 500:
        return ClusterUnreachable(summary, subject=path, next_step=_NEXT_STEP)
    kind = DryRunRefused if is_dry_run_refused(message) else ToolFailed
    return kind(summary, subject=path, next_step=_NEXT_STEP)


def _status(content: bytes) -> _Status:
    """The Status object of an answer; an empty one for what is none, as a proxy's page."""
    try:
        return msgspec.json.decode(content, type=_Status)
    except msgspec.DecodeError:
        return _Status()


def _seconds(text: str) -> float:
    """Retry-After in seconds, between 1 and 300."""
    return float(min(300, max(1, int(text)))) if _SHORT_NUMBER.fullmatch(text) else 1.0
