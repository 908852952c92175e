"""What the API server says instead of an answer, as our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fleetctl.core.model.errors import (
    Changed,
    ClusterUnreachable,
    Forbidden,
    Gone,
    NotFound,
    RefusedByForm,
    Throttled,
    ToolFailed,
    WebhookSilent,
)
from fleetctl.tools.helm_errors import form_of

_SHORT_NUMBER = re.compile(r"[0-9]{1,9}")
_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')


def refuse(status: int, content: bytes, headers: Mapping[str, str], path: str) -> None:
    """An answer of 400 or more as one of our errors; nothing for any other."""
    if status < 400:
        return
    if status == 404:
        raise NotFound(f"{path} does not exist", subject=path)
    if status == 401:
        step = "Look at the token or certificate of the kubeconfig."
        raise ClusterUnreachable(
            "the API server does not take this agent's login (401)",
            subject="cluster",
            next_step=step,
        )
    said = f"the API server says: {_message(content) or status}"
    if status == 403:
        raise Forbidden(said, subject=path, next_step="Grant it, or leave out what needs it.")
    if status == 410:
        raise Gone(said, subject=path, next_step="List again.")
    step = "Look at the object and at the API server."
    if status == 409:
        raise Changed(said, subject=path, next_step=step)
    if status == 429:
        raise Throttled(
            said, after=_seconds(headers.get("retry-after", "")), subject=path, next_step=step
        )
    if cause := form_of(_message(content)):  # with status 500
        raise RefusedByForm(
            said,
            cause=cause,
            subject=path,
            next_step="Correct the field, or remove the duplicate entry.",
        )
    if (found := _WEBHOOK.search(said)) is not None:
        step = (
            f"Repair the service of webhook {found[1]}, or delete its webhook configuration when"
            " the service is gone for good."
        )
        raise WebhookSilent(said, subject=path, next_step=step)
    raise (ClusterUnreachable if status >= 500 else ToolFailed)(said, subject=path, next_step=step)


def _message(content: bytes) -> str:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return ""
    return str(found.get("message", "")) if isinstance(found, dict) else ""


def _seconds(text: str) -> float:
    """Retry-After in seconds, between 1 and 300."""
    return float(min(300, max(1, int(text)))) if _SHORT_NUMBER.fullmatch(text) else 1.0
