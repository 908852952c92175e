"""Lines on stderr that read as a story: when, which bundle or part, what happened, and why.

Rule: one line for one thing, whoever wrote the words in it: no control characters, no passwords, at
most 2,000 characters; a trouble that stays is said at growing intervals (see repeats). Under
journald a line begins with its level and has no time, which journald adds itself; `--log json`
gives the same as one object a line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import msgspec

from fleetctl.core.formats.redact import redacted

from .log_dedup import Repeats

_MOST = 2000
_LEVELS = {"info": 6, "warning": 4, "error": 3}
_repeats = Repeats()
_style = "text"


def set_up(style: str) -> None:
    """`text`, `json`, or `journal`: text for journald."""
    global _style
    _style = style


def event(what: str, *, bundle: str = "", **more: object) -> None:
    """Something happened, to a bundle or to the agent: `event("deployed", bundle="web",
    generation=3)`. Empty values are left out.
    """
    subject = f"bundle {bundle}" if bundle else ""
    _write("info", subject, what, {"bundle": bundle, **more} if bundle else more)


def trouble(subject: str, why: str) -> None:
    """Something is wrong with `subject`; the same again is left out until it is worth a line."""
    added = _repeats.admit(subject, why, time.monotonic())
    if added is not None:
        _write("warning", subject, why + added, {})


def became(bundle: str, generation: int, state: str, why: str) -> None:
    """A bundle's state is another one; one that comes and goes is said at growing intervals."""
    added = _repeats.admit(f"{bundle} at {generation}", state, time.monotonic(), "info")
    if added is not None:
        _write(
            "info",
            f"bundle {bundle}",
            f"is {state}" + (f": {why}" if why else "") + added,
            {"bundle": bundle, "state": state},
        )


def over(subject: str) -> None:
    """The subject is in order; said when its trouble was."""
    ended = _repeats.over(subject, time.monotonic())
    if ended is not None:
        _write("info", subject, f"in order again {ended}", {})


def bug(where: str, error: BaseException) -> None:
    """Something of ours broke: where it did, in one line, for whoever mends it."""
    trouble(
        where, f"an error of the agent's own: {type(error).__name__}: {error} at {_place(error)}"
    )


def gather() -> None:
    """Say what was counted only; call it every few seconds."""
    for level, subjects, text in _repeats.gathered(time.monotonic()):
        _write(level, subjects, text, {})


def line(
    style: str, level: str, said: tuple[str, str], more: Mapping[str, object], now: float
) -> str:
    """One line without its end. `said`: subject, "" for none, and what happened. `now`: Unix
    seconds.
    """
    subject, what = (_clean(part) for part in said)
    fields = {key: value for key, value in more.items() if value is not None and value != ""}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if style == "json":
        told = {
            key: _clean(value) if isinstance(value, str) else value for key, value in fields.items()
        }
        head = {"time": stamp, "level": level, "event": what} | (
            {"subject": subject} if subject else {}
        )
        return msgspec.json.encode(
            head | {k: v for k, v in told.items() if k not in head}, enc_hook=str
        ).decode()
    shown = ", ".join(
        f"{key.replace('_', ' ')} {_clean(str(value))}"
        for key, value in fields.items()
        if key not in {"bundle", "state"}
    )
    text = (
        (f"{level}: " if level != "info" else "")
        + (f"{subject}: " if subject else "")
        + what
        + (f" ({shown})" if shown else "")
    )
    return f"<{_LEVELS[level]}>{text[:_MOST]}" if style == "journal" else f"{stamp} {text[:_MOST]}"


def _write(level: str, subject: str, what: str, more: Mapping[str, object]) -> None:
    try:
        sys.stderr.write(line(_style, level, (subject, what), more, time.time()) + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody reads any more, or the disk that it goes to is full: no reason to stop


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in redacted(text[: 2 * _MOST]))[:_MOST]


def _place(error: BaseException) -> str:
    """File and line of the innermost frame."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return (
        f"{last.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{last.tb_lineno}"
        if last
        else "an unknown place"
    )
