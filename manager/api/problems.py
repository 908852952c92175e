"""Every error answer is a `wire.Problem`: code, one line, subject, next step, exit status. Never a
traceback, never a foreign sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from starlette.responses import Response

from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import Bug, FleetError
from fleetctl.core.model.wire import Problem
from fleetctl.core.text.suggest import close_words


def answer(error: FleetError, headers: Mapping[str, str] | None = None) -> Response:
    """The problem of `error` as an answer."""
    summary, subject, next_step = (
        _line(redacted(text[:20_000])) for text in (error.summary, error.subject, error.next_step)
    )
    problem = Problem(
        code=error.code,
        summary=summary,
        subject=subject,
        next_step=next_step,
        exit_status=error.exit_status,
    )
    response = Response(
        body(problem),
        status_code=error.http_status,
        media_type="application/json",
        headers=dict(headers or {}),
    )
    response.headers["cache-control"] = "no-store"
    retry = getattr(error, "retry_after", 10 if error.http_status == 503 else 0)
    if retry:
        response.headers["retry-after"] = str(retry)
    if error.http_status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def _line(text: str, limit: int = 1500) -> str:
    """One line of bounded length, whatever a client made part of the text."""
    line = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def body(problem: Problem) -> bytes:
    """All five keys, also those that have their default: readers outside Python should not have to
    know the defaults.
    """
    whole = {name: getattr(problem, name) for name in problem.__struct_fields__}
    whole["nextStep"], whole["exitStatus"] = whole.pop("next_step"), whole.pop("exit_status")
    return msgspec.json.encode(whole)


def bug() -> Bug:
    return Bug(
        "internal error of the manager", next_step="Look into the manager's log and report it."
    )


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint for people: the known word that looks most like `word`, or all of them."""
    choices = sorted(words)
    close = close_words(word, choices, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(choices)}." if choices else "There are none."
