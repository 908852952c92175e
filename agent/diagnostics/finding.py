"""One thing that `fleet-agent check` has looked at, and how it is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec

from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import FleetError

_WORDS = {True: "ok", False: "WRONG", None: "note"}


@dataclass(frozen=True)
class CheckFinding:
    """`ok` None is a note: worth knowing, in nobody's way. What is wrong has a next step."""

    subject: str
    ok: bool | None
    text: str
    next_step: str = ""


async def attempt(subject: str, look: Callable[[], Awaitable[CheckFinding]]) -> CheckFinding:
    """What `look` finds; that it could not look is a finding too."""
    try:
        return await look()
    except (FleetError, OSError) as error:
        return failure(subject, error)


def failure(subject: str, error: FleetError | OSError) -> CheckFinding:
    if isinstance(error, FleetError):
        return CheckFinding(subject, ok=False, text=error.summary, next_step=error.next_step)
    text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return CheckFinding(
        subject, ok=False, text=text, next_step="Look at the system's log (dmesg, journalctl)."
    )


def text(findings: Iterable[CheckFinding], width: int) -> str:
    """For people: one paragraph for each, its next step below it, and a last line that counts."""
    lines: list[str] = []
    findings = list(findings)
    for finding in findings:
        line = f"{_WORDS[finding.ok]:<6} {finding.subject}: {_plain(finding.text)}"
        lines += textwrap.wrap(line, width, subsequent_indent="       ", break_on_hyphens=False)
        if finding.next_step:
            lines += textwrap.wrap(
                f"-> {_plain(finding.next_step)}",
                width,
                initial_indent="       ",
                subsequent_indent="          ",
                break_on_hyphens=False,
            )
    wrong, notes = (sum(1 for finding in findings if finding.ok is kind) for kind in (False, None))
    summary = {0: "Nothing stands in the way", 1: "1 thing stands in the way"}.get(
        wrong, f"{wrong} things stand in the way"
    )
    return "\n".join(
        [
            *lines,
            "",
            summary + (f"; {notes} {'note' if notes == 1 else 'notes'}." if notes else "."),
        ]
    )


def as_json(findings: Iterable[CheckFinding]) -> str:
    """A list of `what`, `ok` (null for a note), `said`, `nextStep`."""
    return msgspec.json.encode(
        [
            {"what": f.subject, "ok": f.ok, "said": _plain(f.text), "nextStep": _plain(f.next_step)}
            for f in findings
        ]
    ).decode()


def _plain(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in redacted(line))
