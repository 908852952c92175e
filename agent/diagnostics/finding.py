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
class Finding:
    """`ok` None is a note: worth knowing, in nobody's way. What is wrong has a next step."""

    what: str
    ok: bool | None
    said: str
    next_step: str = ""


async def asked(what: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    """What `look` finds; that it could not look is a finding too."""
    try:
        return await look()
    except (FleetError, OSError) as why:
        return failed(what, why)


def failed(what: str, why: FleetError | OSError) -> Finding:
    if isinstance(why, FleetError):
        return Finding(what, ok=False, said=why.summary, next_step=why.next_step)
    said = f"{why.strerror or why}" + (f": {why.filename}" if why.filename else "")
    return Finding(
        what, ok=False, said=said, next_step="Look at the system's log (dmesg, journalctl)."
    )


def text(found: Iterable[Finding], width: int) -> str:
    """For people: one paragraph for each, its next step below it, and a last line that counts."""
    lines: list[str] = []
    found = list(found)
    for one in found:
        said = f"{_WORDS[one.ok]:<6} {one.what}: {_plain(one.said)}"
        lines += textwrap.wrap(said, width, subsequent_indent="       ", break_on_hyphens=False)
        if one.next_step:
            lines += textwrap.wrap(
                f"-> {_plain(one.next_step)}",
                width,
                initial_indent="       ",
                subsequent_indent="          ",
                break_on_hyphens=False,
            )
    wrong, notes = (sum(1 for one in found if one.ok is kind) for kind in (False, None))
    told = {0: "Nothing stands in the way", 1: "1 thing stands in the way"}.get(
        wrong, f"{wrong} things stand in the way"
    )
    return "\n".join(
        [*lines, "", told + (f"; {notes} {'note' if notes == 1 else 'notes'}." if notes else ".")]
    )


def as_json(found: Iterable[Finding]) -> str:
    """A list of `what`, `ok` (null for a note), `said`, `nextStep`."""
    return msgspec.json.encode(
        [
            {"what": f.what, "ok": f.ok, "said": _plain(f.said), "nextStep": _plain(f.next_step)}
            for f in found
        ]
    ).decode()


def _plain(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in redacted(line))
