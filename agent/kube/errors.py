"""What the API server says instead of an answer, as our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fleetctl.core.model.errors import ClusterUnreachable, NotFound, ToolFailed
from fleetctl.tools.helm_errors import form_of

_SHORT_NUMBER = re.compile(r"[0-9]{1,9}")
_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')


class Forbidden(ToolFailed):
    """The API server knows who asks and says no."""

    code = "forbidden"


class Changed(ToolFailed):
    """Somebody else wrote the object first, or it exists already (409)."""

    code = "changed"


class WebhookSilent(ToolFailed):
    """The API server could not ask an admission webhook, and refuses the change for that."""

    code = "webhook"


class RefusedByForm(ToolFailed):
    """Server-side apply does not take the object: duplicate list entries, fields that the schema
    does not declare. `cause`: which.
    """

    def __init__(self, summary: str, *, cause: str, subject: str = "", next_step: str = "") -> None:
        super().__init__(summary, subject=subject, next_step=next_step)
        self.cause = cause


class Gone(ToolFailed):
    """What a watch or a page wanted to go on from is no longer known (410)."""

    code = "gone"


class Throttled(ClusterUnreachable):
    """Asked too often: not again before `after` seconds."""

    code = "throttled"

    def __init__(
        self, summary: str, *, after: float, subject: str = "", next_step: str = ""
    ) -> None:
        super().__init__(summary, subject=subject, next_step=next_step)
        self.after = after


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
