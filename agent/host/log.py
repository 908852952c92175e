"""The agent's log on stderr: when, which bundle or part, what happened, and why.

Rule: one event is one line, whatever text it contains: no control characters, no passwords, at most
2,000 characters. A warning that repeats is written at growing intervals (agent/host/log_dedup.py).
Only a bug has more lines, its traceback. Under journald a line begins with its level and has no
time, which journald adds itself; `--log json` writes the same as one object a line.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping

import msgspec

from fleetctl.core.formats.redact import redacted

from .log_dedup import Repeats

INTERNAL_ERROR = "internal error; please report the traceback above"
_MAX_LENGTH = 2000
_MAX_FRAMES = 30
_LEVELS = {"info": 6, "warning": 4, "error": 3}
_repeats = Repeats()
_style = "text"


def set_up(style: str) -> None:
    """`text`, `json`, or `journal`: text for journald."""
    global _style
    _style = style


def event(message: str, *, bundle: str = "", **fields: object) -> None:
    """Log what happened to a bundle or to the agent: `event("deployed", bundle="web",
    generation=3)`. Empty values are left out.
    """
    subject = f"bundle {bundle}" if bundle else ""
    _write("info", subject, message, {"bundle": bundle, **fields} if bundle else fields)


def trouble(subject: str, reason: str) -> None:
    """Log a problem of `subject`. A repetition is left out until it is worth a line."""
    count = _repeats.admit(subject, reason, time.monotonic())
    if count is not None:
        _write("warning", subject, reason + count, {})


def state_change(bundle: str, generation: int, state: str, reason: str) -> None:
    """Log the new state of a bundle; a state that comes and goes is logged at growing intervals."""
    count = _repeats.admit(f"bundle {bundle} at {generation}", state, time.monotonic(), "info")
    if count is not None:
        message = f"is {state}" + (f": {reason}" if reason else "") + count
        _write("info", f"bundle {bundle}", message, {"bundle": bundle, "state": state})


def over(subject: str) -> None:
    """Log that `subject` is in order again, when a problem of it was logged."""
    duration = _repeats.over(subject, time.monotonic())
    if duration is not None:
        _write("info", subject, f"in order again {duration}", {})


def bug(subject: str, error: BaseException) -> None:
    """Log a defect of the agent with its traceback. A repetition is left out as of any problem."""
    cause = f"{type(error).__name__}: {error}"
    count = _repeats.admit(subject, cause, time.monotonic(), "error")
    if count is None:
        return
    text = traceback_text(error)
    if _style == "json":
        _write("error", subject, INTERNAL_ERROR + count, {"traceback": text})
        return
    level = f"<{_LEVELS['error']}>" if _style == "journal" else ""
    _print("".join(f"{level}{row}\n" for row in text.splitlines()))
    _write("error", subject, f"{INTERNAL_ERROR}: {cause}{count}", {})


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, without passwords and control characters."""
    text = "".join(traceback.format_exception(error, limit=_MAX_FRAMES))
    return "\n".join(_clean(row) for row in text.rstrip().splitlines())


def gather() -> None:
    """Log what was only counted; call it every few seconds."""
    for level, subjects, text in _repeats.gather(time.monotonic()):
        _write(level, subjects, text, {})


def line(
    style: str, level: str, words: tuple[str, str], values: Mapping[str, object], now: float
) -> str:
    """Format one line without its end. `words`: subject, "" for none, and what happened. `now`:
    Unix seconds.
    """
    subject, message = (_clean(part) for part in words)
    fields = {key: value for key, value in values.items() if value is not None and value != ""}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if style == "json":
        head = {"time": stamp, "level": level, "event": message}
        if subject:
            head["subject"] = subject
        rest = {key: _clean_value(key, value) for key, value in fields.items() if key not in head}
        return msgspec.json.encode(head | rest, enc_hook=str).decode()
    details = ", ".join(
        f"{key.replace('_', ' ')} {_clean(str(value))}"
        for key, value in fields.items()
        if key not in {"bundle", "state"}
    )
    text = "" if level == "info" else f"{level}: "
    text += f"{subject}: {message}" if subject else message
    text += f" ({details})" if details else ""
    if style == "journal":
        return f"<{_LEVELS[level]}>{text[:_MAX_LENGTH]}"
    return f"{stamp} {text[:_MAX_LENGTH]}"


def _write(level: str, subject: str, message: str, fields: Mapping[str, object]) -> None:
    _print(line(_style, level, (subject, message), fields, time.time()) + "\n")


def _print(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        return  # nobody reads stderr, or its disk is full: the agent continues


def _clean_value(key: str, value: object) -> object:
    if key == "traceback" or not isinstance(value, str):
        return value
    return _clean(value)


def _clean(text: str) -> str:
    short = redacted(text[: 2 * _MAX_LENGTH])
    return "".join(c if c.isprintable() else " " for c in short)[:_MAX_LENGTH]
