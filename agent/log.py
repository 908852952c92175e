"""Lines on stderr for journald: what happened, to which bundle, and why. Times are journald's."""

from __future__ import annotations

import sys


def event(what: str, **more: object) -> None:
    _line(what + "".join(f" {key}={value}" for key, value in more.items()))


def trouble(subject: str, why: str) -> None:
    _line(f"warning: {subject}: {why}")


def _line(text: str) -> None:
    sys.stderr.write("".join(c if c.isprintable() else " " for c in text)[:2000] + "\n")
    sys.stderr.flush()
